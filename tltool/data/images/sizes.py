"""How large a picture is, read from its header, and how large it may be.

All in core TensorFlow operations, so that a picture is refused before it is
decoded wherever it is decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tltool.data.images.formats import read_bytes, substring, unsigned, zero_or_fail
from tltool.data.images.signatures import MAX_PIXELS, MAX_SIDE_PX, TOO_LARGE

Size = tuple[Any, Any]
"""Width and height in pixels, int64 scalars."""


def _jpeg(data: Any) -> Size:
    shape = tf.image.extract_jpeg_shape(data, tf.int64)
    return shape[1], shape[0]


def _png(data: Any) -> Size:
    return _number(data, 16, 4, big_endian=True), _number(data, 20, 4, big_endian=True)


def _gif(data: Any) -> Size:
    return _number(data, 6, 2), _number(data, 8, 2)


def _bmp(data: Any) -> Size:
    height = tf.bitcast(tf.cast(_number(data, 22, 4), tf.uint32), tf.int32)
    return _number(data, 18, 4), tf.abs(tf.cast(height, tf.int64))


def _webp(data: Any) -> Size:
    """See https://developers.google.com/speed/webp/docs/riff_container and RFC 6386, 9.1."""
    kind, lossless = substring(data, 12, 4), _number(data, 21, 4)
    of_kind = [
        (b"VP8X", (1 + _number(data, 24, 3), 1 + _number(data, 27, 3))),
        (b"VP8L", (1 + lossless % 2**14, 1 + lossless // 2**14 % 2**14)),
    ]
    width, height = _number(data, 26, 2) % 2**14, _number(data, 28, 2) % 2**14
    for name, size in of_kind:
        width, height = (
            tf.where(tf.equal(kind, name), mine, other)
            for mine, other in zip(size, (width, height), strict=True)
        )
    return width, height


def _number(data: Any, position: int, size: int, *, big_endian: bool = False) -> Any:
    return unsigned(read_bytes(data, position, size), big_endian=big_endian)


SIZES: dict[str, Callable[[Any], Size]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": _gif,
    "BMP": _bmp,
    "WebP": _webp,
}
"""For each key of `tltool.data.images.signatures.SIGNATURES`, from a file's content to the size
as it is stored: an orientation is not looked for, of an animation it is that of all frames."""


def within_bounds(data: Any, size: Size) -> Any:
    """A file's content, or InvalidArgumentError where its picture is larger than is allowed.

    A control dependency would not do: Grappler drops what has no other use.
    """
    width, height = size
    fits = (tf.maximum(width, height) <= MAX_SIDE_PX) & (width * height <= MAX_PIXELS)
    stated = [tf.strings.as_string(width), " x ", tf.strings.as_string(height)]
    bounds = f" pixels; at most {MAX_PIXELS:,} are read, and no side over {MAX_SIDE_PX:,}"
    start = zero_or_fail(fits, tf.strings.join([f"{TOO_LARGE}: ", *stated, bounds]))
    return substring(data, start, tf.strings.length(data))
