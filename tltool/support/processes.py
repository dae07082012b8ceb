"""Telling whether the process that left something is still there."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import threading
import time
import zlib
from contextlib import suppress
from functools import cache
from pathlib import Path

from tltool.support.imports import MODULES, imported_here

_MARK = re.compile(r"(?:^|\.)(\d+)-([0-9a-f]*)-([0-9a-f]{8})(?:\.|$)")
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_NUMBERS = Path("/proc/self/ns/pid")
_PARENT = "TLTOOL_PARENT"
_LOOKING_SECONDS = 1.0


def mark() -> str:
    """What tells this process from every other one, of this machine and before: for file names.

    Its number, its start (boot and clock ticks, where the system tells them) and its machine,
    which a container is of its own.
    """
    pid = os.getpid()
    return f"{pid}-{_start(pid) or ''}-{_machine()}"


def is_gone(text: str) -> bool | None:
    """Whether the process whose `mark` is in a text has ended; None where that can't be known.

    It can't where the text has no mark, of a process of another machine, and of one that the
    system hides.
    """
    found = _MARK.search(text)
    if found is None or found[3] != _machine():
        return None
    start = _start(int(found[1]))
    return None if found[2] and start == "" else start != found[2]


def is_marked(text: str) -> bool:
    """Whether a text has the mark of a process in it."""
    return _MARK.search(text) is not None


def child_environment(**changes: str) -> dict[str, str]:
    """The environment for a child that ends with this process and leaves its GPUs alone.

    What it runs may name the modules of the current folder that this process has imported.
    """
    own = {
        _PARENT: str(os.getpid()),
        "CUDA_VISIBLE_DEVICES": "-1",
        MODULES: json.dumps(imported_here()),
    }
    return {**os.environ, **own, **changes}


def end_with_parent() -> None:
    """Ends a process with a `child_environment` within a second of its parent, whatever it does.

    Not on Windows, where a launcher may stand between the two.
    """
    parent = os.environ.pop(_PARENT, None)
    if parent is None or sys.platform == "win32":
        return

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(_LOOKING_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@cache
def _machine() -> str:
    name = platform.node()
    with suppress(OSError):  # containers may share a name; each has its own numbers of processes
        name += str(_NUMBERS.readlink())
    return f"{zlib.crc32(name.encode()):08x}"


def _start(pid: int) -> str | None:
    """When a process began, in hex; empty where the system does not say; None if it has ended."""
    if not _BOOT.is_file():
        return _exists(pid)
    try:
        # proc_pid_stat(5): the name, in brackets, may hold anything; state and start time follow.
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return _exists(pid)
    if state in {"Z", "X"}:
        return None
    return _BOOT.read_text()[:8] + f"{int(fields[18]):x}"


def _exists(pid: int) -> str | None:
    if sys.platform == "win32":  # signal 0 would be a Ctrl-C there
        return ""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass
    return ""
