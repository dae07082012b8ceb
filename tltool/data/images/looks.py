"""What a picture looks like at a glance: its size, how bright it is, and a hash of its shapes.

A picture is read once, small, by Pillow: none of this needs its every pixel. Of a JPEG the decoder
skips what a small picture does not need.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tltool.support.threads import map_in_threads

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    Array = np.ndarray[Any, Any]

HASH_BITS = 256
_SIDE, _KEPT = 64, 16


@dataclass(frozen=True)
class Looks:
    """Of each of some pictures; NaN, and a hash of zeros, where one cannot be read.

    Attributes:
        width_px, height_px: float64 (n,), upright.
        brightness: Mean of the grey levels, 0..1, float64 (n,).
        contrast: Their standard deviation, 0..0.5.
        hashes: Which of the lowest frequencies are above their median, bool (n, HASH_BITS).
    """

    width_px: Array
    height_px: Array
    brightness: Array
    contrast: Array
    hashes: Array


def looks(images: Sequence[Any]) -> Looks:
    """How pictures look.

    The hash is that of "pHash": whether each of the lowest frequencies of the grey picture is above
    their median (Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions",
    section 3.2), with 16 x 16 of 64 x 64 in place of 8 x 8 of 32 x 32: 64 bits do not tell
    photographs of the same kind of thing apart. Pictures that differ in size, compression, or a
    little in brightness or crop differ in few of its bits.

    Args:
        images: Paths, or uint8 arrays (height, width[, channels]).
    """
    import numpy as np

    found = map_in_threads(_looked_at, images, min(16, 2 * (os.cpu_count() or 1)))
    rows = [(one.size, np.asarray(one.grey, np.float64) / 255) if one else None for one in found]
    numbers = np.full((4, len(rows)), np.nan)
    hashes = np.zeros((len(rows), HASH_BITS), bool)
    for row, known in enumerate(rows):
        if known is not None:
            size, grey = known
            numbers[:, row] = (*size, grey.mean(), grey.std())
            hashes[row] = _hash_of(grey)
    width, height, brightness, contrast = numbers
    return Looks(width, height, brightness, contrast, hashes)


def ranges_used(images: Sequence[Any]) -> list[float]:
    """The highest level of each picture as a share of the highest there may be, 0..1.

    Args:
        images: As for `looks`; those that cannot be read are left out.
    """
    found = map_in_threads(_range_used, images, min(16, 2 * (os.cpu_count() or 1)))
    return [share for share in found if share is not None]


def distances(one: Array, other: Array) -> Array:
    """In how many bits hashes differ, int64 (n,); of hashes (n, HASH_BITS), in pairs."""
    differ: Array = (one != other).sum(axis=-1)
    return differ


def small_jpeg(image: Any, side_px: int) -> bytes | None:
    """A picture as a small JPEG, at most so wide and high; None where it cannot be read.

    Args:
        image: As for `looks`.
        side_px: The longer side.
    """
    opened = _opened(image, side_px)
    if opened is None:
        return None
    opened.thumbnail((side_px, side_px))
    stream = io.BytesIO()
    opened.convert("RGB").save(stream, "JPEG", quality=80)
    return stream.getvalue()


@dataclass(frozen=True)
class _Look:
    size: tuple[int, int]
    grey: Image


def _looked_at(image: Any) -> _Look | None:
    from PIL.Image import Resampling

    opened = _opened(image, 2 * _SIDE, grey=True)
    if opened is None:
        return None
    size = opened.info["size_px"]
    return _Look(size, opened.convert("L").resize((_SIDE, _SIDE), Resampling.BOX))


def _range_used(image: Any) -> float | None:
    import numpy as np

    opened = _opened(image, _SIDE)
    if opened is None:
        return None
    if opened.mode.startswith("I"):  # grey of 16 bits
        return float(np.asarray(opened).max()) / 0xFFFF
    return float(np.asarray(opened.convert("RGBA"))[..., :3].max()) / 0xFF


def _opened(image: Any, side_px: int, *, grey: bool = False) -> Image | None:
    """An upright picture, of a JPEG no larger than needed; its `info` has the whole `size_px`."""
    import numpy as np
    from PIL import Image, ImageOps

    if not isinstance(image, str | os.PathLike):
        array = np.asarray(image)
        opened = Image.fromarray(array[..., 0] if array.shape[-1:] == (1,) else array)
        opened.info["size_px"] = opened.size
        return opened
    try:
        with warnings.catch_warnings(), Image.open(image) as file:
            warnings.simplefilter("ignore")  # of metadata, which is not looked at
            width, height = file.size
            file.draft("L" if grey else "RGB", (side_px, side_px))
            upright = ImageOps.exif_transpose(file)
            turned = (upright.width > upright.height) != (file.width > file.height)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    upright.info["size_px"] = (height, width) if turned else (width, height)
    return upright


def _hash_of(grey: Array) -> Array:
    import numpy as np
    from scipy.fft import dctn

    lowest = dctn(grey, norm="ortho")[:_KEPT, :_KEPT].reshape(-1)
    bits: Array = lowest > np.median(lowest[1:])  # without the mean, which is far from the others
    return bits
