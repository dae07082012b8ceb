"""Image preprocessing inside a model's graph, in operations that LiteRT has built in.

`tltool.data.images.preprocessor` resizes with an operation that LiteRT lacks. Resizing is
linear along each axis, so here it is one matrix product an axis, whose weights
the graph computes from the size of the image that it is given.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tltool.data.preprocessing import ImagePreprocessing


def resize_in_graph(image: Any, contract: ImagePreprocessing) -> Any:
    """As `resize_and_crop` of `tltool.data.images`, for an image whose size the graph finds out.

    Sums are taken in another order, so levels that lie halfway between two
    whole ones may be rounded the other way.

    Args:
        image: uint8 (height, width, 3), levels 0..255.
        contract: Sizes and filter.

    Returns:
        float32 (*size_px, 3), whole levels 0..255.
    """
    rows, columns = tf.unstack(tf.shape(image)[:2])
    (height, width), full = contract.size_px, _full_size(rows, columns, contract)
    if contract.interpolation == "nearest":
        image = tf.gather(image, _nearest(rows, full[0], height), axis=0)
        image = tf.gather(image, _nearest(columns, full[1], width), axis=1)
        return tf.cast(image, tf.float32)
    levels = tf.reshape(tf.cast(image, tf.float32), tf.stack([rows, 3 * columns]))
    levels = tf.matmul(_weights(rows, full[0], height, contract), levels)
    levels = tf.transpose(tf.reshape(levels, tf.stack([height, columns, 3])), [1, 0, 2])
    levels = tf.reshape(levels, tf.stack([columns, 3 * height]))
    levels = tf.matmul(_weights(columns, full[1], width, contract), levels)
    levels = tf.transpose(tf.reshape(levels, [width, height, 3]), [1, 0, 2])
    return tf.round(tf.clip_by_value(levels, 0.0, 255.0))


def _full_size(rows: Any, columns: Any, contract: ImagePreprocessing) -> tuple[Any, Any]:
    """Height and width of the resized image before it is cropped, int32."""
    if contract.fit == "stretch":
        height, width = contract.size_px
        return tf.constant(height), tf.constant(width)
    shorter = tf.minimum(rows, columns)
    return rows * contract.resize_px // shorter, columns * contract.resize_px // shorter


def _nearest(side: Any, full: Any, size: int) -> Any:
    """The source pixel of each target pixel of the crop, int32 (size,); arguments as `_weights`.

    LiteRT divides whole numbers of 32 bits alone, so a side has at most 2^31 / (2 full) pixels.
    """
    corner = tf.cast(tf.round(tf.cast(full - size, tf.float32) / 2), tf.int32)
    return (2 * (tf.range(size) + corner) + 1) * side // (2 * full)


def _weights(side: Any, full: Any, size: int, contract: ImagePreprocessing) -> Any:
    """The share of each source pixel in each target pixel of the crop, float32 (size, side).

    As in TensorFlow's ScaleAndTranslate (core/kernels/image/scale_and_translate_op.cc).

    Args:
        side: Pixels of the source.
        full: Pixels that they become.
        size: Pixels in the middle of those that are kept.
        contract: The filter, and whether it is widened when shrinking.
    """
    # Operation by operation as there, since a rounding error decides which way a half is rounded.
    step = 1.0 / (tf.cast(full, tf.float32) / tf.cast(side, tf.float32))
    corner = tf.round(tf.cast(full - size, tf.float32) / 2)
    narrowing = 1.0 / tf.maximum(step, 1.0) if contract.antialias else tf.constant(1.0)
    target = (tf.range(size, dtype=tf.float32) + 0.5) * step + step * corner
    source = tf.cast(tf.range(side), tf.float32) + 0.5
    weights = _FILTERS[contract.interpolation]((source[None] - target[:, None]) * narrowing)
    return weights * (1.0 / tf.reduce_sum(weights, axis=1, keepdims=True))


def _triangle(x: Any) -> Any:
    return tf.maximum(0.0, 1.0 - tf.abs(x))


def _keys_cubic(x: Any) -> Any:
    """Keys 1981, "Cubic convolution interpolation", equation 15 (a = -1/2)."""
    x = tf.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return tf.where(x < 1.0, near, tf.where(x < 2.0, far, tf.zeros_like(x)))


_FILTERS = {"bilinear": _triangle, "bicubic": _keys_cubic}
