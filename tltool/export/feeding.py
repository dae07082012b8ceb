"""From raw inputs to what an exported model takes: the part of the work that an app must do."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.errors import DataError
from tltool.export.contract import IMAGE_INPUT
from tltool.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.tasks import Modality

if TYPE_CHECKING:
    import numpy as np

BATCH_SIZE = 32
Arrays = dict[str, "np.ndarray[Any, Any]"]


def prepared_inputs(
    preprocessing: ImagePreprocessing | TextPreprocessing, length: int | None
) -> Callable[[Sequence[Any]], Arrays]:
    """A function from raw inputs to preprocessed ones, by name.

    Args:
        preprocessing: Of the model.
        length: Tokens the model takes (texts); None pads to the longest of the batch.
    """
    import tensorflow as tf

    from tltool.data.pipeline import model_inputs
    from tltool.data.text import TextPreprocessor

    if isinstance(preprocessing, ImagePreprocessing):
        return lambda batch: {IMAGE_INPUT: model_inputs(batch, preprocessing).numpy()}
    preprocessor = TextPreprocessor(preprocessing)

    def tokenized(batch: Sequence[Any]) -> Arrays:
        texts = tf.constant([encoded(text, "text") for text in batch])
        return {name: t.numpy() for name, t in preprocessor(texts, length=length).items()}

    return tokenized


def encoded(value: Any, modality: Modality) -> bytes:
    """One raw input as a SavedModel takes it: UTF-8 text, or an encoded image.

    Args:
        value: A text; or an image as a path, encoded bytes or a uint8 array
            (which becomes a PNG, without loss).
        modality: What `value` is.

    Raises:
        DataError: An image file that cannot be read, or an array that is no image.
    """
    if isinstance(value, bytes):
        return value
    if modality == "text":
        return str(value).encode("utf-8", "surrogatepass")
    if isinstance(value, str | os.PathLike):
        return _file_bytes(Path(value))
    import tensorflow as tf

    from tltool.data.images import array_to_rgb

    return bytes(tf.io.encode_png(array_to_rgb(value)).numpy())


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
