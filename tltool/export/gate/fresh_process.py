"""Runs artifacts in a process that has never seen the trained model.

What is loaded there is what a user loads: nothing of the training process,
registered layers, traced functions or patched libraries, can make up for what
an artifact lacks. TensorFlow is imported while the first artifact is still
being written.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

import numpy as np

from tltool.export.artifact import read_contract
from tltool.export.feeding import encoded
from tltool.export.outputs import Outputs
from tltool.support.errors import ExportError
from tltool.support.files import scratch_folder
from tltool.support.processes import child_environment

_LAST_LINES = 5


class FreshProcess:
    """A process for running artifacts; started when made, ended by leaving its `with` block."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._root = self._stack.enter_context(scratch_folder("gate"))
        self._log = self._stack.enter_context((self._root / "log").open("wb"))
        self._thread = ThreadPoolExecutor(1, "gate")
        self._lock, self._closed = Lock(), False
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "tltool.export.gate.artifact_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            # The training process may hold all the memory of a GPU.
            env=child_environment(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._closed = True
            self._process.kill()
        self._thread.shutdown(cancel_futures=True)
        _end(self._process)
        self._stack.close()

    def start(self, artifact_path: Path, inputs: Sequence[Any]) -> Future[Outputs]:
        """Begins `run`, one after the other, while the caller goes on with work of its own."""
        return self._thread.submit(self.run, artifact_path, inputs)

    def run(self, artifact_path: Path, inputs: Sequence[Any]) -> Outputs:
        """The artifact's outputs for raw inputs, as `Artifact.predict_with_labels` gives them.

        Args:
            artifact_path: SavedModel folder or model file, sidecars beside it.
            inputs: Texts; or images as paths, encoded bytes or uint8 arrays.

        Raises:
            ExportError: The artifact cannot be loaded or run there, or the
                process ended, as native code does on a damaged file.
        """
        answer = self._root / "answer.npz"
        answer.unlink(missing_ok=True)
        request = {
            "artifact": str(artifact_path.resolve()),
            "inputs": [self._sent(value, number) for number, value in enumerate(inputs)],
            "answer": str(answer),
        }
        reply = self._ask(request)
        if reply is None:
            with self._lock:
                if self._closed:
                    raise ExportError(f"{artifact_path.name}: its check was stopped.")
                code = _end(self._process)
                self._process = self._started()
            raise ExportError(
                f"{artifact_path.name} ended the process that ran it "
                f"(exit code {code}). {self._last_words()}".rstrip(),
                hint="the model file is damaged, or the runtime cannot run it",
            )
        if "error" in reply:
            raise ExportError(f"{artifact_path.name}: {reply['error']}", hint=reply["hint"])
        with np.load(answer, allow_pickle=False) as arrays:
            target = read_contract(artifact_path)[1].task.target
            return target.received(dict(arrays), reply["names"])

    def _ask(self, request: dict[str, Any]) -> dict[str, Any] | None:
        sender, receiver = self._process.stdin, self._process.stdout
        if sender is None or receiver is None:
            raise RuntimeError("The process has no pipes.")
        try:
            sender.write(json.dumps(request).encode() + b"\n")
            sender.flush()
        except BrokenPipeError:
            return None
        line = receiver.readline()
        reply: dict[str, Any] | None = json.loads(line) if line else None
        return reply

    def _sent(self, value: Any, number: int) -> Any:
        """Texts and paths as they are; else the name of a file that holds the encoded image."""
        if isinstance(value, str | tuple):
            return value
        stored = self._root / f"{number}.image"
        stored.write_bytes(encoded(value, "image"))
        return {"stored": str(stored)}

    def _last_words(self) -> str:
        lines = (self._root / "log").read_text(errors="replace").splitlines()
        return " ".join(lines[-_LAST_LINES:])


def _end(process: subprocess.Popen[bytes]) -> int:
    """Closes the pipes of a process that ends, and gives its exit code."""
    process.communicate()
    return process.returncode
