"""Small JPEG pictures for pages, within a bound on their number, their bytes and the work."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.images.decoded import decoded_now, key_of, resizing_of
from tltool.data.images.headers import Declared, declared_in
from tltool.data.preprocessing import ImagePreprocessing

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE_PX = 128
MOST = 160
MOST_BYTES = 1_200_000
MOST_PIXELS = 48_000_000
"""That are decoded from files: about half a second of one core."""
_QUALITY = 75
# A JPEG is read at an eighth of its size; its bits must be read all the same.
_JPEG_WORK = 0.25
_JPEG = (".jpg", ".jpeg")
_DEEP = ("I", "F")


class Thumbnails:
    """Makes small pictures until there are too many of them.

    Pictures that the job at hand decoded are taken as the model reads them; others are read from
    their files.

    Args:
        contract: How the model's pictures are resized; None reads files in any case.
    """

    def __init__(self, contract: Any = None) -> None:
        images = isinstance(contract, ImagePreprocessing)
        self._resizing = resizing_of(contract) if images else None
        self._made = 0
        self._bytes = 0
        self._pixels = 0.0
        self.left_out = 0

    def of(self, value: Any) -> bytes | None:
        """A JPEG file of 128 px at most on each side; None where there is no room or no picture.

        Args:
            value: A picture as `Examples.inputs` has it: a path, or a uint8 array.
        """
        if self._made >= MOST or self._bytes >= MOST_BYTES:
            self.left_out += 1
            return None
        image = self._opened(value)
        if image is None:
            self.left_out += 1
            return None
        written = io.BytesIO()
        image.thumbnail((SIDE_PX, SIDE_PX))
        image.convert("RGB").save(written, "JPEG", quality=_QUALITY)
        content = written.getvalue()
        self._made += 1
        self._bytes += len(content)
        return content

    def _opened(self, value: Any) -> Image | None:
        from PIL import Image

        if isinstance(value, str):
            found = self._at_hand(value)
            return self._from_file(value) if found is None else Image.fromarray(found)
        return Image.fromarray(value)

    def _at_hand(self, path: str) -> Any:
        kept = decoded_now()
        if kept is None or self._resizing is None:
            return None
        return kept.find(key_of(path, self._resizing))

    def _from_file(self, path: str) -> Image | None:
        from PIL import Image

        try:
            with warnings.catch_warnings():
                # Larger ones are allowed here; the bound is on the work.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with Image.open(path) as image:
                    return self._read(image)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return None

    def _read(self, image: Image) -> Image | None:
        from PIL import ImageOps

        work = image.width * image.height * (_JPEG_WORK if image.format == "JPEG" else 1.0)
        if self._pixels + work > MOST_PIXELS:
            return None
        self._pixels += work
        image.draft("RGB", (SIDE_PX, SIDE_PX))
        return _eight_bits(ImageOps.exif_transpose(image))


def affordable(images: Sequence[Any]) -> bool:
    """Whether all of some pictures can be looked at within the bound on the work."""
    work = 0.0
    for image in images:
        if not isinstance(image, str):
            work += image.shape[0] * image.shape[1]
        elif (size := _declared(image)) is not None:
            work += size.pixels * (_JPEG_WORK if image.lower().endswith(_JPEG) else 1.0)
        if work > MOST_PIXELS:
            return False
    return True


def _declared(path: str) -> Declared | None:
    try:
        return declared_in(Path(path))
    except (OSError, ValueError):
        return None


def _eight_bits(image: Image) -> Image:
    """Pictures of 16 bits with their upper 8."""
    if not image.mode.startswith(_DEEP):
        return image
    import numpy as np
    from PIL.Image import fromarray

    levels = np.asarray(image).astype(np.int64)
    return fromarray((levels >> 8).clip(0, 255).astype(np.uint8))
