"""Input sizes of image backbones."""

from __future__ import annotations

from tltool.errors import BackboneError
from tltool.preprocessing import ImagePreprocessing

# The CNNs supported halve their map five times.
SIZE_MULTIPLE_PX = 32


def checked_size(size_px: int, name: str) -> tuple[int, int]:
    """An input size that a CNN can be rebuilt for, as height and width.

    Raises:
        BackboneError: It is not a multiple of 32.
    """
    if size_px % SIZE_MULTIPLE_PX:
        near = max(SIZE_MULTIPLE_PX, round(size_px / SIZE_MULTIPLE_PX) * SIZE_MULTIPLE_PX)
        raise BackboneError(
            f"Backbone {name!r}: image_size_px must be a multiple of {SIZE_MULTIPLE_PX}, "
            f"received {size_px}.",
            hint=f"the nearest is {near}",
        )
    return size_px, size_px


def resized(contract: ImagePreprocessing, size_px: int | None, name: str) -> ImagePreprocessing:
    """The contract for another input size, with the same share of the image cropped away.

    Raises:
        BackboneError: The size is not a multiple of 32.
    """
    if size_px is None:
        return contract
    resize_px = round(contract.resize_px * size_px / max(contract.size_px))
    return contract.model_copy(
        update={"size_px": checked_size(size_px, name), "resize_px": resize_px}
    )
