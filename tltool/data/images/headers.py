"""The size of a picture and its pixels, read from a file's headers and not decoded.

A small file can declare a picture that takes gigabytes once it is decoded; this
says so before anything is allocated. Files in which a decoder would find
another size than this module have none here, and are not guessed at. Only
headers are touched, so that of a file in `mmap` no more than these is read.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import NamedTuple

from tltool.data.images.signatures import LONGEST_SIGNATURE, image_format

Content = bytes | mmap.mmap


class Declared(NamedTuple):
    """What the headers of a picture say.

    Attributes:
        width, height: In pixels, as they are stored; of an animation, of all frames.
        pixels: Of all frames that a decoder keeps.
    """

    width: int
    height: int
    pixels: int


_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_GIF_IMAGE, _GIF_EXTENSION = 0x2C, 0x21


def declared(content: Content) -> Declared | None:
    """What the headers of a JPEG, PNG, GIF, BMP or WebP file say.

    None where the file is none of these, or its headers end early or make no sense.
    """
    read = _READERS.get(image_format(content[:LONGEST_SIGNATURE]) or "")
    if read is None:
        return None
    try:
        return read(content)
    except (struct.error, IndexError):
        return None


def declared_in(path: Path) -> Declared | None:
    """As `declared`, of a file.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        if not file.seek(0, 2):
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return declared(content)


def _one(width: int, height: int) -> Declared:
    return Declared(width, height, width * height)


def _jpeg(content: Content) -> Declared | None:
    position = 2
    # As libjpeg does, whatever stands before the next marker is passed over.
    while (position := content.find(b"\xff", position)) >= 0:
        marker = content[position + 1]
        if marker in (0x00, 0xFF):
            position += 1
        elif marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", content, position + 5)
            return _one(width, height)
        elif marker in _JPEG_ALONE:
            position += 2
        else:
            position += 2 + struct.unpack_from(">H", content, position + 2)[0]
    return None


def _png(content: Content) -> Declared | None:
    if content[12:16] != b"IHDR":
        return None
    return _one(*struct.unpack_from(">II", content, 16))


def _bmp(content: Content) -> Declared:
    width, height = struct.unpack_from("<ii", content, 18)
    return _one(abs(width), abs(height))


def _gif(content: Content) -> Declared:
    """The screen, and every frame: decoders read all of them, whichever is asked for."""
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    screen = _one(width, height)
    total, position = screen.pixels, 13 + _colours(flags)
    # A decoder stops at the end mark, at what is no block, and where the file is cut.
    while position + 10 <= len(content):
        if content[position] == _GIF_IMAGE:
            width, height, flags = struct.unpack_from("<HHB", content, position + 5)
            total += width * height
            position = _past_blocks(content, position + 11 + _colours(flags))
        elif content[position] == _GIF_EXTENSION:
            position = _past_blocks(content, position + 2)
        else:
            break
    return screen._replace(pixels=total)


def _colours(flags: int) -> int:
    """Bytes of a colour table."""
    return 3 << ((flags & 0x07) + 1) if flags & 0x80 else 0


def _past_blocks(content: Content, position: int) -> int:
    while position < len(content) and (size := content[position]):
        position += size + 1
    return position + 1


def _webp(content: Content) -> Declared | None:
    kind = content[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return _one(width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", content, 21)[0]
        return _one((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind != b"VP8X":
        return None
    width, height = (int.from_bytes(content[i : i + 3], "little") + 1 for i in (24, 27))
    frames, position = 0, 30
    while position + 8 <= len(content):
        frames += content[position : position + 4] == b"ANMF"
        size = struct.unpack_from("<I", content, position + 4)[0]
        position += 8 + size + size % 2
    return Declared(width, height, width * height * max(1, frames))


_READERS = {"JPEG": _jpeg, "PNG": _png, "BMP": _bmp, "GIF": _gif, "WebP": _webp}
