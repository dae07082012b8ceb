"""The gate through HTTP: what a server answers against what the trained model says."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

from tltool.data.examples import Examples
from tltool.export.feeding import raw_inputs
from tltool.export.gate.check import check_artifact, reference_of
from tltool.export.gate.report import GateReport
from tltool.export.outputs import Outputs
from tltool.runs.folder import MANIFEST
from tltool.runs.run import Run, load_run
from tltool.serving.exports import ServedExport
from tltool.serving.limits import Limits
from tltool.support.errors import ExportError, RunError
from tltool.support.processes import child_environment
from tltool.tasks.table import Modality

_PATIENCE_SECONDS = 120.0
_LAST_LINES = 5
# Bytes of a request around its rows.
_ENVELOPE = 32
_OPTIONS: dict[str, Callable[[Limits], float]] = {
    "--max-batch": lambda limits: limits.rows,
    "--max-request-mb": lambda limits: limits.request_bytes / 1e6,
    "--max-megapixels": lambda limits: limits.image_pixels / 1e6,
    "--max-text-kb": lambda limits: limits.text_bytes / 1e3,
    "--max-in-flight": lambda limits: limits.in_flight,
    "--concurrency": lambda limits: limits.concurrency,
    "--grace": lambda limits: limits.grace_seconds,
}


class ServerProcess:
    """A server in a process of its own, on a free port of this machine; for `with`.

    Attributes:
        process: The process.
        address: `http://127.0.0.1:PORT/`.

    Args:
        export: What it serves.
        limits: Its limits.
    """

    def __init__(self, export: ServedExport, limits: Limits) -> None:
        self._export, self._limits = export, limits
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 - closed at exit
        command = [sys.executable, "-P", "-m", "tltool", "serve", str(export.model), "--port", "0"]
        command += ["--name", export.name]
        for option, value in _OPTIONS.items():
            command += [option, str(value(limits))]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            # This process may hold all the memory of a GPU.
            env=child_environment(),
        )
        self.address = ""

    def __enter__(self) -> Self:
        try:
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        self._log.close()

    def log(self) -> str:
        """What the server wrote to stderr so far."""
        self._log.seek(0)
        return self._log.read()

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of an answer, over a connection of its own."""
        place = urlsplit(self.address)
        connection = HTTPConnection(place.hostname or "", place.port, timeout=_PATIENCE_SECONDS)
        try:
            connection.request(method, path, body)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def run(self, artifact_path: Path, inputs: Sequence[Any]) -> Outputs:
        """The server's answers for raw inputs, as `Artifact.predict_with_labels` gives them.

        Args:
            artifact_path: The SavedModel, which must be the one that is served.
            inputs: Texts; or images as paths, encoded bytes or uint8 arrays.

        Raises:
            ExportError: The server refuses a request.
        """
        if artifact_path.resolve() != self._export.model.resolve():
            raise ValueError(f"{self._export.model} is served, not {artifact_path}")
        task = self._export.task
        rows: list[Any] = []
        for request in self._requests(inputs):
            rows += self._predict(request)
        # One output is given by itself, several by name.
        named = [row if isinstance(row, dict) else {task.target.golden_name: row} for row in rows]
        return task.target.from_served({key: [row[key] for row in named] for key in named[0]})

    def _requests(self, inputs: Sequence[Any]) -> Iterator[list[str]]:
        """The inputs as JSON, grouped so that no request is larger than the server allows."""
        group: list[str] = []
        size = 0
        for value in inputs:
            instance = json.dumps(_instance(value, self._export.task.spec.modality))
            full = len(group) == self._limits.rows
            if group and (full or size + len(instance) > self._limits.request_bytes - _ENVELOPE):
                yield group
                group, size = [], 0
            group.append(instance)
            size += len(instance) + 1
        if group:
            yield group

    def _predict(self, instances: list[str]) -> list[Any]:
        body = f'{{"instances":[{",".join(instances)}]}}'.encode()
        status, content = self.ask("POST", f"/v1/models/{quote(self._export.name)}:predict", body)
        answer = json.loads(content)
        if status != 200:
            raise ExportError(f"The server answers {status}: {answer['error']}")
        predictions: list[Any] = answer["predictions"]
        return predictions

    def _wait(self) -> None:
        """Until the model is ready."""
        if self.process.stdout is None:
            raise RuntimeError("The process has no pipe.")
        self.address = self.process.stdout.readline().strip().rpartition(" ")[2]
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            # It may end between two looks at it.
            with suppress(OSError, HTTPException):
                if self.ask("GET", "/readyz")[0] == 200:
                    return
            time.sleep(0.1)
        code = self.process.poll()
        ended = "" if code is None else f": it ended with exit code {code}"
        last = " ".join(self.log().splitlines()[-_LAST_LINES:])
        raise ExportError(f"The server did not become ready{ended}. {last}".rstrip())


def _instance(value: Any, modality: Modality) -> Any:
    """A raw input as JSON has it: a text as it is, an image's file in base64, a pair by names."""
    columns = raw_inputs([value], modality)
    named = {name: _in_json(column[0], modality) for name, column in columns.items()}
    return named if len(named) > 1 else next(iter(named.values()))


def _in_json(raw: bytes, modality: Modality) -> str | dict[str, str]:
    if modality != "image":
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            pass  # it has half a surrogate pair, which JSON cannot say
    return {"b64": base64.b64encode(raw).decode("ascii")}


def check_served(
    export: ServedExport, limits: Limits, rows_of: Callable[[Run], Examples] = Run.rows
) -> GateReport:
    """Starts a server, and compares its answers with the trained model's by the export gate.

    Args:
        export: What it serves, inside the folder of its run.
        limits: Of the server.
        rows_of: Gives the rows of a run to compare on; those of its test split.

    Raises:
        RunError: The export is in no run's folder.
        ExportError: The server does not start, or refuses a row.
    """
    folder = next((p for p in export.model.resolve().parents if (p / MANIFEST).is_file()), None)
    if folder is None:
        raise RunError(
            f"{export.model} is in no run's folder, so there is no trained model to compare with.",
            hint="check it where it was exported",
        )
    run = load_run(folder)
    gate = run.recipe.export.gate
    rows = rows_of(run)
    with ServerProcess(export, limits) as server:
        reference = reference_of(run.model, rows, run.task, run.preprocessing, gate)
        return check_artifact(
            export.model, reference, precision="float32", gate=gate, run=server.run
        )
