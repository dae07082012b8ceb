"""Small pictures with masks: bright squares and dark bars on grey."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (40, 48)
CLASSES = ("background", "square", "bar")


def scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture, uint8 (40, 48, 3), and its class numbers, uint8 (40, 48)."""
    draws = np.random.default_rng(number)
    picture = draws.normal(120, 10, (*SIZE, 3))
    mask = np.zeros(SIZE, np.uint8)
    row, column = draws.integers(2, 20), draws.integers(2, 24)
    picture[row : row + 14, column : column + 14] += 100
    mask[row : row + 14, column : column + 14] = 1
    if number % 2:
        picture[30:36] -= 90
        mask[30:36] = 2
    return picture.clip(0, 255).astype(np.uint8), mask


def write_folders(folder: Path, count: int = 24, first: int = 0) -> Path:
    """`images/` and `masks/` with scenes; every sixth mask has an ignored corner."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(first, first + count):
        picture, mask = scene(number)
        if number % 6 == 0:
            mask[:3, :3] = 255
        Image.fromarray(picture).save(folder / "images" / f"{number:03}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number:03}.png")
    return folder
