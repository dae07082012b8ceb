"""What `tf.io` cannot decode right by itself: BMP palettes, WebP with alpha, and animations.

All in core TensorFlow operations, so that it also runs inside a SavedModel.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_BMP_FILE_HEADER = 14
_BMP_UNCOMPRESSED, _BMP_BITFIELDS = 0, 3
_BMP_BGRA_MASKS = (0xFF0000, 0xFF00, 0xFF)
_WEBP_ALPHA, _WEBP_ANIMATION = 0x10, 0x02
MOST_CHUNKS = 64
"""Chunks of a WebP that are looked at for its first frame, which stands after three by its format.
A file that has none among them is damaged."""
MOST_STEPS = 2**16
"""Steps over the blocks of a GIF to the end of its first frame; those of one size are one step.
A file in which it takes more is damaged."""
_GIF_RUN = 4096
_GIF_IMAGE, _GIF_EXTENSION = 0x2C, 0x21
_EVERY_BYTE = [bytes([value]) for value in range(256)]


def substring(data: Any, position: Any, count: Any) -> Any:
    """At most `count` bytes at `position` of a scalar string; empty past its end.

    `tf.strings.substr` raises there, with the whole string in its message.
    """
    length = tf.cast(tf.strings.length(data), tf.int64)
    start = tf.clip_by_value(tf.cast(position, tf.int64), 0, length)
    size = tf.clip_by_value(tf.cast(count, tf.int64), 0, length)
    return tf.strings.substr(data, start, size)


def read_bytes(data: Any, position: Any, count: Any) -> Any:
    """The `count` bytes at `position` of a scalar string, int64; zeros past its end."""
    piece = substring(data, position, count)
    count = tf.cast(count, tf.int32)
    return tf.cast(tf.io.decode_raw(piece, tf.uint8, fixed_length=count), tf.int64)


def unsigned(values: Any, *, big_endian: Any) -> Any:
    """The unsigned integers (...) whose bytes are the last axis of `values` (..., size)."""
    ordered = tf.where(big_endian, values, tf.reverse(values, [-1]))
    size = values.shape[-1]
    return tf.reduce_sum(ordered * [256**power for power in reversed(range(size))], axis=-1)


def decode_bmp(data: Any) -> Any:
    """Decodes an uncompressed BMP of 1, 4, 8, 24 or 32 bits a pixel to uint8 (h, w, 3).

    `tf.io.decode_bmp` takes palette indices for grey levels and ignores bit
    masks; this one follows the BITMAPINFOHEADER
    (https://learn.microsoft.com/windows/win32/api/wingdi/ns-wingdi-bitmapinfoheader).
    Alpha is dropped.

    Raises:
        tf.errors.InvalidArgumentError: Truncated, compressed or of another kind.
    """

    def field(position: int, size: int = 4) -> Any:
        return unsigned(read_bytes(data, position, size), big_endian=False)

    def signed(position: int) -> Any:
        return tf.cast(tf.bitcast(tf.cast(field(position), tf.uint32), tf.int32), tf.int64)

    width, height, bits = signed(18), signed(22), field(28, 2)
    rows, stride = tf.abs(height), (width * bits + 31) // 32 * 4
    masks = tf.stack([field(54), field(58), field(62)])
    plain = tf.equal(field(30), _BMP_UNCOMPRESSED) | (
        tf.equal(field(30), _BMP_BITFIELDS)
        & tf.equal(bits, 32)
        & tf.reduce_all(tf.equal(masks, _BMP_BGRA_MASKS))
    )
    supported = (
        (field(14) >= 40)
        & tf.reduce_any(tf.equal(bits, [1, 4, 8, 24, 32]))
        & plain
        & (width > 0)
        & (rows > 0)
        & (stride * rows <= tf.cast(tf.strings.length(data), tf.int64))
    )
    rows += zero_or_fail(
        supported, "BMP is truncated, compressed or not of 1, 4, 8, 24 or 32 bits a pixel"
    )
    lines = tf.reshape(_read_exactly(data, field(10), stride * rows), tf.stack([rows, stride]))
    image = tf.cond(
        bits >= 24,
        lambda: _bmp_true_colour(lines, width, bits // 8),
        lambda: _bmp_palette(data, lines, width, bits, field(14), field(46)),
    )
    return tf.cond(height > 0, lambda: image[::-1], lambda: image)


def zero_or_fail(condition: Any, message: Any) -> Any:
    """int64 zero, or InvalidArgumentError with `message` unless `condition` holds.

    `tf.debugging.Assert` would make the graph stateful, and `tf.data` then
    runs it for one image at a time wherever it has to be deterministic.
    """
    return tf.strings.to_number(tf.where(condition, "0", message), tf.int64)


def _read_exactly(data: Any, position: Any, count: Any) -> Any:
    """The `count` bytes at `position`, uint8; InvalidArgumentError where there are fewer."""
    return tf.reshape(tf.io.decode_raw(substring(data, position, count), tf.uint8), count[None])


def _bmp_true_colour(lines: Any, width: Any, channels: Any) -> Any:
    pixels = lines[:, : width * channels]
    return tf.reshape(pixels, tf.stack([-1, width, channels]))[..., 2::-1]


def _bmp_palette(data: Any, lines: Any, width: Any, bits: Any, header: Any, used: Any) -> Any:
    bits = tf.maximum(bits, 1)  # else tf.range fails before the check above can say why
    shifts = tf.cast(tf.range(8 - bits, -1, -bits), tf.uint8)
    mask = tf.cast(tf.bitwise.left_shift(tf.ones_like(bits), bits) - 1, tf.uint8)
    indices = tf.bitwise.bitwise_and(tf.bitwise.right_shift(lines[..., None], shifts), mask)
    indices = tf.reshape(indices, tf.stack([tf.shape(lines, tf.int64)[0], -1]))[:, :width]
    colours = tf.where(tf.equal(used, 0), tf.bitwise.left_shift(tf.ones_like(bits), bits), used)
    palette = _read_exactly(data, _BMP_FILE_HEADER + header, colours * 4)
    return tf.gather(tf.reshape(palette, [-1, 4])[:, 2::-1], tf.cast(indices, tf.int32))


def decode_webp(data: Any) -> Any:
    """Decodes a WebP (lossy, lossless, alpha, first frame of an animation) to uint8 (h, w, 3).

    `tf.io.decode_webp` wants to be told the right number of channels: with
    `channels=0` it writes past its buffer for animations, and it refuses an
    animation whose header declares no alpha, so that flag is set here.
    Header layout: https://developers.google.com/speed/webp/docs/riff_container.

    Raises:
        tf.errors.InvalidArgumentError: Truncated or damaged.
    """
    chunk = substring(data, 12, 4)
    extended = tf.equal(chunk, b"VP8X")
    flags = read_bytes(data, 20, 1)[0]
    animated = extended & _has(flags, _WEBP_ANIMATION)
    lossless_alpha = tf.equal(chunk, b"VP8L") & _has(read_bytes(data, 24, 1)[0], _WEBP_ALPHA)
    alpha = animated | lossless_alpha | (extended & _has(flags, _WEBP_ALPHA))
    flags = tf.where(animated, tf.bitwise.bitwise_or(flags, _WEBP_ALPHA), flags)
    data = tf.cond(animated, lambda: _first_frame(data), lambda: data)
    rest = substring(data, 21, tf.strings.length(data))
    data = tf.strings.join([substring(data, 0, 20), tf.gather(_EVERY_BYTE, flags), rest])
    return tf.cond(
        alpha,
        lambda: tf.io.decode_image(data, channels=4, expand_animations=False)[..., :3],
        lambda: tf.io.decode_image(data, channels=3, expand_animations=False),
    )


def _first_frame(data: Any) -> Any:
    """An animated WebP up to the end of its first frame: the decoder unpacks all that there are."""
    length = tf.cast(tf.strings.length(data), tf.int64)

    def step(position: Any, found: Any) -> tuple[Any, Any]:
        header = read_bytes(data, position, 8)
        size = unsigned(header[4:], big_endian=False)
        return position + 8 + size + size % 2, tf.reduce_all(tf.equal(header[:4], list(b"ANMF")))

    end, _ = tf.while_loop(
        lambda position, found: (position < length) & ~found,
        step,
        (tf.constant(12, tf.int64), tf.constant(False)),
        maximum_iterations=MOST_CHUNKS,
    )
    end = tf.minimum(end, length)
    size = tf.stack([(end - 8) // 256**power % 256 for power in range(4)])
    stated = tf.strings.reduce_join(tf.gather(_EVERY_BYTE, size))
    return tf.strings.join([b"RIFF", stated, substring(data, 8, end - 8)])


def _has(flags: Any, bit: int) -> Any:
    return tf.not_equal(tf.bitwise.bitwise_and(flags, bit), 0)


def first_gif_frame(data: Any) -> tuple[Any, Any, Any]:
    """A GIF up to the end of its first frame: the decoder unpacks and keeps all that there are.

    Layout: https://www.w3.org/Graphics/GIF/spec-gif89a.txt.

    Returns:
        The file's content, an end mark in the place of further frames; width
        and height of the frame, int64, 0 where there is none.
    """
    content = tf.io.decode_raw(data, tf.uint8)
    length = tf.size(content, tf.int64)

    def byte(position: Any) -> Any:
        return tf.cast(content[tf.minimum(position, length - 1)], tf.int64)

    def colours(flags: Any) -> Any:
        return tf.where(
            flags >= 0x80, 3 * tf.bitwise.left_shift(tf.ones_like(flags), flags % 8 + 1), 0
        )

    def blocks(position: Any) -> tuple[Any, Any]:
        """Past a run of blocks of one size, or past the empty one that ends a row of them."""
        stride = byte(position) + 1
        run = tf.cast(content[position : position + stride * _GIF_RUN : stride], tf.int64) + 1
        same = tf.reduce_sum(tf.math.cumprod(tf.cast(tf.equal(run, stride), tf.int64)))
        ended = tf.equal(stride, 1)
        return tf.where(ended, position + 1, position + same * stride), ~ended

    def step(position: Any, inside: Any, frame: Any, _: Any) -> tuple[Any, ...]:
        kind = byte(position)
        image, extension = tf.equal(kind, _GIF_IMAGE), tf.equal(kind, _GIF_EXTENSION)
        begun = position + tf.where(image, 11 + colours(byte(position + 9)), 2)
        past, more = tf.cond(inside, lambda: blocks(position), lambda: (begun, image | extension))
        frame = tf.where(~inside & image, position, frame)
        return past, more, frame, ~more & (~inside | (frame > 0))

    start = (13 + colours(byte(tf.constant(10, tf.int64))), False, tf.constant(0, tf.int64), False)
    end, _, frame, done = tf.while_loop(
        lambda position, inside, frame, done: (position < length) & ~done,
        step,
        start,
        maximum_iterations=MOST_STEPS,
    )
    found = frame > 0
    sides = read_bytes(data, frame + 5, 4)
    width, height = (
        tf.where(found, unsigned(sides[at : at + 2], big_endian=False), 0) for at in (0, 2)
    )
    mark = tf.where(done & found, b";", b"")
    return tf.strings.join([substring(data, 0, end), mark]), width, height
