"""Pictures that are no files the decoder reads, kept as such files in the cache.

Pictures in the cells of tables and in archives, and TIFF files, become files
named by the sha256 of their content. So all that follows, from fingerprints to
reports, has paths to files as it has of a folder, holds no picture in memory,
and a picture that occurs twice is one file.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

from tltool.data.images.signatures import (
    MAX_PIXELS,
    MAX_SIDE_PX,
    TOO_LARGE,
    foreign_format,
    image_format,
)
from tltool.support.errors import DataError, first_line
from tltool.support.files import cache_dir
from tltool.tasks.values import BadValueError

_FOLDER = "images"
TIFF_SUFFIXES = (".tif", ".tiff")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BLACK_IS_HIGHEST, _PLANES_APART = 0, 2  # TIFF 6.0, section 8
# Grey of 16 bits whose black is highest, which Pillow knows in the other order of bytes alone.
_MOTOROLA_GREY = (b"MM", _BLACK_IS_HIGHEST, (1,), 1, (16,), ())
_EIGHT_BITS = {"1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB"}


def kept_image(content: bytes) -> Path:
    """The file in the cache that holds a picture, written where it is not there yet.

    Args:
        content: Of a JPEG, PNG, GIF, BMP, WebP or TIFF file. Of a TIFF the first
            page is kept as PNG: 16 bits are brought to their upper 8, as the
            decoder does with other files; alpha is dropped.

    Raises:
        BadValueError: It is none of these, or a TIFF that cannot be read.
        DataError: The cache cannot be written.
    """
    is_tiff = content.startswith(_TIFF)
    form = "PNG" if is_tiff else image_format(content)
    if form is None:
        what = f"not an image but {foreign_format(content)}" if content else "empty (0 bytes)"
        raise BadValueError(f"what should be the image is {what}")
    digest = hashlib.sha256(content).hexdigest()
    target = cache_dir() / _FOLDER / digest[:2] / f"{digest}.{form.lower()}"
    try:
        # A power cut can leave a name without its bytes.
        if not target.is_file() or not target.stat().st_size:
            _write(target, _first_page(content) if is_tiff else content)
    except OSError as error:
        raise DataError(f"{target} cannot be written: {error.strerror}.") from error
    return target


def is_kept(path: str) -> bool:
    """Whether a picture is one that `kept_image` wrote, whose path tells a user nothing."""
    return path.startswith(f"{cache_dir() / _FOLDER}{os.sep}")


def _write(target: Path, content: bytes) -> None:
    """Whole or not at all; what a power cut spoils is made again, so that nothing is waited for."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _first_page(content: bytes) -> bytes:
    """The first page of a TIFF, as PNG of 8 bits."""
    from PIL import TiffImagePlugin

    TiffImagePlugin.OPEN_INFO.setdefault(_MOTOROLA_GREY, ("I;16B", "I;16B"))
    try:
        # Not Image.open, which warns of a size that is allowed here.
        page = TiffImagePlugin.TiffImageFile(BytesIO(content))
        if max(page.size) > MAX_SIDE_PX or page.width * page.height > MAX_PIXELS:
            raise BadValueError(f"a TIFF that is {TOO_LARGE}: {page.width} x {page.height} pixels")
        image = _eight_bits(page)
    except (OSError, SyntaxError, ValueError, LookupError, TypeError) as error:
        raise BadValueError(f"damaged, or a TIFF of no kind read here ({first_line(error)})") from (
            error
        )
    written = BytesIO()
    image.save(written, "PNG", compress_level=1)
    return written.getvalue()


def _eight_bits(page: Any) -> Any:
    """A page as grey or RGB levels of 8 bits."""
    import numpy as np
    from PIL import Image, TiffImagePlugin

    tags = page.tag_v2
    bits = max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
    if page.mode.startswith("I;16"):
        levels = np.asarray(page).astype(np.uint16)
        if tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == _BLACK_IS_HIGHEST:
            levels = 0xFFFF - levels
        return Image.fromarray((levels >> 8).astype(np.uint8))
    # Pillow takes the lower bytes of 16 bits where each colour is a plane of its own.
    apart = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION) == _PLANES_APART
    if page.mode not in _EIGHT_BITS or (bits > 8 and apart):
        raise BadValueError(
            f"a TIFF of {bits} bits ({page.mode}); 8 and 16 bits without sign are read"
        )
    if page.mode in {"1", "L", "LA"}:
        return page.convert("L")
    return page.convert("RGBA" if page.mode == "RGBa" else "RGB").convert("RGB")
