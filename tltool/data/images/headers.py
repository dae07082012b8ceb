"""How many pixels an image file declares, read from its headers and not decoded.

A small file can declare a picture that takes gigabytes once it is decoded; this
says so before anything is allocated. Files in which a decoder would find
another size than this module are refused by it, not guessed at.
"""

from __future__ import annotations

import struct

from tltool.data.images.signatures import image_format

_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_GIF_IMAGE, _GIF_EXTENSION = 0x2C, 0x21


def declared_pixels(content: bytes) -> int | None:
    """Pixels of a JPEG, PNG, GIF, BMP or WebP file, those of all frames that a decoder keeps.

    None where the file is none of these, or its headers end early or make no sense.
    """
    read = _READERS.get(image_format(content) or "")
    if read is None:
        return None
    try:
        return read(content)
    except (struct.error, IndexError):
        return None


def _jpeg(content: bytes) -> int | None:
    position = 2
    # As libjpeg does, whatever stands before the next marker is passed over.
    while (position := content.find(b"\xff", position)) >= 0:
        marker = content[position + 1]
        if marker in (0x00, 0xFF):
            position += 1
        elif marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", content, position + 5)
            return int(width * height)
        elif marker in _JPEG_ALONE:
            position += 2
        else:
            position += 2 + struct.unpack_from(">H", content, position + 2)[0]
    return None


def _png(content: bytes) -> int | None:
    if content[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", content, 16)
    return int(width * height)


def _bmp(content: bytes) -> int | None:
    width, height = struct.unpack_from("<ii", content, 18)
    return abs(int(width * height))


def _gif(content: bytes) -> int:
    """The screen, and every frame: decoders read all of them, whichever is asked for."""
    width, height, flags = struct.unpack_from("<HHB", content, 6)
    total, position = width * height, 13 + _colours(flags)
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
    return int(total)


def _colours(flags: int) -> int:
    """Bytes of a colour table."""
    return 3 << ((flags & 0x07) + 1) if flags & 0x80 else 0


def _past_blocks(content: bytes, position: int) -> int:
    while position < len(content) and (size := content[position]):
        position += size + 1
    return position + 1


def _webp(content: bytes) -> int | None:
    kind = content[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 26)
        return int((width & 0x3FFF) * (height & 0x3FFF))
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", content, 21)[0]
        return int(((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1))
    if kind != b"VP8X":
        return None
    width, height = (int.from_bytes(content[i : i + 3], "little") + 1 for i in (24, 27))
    frames, position = 0, 30
    while position + 8 <= len(content):
        frames += content[position : position + 4] == b"ANMF"
        size = struct.unpack_from("<I", content, position + 4)[0]
        position += 8 + size + size % 2
    return width * height * max(1, frames)


_READERS = {"JPEG": _jpeg, "PNG": _png, "BMP": _bmp, "GIF": _gif, "WebP": _webp}
