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
    header = struct.pack(
        ">IIBBBBB", levels.shape[1], levels.shape[0], 16, 0 if grey else 2, 0, 0, 0
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


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
        "png": encode(rgb, "PNG"),
        "png grey": encode(grey, "PNG"),
        "png grey alpha": encode(rgb.convert("LA"), "PNG"),
        "png rgba": encode(rgba, "PNG"),
        "png palette": encode(palette, "PNG"),
        "png palette transparent": encode(palette, "PNG", transparency=3),
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
