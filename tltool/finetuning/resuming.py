"""Going on with a run that stopped: which one, whether it still is the same, and what differs."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.finetuning.teaching import facts_of
from tltool.recipe.reading import same_value
from tltool.recipe.recipe import Recipe
from tltool.runs.folder import RunFolder, environment, runs_of
from tltool.support.errors import RunError
from tltool.support.files import read_json, write_json

if TYPE_CHECKING:
    from tltool.data.examples import Examples
    from tltool.training.preparation import Prepared

# Fields of a recipe that change nothing of what is trained.
_WITHOUT_EFFECT = (
    "name",
    "description",
    "output_dir",
    "ensemble.test_time_augmentation",
    # But for the baseline, without which another model may be kept.
    "evaluation.mistakes",
    "evaluation.report",
    "evaluation.thresholds",
    "export",
    "tune",
    "cache.max_gb",
    # What it says is told apart by its weights, wherever it lies.
    "teacher.run",
    "training.barrier_seconds",
    "training.checkpoint",
    # Another number of devices is told of by itself.
    "training.distribution",
    "training.grace_seconds",
    "training.loggers",
)
# Those by which the models of a cross-validation are measured, some before it goes on.
_OF_MEASURING = ("ensemble.test_time_augmentation", "evaluation.thresholds")
# Packages that read tables, whose rows are compared, or export.
_VERSIONS_WITHOUT_EFFECT = ("versions.pandas", "versions.ai-edge-litert")
# What the checkpoint's variables belong to: they would fit nothing else.
_FIXED = ("recipe.task", "recipe.target", "recipe.backbone", "recipe.head", "data.labels")
# Settings of TensorFlow by which its arithmetic is another one.
_VARIABLES = ("TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS")
_MOST_TOLD = 30


@dataclass(frozen=True)
class Difference:
    """What a run was started with and what it is to go on with.

    Attributes:
        field: Dotted, such as `recipe.training.batch_size`.
        before, now: Its values; None where there was or is none.
    """

    field: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.field}: {_shown(self.before)} → {_shown(self.now)}"

    @property
    def fixed(self) -> bool:
        """Whether the checkpoint can't be used with it at all."""
        return _below(self.field, _FIXED)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"


def _below(field: str, sections: tuple[str, ...]) -> bool:
    return any(field == section or field.startswith(f"{section}.") for section in sections)


def origin(recipe: Recipe, prepared: Prepared) -> dict[str, Any]:
    """What decides the result of a run, ready for JSON.

    Args:
        recipe: As it was given, before a head or a schedule was searched.
        prepared: Of that recipe.
    """
    versions = environment()
    return {
        "recipe": recipe.to_values(),
        "data": {
            **_data(prepared.examples),
            "labels": prepared.task.to_json().get("labels"),
        },
        "teacher": dict(facts_of(prepared)),
        "versions": {
            "tltool": versions["tltool"],
            "python": versions["python"],
            **versions["packages"],
        },
        "machine": {
            "cpu": _cpu(),
            "cpus": _usable_cpus(),
            **{name: os.environ.get(name) for name in _VARIABLES},
        },
    }


def replicas_note(before: Mapping[str, Any], devices: int) -> str | None:
    """What to tell where another number of devices goes on; None where it is the same one."""
    then = before.get("devices", devices)
    if then == devices:
        return None
    return (
        f"{then} devices trained, and {devices} go on: the batches are the same ones, and sums "
        "over them are rounded differently"
    )


def write_origin(folder: RunFolder, facts: Mapping[str, Any], devices: int) -> None:
    """Keeps what `origin` gave, and the number of devices."""
    write_json(folder.origin, {**facts, "devices": devices})


def read_origin(folder: RunFolder) -> dict[str, Any]:
    """What `write_origin` kept.

    Raises:
        RunError: It is damaged.
    """
    try:
        found = read_json(folder.origin)
        return {"recipe": {}, "data": {}, "versions": {}, "machine": {}, **found}
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{folder.origin} is damaged: {error}", hint="train anew") from error


def unfinished(output_dir: str | Path, name: str) -> RunFolder | None:
    """The newest run of a name that has not come to its end; None where all have.

    Raises:
        RunError: A manifest is damaged.
    """
    parent = Path(output_dir) / name
    if not parent.is_dir():
        return None
    for folder in reversed(runs_of(parent)):
        if folder.origin.is_file() and folder.status != "finished":
            return folder
    return None


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], *, measured: bool = False
) -> list[Difference]:
    """The fields of two `origin`s that differ and count.

    Args:
        before, now: The two.
        measured: Whether models were measured before, which others are to be compared with.
    """
    left, right = dict(_flat(before)), dict(_flat(now))
    free = [field for field in _WITHOUT_EFFECT if not (measured and field in _OF_MEASURING)]
    skipped = (*(f"recipe.{field}" for field in free), *_VERSIONS_WITHOUT_EFFECT)
    return [
        Difference(field, left.get(field), right.get(field))
        for field in dict.fromkeys([*left, *right])
        if not same_value(field.removeprefix("recipe."), left.get(field), right.get(field))
        and not _below(field, skipped)
        and field != "devices"
    ]


def told_of(difference: Difference, phase: int) -> str:
    """A difference in words; of a phase before the one of this number, that it comes too late."""
    section, _, rest = difference.field.removeprefix("recipe.").partition(".")
    place = rest.partition(".")[0]
    if section == "schedule" and place.isdecimal() and int(place) + 1 < phase:
        return f"{difference} (does nothing: phase {int(place) + 1} has been trained)"
    return str(difference)


def check(
    folder: RunFolder,
    found: list[Difference],
    *,
    anyway: bool | None,
    fixed: tuple[str, ...] = (),
) -> None:
    """Refuses to go on with a run where the result would be neither its own nor a new one's.

    Args:
        folder: The run.
        found: What differs.
        anyway: Go on all the same, where that can be; None where the command can't be told to.
        fixed: Further facts that can't be others.

    Raises:
        RunError: Lists all that differs.
    """
    other_series = [name for name in fixed if any(_below(one.field, (name,)) for one in found)]
    other_model = any(one.fixed for one in found)
    if not found or (anyway and not other_series and not other_model):
        return
    told = [str(one) for one in found[:_MOST_TOLD]]
    if len(found) > _MOST_TOLD:
        told.append(f"and {len(found) - _MOST_TOLD} more")
    hint = "go on as it was started, or start anew without --resume"
    if other_series:
        hint = f"{' and '.join(other_series)} can't change: {hint}"
    elif anyway is not None and other_model:
        hint = "the model of the checkpoint is another one; train anew, without --resume"
    elif anyway is not None:
        hint += "; with --resume-anyway the result is neither run's"
    raise RunError(
        "\n  ".join([f"The run {str(folder.path)!r} was started with something else:", *told]),
        hint=hint,
    )


def settled(given: Recipe, folder: RunFolder) -> Recipe:
    """The recipe with the head and the schedule that were searched when the run was started."""
    if not (given.head.search or given.schedule == "few_examples"):
        return given
    values, found = given.to_values(), Recipe.load(folder.recipe).to_values()
    values["head"], values["schedule"] = found["head"], found["schedule"]
    for key in ("weight_decay", "label_smoothing"):
        values["training"][key] = found["training"][key]
    return Recipe.of(**values)


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict | list):
        yield path, value
        return
    parts = value if isinstance(value, dict) else dict(enumerate(value))
    for name, below in parts.items():
        yield from _flat(below, f"{path}.{name}" if path else str(name))


def _data(examples: Examples) -> dict[str, Any]:
    """The number of rows, and a hash of the content, answer, split and group of each, in order."""
    from tltool.data.checks.fingerprints import content_digests

    rows = hashlib.sha256()
    for row, digest in enumerate(content_digests(examples)):
        target = examples.targets[row]
        group = examples.groups[row] if examples.groups else ""
        rows.update(digest.tobytes())
        rows.update(f"{target!r} {examples.splits[row]} {group}\n".encode())
    return {"rows": len(examples), "content": rows.hexdigest()[:16]}


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
