"""The orientation of a picture in core TensorFlow operations: found in the file, applied to it.

It stands in the Exif block (CIPA DC-008, Exif 2.32, chapter 4), or, where that has none, in the
XMP packet (ISO 16684-1) as `tiff:Orientation`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from tltool.data.images.formats import read_bytes, substring, unsigned

_ORIENTATION_TAG = 0x0112
_FIELD = 4
MOST_BLOCKS = 2**14
"""Blocks of a file that are looked at: each takes some 60 µs, and millions can stand in a file. A
picture whose orientation stands behind more of them is not turned."""
# Bytes of a value of each type that holds whole numbers; 0 of the others. TIFF 6.0, page 15.
_WIDTHS = tuple({3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 13: 4}.get(kind, 0) for kind in range(15))
_EXIF_MARK = b"Exif\0\0"
_JPEG_XMP_MARK = b"http://ns.adobe.com/xap/1.0/\0"
_PNG_XMP_MARK = b"XML:com.adobe.xmp\0\0"  # Its second zero: not compressed.
# \C is any byte, so that text in another encoding than UTF-8 does not end the search.
_XMP_ORIENTATION = r'(?s)^\C*?tiff:Orientation(?:="|>)([0-9])\C*$'


class _Block(NamedTuple):
    """One segment or chunk of a file.

    Attributes:
        start: Where its content is.
        size: Of its content in bytes.
        following: Where the next one is.
        exif, xmp: Whether it holds one of these.
    """

    start: Any
    size: Any
    following: Any
    exif: Any
    xmp: Any


def jpeg_orientation(data: Any) -> Any:
    """Orientation (int64 scalar, 1..8) in a JPEG's APP1 segments; 1 where there is none."""

    def block(position: Any) -> _Block:
        header = read_bytes(data, position, 4 + len(_JPEG_XMP_MARK))
        marker, size = header[1], unsigned(header[2:4], big_endian=True)
        pixels = tf.not_equal(header[0], 0xFF) | tf.reduce_any(tf.equal(marker, [0xDA, 0xD9]))
        following = tf.where(tf.equal(marker, 0xFF), position + 1, position + 2 + size)
        application = tf.equal(marker, 0xE1)
        return _Block(
            position + 4,
            size - 2,
            tf.where(pixels, _end(data), following),
            application & _begins(header[4:], _EXIF_MARK),
            application & _begins(header[4:], _JPEG_XMP_MARK),
        )

    return _orientation(data, 2, block)


def png_orientation(data: Any) -> Any:
    """Orientation (int64 scalar, 1..8) in a PNG's eXIf or iTXt chunk; 1 where there is none."""

    def block(position: Any) -> _Block:
        header = read_bytes(data, position, 8 + len(_PNG_XMP_MARK))
        size = unsigned(header[:4], big_endian=True)
        text = _begins(header[4:], b"iTXt") & _begins(header[8:], _PNG_XMP_MARK)
        exif = _begins(header[4:], b"eXIf")
        return _Block(position + 8, size, position + 12 + size, exif, text)

    return _orientation(data, 8, block)


def webp_orientation(data: Any) -> Any:
    """Orientation (int64 scalar, 1..8) in a WebP's EXIF or XMP chunk; 1 where there is none."""

    def block(position: Any) -> _Block:
        header = read_bytes(data, position, 8)
        size = unsigned(header[4:8], big_endian=False)
        exif, xmp = _begins(header, b"EXIF"), _begins(header, b"XMP ")
        return _Block(position + 8, size, position + 8 + size + size % 2, exif, xmp)

    return _orientation(data, 12, block)


def _begins(values: Any, mark: bytes) -> Any:
    return tf.reduce_all(tf.equal(values[: len(mark)], list(mark)))


def _end(data: Any) -> Any:
    return tf.cast(tf.strings.length(data), tf.int64)


def _orientation(data: Any, start: int, block: Callable[[Any], _Block]) -> Any:
    """Walks at most `MOST_BLOCKS` from `start` on; the first Exif block counts, then the XMP."""
    end = _end(data)

    def step(position: Any, exif: Any, xmp: Any, xmp_size: Any) -> tuple[Any, ...]:
        found = block(position)
        first_exif, first_xmp = found.exif & tf.equal(exif, 0), found.xmp & tf.equal(xmp, 0)
        return (
            found.following,
            tf.where(first_exif, found.start, exif),
            tf.where(first_xmp, found.start, xmp),
            tf.where(first_xmp, found.size, xmp_size),
        )

    zero = tf.constant(0, tf.int64)
    _, exif, xmp, xmp_size = tf.while_loop(
        lambda position, exif, xmp, _: (position < end) & (tf.equal(exif, 0) | tf.equal(xmp, 0)),
        step,
        (tf.constant(start, tf.int64), zero, zero, zero),
        maximum_iterations=MOST_BLOCKS,
    )
    value = _exif_value(data, exif)
    value = tf.cond(
        (value < 0) & (xmp > 0), lambda: _xmp_value(substring(data, xmp, xmp_size)), lambda: value
    )
    return tf.where((value >= 1) & (value <= 8), value, 1)


def _exif_value(data: Any, start: Any) -> Any:
    """The orientation in the first directory of the Exif block at `start`; -1 where none is."""
    present = start > 0
    for _ in range(2):  # In files of some cameras the mark is there twice.
        marked = _begins(read_bytes(data, start, len(_EXIF_MARK)), _EXIF_MARK)
        start += tf.where(marked, tf.constant(len(_EXIF_MARK), tf.int64), 0)
    order = read_bytes(data, start, 2)
    big = _begins(order, b"MM")
    directory = start + unsigned(read_bytes(data, start + 4, 4), big_endian=big)
    count = tf.maximum(unsigned(read_bytes(data, directory, 2), big_endian=big), 1)
    entries = tf.reshape(read_bytes(data, directory + 2, 12 * count), [-1, 12])
    kind, many = (
        unsigned(entries[:, 2:4], big_endian=big),
        unsigned(entries[:, 4:8], big_endian=big),
    )
    width = tf.gather(tf.constant(_WIDTHS, tf.int64), tf.minimum(kind, len(_WIDTHS) - 1))
    whole = (width > 0) & (width * many <= _FIELD)
    field = unsigned(entries[:, 8:], big_endian=big)
    first = tf.where(big, field // 256 ** (_FIELD - width), field % 256**width)
    ours = tf.equal(unsigned(entries[:, :2], big_endian=big), _ORIENTATION_TAG)
    found = tf.reduce_max(tf.where(ours, tf.where(whole, first, 0), -1))
    return tf.where(present & (big | _begins(order, b"II")), found, -1)


def _xmp_value(packet: Any) -> Any:
    """The orientation in an XMP packet; -1 where none is."""
    found = tf.strings.regex_full_match(packet, _XMP_ORIENTATION)
    digit = tf.strings.regex_replace(packet, _XMP_ORIENTATION, r"\1")
    return tf.strings.to_number(tf.where(found, digit, "-1"), tf.int64)


def upright(image: Any, orientation: Any) -> Any:
    """Turns and mirrors an image (h, w, 3) so that the scene stands upright."""

    def one_of(*values: int) -> Any:
        return tf.reduce_any(tf.equal(orientation, list(values)))

    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    image = tf.cond(one_of(2, 3, 6, 7), lambda: image[:, ::-1], lambda: image)
    return tf.cond(one_of(3, 4, 7, 8), lambda: image[::-1], lambda: image)
