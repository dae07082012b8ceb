"""Input sizes of image backbones, and options that a backbone has not."""

from __future__ import annotations

from tltool.data.preprocessing import ImagePreprocessing
from tltool.support.errors import BackboneError

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
    return contract if size_px is None else scaled(contract, checked_size(size_px, name))


def scaled(contract: ImagePreprocessing, size_px: tuple[int, int]) -> ImagePreprocessing:
    """The contract for another height and width, with the same share of the image cropped away."""
    resize_px = round(contract.resize_px * max(size_px) / max(contract.size_px))
    return contract.model_copy(update={"size_px": size_px, "resize_px": resize_px})


def refuse_other_size(own_px: tuple[int, int], wanted_px: int | None, name: str) -> None:
    """Sees that no other size is asked of a network that has but one.

    Raises:
        BackboneError: One is.
    """
    if wanted_px is not None and own_px != (wanted_px, wanted_px):
        height, width = own_px
        raise BackboneError(
            f"Backbone {name!r} takes images of {height}×{width} pixels only: its position "
            f"embeddings are made for that size. Received image_size_px={wanted_px}.",
            hint="leave backbone.image_size_px out, or take a CNN",
        )


def refuse_dropout(dropout: float | None, name: str) -> None:
    """Sees that no dropout is asked of a network that has none to set.

    Raises:
        BackboneError: It is.
    """
    if dropout is not None:
        raise BackboneError(
            f"Backbone {name!r} has no dropout that can be set.",
            hint="leave backbone.dropout out; head.dropout sets the head's",
        )
