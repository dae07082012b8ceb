"""A DataLoader of PyTorch over Pillow: every file of a folder to batches, once."""

from __future__ import annotations

import PIL
import torch
from pillow_images import load_cropped
from protocol import Stopwatch, jpeg_files, read_settings, report
from torch.utils.data import DataLoader, Dataset


class Files(Dataset[torch.Tensor]):
    """Images decoded, resized and normalised when asked for.

    Args:
        paths: The files.
    """

    def __init__(self, paths: list[str]) -> None:
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        image = torch.from_numpy(load_cropped(self._paths[row])).permute(2, 0, 1)
        return (image.float() - 127.0) / 128.0


def main() -> None:
    settings = read_settings()
    paths = jpeg_files(settings["folder"])
    run(paths[:64], settings)
    stopwatch = Stopwatch()
    images = run(paths, settings)
    libraries = f"PyTorch {torch.__version__}, Pillow {PIL.__version__}"
    report(**stopwatch.read(), images=images, libraries=libraries)


def run(paths: list[str], settings: dict[str, int]) -> int:
    """Makes every batch, and counts the images."""
    batches = DataLoader(Files(paths), settings["batch_size"], num_workers=settings["workers"])
    return sum(len(batch) for batch in batches)


if __name__ == "__main__":
    main()
