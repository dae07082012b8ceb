"""Small image files of every kind, made with Pillow (or by hand where it cannot)."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps


def picture(height: int = 21, width: int = 31) -> Image.Image:
    """A smooth RGB picture with no symmetry; its odd width needs padded rows in a BMP."""
    y, x = np.mgrid[0:height, 0:width]
    channels = [x * 8, y * 12, x * 3 + y * 5]
    return Image.fromarray(np.stack(channels, -1).astype(np.uint8))


def encode(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def reference(data: bytes) -> np.ndarray:
    """What Pillow makes of a file, upright and without alpha, int64 (h, w, 3)."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    return np.asarray(image.convert("RGB")).astype(int)


def with_alpha() -> Image.Image:
    image = picture()
    width, height = image.size
    image.putalpha(Image.fromarray(np.arange(height * width, dtype=np.uint8).reshape(height, -1)))
    return image


def png_16_bit(grey: bool) -> bytes:
    """A PNG of 16 bits a channel, whose upper 8 bits are `picture()`."""
    levels = np.asarray(picture()).astype(np.uint16) * 256 + 77
    levels = (levels[..., 0] if grey else levels).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in levels)
    return png(levels.shape[1], levels.shape[0], rows, depth=16, colour=0 if grey else 2)


def png_interlaced() -> bytes:
    """`picture()` as a PNG in the seven passes of Adam7 (PNG specification, 8.2)."""
    levels = np.asarray(picture())
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4)]
    passes += [(0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    parts = [levels[y::rows, x::columns] for x, y, columns, rows in passes]
    scan = b"".join(b"\0" + row.tobytes() for part in parts for row in part)
    return png(levels.shape[1], levels.shape[0], scan, interlaced=True)


def png(
    width: int, height: int, scan: bytes, *, depth: int = 8, colour: int = 2, interlaced=False
) -> bytes:
    """A PNG of raw lines, each after its filter byte."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(scan)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    check = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + check


def with_chunk(data: bytes, added: bytes) -> bytes:
    """A PNG with a chunk more after its header."""
    return data[:33] + added + data[33:]


def jpeg_ycck() -> bytes:
    """A JPEG whose four channels are said to be YCCK (transform 2 of Adobe's segment)."""
    data = encode(picture().convert("CMYK"), "JPEG")
    transform = data.index(b"Adobe") + 11
    return data[:transform] + b"\2" + data[transform + 1 :]


def exif_block(orientation: int, *, big_endian: bool, kind: int, count: int = 1) -> bytes:
    """A TIFF block of one field, the orientation, as a value of this TIFF type."""
    order = ">" if big_endian else "<"
    value = struct.pack(order + {1: "B", 3: "H", 4: "I", 8: "h", 9: "i"}[kind], orientation)
    entry = struct.pack(order + "HHI", 0x0112, kind, count) + value.ljust(4, b"\0")
    head = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(order + "I", 8)
    return head + struct.pack(order + "H", 1) + entry + b"\0\0\0\0"


def xmp_packet(orientation: int, *, element: bool) -> bytes:
    """An XMP packet that names the orientation, as an element or an attribute."""
    text = "<tiff:Orientation>{}</tiff:Orientation>" if element else '<r tiff:Orientation="{}"/>'
    return f"<x:xmpmeta>\n{text.format(orientation)} ä</x:xmpmeta>".encode()


def with_orientation(form: str, *, exif: bytes = b"", xmp: bytes = b"") -> bytes:
    """`picture()` with an Exif block or an XMP packet.

    Args:
        form: JPEG, PNG or WEBP; "PNG marked" is one whose eXIf chunk begins as a JPEG's segment.
        exif: The TIFF block.
        xmp: The packet.
    """
    if form.startswith("PNG"):
        data = encode(picture(), "PNG")
        mark = b"Exif\0\0" if form == "PNG marked" else b""
        text = b"XML:com.adobe.xmp\0\0\0\0\0" + xmp
        data = with_chunk(data, chunk(b"iTXt", text)) if xmp else data
        return with_chunk(data, chunk(b"eXIf", mark + exif)) if exif else data
    options = {"lossless": True} if form == "WEBP" else {}
    if exif:
        options["exif"] = b"Exif\0\0" + exif
    return (
        encode(picture(), form, xmp=xmp, **options) if xmp else encode(picture(), form, **options)
    )


def bmp_top_down() -> bytes:
    """A BMP of negative height: its first row is the top one."""
    data = encode(picture().transpose(Image.Transpose.FLIP_TOP_BOTTOM), "BMP")
    height = struct.unpack("<i", data[22:26])[0]
    return data[:22] + struct.pack("<i", -height) + data[26:]


def files() -> dict[str, bytes]:
    """Every kind of file that must decode to exactly what Pillow decodes."""
    rgb, rgba, grey = picture(), with_alpha(), picture().convert("L")
    palette = rgb.quantize(64)
    turned = rgb.transpose(Image.Transpose.ROTATE_180)
    frames = {"save_all": True, "duration": 50}
    return {
        "jpeg": encode(rgb, "JPEG", quality=95),
        "jpeg subsampled": encode(rgb, "JPEG", quality=80, subsampling=2),
        "jpeg progressive": encode(rgb, "JPEG", progressive=True),
        "jpeg grey": encode(grey, "JPEG"),
        "jpeg cmyk": encode(rgb.convert("CMYK"), "JPEG"),
        "jpeg ycck": jpeg_ycck(),
        "jpeg with another after it": encode(rgb, "MPO", save_all=True, append_images=[turned]),
        "jpeg one pixel wide": encode(rgb.crop((0, 0, 1, 21)), "JPEG"),
        "png": encode(rgb, "PNG"),
        "png grey": encode(grey, "PNG"),
        "png grey alpha": encode(rgb.convert("LA"), "PNG"),
        "png rgba": encode(rgba, "PNG"),
        "png palette": encode(palette, "PNG"),
        "png palette transparent": encode(palette, "PNG", transparency=3),
        "png interlaced": png_interlaced(),
        "png animated": encode(rgb, "PNG", append_images=[turned], **frames),
        "png one pixel high": encode(rgb.crop((0, 0, 31, 1)), "PNG"),
        "png 4 bit": encode(rgb.quantize(8), "PNG", bits=4),
        "png 1 bit": encode(rgb.convert("1"), "PNG"),
        "png rgb 16 bit": png_16_bit(grey=False),
        "gif": encode(palette, "GIF"),
        "gif animated": encode(palette, "GIF", append_images=[turned.quantize(64)], **frames),
        "bmp 24": encode(rgb, "BMP"),
        "bmp 32": encode(rgba, "BMP"),
        "bmp grey": encode(grey, "BMP"),
        "bmp palette": encode(palette, "BMP"),
        "bmp 1 bit": encode(rgb.convert("1"), "BMP"),
        "bmp top down": bmp_top_down(),
        "webp": encode(rgb, "WEBP"),
        "webp lossless": encode(rgb, "WEBP", lossless=True),
        "webp alpha": encode(rgba, "WEBP"),
        "webp alpha lossless": encode(rgba, "WEBP", lossless=True, exact=True),
        "webp animated": encode(rgb, "WEBP", append_images=[turned], lossless=True, **frames),
        "webp animated alpha": encode(
            rgba, "WEBP", append_images=[with_alpha()], lossless=True, **frames
        ),
    }
