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


def image_format(content: bytes) -> str | None:
    """The key of `SIGNATURES` for a file, or its first bytes; None for another kind."""
    for name, signs in SIGNATURES.items():
        if all(content.startswith(sign, place) for place, sign in signs):
            return name
    return None
