"""Plain facts of inputs, which need no model: how large, how bright, how long."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tltool.data.facts import text_facts
from tltool.tasks.table import Modality

Array = np.ndarray[Any, Any]

Facts = tuple[dict[str, Array], Array]
"""As `facts_of` gives them."""
THUMBNAIL_PX = 4
"""Height and width of what `thumbnail` makes of a picture."""
# A picture is decoded to this size at least where its format can give it smaller (JPEG).
_SKETCH_PX = 128


def picture_facts(pixels: Array, size: tuple[int, int]) -> dict[str, float]:
    """Facts of one picture.

    Args:
        pixels: uint8 (height, width, 3), possibly made smaller.
        size: Its own width and height in pixels, at least 1.

    Returns:
        `width` and `height` in pixels; `brightness`, the mean of the luma (ITU-R BT.601), and
        `contrast`, its standard deviation, both 0..1.
    """
    luma = pixels @ np.array([0.299, 0.587, 0.114]) / 255
    width, height = size
    return {
        "width": float(width),
        "height": float(height),
        "brightness": float(luma.mean()),
        "contrast": float(luma.std()),
    }


def facts_of(inputs: Sequence[Any], modality: Modality) -> Facts:
    """Facts of rows, and a vector of each that tells different inputs apart roughly.

    Args:
        inputs: As `Examples.inputs`; pictures also as encoded bytes.
        modality: What they are.

    Returns:
        float64 (n,) of each fact, as `picture_facts` or `text_facts` give them (of several texts
        together); and float64 (n, k): a picture's colours on a grid of `THUMBNAIL_PX` a side
        (0..1), or the words of a text, hashed and projected.
    """
    if modality == "image":
        read = [_picture(value) for value in inputs]
        facts = [picture_facts(pixels, size) for pixels, size in read]
        vectors = np.array([_thumbnail(pixels) for pixels, _ in read])
        names = facts[0] if facts else {}
        return {name: np.array([row[name] for row in facts]) for name in names}, vectors
    texts = [" ".join(value) if isinstance(value, tuple) else str(value) for value in inputs]
    return text_facts(texts), _hashed_words(texts)


def _picture(value: Any) -> tuple[Array, tuple[int, int]]:
    """Pixels, possibly fewer than there are, and the size as it is stored."""
    from PIL import Image

    if isinstance(value, np.ndarray):
        shown = value if value.ndim == 3 else np.stack([value] * 3, axis=-1)
        return shown[..., :3], (shown.shape[1], shown.shape[0])
    content = value if isinstance(value, bytes) else Path(value).read_bytes()
    try:
        with Image.open(io.BytesIO(content)) as image:
            size = image.size
            image.draft("RGB", (_SKETCH_PX, _SKETCH_PX))
            small = image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        small = _as_the_model_reads_it(content)
        size = small.size
    small.thumbnail((_SKETCH_PX, _SKETCH_PX), Image.Resampling.BOX)
    return np.asarray(small), size


def _as_the_model_reads_it(content: bytes) -> Any:
    """A picture that Pillow does not read."""
    from PIL import Image

    from tltool.data.images.preprocessor import decode_image

    return Image.fromarray(decode_image(content).numpy())


def _thumbnail(pixels: Array) -> Array:
    from PIL import Image

    side = (THUMBNAIL_PX, THUMBNAIL_PX)
    small = Image.fromarray(pixels).resize(side, Image.Resampling.BOX)
    return np.asarray(small, np.float64).reshape(-1) / 255


_WORDS, _PROJECTED = 2**12, 32


def _hashed_words(texts: Sequence[str]) -> Array:
    """Words hashed (Weinberger et al. 2009) and projected at random, the same way always."""
    from sklearn.feature_extraction.text import HashingVectorizer

    hashed = HashingVectorizer(n_features=_WORDS).transform(texts)
    return np.asarray(hashed @ _projection())


@cache
def _projection() -> Array:
    # NumPy's old generator: its numbers are promised to stay (NEP 19).
    drawn = np.random.RandomState(0).standard_normal((_WORDS, _PROJECTED))
    return np.asarray(drawn / np.sqrt(_PROJECTED))
