"""Decoded and resized images, loaded in parallel and kept in memory where they fit."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
    """Images by row number, as uint8 of the model's input size, not yet normalised.

    Loading runs in Python threads (TensorFlow lets go of the interpreter while
    it decodes) rather than in `tf.data`, because only so can an error name
    the file.

    Args:
        images: Paths, encoded images (bytes) or uint8 arrays.
        origins: Where each image came from, for messages.
        contract: How they are resized.
        cache_bytes: Images are kept after their first use if all fit into this.

    Raises:
        ValueError: As `check_sizes`.
    """

    def __init__(
        self,
        images: Sequence[Any],
        origins: Sequence[str],
        contract: ImagePreprocessing,
        *,
        cache_bytes: int,
    ) -> None:
        check_sizes(contract)
        self._images, self._origins = images, origins
        self._shape = (*contract.size_px, 3)
        fits = len(images) * int(np.prod(self._shape)) <= cache_bytes
        self._kept = np.empty((len(images), *self._shape), np.uint8) if fits else None
        self._have = np.zeros(len(images), bool)
        self._pool = ThreadPoolExecutor(os.cpu_count())
        with tf.device("cpu"):
            self._from_bytes = _resizer(decode_image, tf.TensorSpec([], tf.string), contract)
            array = tf.TensorSpec([None, None, 3], tf.uint8)
            self._from_array = _resizer(lambda image: image, array, contract)

    def load(self, rows: np.ndarray) -> np.ndarray:
        """The images at `rows` (n,), uint8 (n, height, width, 3).

        Raises:
            DataError: An image cannot be read or decoded; names it.
        """
        if self._kept is None:
            return self._read(rows)
        missing = rows[~self._have[rows]]
        self._kept[missing] = self._read(missing)
        self._have[missing] = True
        return self._kept[rows]

    def _read(self, rows: np.ndarray) -> np.ndarray:
        images = list(self._pool.map(self._one, rows.tolist()))
        return np.stack(images) if images else np.zeros((0, *self._shape), np.uint8)

    def _one(self, row: int) -> np.ndarray:
        image = self._images[row]
        try:
            if isinstance(image, np.ndarray):
                return self._from_array(array_to_rgb(image)).numpy()
            if not isinstance(image, bytes):
                image = tf.io.read_file(os.fspath(image))
            return self._from_bytes(image).numpy()
        except tf.errors.OpError as error:
            raise self._broken(row, plain_message(error)) from error
        except (DataError, TypeError) as error:
            raise self._broken(row, str(error)) from error

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


def _resizer(decode: Any, spec: tf.TensorSpec, contract: ImagePreprocessing) -> Any:
    """A traced function from an image of type `spec` to uint8 of the model's input size."""
    resize = tf.function(
        lambda data: tf.cast(resize_and_crop(decode(data), contract), tf.uint8),
        input_signature=[spec],
        autograph=False,
    )
    return resize.get_concrete_function()
