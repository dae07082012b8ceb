"""Keeping TensorFlow's, LiteRT's and the converters' own chatter off the user's terminal."""

from __future__ import annotations

import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass


@dataclass
class Chatter:
    """What was written while output was held back; filled when the block ends."""

    text: str = ""

    def tail(self, lines: int = 10) -> str:
        """The last non-empty lines, where a failing native library says why."""
        return "\n".join([line for line in self.text.splitlines() if line.strip()][-lines:])


@contextmanager
def quiet() -> Iterator[Chatter]:
    """Holds back warnings and everything written to stdout and stderr, native code's too.

    TensorFlow's C++ parts write to file descriptors 1 and 2 directly, so those
    are redirected, for the whole process: don't keep a live display running
    in another thread meanwhile.
    """
    chatter = Chatter()
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        try:
            with ExitStack() as stack:
                for descriptor in (1, 2):
                    stack.enter_context(_redirected(descriptor, log.fileno()))
                stack.enter_context(redirect_stdout(log))
                stack.enter_context(redirect_stderr(log))
                stack.enter_context(warnings.catch_warnings(action="ignore"))
                yield chatter
        finally:
            log.seek(0)
            chatter.text = log.read()


@contextmanager
def _redirected(descriptor: int, to: int) -> Iterator[None]:
    original = os.dup(descriptor)
    os.dup2(to, descriptor)
    try:
        yield
    finally:
        os.dup2(original, descriptor)
        os.close(original)
