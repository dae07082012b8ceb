"""How image files of each format begin, and how the error for one that is too large does."""

from __future__ import annotations

SIGNATURES: dict[str, tuple[tuple[int, bytes], ...]] = {
    "JPEG": ((0, b"\xff\xd8\xff"),),
    "PNG": ((0, b"\x89PNG\r\n\x1a\n"),),
    "GIF": ((0, b"GIF8"),),
    "BMP": ((0, b"BM"),),
    "WebP": ((0, b"RIFF"), (8, b"WEBP")),
}
"""Bytes, and where they stand in the file."""

LONGEST_SIGNATURE = 12
"""First bytes that are enough to know a file by."""

TOO_LARGE = "too large"
MAX_PIXELS = 2**28
"""Most pixels of a picture: 16,384 x 16,384. They take 805 MB as RGB."""
MAX_SIDE_PX = 65_535
"""Longest side of a picture: that of JPEG and GIF."""


def image_format(content: bytes) -> str | None:
    """The key of `SIGNATURES` for a file, or its first bytes; None for another kind."""
    for name, signs in SIGNATURES.items():
        if all(content.startswith(sign, place) for place, sign in signs):
            return name
    return None


_FOREIGN = (
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"II+\0", "a TIFF image"),
    (b"MM\0+", "a TIFF image"),
    (b"8BPS", "a Photoshop file"),
    (b"\xff\x0a", "a JPEG XL image"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL image"),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive"),
)
_BRANDS = {
    b"avif": "an AVIF image",
    b"avis": "an AVIF image",
    b"heic": "a HEIC image",
    b"heix": "a HEIC image",
    b"mif1": "a HEIC image",
}


def foreign_format(data: bytes) -> str:
    """What a file is that begins with `data` and is no image of `SIGNATURES`, for messages."""
    if data[4:8] == b"ftyp":  # Brands of ISO base media files: https://mp4ra.org
        brands = {data[place : place + 4] for place in (8, *range(16, data[3] or 16, 4))}
        return next((name for brand, name in _BRANDS.items() if brand in brands), "a video")
    for start, name in _FOREIGN:
        if data.startswith(start):
            return name
    return f"a file that begins with {data[:12]!r}"
