"""The text of a file, its encoding found out where it is not given."""

from __future__ import annotations

import logging
from pathlib import Path

from tltool.support.errors import DataError

_LOG = logging.getLogger(__name__)


def decode(path: Path, encoding: str | None = None) -> str:
    """The text of a file.

    Args:
        path: The file.
        encoding: A Python codec name; None takes what the byte order mark says,
            else UTF-8, else Windows-1252 (as Excel writes it).

    Raises:
        DataError: The file cannot be read, or not in that encoding.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        text = data.decode(encoding) if encoding else _guess(path, data)
    except LookupError:
        raise DataError(
            f"data.encoding: {encoding!r} is not an encoding Python knows.",
            hint="common ones: utf-8, cp1252, latin-1, utf-16, shift_jis, gb18030",
        ) from None
    except UnicodeError as error:
        raise DataError(
            f"{path} is not {encoding or 'UTF-8 or Windows-1252'} text: {error}.",
            hint="name its encoding, e.g. data.encoding=latin-1",
        ) from None
    if "\0" in text:
        raise DataError(
            f"{path} is not a text file: it holds zero bytes.",
            hint="save a spreadsheet as CSV (UTF-8), or name the encoding with data.encoding",
        )
    return text.removeprefix("\ufeff")


def _guess(path: Path, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("cp1252")
        _LOG.warning("%s is not UTF-8; it was read as Windows-1252 (data.encoding)", path)
        return text
