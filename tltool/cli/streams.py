"""stdin, stdout and stderr as the command line needs them, whatever it was started with."""

from __future__ import annotations

import codecs
import os
import sys
from contextlib import suppress

_ESCAPE = "tltool.escape"


def settle_streams() -> None:
    """Opens those that are closed, on nothing; has what an encoding lacks written as JSON does.

    A file opened later must not get the number of a closed stream, which native
    code writes to. `\\u2192` for an arrow is right in JSON, and says more than
    a `?` elsewhere; so are the bytes in names of files that are no text.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    codecs.register_error(_ESCAPE, _escaped)
    for stream in (sys.stdout, sys.stderr):
        # ASCII says that nobody has set a language (LANG=C), not that nothing else can be read.
        encoding = "utf-8" if codecs.lookup(stream.encoding).name == "ascii" else None
        stream.reconfigure(encoding=encoding, errors=_ESCAPE)  # type: ignore[union-attr]


def abandon_streams() -> None:
    """Has what is left in stdout and stderr, which cannot be written, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, descriptor)
            with suppress(OSError):
                stream.flush()
    os.close(nowhere)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4)), error.end
