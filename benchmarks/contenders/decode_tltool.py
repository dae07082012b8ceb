"""tltool's pipeline: every file of a folder to batches of the network's input, once."""

from __future__ import annotations

from typing import Any

from protocol import Stopwatch, jpeg_files, read_settings, report

from tltool.backbones.load import load_backbone
from tltool.data.batches.pipeline import CACHE_BYTES, make_dataset
from tltool.data.examples import Examples


def main() -> None:
    settings = read_settings()
    paths = jpeg_files(settings["folder"])
    contract = load_backbone(settings["backbone"]).preprocessing
    keep = CACHE_BYTES if settings["in_memory"] else 0
    run(paths[:64], contract, settings["batch_size"], keep)
    stopwatch = Stopwatch()
    images = run(paths, contract, settings["batch_size"], keep)
    report(**stopwatch.read(), images=images)


def run(paths: list[str], contract: Any, batch_size: int, cache_bytes: int) -> int:
    """Makes every batch, and counts the images."""
    unknown: list[Any] = [None] * len(paths)
    dataset = make_dataset(
        Examples("image", paths, unknown, unknown, paths),
        contract,
        targets=None,
        batch_size=batch_size,
        training=False,
        cache_bytes=cache_bytes,
    )
    return sum(len(batch) for batch in dataset)


if __name__ == "__main__":
    main()
