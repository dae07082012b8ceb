"""One process for the gates of many tests: each would wait for a TensorFlow of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import ClassVar
from unittest.mock import patch

from tltool.export.gate import fresh_process
from tltool.export.gate.fresh_process import FreshProcess
from tltool.support.processes import child_environment

_USES = 25
_PLACE = gettempdir()  # before a command makes a place of its own


class SharedProcess:
    """In place of `FreshProcess` in `tltool.export.package`: the same one for several exports.

    It is left where something was raised, as what it does then is not known; where a process
    started now would find other things, in another folder or environment; and after some uses,
    since TensorFlow keeps what it has loaded.
    """

    _kept: ClassVar[ExitStack | None] = None
    _process: ClassVar[FreshProcess]
    _surroundings: ClassVar[tuple[Path, dict[str, str]]]
    _left = 0

    def __enter__(self) -> FreshProcess:
        shared = SharedProcess
        surroundings = Path.cwd(), _environment()
        if shared._kept is not None and shared._surroundings != surroundings:
            shared.end()
        if shared._kept is None:
            shared._kept, shared._left = ExitStack(), _USES
            shared._surroundings = surroundings
            # A command takes its scratch folders with it when it ends.
            with patch.object(fresh_process, "scratch_folder", _lasting):
                shared._process = shared._kept.enter_context(FreshProcess())
        shared._left -= 1
        return shared._process

    def __exit__(self, kind, error, trace) -> None:
        if kind is not None or not SharedProcess._left:
            SharedProcess.end()

    @classmethod
    def end(cls) -> None:
        """Ends the process, if there is one."""
        if cls._kept is not None:
            cls._kept.close()
            cls._kept = None


def _environment() -> dict[str, str]:
    environment = child_environment()
    environment.pop("PYTEST_CURRENT_TEST", None)  # another one in each test
    return environment


@contextmanager
def _lasting(name: str) -> Iterator[Path]:
    with TemporaryDirectory(prefix=f"{name}-", dir=_PLACE) as folder:
        yield Path(folder)
