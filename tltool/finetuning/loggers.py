"""What other programs are told of a finished run: MLflow, Weights & Biases.

Each is one function that gets the same record. TensorBoard's events are files of the run itself
(`tltool.report.history`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tltool.recipe.recipe import Recipe
from tltool.report.history import Row, measured
from tltool.runs.folder import RunFolder
from tltool.support.errors import RecipeError, first_line
from tltool.support.files import read_json
from tltool.support.progress import Progress

# Of one request to MLflow: MAX_PARAMS_TAGS_PER_BATCH, MAX_METRICS_PER_BATCH, MAX_PARAM_VAL_LENGTH
# in mlflow/utils/validation.py.
_MOST_PARAMETERS, _MOST_METRICS, _LONGEST = 100, 1000, 6000
_OF_THE_GATE = ("passed", "max_difference", "agreement", "size_bytes")


@dataclass(frozen=True)
class Record:
    """A finished run, as loggers get it.

    Attributes:
        project: The recipe's name.
        name: `NAME/NUMBER`.
        parameters: The resolved recipe: a value for each dotted path.
        epochs: Of each its number, counted from 1 over all phases, and what it measured.
        metrics: Numbers of the whole run, such as `test/accuracy`, and for each export
            `gate/litert_float32/agreement` and others (`passed` is 1 or 0).
        files: The card, the recipe and what else describes the run, by their place in its
            folder; no model, and no row of the data.
    """

    project: str
    name: str
    parameters: Mapping[str, Any]
    epochs: Sequence[tuple[int, Mapping[str, float]]]
    metrics: Mapping[str, float]
    files: Mapping[str, Path]

    @property
    def last_epoch(self) -> int:
        """The number of the last epoch; 0 where nothing trained by steps."""
        return self.epochs[-1][0] if self.epochs else 0


def to_mlflow(record: Record) -> None:
    """Writes to the tracking server or store that MLFLOW_TRACKING_URI names."""
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient()
    known = client.get_experiment_by_name(record.project)
    experiment = client.create_experiment(record.project) if known is None else known.experiment_id
    run_id = client.create_run(experiment, run_name=record.name).info.run_id
    now, status = int(time.time() * 1000), "FAILED"
    parameters = [
        Param(_mlflow_key(key), str(value)[:_LONGEST]) for key, value in record.parameters.items()
    ]
    metrics = [
        Metric(_mlflow_key(key), value, now, step)
        for step, values in [*record.epochs, (record.last_epoch, record.metrics)]
        for key, value in values.items()
    ]
    try:
        for start in range(0, len(parameters), _MOST_PARAMETERS):
            client.log_batch(run_id, params=parameters[start : start + _MOST_PARAMETERS])
        for start in range(0, len(metrics), _MOST_METRICS):
            client.log_batch(run_id, metrics=metrics[start : start + _MOST_METRICS])
        for place, path in record.files.items():
            folder = Path(place).parent.as_posix()
            client.log_artifact(run_id, str(path), None if folder == "." else folder)
        status = "FINISHED"
    finally:
        client.set_terminated(run_id, status=status)


def to_wandb(record: Record) -> None:
    """Writes where WANDB_MODE, WANDB_DIR and the login of the machine say."""
    import wandb

    name = record.name.replace("/", "-")
    run = wandb.init(project=record.project, name=name, config=dict(record.parameters))
    code = 1
    try:
        for step, values in record.epochs:
            run.log(dict(values), step=step)
        run.summary.update(dict(record.metrics))
        artifact = wandb.Artifact(re.sub(r"[^\w.-]", "-", name), type="run")
        for place, path in record.files.items():
            artifact.add_file(str(path), name=place)
        run.log_artifact(artifact)
        code = 0
    finally:
        run.finish(exit_code=code)


LOGGERS: Mapping[str, Callable[[Record], None]] = {"mlflow": to_mlflow, "wandb": to_wandb}
"""By the name of the package that each needs, which is that of the extra too."""


def check_loggers(recipe: Recipe) -> None:
    """Raises RecipeError where the package of a logger is missing; before anything trains."""
    for name in _wanted(recipe):
        if find_spec(name) is None:
            raise RecipeError(
                f"training.loggers: {name} is asked for, and the package is not installed.",
                hint=f"pip install 'tltool[{name}]', or leave it out of training.loggers",
            )


def log_run(folder: RunFolder, recipe: Recipe, history: Sequence[Row], progress: Progress) -> None:
    """Tells the recipe's loggers of a finished run; one that fails is told of and spoils nothing.

    Args:
        folder: Of the run, with all of its files.
        recipe: Its `training.loggers` count.
        history: A row for each epoch.
        progress: Is told who was told.
    """
    for name in _wanted(recipe):
        try:
            LOGGERS[name](record_of(folder, recipe, history))
        except Exception as error:  # a server's or a library's, of any kind
            progress.note(f"warning: {name} was not told of the run: {first_line(error)}")
        else:
            progress.note(f"{name}: told of the run as {recipe.name}/{folder.path.name}")


def record_of(folder: RunFolder, recipe: Recipe, history: Sequence[Row]) -> Record:
    """What loggers get of a finished run."""
    files = [
        folder.card, folder.recipe, folder.metrics, folder.history, folder.labels,
        folder.preprocessing, folder.plot, folder.curves, *sorted(folder.exports.glob("*/gate.*")),
    ]  # fmt: skip
    return Record(
        project=recipe.name,
        name=f"{recipe.name}/{folder.path.name}",
        parameters=dict(_flat(recipe.to_values())),
        epochs=[measured(row) for row in history],
        metrics={**_metrics(folder), **_gates(folder)},
        files={file.relative_to(folder.path).as_posix(): file for file in files if file.is_file()},
    )


def _wanted(recipe: Recipe) -> list[str]:
    return [name for name in LOGGERS if name in recipe.training.loggers]


def _metrics(folder: RunFolder) -> dict[str, float]:
    """The plain numbers of each part of `metrics.json`."""
    return {
        f"{part}/{key}": float(value)
        for part, values in read_json(folder.metrics).items()
        if isinstance(values, dict)
        for key, value in values.items()
        if _is_number(value)
    }


def _gates(folder: RunFolder) -> dict[str, float]:
    found = {}
    for file in sorted(folder.exports.glob("*/gate.json")):
        report = read_json(file)
        for key in _OF_THE_GATE:
            if isinstance(report.get(key), int | float):
                found[f"gate/{file.parent.name}/{key}"] = float(report[key])
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _flat(values: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of nested mappings and lists, by its dotted path; empty ones as they are."""
    if not isinstance(values, dict | list) or not values:
        yield path, values
        return
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in items:
        yield from _flat(value, f"{path}.{key}" if path else str(key))


def _mlflow_key(key: str) -> str:
    """A name as MLflow allows it: letters, digits, and `_ - . / : ` and spaces."""
    return re.sub(r"[^\w\-./: ]", "_", key)
