"""Forks of one process that has loaded TensorFlow: each begins at once, and may end in any way.

Linux only. TensorFlow is imported once and does nothing in the first process: so its forks can use
it.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

PATIENCE_SECONDS = 120.0
KILLED = 99
"""The exit code told of a process that did not end in time."""


class Forks:
    """A folder with a temporary folder, a cache and logs for the processes that are started in it.

    Args:
        root: The folder; it exists.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("tmp", "cache", "logs"):
            (root / name).mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(root / "tmp")
        os.environ["TLTOOL_CACHE"] = str(root / "cache")
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        from tltool.support.quiet import load_tensorflow

        load_tensorflow()

    def start(self, work: Callable[[], int]) -> int:
        """Does work in a session of its own, its talk in a log; returns the process's number."""
        child = os.fork()
        if child:
            return child
        code = 70
        try:
            os.setsid()
            atexit._clear()  # what this program would do at its end
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            log = os.open(self._log(os.getpid()), os.O_WRONLY | os.O_CREAT)
            os.dup2(log, 1)
            os.dup2(log, 2)
            code = work()
        except KeyboardInterrupt:
            code = 130
        except Exception:
            traceback.print_exc()
        finally:
            atexit._run_exitfuncs()  # as at the end of a process that was not forked
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _log(self, child: int) -> Path:
        return self.root / "logs" / str(child)

    def wait(self, child: int, patience: float = PATIENCE_SECONDS) -> int:
        """The exit code, negative for a signal; a process that does not end in time is killed."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                self._last = child
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.02)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        self._last = child
        return KILLED

    def last_words(self, child: int) -> str:
        """The end of what a process said; of 0 that of the last one."""
        log = self._log(child or self._last).read_text(errors="replace")
        return " | ".join(log.splitlines()[-4:])
