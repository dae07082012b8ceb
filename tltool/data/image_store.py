"""Images decoded and resized by row number: at once in threads, or one by one in a graph."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from tltool.data.images import (
    array_to_rgb,
    check_sizes,
    decode_image,
    plain_message,
    resize_and_crop,
)
from tltool.errors import DataError
from tltool.preprocessing import ImagePreprocessing


class ImageStore:
    """Images as uint8 of the model's input size, not yet normalised.

    Args:
        images: Paths, encoded images (bytes) or uint8 arrays (see `array_to_rgb`).
        origins: Where each image came from, for messages.
        contract: How they are resized.

    Raises:
        ValueError: As `check_sizes`.
    """

    def __init__(
        self, images: Sequence[Any], origins: Sequence[str], contract: ImagePreprocessing
    ) -> None:
        check_sizes(contract)
        self._images, self._origins, self._contract = images, origins, contract
        self.shape = (*contract.size_px, 3)

    @property
    def num_bytes(self) -> int:
        """Memory that `load_all` takes."""
        return len(self._images) * int(np.prod(self.shape))

    def load_all(self) -> np.ndarray:
        """All images, uint8 (n, height, width, 3), decoded in as many threads as there are cores.

        Raises:
            DataError: An image cannot be read or decoded; names it and says why.
        """
        with tf.device("cpu"):
            from_bytes = self._resizer(decode_image, tf.TensorSpec([], tf.string))
            from_array = self._resizer(tf.identity, tf.TensorSpec([None, None, 3], tf.uint8))
        loaded = np.empty((len(self._images), *self.shape), np.uint8)

        def load(row: int) -> None:
            image = self._images[row]
            try:
                if isinstance(image, np.ndarray):
                    loaded[row] = from_array(array_to_rgb(image)).numpy()
                else:
                    loaded[row] = from_bytes(_read(image)).numpy()
            except tf.errors.OpError as error:
                raise self._broken(row, plain_message(error)) from error
            except (DataError, TypeError) as error:
                raise self._broken(row, str(error)) from error

        pool = ThreadPoolExecutor(os.cpu_count())
        try:
            for _ in pool.map(load, range(len(self._images))):
                pass
        finally:
            pool.shutdown(cancel_futures=True)
        return loaded

    def reader(self) -> Callable[[Any], tf.data.Dataset]:
        """A function from row numbers, int64 (n,), to a dataset of their images, one by one.

        They are decoded as they are asked for. A graph cannot catch an error
        to add the file's name, so images that fail are left out first and then
        missed: where the row numbers no longer agree, the dataset raises
        `tf.errors.InvalidArgumentError` with the name.
        """
        data = tf.constant([_encoded(image) for image in self._images], tf.string)
        is_file = tf.constant([not isinstance(x, (bytes, np.ndarray)) for x in self._images])
        names = tf.constant([self._name(row) for row in range(len(self._images))], tf.string)

        @tf.autograph.experimental.do_not_convert
        def load(row: Any) -> tuple[Any, Any]:
            one = data[row]
            one = tf.cond(is_file[row], lambda: tf.io.read_file(one), lambda: one)
            return row, tf.cast(resize_and_crop(decode_image(one), self._contract), tf.uint8)

        @tf.autograph.experimental.do_not_convert
        def present(row: Any, found: Any) -> Any:
            message = tf.strings.join([names[row], ": this image cannot be read or decoded"])
            with tf.control_dependencies([tf.debugging.Assert(tf.equal(row, found[0]), [message])]):
                return tf.identity(found[1])

        def read(rows: Any) -> tf.data.Dataset:
            wanted = tf.data.Dataset.from_tensor_slices(rows)
            loaded = wanted.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            last = (tf.constant(-1, tf.int64), tf.zeros(self.shape, tf.uint8))
            found = loaded.ignore_errors().concatenate(tf.data.Dataset.from_tensors(last))
            return tf.data.Dataset.zip((wanted, found)).map(present)

        return read

    def _resizer(self, decode: Any, spec: tf.TensorSpec) -> Any:
        """A traced function from an image of type `spec` to uint8 of the model's input size."""
        resize = tf.function(
            lambda data: tf.cast(resize_and_crop(decode(data), self._contract), tf.uint8),
            input_signature=[spec],
            autograph=False,
        )
        return resize.get_concrete_function()

    def _broken(self, row: int, why: str) -> DataError:
        return DataError(
            f"{self._name(row)}: this image cannot be used: {why}",
            hint="mend or remove it, or set data.on_error=skip to leave broken images out",
        )

    def _name(self, row: int) -> str:
        image, origin = self._images[row], self._origins[row]
        if isinstance(image, (bytes, np.ndarray)) or str(image) == origin:
            return origin
        return f"{image} ({origin})"


def _read(image: Any) -> Any:
    return image if isinstance(image, bytes) else tf.io.read_file(os.fspath(image))


def _encoded(image: Any) -> Any:
    """What the graph starts from: a path, or the bytes of an image file (lossless for arrays)."""
    if isinstance(image, np.ndarray):
        return tf.io.encode_png(array_to_rgb(image), compression=1).numpy()
    return image if isinstance(image, bytes) else os.fspath(image)
