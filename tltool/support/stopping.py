"""That this process was asked to stop: by Ctrl-C, SIGTERM or SIGHUP.

An exception that a signal's handler raises is lost where TensorFlow calls Python, as it does while
it traces a function. So the handler also notes the signal, and whoever works in steps calls
`check` between two of them.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# What each signal does where nobody has said otherwise.
_DEFAULTS = {"SIGINT": signal.default_int_handler, "SIGTERM": signal.SIG_DFL,
             "SIGHUP": signal.SIG_DFL}  # fmt: skip
_CTRL_C = 128 + signal.SIGINT

_asked: int | None = None
_asked_at = 0.0
_in_steps = False
_alone = True
_agreed = False


class Stopped(KeyboardInterrupt):
    """The work ends here because a stop was asked for."""

    def __str__(self) -> str:
        return "stopped by Ctrl-C" if _asked is None else f"stopped by {signal.strsignal(_asked)}"


class Agreed(Stopped):
    """All that work in agreement end it here."""


def is_due() -> bool:
    """Whether the work ends here: a stop was asked for, and all that work in agreement know it."""
    return _asked is not None and (_alone or _agreed)


def check() -> None:
    """Raises `Stopped` if a stop is due; `Agreed` where it was agreed on."""
    if is_due():
        raise Agreed if _agreed else Stopped


def ask(number: int) -> None:
    """Notes a signal that another process got, for `check`."""
    global _asked, _asked_at
    if _asked is None:
        _asked, _asked_at = number, time.monotonic()


def asked() -> int | None:
    """The signal that asked this process to stop, or None."""
    return _asked


def agree() -> None:
    """One of those that work in agreement was asked to stop: `check` raises in all of them."""
    global _agreed  # noqa: PLW0603
    ask(signal.SIGTERM)
    _agreed = True


@contextmanager
def in_agreement() -> Iterator[None]:
    """While open, `check` lets pass until `agree`: those that work together stop together."""
    global _alone, _agreed
    _alone, _agreed = False, False
    try:
        yield
    finally:
        _alone, _agreed = True, False


def renew() -> None:
    """Puts the handlers of an open `stoppable` in place once more.

    A library that takes signals for itself in native code doesn't ask Python.
    """
    for name in _DEFAULTS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is _ask:
            signal.signal(number, _ask)


def seconds_since_announced() -> float | None:
    """Seconds since SIGTERM or SIGHUP, after which a system kills; None where neither came."""
    if _asked in {None, signal.SIGINT}:
        return None
    return time.monotonic() - _asked_at


def exit_code() -> int | None:
    """128 and the number of the signal that asked, as shells count; None where none did."""
    return None if _asked is None else 128 + _asked


@contextmanager
def stoppable(*, pass_on: bool = False) -> Iterator[None]:
    """While open, Ctrl-C, SIGTERM and SIGHUP raise `Stopped`, and are noted.

    Only in the main thread, and only signals that have their default handlers: what a program
    has settled itself (an own handler, `nohup`) stays as it is. The handlers of before are put
    back at the end. Within another `stoppable` nothing changes.

    Args:
        pass_on: At the end, raise a SIGTERM or SIGHUP that was noted once more, for the default
            handler: it ends the process.
    """
    global _asked, _agreed
    if threading.current_thread() is not threading.main_thread() or _is_open():
        yield
        return
    _asked, _agreed = None, False
    replaced = {}
    for name, default in _DEFAULTS.items():
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) == default:
            replaced[number] = signal.signal(number, _ask)
    try:
        yield
    finally:
        for number, before in replaced.items():
            signal.signal(number, before)
        asked, _asked = _asked, None
        if pass_on and asked not in {None, signal.SIGINT}:
            signal.raise_signal(asked)


@contextmanager
def in_steps() -> Iterator[None]:
    """While open, the first signal is only noted, for `check`; a second one raises `Stopped`."""
    global _in_steps  # noqa: PLW0603
    before, _in_steps = _in_steps, True
    try:
        yield
    finally:
        _in_steps = before


def _ask(number: int, frame: FrameType | None) -> None:
    """The handler."""
    global _asked, _asked_at  # noqa: PLW0603
    again, _asked = _asked is not None, _asked or number
    if not again:
        _asked_at = time.monotonic()
    if again or not _in_steps:
        raise Stopped


def _is_open() -> bool:
    return any(
        signal.getsignal(getattr(signal, name)) is _ask
        for name in _DEFAULTS
        if hasattr(signal, name)
    )
