"""Keeping TensorFlow's, LiteRT's and the converters' own chatter off the user's terminal."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tltool.support.keras_settings import choose_backend, pin_keras
from tltool.support.stopwatch import Stopwatch


@contextmanager
def quiet() -> Iterator[None]:
    """Holds back log messages, warnings, and what native code writes to stdout and stderr.

    TensorFlow's C++ parts write to file descriptors 1 and 2 directly, so those
    are redirected, for the whole process: don't keep a live display running
    in another thread meanwhile. `sys.stderr` itself stays in place, since
    TensorFlow's logger keeps for good the stream that it finds when first used.
    """
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with ExitStack() as stack:
            for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
                if stream is None:  # it was closed when Python began
                    continue
                stream.flush()
                stack.enter_context(_discarded(descriptor))
                stack.callback(stream.flush)
            stack.enter_context(warnings.catch_warnings(action="ignore"))
            yield
    finally:
        logging.disable(level)


@contextmanager
def _discarded(descriptor: int) -> Iterator[None]:
    original = os.dup(descriptor)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(original, descriptor)
        os.close(original)


def timed_tensorflow() -> Stopwatch:
    """Imports TensorFlow as `load_tensorflow` does; the watch has the time that it took."""
    clock = Stopwatch()
    with clock.measure("imports"):
        load_tensorflow()
    return clock


def load_tensorflow() -> None:
    """Imports TensorFlow for a process of tltool's own, without what it logs meanwhile.

    Its Python warnings are silenced too: a command tells of what matters itself.
    Keras gets the settings that tltool needs.
    """
    choose_backend()
    with quiet():
        import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        pin_keras()
