"""Images decoded and resized by row number: at once in threads, or one by one in a graph."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import tensorflow as tf

from tltool.data.images.decoded import decoded_now, key_of, resizing_of
from tltool.data.images.preprocessor import (
    array_to_rgb,
    decode_one_of,
    decoder_of,
    decoder_of_format,
    plain_message,
    resize_and_crop,
)
from tltool.data.images.signatures import LONGEST_SIGNATURE, SIGNATURES, image_format
from tltool.data.packed import new_array, taken
from tltool.data.preprocessing import ImagePreprocessing
from tltool.data.sharing import ALONE, Sharing
from tltool.support.errors import DataError
from tltool.support.threads import map_in_threads


class ImageStore:
    """Images as uint8 of the model's input size, not yet normalised.

    Args:
        images: Paths, encoded images (bytes) or uint8 arrays (see `array_to_rgb`).
        origins: Where each image came from, for messages.
        contract: How they are resized.
    """

    def __init__(
        self, images: Sequence[Any], origins: Sequence[str], contract: ImagePreprocessing
    ) -> None:
        self._images, self._origins, self._contract = images, origins, contract
        self.shape = (*contract.size_px, 3)

    @property
    def num_bytes(self) -> int:
        """Bytes of what `load_all` gives."""
        return len(self._images) * int(np.prod(self.shape))

    def load_all(self, sharing: Sharing = ALONE) -> np.ndarray:
        """All images, uint8 (n, height, width, 3), decoded in as many threads as there are cores.

        Files that were decoded while `keeping_decoded` is open are not decoded again. Many images
        are in a mapped file; see `tltool.data.packed.new_array`.

        Args:
            sharing: Of the decoding.

        Raises:
            DataError: An image cannot be read or decoded; names it and says why.
        """
        resized, kept = _Resizer(self._contract), decoded_now()
        loaded = new_array((len(self._images), *self.shape), np.uint8)
        keeps, new = kept is not None and kept.has_room(loaded.nbytes), dict[Hashable, int]()
        resizing = resizing_of(self._contract)

        def load(row: int) -> None:
            image = self._images[row]
            key = None if kept is None else key_of(image, resizing)
            if kept and key and (found := kept.find(key)) is not None:
                loaded[row] = found
                return
            try:
                loaded[row] = resized(image)
            except tf.errors.OpError as error:
                raise self._broken(row, plain_message(error)) from error
            except (DataError, TypeError) as error:
                raise self._broken(row, str(error)) from error
            if keeps and key is not None:
                new[key] = row

        for _ in map_in_threads(load, sharing.own(self._images), os.cpu_count() or 1):
            pass
        sharing.summed("the decoded images", loaded)
        if kept is not None:
            kept.keep(new, loaded)
        return loaded

    def reader(self, sharing: Sharing = ALONE) -> Callable[[Any], tf.data.Dataset]:
        """A function from row numbers, int64 (n,), to a dataset of their images, one by one.

        They are decoded as they are asked for. A graph cannot catch an error
        to add the file's name, so images that fail are left out first and then
        missed: where the row numbers no longer agree, the dataset raises
        `tf.errors.InvalidArgumentError` with the name.

        Args:
            sharing: Of looking which formats there are.
        """
        own = taken(self._images, sharing.own(self._images))
        formats = {image_format(_start(image)) or "" for image in own}
        decoders = set(map(decoder_of_format, sharing.united("the images' formats", formats)))
        # Asked of Python for each row: a tensor of all paths takes 200 bytes a row.

        def encoded(row: Any) -> tuple[bytes, bool]:
            image = self._images[int(row)]
            return _encoded(image), not isinstance(image, (bytes, np.ndarray))

        def name(row: Any) -> bytes:
            return os.fsencode(self._name(int(row)))

        @tf.autograph.experimental.do_not_convert
        def load(row: Any) -> tuple[Any, Any]:
            one, is_file = tf.numpy_function(encoded, [row], [tf.string, tf.bool])
            one, is_file = tf.ensure_shape(one, []), tf.ensure_shape(is_file, [])
            one = tf.cond(is_file, lambda: tf.io.read_file(one), lambda: one)
            return row, tf.cast(
                resize_and_crop(decode_one_of(one, decoders), self._contract), tf.uint8
            )

        @tf.autograph.experimental.do_not_convert
        def missing(row: Any) -> Any:
            path = tf.ensure_shape(tf.numpy_function(name, [row], tf.string), [])
            message = tf.strings.join([path, ": this image cannot be read or decoded"])
            with tf.control_dependencies([tf.debugging.Assert(False, [message])]):
                return tf.zeros(self.shape, tf.uint8)

        @tf.autograph.experimental.do_not_convert
        def present(row: Any, found: Any) -> Any:
            return tf.cond(tf.equal(row, found[0]), lambda: found[1], lambda: missing(row))

        def read(rows: Any) -> tf.data.Dataset:
            wanted = tf.data.Dataset.from_tensor_slices(rows)
            loaded = wanted.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            last = (tf.constant(-1, tf.int64), tf.zeros(self.shape, tf.uint8))
            found = loaded.ignore_errors().concatenate(tf.data.Dataset.from_tensors(last))
            return tf.data.Dataset.zip((wanted, found)).map(present)

        return read

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


class _Resizer:
    """Images one by one to the model's input size, from several threads.

    Args:
        contract: How they are resized.
    """

    def __init__(self, contract: ImagePreprocessing) -> None:
        self._contract = contract
        self._lock = Lock()
        self._traced: dict[Any, Any] = {}

    def __call__(self, image: Any) -> np.ndarray:
        """A path, an encoded image or an array to uint8 (*size_px, 3)."""
        if isinstance(image, np.ndarray):
            function = self._function(tf.identity, tf.TensorSpec([None, None, 3], tf.uint8))
            return np.asarray(function(array_to_rgb(image)))
        content = image if isinstance(image, bytes) else tf.io.read_file(os.fsencode(image)).numpy()
        function = self._function(decoder_of(content), tf.TensorSpec([], tf.string))
        return np.asarray(function(tf.constant(content)))

    def _function(self, decode: Any, spec: tf.TensorSpec) -> Any:
        with self._lock, tf.device("cpu"):
            if decode not in self._traced:
                resize = tf.function(
                    lambda data: tf.cast(resize_and_crop(decode(data), self._contract), tf.uint8),
                    input_signature=[spec],
                    autograph=False,
                )
                self._traced[decode] = resize.get_concrete_function()
            return self._traced[decode]


def _start(image: Any) -> bytes:
    """The first bytes of a file; none where it can't be read, which is told when it is decoded."""
    if isinstance(image, np.ndarray):
        return SIGNATURES["PNG"][0][1]  # See `_encoded`.
    if isinstance(image, bytes):
        return image
    try:
        with Path(image).open("rb") as file:
            return file.read(LONGEST_SIGNATURE)
    except OSError:
        return b""


def _encoded(image: Any) -> Any:
    """What the graph starts from: a path, or the bytes of an image file (lossless for arrays)."""
    if isinstance(image, np.ndarray):
        return tf.io.encode_png(array_to_rgb(image), compression=1).numpy()
    return image if isinstance(image, bytes) else os.fsencode(image)
