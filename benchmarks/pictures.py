"""Generated photographs: JPEG files that differ from each other, made from a seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

QUALITY = 90


def make_pictures(
    folder: Path, count: int, sizes: list[tuple[int, int]], *, seed: int = 0
) -> list[str]:
    """Writes pictures of smooth shapes under some noise, and returns their paths.

    Args:
        folder: Made where it is not there.
        count: How many.
        sizes: Widths and heights in pixels, taken in turn.
        seed: Equal seeds make equal files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    paths = [str(folder / f"{number:06}.jpg") for number in range(count)]
    for number, path in enumerate(paths):
        size = sizes[number % len(sizes)]
        shapes = Image.fromarray(generator.integers(0, 256, (6, 8, 3), np.uint8))
        smooth = np.asarray(shapes.resize(size, Image.Resampling.BICUBIC), np.int16)
        noisy = smooth + generator.integers(-12, 13, smooth.shape, np.int16)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=QUALITY)
    return paths
