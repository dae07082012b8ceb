"""Masks as pictures: at the size that is wanted, as files, and over what they are masks of."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from tltool.tasks.masks.files import IGNORED, ClassTable, MaskReader

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    Array = np.ndarray[Any, Any]

_OVERLAY = 0.5
_LONGEST_SIDE = 640
_GAP = 8


def class_numbers(probabilities: Array, size: tuple[int, int]) -> Array:
    """The most probable class of each pixel at another size, uint8 (*size).

    Probabilities are interpolated (bilinearly; averaged when it is smaller),
    class by class, so that few of them are in memory at a time.

    Args:
        probabilities: float32 (height, width, classes).
        size: Height and width that are wanted.
    """
    import numpy as np
    from PIL import Image

    if probabilities.shape[:2] == tuple(size):
        return probabilities.argmax(axis=-1).astype(np.uint8)
    height, width = size
    best = np.full(size, -np.inf, np.float32)
    numbers = np.zeros(size, np.uint8)
    for number in range(probabilities.shape[-1]):
        plane = Image.fromarray(np.ascontiguousarray(probabilities[..., number], np.float32))
        resized = np.asarray(plane.resize((width, height), Image.Resampling.BILINEAR))
        better = resized > best
        numbers[better] = number
        best = np.maximum(best, resized)
    return numbers


def resized_numbers(numbers: Array, size: tuple[int, int]) -> Array:
    """Class numbers (h, w) at another size: the nearest pixel, half-pixel centres."""
    import numpy as np

    rows, columns = (
        (2 * np.arange(wanted) + 1) * given // (2 * wanted)
        for wanted, given in zip(size, numbers.shape, strict=True)
    )
    resized: Array = numbers[rows][:, columns]
    return resized


def coded_png(numbers: Array, table: ClassTable) -> bytes:
    """Class numbers (h, w) as a PNG with the values or colours of a table.

    Values up to 255 become a palette's numbers, whose colours are those of
    Pascal VOC; larger ones 16-bit grey levels.
    """
    import numpy as np
    from PIL import Image

    codes = np.array(table.codes)
    if table.coloured:
        picture = Image.fromarray(codes.astype(np.uint8)[numbers])
    elif codes.max() > 255:
        picture = Image.fromarray(codes.astype(np.uint16)[numbers])
    else:
        picture = Image.fromarray(codes.astype(np.uint8)[numbers], "L")
        picture.putpalette(palette().tobytes())
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def numbers_in(content: bytes, table: ClassTable) -> Array:
    """Class numbers (h, w) of a file that `coded_png` made."""
    return MaskReader([content], table)(content).numbers()


def palette() -> Array:
    """The colour of each class number, uint8 (256, 3), as in Pascal VOC (`VOClabelcolormap`)."""
    import numpy as np

    numbers = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            set_bit = (numbers >> (3 * bit + channel)) & 1
            colours[:, channel] |= (set_bit << (7 - bit)).astype(np.uint8)
    return colours


def overlays(picture: Any, true: Array, predicted: Array) -> bytes:
    """A picture, with its true and with its predicted mask over it, side by side, as PNG.

    Args:
        picture: A path or a uint8 array.
        true, predicted: Class numbers (h, w) at the picture's size.
    """
    import numpy as np
    from PIL import Image

    plain = _opened(picture)
    panels = [plain, *(_over(plain, numbers) for numbers in (true, predicted))]
    scale = min(1.0, _LONGEST_SIDE / max(plain.size))
    width, height = (max(1, round(side * scale)) for side in plain.size)
    sheet = np.full((height, 3 * width + 2 * _GAP, 3), 255, np.uint8)
    for number, panel in enumerate(panels):
        left = number * (width + _GAP)
        sheet[:, left : left + width] = np.asarray(panel.resize((width, height)))
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "PNG")
    return file.getvalue()


def _opened(picture: Any) -> Image:
    from PIL import Image, ImageOps

    if not isinstance(picture, str):
        return Image.fromarray(picture).convert("RGB")
    with Image.open(picture) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def _over(picture: Image, numbers: Array) -> Image:
    import numpy as np
    from PIL import Image

    colours = palette()
    # The first class is mostly background: it is left as it is, so that the others can be seen.
    covered = np.asarray(picture, np.float32).copy()
    painted = (numbers != 0) & (numbers != IGNORED)
    covered[painted] = (1 - _OVERLAY) * covered[painted] + _OVERLAY * colours[numbers[painted]]
    covered[numbers == IGNORED] *= 1 - _OVERLAY
    return Image.fromarray(covered.astype(np.uint8))
