"""Decoding with Pillow as torchvision's usual transforms do: Resize(256), CenterCrop(224)."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIZE_PX, RESIZE_PX = 224, 256


def load_cropped(path: str) -> np.ndarray:
    """A file as uint8 (224, 224, 3); the bicubic filter of Pillow is antialiased."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    short = min(image.size)
    size = (image.width * RESIZE_PX // short, image.height * RESIZE_PX // short)
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = ((side - SIZE_PX) // 2 for side in size)
    return np.array(image.crop((left, top, left + SIZE_PX, top + SIZE_PX)))
