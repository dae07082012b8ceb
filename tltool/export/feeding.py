"""From raw inputs to what an exported model takes: the part of the work that an app must do."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.export.contract import IMAGE_INPUT, RAW_INPUTS
from tltool.support.errors import DataError
from tltool.tasks.table import Modality

if TYPE_CHECKING:
    import numpy as np

BATCH_SIZE = 32
Arrays = dict[str, "np.ndarray[Any, Any]"]


def prepared_inputs(
    preprocessing: ImagePreprocessing | TextPreprocessing, length: int | None
) -> Callable[[Sequence[Any]], Arrays]:
    """A function from raw inputs to preprocessed ones, by name, as one batch.

    Args:
        preprocessing: Of the model.
        length: Tokens the model takes (texts); None pads to the longest of the batch.
    """
    from tltool.data.batches.pipeline import model_inputs
    from tltool.data.texts.preprocessor import TextPreprocessor

    if isinstance(preprocessing, ImagePreprocessing):
        return lambda batch: {IMAGE_INPUT: model_inputs(batch, preprocessing).numpy()}
    preprocessor = TextPreprocessor(preprocessing)

    def tokenized(batch: Sequence[Any]) -> Arrays:
        inputs = preprocessor(_encoded_texts(batch), length=length)
        return {name: t.numpy() for name, t in inputs.items()}

    return tokenized


def single_inputs(
    preprocessing: ImagePreprocessing | TextPreprocessing, length: int | None, takes: str
) -> Callable[[Sequence[Any]], Iterator[Arrays]]:
    """A function from raw inputs to those of a model that takes one example at a time.

    Args:
        preprocessing: Of the model.
        length: Tokens the model takes (texts); None pads nothing.
        takes: What the model's input means, a key of `tltool.export.contract.CONTENTS`.
    """
    if isinstance(preprocessing, TextPreprocessing) and length is None:
        return _unpadded(preprocessing)
    if isinstance(preprocessing, ImagePreprocessing) and takes == "image":
        return lambda batch: ({IMAGE_INPUT: _decoded(one, preprocessing)[None]} for one in batch)
    prepared = prepared_inputs(preprocessing, length)
    if isinstance(preprocessing, ImagePreprocessing) and takes == "resized_image":
        from tltool.data.batches.pipeline import resized_images

        prepared = lambda batch: {IMAGE_INPUT: resized_images(batch, preprocessing)}  # noqa: E731

    def rows(batch: Sequence[Any]) -> Iterator[Arrays]:
        inputs = prepared(batch)
        for row in range(len(batch)):
            yield {
                name: values[row * (size := len(values) // len(batch)) : (row + 1) * size]
                for name, values in inputs.items()
            }

    return rows


def _unpadded(preprocessing: TextPreprocessing) -> Callable[[Sequence[Any]], Iterator[Arrays]]:
    from tltool.data.texts.preprocessor import TextPreprocessor

    preprocessor = TextPreprocessor(preprocessing)

    def rows(batch: Sequence[Any]) -> Iterator[Arrays]:
        for text in batch:
            tokens, first = preprocessor.tokens(_encoded_texts([text]))
            length = int(tokens.row_lengths().numpy().max())
            inputs = preprocessor.pad(tokens, length=length, first=first)
            yield {name: tensor.numpy() for name, tensor in inputs.items()}

    return rows


def _decoded(image: Any, preprocessing: ImagePreprocessing) -> np.ndarray[Any, Any]:
    """An image in its own size, uint8 (height, width, 3)."""
    import tensorflow as tf

    from tltool.data.batches.pipeline import resized_images
    from tltool.data.images.preprocessor import decode_image

    try:
        pixels: np.ndarray[Any, Any] = decode_image(encoded(image, "image")).numpy()
    except (DataError, tf.errors.OpError):
        resized_images([image], preprocessing)  # names the image that cannot be read
        raise
    return pixels


def raw_inputs(batch: Sequence[Any], modality: Modality) -> dict[str, list[bytes]]:
    """Raw inputs as a SavedModel takes them, by the names of its inputs.

    Args:
        batch: As `encoded` takes them, or pairs of texts.
        modality: What they are.

    Raises:
        DataError: As `encoded`.
    """
    names = RAW_INPUTS[modality]
    if len(names) == 1:
        return {names[0]: [encoded(value, modality) for value in batch]}
    return {
        name: [encoded(pair[place], "text") for pair in batch] for place, name in enumerate(names)
    }


def _encoded_texts(batch: Sequence[Any]) -> Any:
    """Texts as a string tensor (n,), or pairs of them (n, 2)."""
    import tensorflow as tf

    pairs = bool(batch) and isinstance(batch[0], tuple | list)
    columns = list(raw_inputs(batch, "text_pair" if pairs else "text").values())
    return tf.stack(columns, axis=1) if pairs else tf.constant(columns[0])


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

    from tltool.data.images.preprocessor import array_to_rgb

    return bytes(tf.io.encode_png(array_to_rgb(value)).numpy())


def _file_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
