"""The text of a file, its encoding found out where it is not given."""

from __future__ import annotations

import logging
from pathlib import Path

from tltool.support.errors import DataError

_LOG = logging.getLogger(__name__)
_AS_TEXT = "save it as CSV (UTF-8), unpacked"
_FOREIGN = {
    b"PK\x03\x04": "a zip archive, such as an Excel workbook",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "compressed with gzip",
    b"PAR1": "a Parquet file",
}


def decode(path: Path, encoding: str | None = None) -> str:
    """The text of a file, as `decode_bytes` reads it.

    Raises:
        DataError: The file cannot be read, or not in that encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    return decode_bytes(data, str(path), encoding)


def decode_bytes(data: bytes, source: str, encoding: str | None = None) -> str:
    """The text that bytes stand for, without a byte order mark.

    Args:
        data: All bytes of the text.
        source: Where they come from, for messages.
        encoding: A Python codec name; None takes what the byte order mark says,
            else UTF-8, else Windows-1252 (as Excel writes it). Of a text that
            is UTF-8 but for a few bytes, those become U+DC80 to U+DCFF (PEP
            383), for whoever reads it to find. A warning tells of bytes that
            are UTF-8 where another encoding is given.

    Raises:
        DataError: They are not in that encoding.
    """
    if kind := next((kind for start, kind in _FOREIGN.items() if data.startswith(start)), None):
        raise DataError(f"{source} is not a text file but {kind}.", hint=_AS_TEXT)
    try:
        text = data.decode(encoding) if encoding else _guess(source, data)
    except LookupError:
        raise DataError(
            f"data.encoding: {encoding!r} is not an encoding Python knows.",
            hint="common ones: utf-8, cp1252, latin-1, utf-16, shift_jis, gb18030",
        ) from None
    except UnicodeError as error:
        line = data.count(b"\n", 0, getattr(error, "start", 0)) + 1
        raise DataError(
            f"{source}:{line}: not {encoding or 'UTF-8 or Windows-1252'} text: {error}.",
            hint="name its encoding, e.g. data.encoding=latin-1",
        ) from None
    if "\0" in text:
        raise DataError(
            f"{source} is not a text file: it holds zero bytes.",
            hint=f"{_AS_TEXT}, or name the encoding with data.encoding",
        )
    text = text.removeprefix("\ufeff")
    if encoding and _is_other_utf8(data, text):
        _LOG.warning("%s was read as %s, as asked, but looks like UTF-8", source, encoding)
    return text


def is_binary(path: Path) -> bool:
    """Whether a file is no text by its beginning: it holds zero bytes, and no byte order mark."""
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError:
        return False
    return b"\0" in start and not start.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"))


def lines_of(text: str) -> list[str]:
    """The lines of a text, which end in LF, CR LF or CR and in nothing else.

    `str.splitlines` would also end them at form feeds, U+0085, U+2028 and others.
    """
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _is_other_utf8(data: bytes, text: str) -> bool:
    """Whether bytes are UTF-8 too, and another text than the one they were read as."""
    try:
        return not data.isascii() and data.decode("utf-8").removeprefix("\ufeff") != text
    except UnicodeDecodeError:
        return False


def _guess(source: str, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "surrogateescape")
    stray = len(text) - len(data.decode("utf-8", "ignore"))
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    # Windows-1252 text holds next to nothing that could be UTF-8.
    if stray <= beyond_ascii - stray:
        return text
    _LOG.warning("%s is not UTF-8; it was read as Windows-1252 (data.encoding)", source)
    return data.decode("cp1252")
