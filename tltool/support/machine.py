"""What the disk, the memory and the system refuse, told as errors that a user can act on."""

from __future__ import annotations

import errno
import os
import re

from tltool.support.errors import TltoolError, first_line
from tltool.support.words import half_character

_ELSEWHERE = "choose another place, or get the right to use this one"
_HINTS = {
    errno.ENOSPC: "free some space there, or use another disk",
    errno.EDQUOT: "free some space there, or use another disk",
    errno.EACCES: _ELSEWHERE,
    errno.EPERM: _ELSEWHERE,
    errno.EROFS: _ELSEWHERE,
    errno.ENOTDIR: "a part of it is a file where a folder must be; choose another path",
    errno.EEXIST: "something else has this name; choose another path",
    errno.EISDIR: "it is a folder; name a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "its symbolic links lead in a circle; choose another path",
    errno.ENOENT: "check that it exists",
    errno.EMFILE: "let a process open more files: ulimit -n 4096",
    errno.ENFILE: "the whole system has too many files open; close some programs",
    errno.EIO: "the disk, or the connection to it, fails",
}
_MEMORY_HINT = "close other programs, or give the command less at once"
# HDF5 and TensorFlow say in words what the system told them.
_IN_WORDS = re.compile(r"errno = (\d+)|(No space left on device)|(Too many open files)")


def known_error(error: BaseException) -> TltoolError | None:
    """What a user can do about an error of tltool's, or of which the machine is the cause.

    Returns:
        None for another error, which is a fault of tltool's own.
    """
    if isinstance(error, TltoolError):
        return error
    number, place = _number_of(error), None
    exhausted = type(error).__name__ == "ResourceExhaustedError" and number is None
    if isinstance(error, MemoryError) or exhausted or number == errno.ENOMEM:
        return TltoolError(f"out of memory: {first_line(error)}", hint=_MEMORY_HINT)
    if isinstance(error, UnicodeEncodeError):
        return _undecodable(error)
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return TltoolError("a path has a NUL character in it", hint="choose another path")
    if number is None:
        return None
    if isinstance(error, OSError):
        place = error.filename2 or error.filename
    if number == errno.ENOENT and place is None:
        if isinstance(error, OSError) and "temporary directory" in str(error):
            hint = "set TMPDIR to a folder that you may write to"
            return TltoolError("no folder for temporary files can be written to", hint=hint)
        if not _has_working_folder():
            return TltoolError("the working folder is gone", hint="go to another one with cd")
    what = os.strerror(number)
    message = f"{os.fsdecode(place)}: {what}" if isinstance(place, str | bytes) else what
    return TltoolError(message, hint=_HINTS.get(number))


def _number_of(error: BaseException) -> int | None:
    """The system's number of an error, if it came from the system."""
    if isinstance(error, OSError) and error.errno in errno.errorcode:
        return error.errno
    tensorflows = any(kind.__module__.startswith("tensorflow.") for kind in type(error).__mro__)
    said = tensorflows or isinstance(error, OSError | RuntimeError)
    found = _IN_WORDS.search(str(error)) if said else None
    if found is None:
        return None
    return int(found[1]) if found[1] else errno.ENOSPC if found[2] else errno.EMFILE


def _has_working_folder() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd may keep it
    except OSError:
        return False
    return True


def _undecodable(error: UnicodeEncodeError) -> TltoolError | None:
    """A name of a file with bytes that are no text, where a library needs text."""
    half = half_character(error.object)
    hint = "rename the file or the folder"
    return TltoolError(f"{error.object!r} holds {half}", hint=hint) if half else None
