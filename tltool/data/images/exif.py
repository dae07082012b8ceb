"""EXIF orientation in core TensorFlow operations: found in the file's bytes, applied to the image.

Layout of the Exif block: CIPA DC-008 (Exif 2.32), chapter 4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tltool.data.images.formats import read_bytes, unsigned

_ORIENTATION_TAG, _SHORT = 0x0112, 3
_EXIF_MARK = list(b"Exif\0\0")
_Step = Callable[[Any], tuple[Any, Any]]


def jpeg_orientation(data: Any) -> Any:
    """Orientation (int64 scalar, 1..8) in a JPEG's APP1 segment; 1 where there is none."""

    def step(position: Any) -> tuple[Any, Any]:
        header = read_bytes(data, position, 10)
        marker, size = header[1], unsigned(header[2:4], big_endian=True)
        pixels = tf.not_equal(header[0], 0xFF) | tf.reduce_any(tf.equal(marker, [0xDA, 0xD9]))
        following = tf.where(tf.equal(marker, 0xFF), position + 1, position + 2 + size)
        found = tf.equal(marker, 0xE1) & tf.reduce_all(tf.equal(header[4:], _EXIF_MARK))
        return tf.where(pixels, _end(data), following), tf.where(found, position + 10, 0)

    return _orientation(data, _find(data, 2, step))


def png_orientation(data: Any) -> Any:
    """Orientation (int64 scalar, 1..8) in a PNG's eXIf chunk; 1 where there is none."""

    def step(position: Any) -> tuple[Any, Any]:
        header = read_bytes(data, position, 8)
        found = tf.reduce_all(tf.equal(header[4:], list(b"eXIf")))
        following = position + 12 + unsigned(header[:4], big_endian=True)
        return following, tf.where(found, position + 8, 0)

    return _orientation(data, _find(data, 8, step))


def webp_orientation(data: Any) -> Any:
    """Orientation (int64 scalar, 1..8) in a WebP's EXIF chunk; 1 where there is none."""

    def step(position: Any) -> tuple[Any, Any]:
        header = read_bytes(data, position, 14)
        size = unsigned(header[4:8], big_endian=False)
        found = tf.reduce_all(tf.equal(header[:4], list(b"EXIF")))
        marked = tf.reduce_all(tf.equal(header[8:], _EXIF_MARK))
        start = position + tf.where(marked, tf.constant(14, tf.int64), 8)
        return position + 8 + size + size % 2, tf.where(found, start, 0)

    return _orientation(data, _find(data, 12, step))


def _end(data: Any) -> Any:
    return tf.cast(tf.strings.length(data), tf.int64)


def _find(data: Any, start: int, step: _Step) -> Any:
    """Walks segments until one holds an Exif block; returns where that starts, or 0."""
    end = _end(data)
    _, found = tf.while_loop(
        lambda position, found: tf.equal(found, 0) & (position < end),
        lambda position, _: step(position),
        (tf.constant(start, tf.int64), tf.constant(0, tf.int64)),
    )
    return found


def _orientation(data: Any, start: Any) -> Any:
    """Reads the orientation from the first directory of the TIFF block at `start`; 0 is none."""
    order = read_bytes(data, start, 2)
    big = tf.reduce_all(tf.equal(order, list(b"MM")))
    valid = (start > 0) & (big | tf.reduce_all(tf.equal(order, list(b"II"))))
    directory = start + unsigned(read_bytes(data, start + 4, 4), big_endian=big)
    count = tf.maximum(unsigned(read_bytes(data, directory, 2), big_endian=big), 1)
    entries = read_bytes(data, directory + 2, 12 * count)
    entries = tf.reshape(entries, [-1, 12])
    tag = unsigned(entries[:, 0:2], big_endian=big)
    kind = unsigned(entries[:, 2:4], big_endian=big)
    value = unsigned(entries[:, 8:10], big_endian=big)
    ours = tf.equal(tag, _ORIENTATION_TAG) & tf.equal(kind, _SHORT) & (value <= 8)
    found = tf.reduce_max(tf.where(ours, value, 0))
    return tf.where(valid & (found > 0), found, 1)


def upright(image: Any, orientation: Any) -> Any:
    """Turns and mirrors an image (h, w, 3) so that the scene stands upright."""

    def one_of(*values: int) -> Any:
        return tf.reduce_any(tf.equal(orientation, list(values)))

    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    image = tf.cond(one_of(2, 3, 6, 7), lambda: image[:, ::-1], lambda: image)
    return tf.cond(one_of(3, 4, 7, 8), lambda: image[::-1], lambda: image)
