"""The tasks tltool can train, as one table: what goes in, and what kind of target comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from tltool.support.errors import did_you_mean
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.registry import find_target, name_of
from tltool.tasks.target import Target

if TYPE_CHECKING:
    import keras

Modality = Literal["image", "text"]


@dataclass(frozen=True)
class TaskSpec:
    """A row of `TASKS`.

    Attributes:
        name: As written in a recipe.
        modality: What goes in.
        target: What kind of target comes out.
    """

    name: str
    modality: Modality
    target: type[Target]

    @property
    def metric(self) -> str:
        """Key in the metrics report that sums a model up."""
        return self.target.headline().key

    def with_target(self, name: str | None) -> TaskSpec:
        """The same task with another kind of target; None leaves its own.

        Raises:
            TargetError: There is no such kind.
        """
        return self if name is None else replace(self, target=find_target(name))


TASKS: dict[str, TaskSpec] = {
    spec.name: spec
    for spec in (
        TaskSpec("image-classification", "image", ClassTarget),
        TaskSpec("text-classification", "text", ClassTarget),
        TaskSpec("image-multi-label", "image", ClassSetTarget),
        TaskSpec("text-multi-label", "text", ClassSetTarget),
        TaskSpec("image-regression", "image", NumbersTarget),
        TaskSpec("text-regression", "text", NumbersTarget),
    )
}

# What people call tasks, and what tltool calls them. A name without an entry in `TASKS` is a task
# that this version does not have.
_CALLED: dict[str, tuple[str, ...]] = {
    "classification": ("image-classification", "text-classification"),
    "regression": ("image-regression", "text-regression"),
    "multi-label": ("image-multi-label", "text-multi-label"),
    "multilabel": ("image-multi-label", "text-multi-label"),
    "multi-label-classification": ("image-multi-label", "text-multi-label"),
    "tagging": ("image-multi-label", "text-multi-label"),
    "sentiment-analysis": ("text-classification",),
    "zero-shot-classification": ("text-classification",),
    "counting": ("image-regression",),
}
_ABSENT = {
    "segment": "segmentation",
    "mask": "segmentation",
    "detect": "detection of objects",
    "bounding": "detection of objects",
    "yolo": "detection of objects",
    "token": "classes of words",
    "ner": "classes of words",
    "entit": "classes of words",
    "pos-tag": "classes of words",
    "pair": "pairs of texts",
    "similarity": "pairs of texts",
    "nli": "pairs of texts",
    "entailment": "pairs of texts",
    "embed": "embeddings",
    "retriev": "embeddings",
    "metric-learning": "embeddings",
    "question-answer": "answers to questions",
    "summar": "writing text",
    "translat": "writing text",
    "generat": "writing text",
    "caption": "writing text",
    "chat": "writing text",
    "keypoint": "key points",
    "pose": "key points",
    "audio": "sound",
    "speech": "sound",
    "video": "video",
    "tabular": "tables of numbers",
    "anomal": "anomalies",
    "ocr": "reading text in images",
    "depth": "depth",
}


def unknown_task(name: str) -> tuple[str, str | None]:
    """What is wrong with the name of a task, and a hint.

    Returns:
        The problem, and the right name or None.
    """
    plain = "-".join(name.strip().lower().replace("_", "-").split())
    if plain in TASKS:
        return "unknown task", f"did you mean `{plain}`?"
    # Whole words count for short ones, lest `ner` be found in `general`.
    words = plain.split("-")
    for part, what in _ABSENT.items():
        if part in words or (len(part) > 3 and part in plain):
            return f"not in this version, which has no task for {what}", None
    bare = plain.removeprefix("image-").removeprefix("text-")
    meant = _CALLED.get(plain) or _CALLED.get(bare)
    if meant:
        same = [name for name in meant if name.partition("-")[0] == plain.partition("-")[0]]
        return "unknown task", f"did you mean {' or '.join(f'`{n}`' for n in same or meant)}?"
    return "unknown task", did_you_mean(plain, TASKS)


@dataclass(frozen=True)
class Task:
    """A task on particular data: a row of `TASKS` with its target fitted on the training rows.

    Attributes:
        spec: The row of `TASKS`.
        target: Label order, thresholds, scale … whatever its kind fits.
    """

    spec: TaskSpec
    target: Target

    @property
    def labels(self) -> tuple[str, ...]:
        """Names in the order of what a user reads; empty for numbers."""
        return self.target.labels

    @property
    def num_outputs(self) -> int:
        """Width of the model's raw output: one logit a label, or one for each number."""
        return self.target.num_outputs

    def outputs(self, raw: Any) -> Any:
        """Turns the model's raw outputs (batch, num_outputs) into what a user reads.

        Probabilities (batch, labels); or numbers in their own units, (batch,)
        or (batch, numbers). Works on NumPy arrays and on backend tensors.
        """
        return self.target.outputs(raw)

    def loss(self, label_smoothing: float = 0.0, focal_gamma: float = 0.0) -> keras.losses.Loss:
        """The training loss on raw outputs and encoded targets."""
        return self.target.loss(label_smoothing=label_smoothing, focal_gamma=focal_gamma)

    def training_metrics(self) -> list[keras.metrics.Metric]:
        """The metrics shown while training; the full report comes from evaluation."""
        return self.target.training_metrics()

    def to_json(self) -> dict[str, Any]:
        """What `from_json` restores it from: JSON values."""
        kind = name_of(type(self.target))
        return {"name": self.spec.name, "target": kind, **self.target.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Task:
        """Restores a task.

        Raises:
            TargetError: Its kind of target can't be found.
            ValueError, LookupError, TypeError: The values are no task's.
        """
        spec = TASKS[values["name"]].with_target(values["target"])
        return cls(spec, spec.target.from_json(values))
