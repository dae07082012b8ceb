"""The run folder: `runs/<name>/<n>/`, one manifest, every file written whole.

`run.json` says how the run ended and lists every file with its sha256, so that
a run can be checked, compared, exported again and moved to another machine.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ValidationError

from tltool._version import __version__
from tltool.support.errors import COPY_RUN_AGAIN, RunError, closest
from tltool.support.files import cache_dir, read_json, sweep, write_json
from tltool.support.processes import is_gone, mark
from tltool.support.sums import differences, sum_of

# A run that died says "running" in its manifest, and its process is gone. So does one of "unknown"
# state: it ran on another machine, or in a container, and has written nothing for a day.
Status = Literal["running", "finished", "interrupted", "failed", "died", "unknown"]

MANIFEST = "run.json"
SILENT_SECONDS = 24 * 3600.0
# A process that trains a run touches its manifest this often, and is taken for gone after so long.
BEAT_SECONDS = 10.0
GONE_SECONDS = 90.0
# What a stopped run goes on from: it has sums of its own, and is removed in the end.
_PASSING = (
    "checkpoints/state-*",
    "checkpoints/refit/*",
    "checkpoints/member-*/*",
    "checkpoints/.*",
    "checkpoints/.*/*",
)
_FORMAT = 1
_TRAIN = "Train again, or move that folder away."
_PACKAGES = (
    "tensorflow",
    "keras",
    "keras-hub",
    "ai-edge-litert",
    "numpy",
    "pandas",
    "scikit-learn",
    "pillow",
)


class _File(BaseModel):
    sha256: str
    bytes: int


class _Manifest(BaseModel):
    """What those who read a manifest rely on; there is more in it."""

    status: Status
    created: str
    process: str = ""
    beats: bool = False
    metrics: dict[str, float | None] = {}
    files: dict[str, _File] = {}


@dataclass(frozen=True)
class RunFolder:
    """One run's folder and the places of its files.

    Attributes:
        path: The folder itself.
    """

    path: Path

    @classmethod
    def create(cls, output_dir: str | Path, name: str) -> Self:
        """Makes the next numbered folder of that name and marks it as running.

        Safe for runs started at the same time: each gets a number of its own.
        """
        parent = Path(output_dir) / name
        parent.mkdir(parents=True, exist_ok=True)
        number = max((n for n, _ in _numbered(parent)), default=0) + 1
        while True:
            try:
                (parent / str(number)).mkdir()
                break
            except FileExistsError:
                number += 1
        folder = cls(parent / str(number))
        folder.record("running", process=mark(), beats=True)
        return folder

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Opens a run: its folder, or the folder of its name for the newest run with a model.

        Of a name whose runs have no model at all, the newest run.

        Raises:
            RunError: There is no run, or its manifest is damaged.
        """
        given = Path(path)
        candidate = given
        if given.is_dir() and not (given / MANIFEST).is_file():
            numbered = runs_of(given)
            usable = [folder for folder in numbered if folder.has_model]
            candidate = (usable or numbered or [cls(given)])[-1].path
        if not (candidate / MANIFEST).is_file():
            raise RunError(
                f"There is no run in {str(given)!r} (no {MANIFEST}).",
                hint=_meant(given) or "`tltool runs list` shows the runs.",
            )
        folder = cls(candidate)
        folder.manifest()
        return folder

    def manifest(self) -> dict[str, Any]:
        """The contents of `run.json`; a run whose process is gone has the status "died".

        One whose process cannot be seen from here has the status "unknown" once it has written
        nothing for `GONE_SECONDS`, or for `SILENT_SECONDS` where an older tltool trained it.

        Raises:
            RunError: It is damaged or was written by a newer tltool.
        """
        file = self.path / MANIFEST
        try:
            manifest = read_json(file)
            number = int(manifest["format"])
            if number <= _FORMAT:
                read = _Manifest.model_validate(manifest)
                if read.status == "running":
                    manifest["status"] = self._state_of(read)
                return dict(manifest)
            written_by = manifest["tltool"]
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"]))
            raise RunError(f"{file} is damaged: {where}: {fault['msg']}", hint=_TRAIN) from error
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise RunError(f"{file} is damaged: {error}", hint=_TRAIN) from error
        raise RunError(
            f"{file} was written by tltool {written_by}, this is {__version__}.",
            hint="Update tltool.",
        )

    def _state_of(self, manifest: _Manifest) -> Status:
        """Of a run that says it is running."""
        gone = is_gone(manifest.process)
        if gone is None:
            silent = time.time() - _last_change(self.path)
            allowed = GONE_SECONDS if manifest.beats else SILENT_SECONDS
            return "unknown" if silent > allowed else "running"
        return "died" if gone else "running"

    @property
    def is_own(self) -> bool:
        """Whether this process is the one that trains the run."""
        return bool(self.manifest().get("process") == mark())

    @property
    def can_go_on(self) -> bool:
        """Whether the run has not come to its end, and keeps what it can go on from."""
        return self.origin.is_file() and self.status not in {"running", "finished"}

    def take_over(self, **facts: Any) -> None:
        """Makes this process the one that trains the run.

        Raises:
            RunError: The run has come to its end, or another process trains it.
        """
        from filelock import FileLock

        with FileLock(self.origin.parent / ".lock"):
            self.check_stopped()
            self.record("running", process=mark(), beats=True, **facts)

    def check_stopped(self) -> None:
        """Sees that the run can go on, and that no process trains it.

        Of a process on another machine that is known after `GONE_SECONDS` alone: this waits.

        Raises:
            RunError: It can't.
        """
        end = time.monotonic() + GONE_SECONDS
        seen = _last_change(self.path)
        while (manifest := self.manifest())["status"] == "running":
            elsewhere = is_gone(manifest.get("process", "")) is None and manifest.get("beats")
            if not elsewhere or _last_change(self.path) > seen or time.monotonic() > end:
                raise RunError(
                    f"The run {str(self.path)!r} is being trained by another process "
                    f"({manifest.get('process', 'unknown')}).",
                    hint="wait for it, or stop it first",
                )
            time.sleep(1.0)
        if manifest["status"] == "finished":
            raise RunError(
                f"The run {str(self.path)!r} is finished: there is nothing left to do.",
                hint="`tltool finetune` with its recipe trains another one",
            )
        if not self.origin.is_file() and (self.path / "origin.json").is_file():
            raise RunError(
                f"{str(self.path)!r} is of several trainings, unknown to `tltool resume`.",
                hint="go on as it was started: `tltool finetune RECIPE --folds N --resume`, or "
                "`tltool tune RECIPE --resume`",
            )
        if not self.origin.is_file():
            raise RunError(
                f"The run {str(self.path)!r} ({manifest['status']}) kept nothing to go on from.",
                hint="it was trained with `training.checkpoint: off`, or by an older tltool; "
                "train anew",
            )

    @contextmanager
    def beating(self) -> Iterator[None]:
        """While open, touches the manifest now and then: other machines see that it goes on."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(BEAT_SECONDS):
                with suppress(OSError):
                    os.utime(self.manifest_path)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def record(self, status: Status, **facts: Any) -> None:
        """Writes the manifest anew: the status, the facts so far and all files with sha256."""
        file = self.path / MANIFEST
        earlier = self.manifest() if file.is_file() else {"created": _now()}
        manifest = {
            **earlier,
            "format": _FORMAT,
            "tltool": __version__,
            "status": status,
            "updated": _now(),
            **facts,
            "files": {
                p.relative_to(self.path).as_posix(): {
                    "sha256": sum_of(p),
                    "bytes": p.stat().st_size,
                }
                for p in sorted(self.path.rglob("*"))
                if p.is_file() and p != file and not self._is_passing(p)
            },
        }
        write_json(file, manifest)

    def _is_passing(self, path: Path) -> bool:
        return any(path.relative_to(self.path).match(pattern) for pattern in _PASSING)

    def check(self, *files: Path) -> None:
        """Sees that files are those that the manifest lists, by their sha256.

        Args:
            files: Of this folder; those that neither are there nor are listed are passed over.

        Raises:
            RunError: Names all that changed, are missing, or were added.
        """
        names = [file.relative_to(self.path).as_posix() for file in files]
        manifest = self.manifest()
        entries = manifest.get("files", {})
        listed = {name: entries[name]["sha256"] for name in names if name in entries}
        # A run that was killed may have written more than it came to list.
        ended = manifest["status"] not in {"running", "died", "unknown"}
        present = [name for name in names if ended and (self.path / name).exists()]
        if changed := differences(self.path, listed, present):
            raise RunError(
                "\n  ".join(
                    [f"The run {str(self.path)!r} is not as {MANIFEST} lists it:", *changed]
                ),
                hint=f"{COPY_RUN_AGAIN}; after a change on purpose: tltool runs accept {self.path}",
            )

    @property
    def manifest_path(self) -> Path:
        """The manifest's file."""
        return self.path / MANIFEST

    @property
    def status(self) -> Status:
        """How the run ended."""
        status: Status = self.manifest()["status"]
        return status

    @property
    def has_model(self) -> bool:
        """Whether a trained model can be had: saved at the end, or what a run that died kept."""
        if self.model.is_file():
            return True
        with suppress(RunError):
            return self.checkpoint.is_file() and self.status != "running"
        return False

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def head_search(self) -> Path:
        """The heads that `head.search` tried (CSV), the best first."""
        return self.path / "head_search.csv"

    @property
    def few_examples(self) -> Path:
        """What `schedule: few_examples` chose, and the scores of what it chose from, as JSON."""
        return self.path / "few_examples.json"

    @property
    def labels(self) -> Path:
        """The label manifest."""
        return self.path / "labels.json"

    @property
    def preprocessing(self) -> Path:
        """The preprocessing contract."""
        return self.path / "preprocessing.json"

    @property
    def environment(self) -> Path:
        """Versions, machine and command."""
        return self.path / "environment.json"

    @property
    def data_summary(self) -> Path:
        """Counts, duplicates, conflicts and warnings about the data."""
        return self.path / "data.json"

    @property
    def model(self) -> Path:
        """The trained model, float32, ending in raw outputs."""
        return self.path / "model.keras"

    @property
    def timings(self) -> Path:
        """Seconds by stage."""
        return self.path / "timings.json"

    @property
    def checkpoint(self) -> Path:
        """The best weights while training goes on."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def origin(self) -> Path:
        """What the run was started with (JSON), until it has come to its end."""
        return self.path / "checkpoints" / "origin.json"

    @property
    def first_training(self) -> Path:
        """What the first of two trainings found (JSON), where `training.refit` asks for both."""
        return self.path / "checkpoints" / "first.json"

    @property
    def members(self) -> Path:
        """What members of an ensemble that came to their end found (JSON)."""
        return self.path / "checkpoints" / "members.json"

    def member_weights(self, number: int) -> Path:
        """The best weights of a member of an ensemble, counted from 1; see `checkpoint`."""
        if number == 1:
            return self.checkpoint
        return self.checkpoint.with_stem(f"{self.checkpoint.stem}-{number}")

    def kept_weights(self) -> list[Path]:
        """Files of the best weights, of each member that came to its end.

        Where none has, and where one model was trained, the one of the best epoch so far.

        Raises:
            RunError: What says which came to their end is damaged.
        """
        count = 1
        if self.members.is_file():
            try:
                count = max(1, len(read_json(self.members)))
            except (OSError, ValueError, TypeError) as error:
                raise RunError(f"{self.members} is damaged: {error}", hint=_TRAIN) from error
        return [self.member_weights(number) for number in range(1, count + 1)]

    @property
    def history(self) -> Path:
        """One row for each epoch."""
        return self.path / "history.csv"

    @property
    def metrics(self) -> Path:
        """The evaluation of each split."""
        return self.path / "metrics.json"

    @property
    def predictions(self) -> Path:
        """Predictions on the test split."""
        return self.path / "predictions.csv"

    @property
    def events(self) -> Path:
        """TensorBoard events."""
        return self.path / "tensorboard"

    @property
    def report(self) -> Path:
        """The page, and plots."""
        return self.path / "report"

    @property
    def page(self) -> Path:
        """The page of the run: one HTML file."""
        return self.report / "index.html"

    @property
    def plot(self) -> Path:
        """The confusion matrix, or predictions against targets."""
        return self.report / "held_out.png"

    @property
    def worst(self) -> Path:
        """Pictures of the worst rows, `1.png` the worst, where the kind of target draws them."""
        return self.report / "worst"

    @property
    def curves(self) -> Path:
        """Loss, metric and learning rate over the epochs."""
        return self.report / "curves.png"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.path / "README.md"

    @property
    def exports(self) -> Path:
        """Exported artifacts."""
        return self.path / "exports"


def list_runs(output_dir: str | Path) -> list[RunFolder]:
    """All runs below a folder, oldest first within each name.

    Raises:
        RunError: It is a file.
    """
    root = Path(output_dir)
    if root.is_file():
        raise RunError(f"{root} is a file.", hint="name the folder that holds the runs")
    if not root.is_dir():
        return []
    return [
        folder
        for name in sorted(p for p in root.iterdir() if p.is_dir())
        for folder in runs_of(name)
    ]


def runs_of(parent: str | Path) -> list[RunFolder]:
    """The runs of one name, oldest first."""
    return [RunFolder(p) for _, p in _numbered(Path(parent)) if (p / MANIFEST).is_file()]


def sweep_leftovers(output_dir: str | Path) -> None:
    """Removes what killed processes left: in the runs below a folder, the cache, the system's."""
    root = Path(output_dir)
    sweep(root.glob(".*"))
    for manifest in root.glob(f"*/[0-9]*/{MANIFEST}"):  # other folders may hold a data set
        for pattern in (".*", "*/.*"):
            sweep(manifest.parent.glob(pattern))
    sweep(cache_dir().glob("*/.*"))
    sweep(Path(tempfile.gettempdir()).glob("tltool-*"))


def environment() -> dict[str, Any]:
    """Versions, machine and command of this process, for `environment.json`."""
    return {
        "tltool": __version__,
        "python": platform.python_version(),
        "packages": {name: found for name in _PACKAGES if (found := _installed(name))},
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _last_change(folder: Path) -> float:
    """When something in a folder was last written, in seconds since 1970."""
    latest = 0.0
    for path in (folder, *folder.rglob("*")):
        with suppress(OSError):  # a temporary file is gone by now
            latest = max(latest, path.stat().st_mtime)
    return latest


def _meant(given: Path) -> str | None:
    """A hint with the run that a path lies in, or one of nearly its name, with a model if any."""
    for above in given.parents:
        if (above / MANIFEST).is_file():
            return f"did you mean `{above}`?"
    runs = {
        path.name: [RunFolder(manifest.parent) for pattern in ("", "[0-9]*/")
                    for manifest in path.glob(f"{pattern}{MANIFEST}")]
        for path in (given.parent.glob("*") if given.parent.is_dir() else ())
    }  # fmt: skip
    usable = [name for name, found in runs.items() if any(run.has_model for run in found)]
    others = [name for name, found in runs.items() if found]
    near = closest(given.name, usable) or closest(given.name, others)
    return None if near is None else f"did you mean `{given.parent / near}`?"


def _numbered(parent: Path) -> list[tuple[int, Path]]:
    found = ((int(p.name), p) for p in parent.iterdir() if p.name.isdigit() and p.is_dir())
    return sorted(found)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
