"""The tasks tltool can train, as one table: what goes in, and what kind of target comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

from tltool.support.errors import RecipeError
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.embeddings.kind import EmbeddingTarget
from tltool.tasks.embeddings.pairs import PairTarget, ScoredPairTarget
from tltool.tasks.masks.kind import MaskTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.registry import find_target, name_of
from tltool.tasks.tags.kind import TagsTarget
from tltool.tasks.target import Target

if TYPE_CHECKING:
    import keras

Modality = Literal["image", "text", "text_pair", "text_triplet"]
INPUT_COLUMNS: dict[Modality, tuple[str, ...]] = {
    "image": ("image",),
    "text": ("text",),
    "text_pair": ("text_a", "text_b"),
    "text_triplet": ("anchor", "positive", "negative"),
}
"""The columns of a table that hold a row's input where nothing else is said."""


def _set(options: Mapping[str, float]) -> dict[str, float]:
    """Those that only some kinds of target have are given to these alone."""
    return {name: value for name, value in options.items() if value}


@dataclass(frozen=True)
class TaskSpec:
    """A row of `TASKS`.

    Attributes:
        name: As written in a recipe.
        modality: What goes in.
        target: What kind of target comes out.
        of_texts: The kinds in its place where a row of the data has several texts: without
            labels, and with a number each.
        hub_task: What Hugging Face calls it (https://huggingface.co/tasks); empty where that has
            no name for it.
    """

    name: str
    modality: Modality
    target: type[Target]
    of_texts: tuple[type[Target], type[Target]] | None = None
    hub_task: str = ""

    @property
    def backbone_modality(self) -> Modality:
        """What its backbone takes; each text of a pair is a text."""
        return "text" if self.modality == "text_pair" else self.modality

    @property
    def from_folders(self) -> bool:
        """Whether a folder for each class can hold its data."""
        return self.target.from_folders and self.modality != "text_pair"

    @property
    def metric(self) -> str:
        """Key in the metrics report that sums a model up."""
        return self.target.headline().key

    def for_columns(self, inputs: Sequence[str] | None, labels: object) -> TaskSpec:
        """The same task with the kind of target that rows of several texts have, if it has one.

        Args:
            inputs: `data.input_columns`.
            labels: What names a column of labels, or None.
        """
        if self.of_texts is None or inputs is None:
            return self
        return replace(self, target=self.of_texts[labels is not None])

    def of_rows(self, inputs: Sequence[str] | None) -> TaskSpec:
        """The task as its data is read, whose rows may have several texts that the model reads one
        by one.

        Args:
            inputs: `data.input_columns`.
        """
        if not self.target.of_texts:
            return self
        three = len(inputs or ()) == len(INPUT_COLUMNS["text_triplet"])
        return replace(self, modality="text_triplet" if three else "text_pair")

    def with_target(self, name: str | None) -> TaskSpec:
        """The same task with another kind of target; None leaves its own.

        Raises:
            TargetError: There is no such kind.
        """
        return self if name is None else replace(self, target=find_target(name))


TASKS: dict[str, TaskSpec] = {
    spec.name: spec
    for spec in (
        TaskSpec("image-classification", "image", ClassTarget, hub_task="image-classification"),
        TaskSpec("text-classification", "text", ClassTarget, hub_task="text-classification"),
        TaskSpec("image-multi-label", "image", ClassSetTarget, hub_task="image-classification"),
        TaskSpec("text-multi-label", "text", ClassSetTarget, hub_task="text-classification"),
        TaskSpec("image-regression", "image", NumbersTarget),
        TaskSpec("text-regression", "text", NumbersTarget),
        TaskSpec("token-classification", "text", TagsTarget, hub_task="token-classification"),
        TaskSpec("image-segmentation", "image", MaskTarget, hub_task="image-segmentation"),
        TaskSpec(
            "text-pair-classification", "text_pair", ClassTarget, hub_task="text-classification"
        ),
        TaskSpec("text-pair-regression", "text_pair", NumbersTarget),
        TaskSpec("image-embedding", "image", EmbeddingTarget, hub_task="image-feature-extraction"),
        TaskSpec(
            "text-embedding",
            "text",
            EmbeddingTarget,
            (PairTarget, ScoredPairTarget),
            hub_task="feature-extraction",
        ),
    )
}

# What people call tasks, and what tltool calls them.
_CALLED: dict[str, tuple[str, ...]] = {
    "tagging": ("image-multi-label", "text-multi-label"),
    "image-tagging": ("image-multi-label",),
    "text-tagging": ("text-multi-label",),
    "sentiment": ("text-classification",),
    "sentiment-analysis": ("text-classification",),
    "zero-shot-classification": ("text-classification",),
    "emotion-detection": ("text-classification",),
    "intent-detection": ("text-classification",),
    "language-detection": ("text-classification",),
    "spam-detection": ("text-classification",),
    "counting": ("image-regression",),
    "ner": ("token-classification",),
    "named-entity-recognition": ("token-classification",),
    "sequence-labeling": ("token-classification",),
    "sequence-labelling": ("token-classification",),
    "pos-tagging": ("token-classification",),
    "chunking": ("token-classification",),
    "segmentation": ("image-segmentation",),
    "semantic-segmentation": ("image-segmentation",),
    "masks": ("image-segmentation",),
    "nli": ("text-pair-classification",),
    "natural-language-inference": ("text-pair-classification",),
    "entailment": ("text-pair-classification",),
    "textual-entailment": ("text-pair-classification",),
    "sentence-pair-classification": ("text-pair-classification",),
    "paraphrase-detection": ("text-pair-classification",),
    "paraphrase-identification": ("text-pair-classification",),
    "duplicate-detection": ("text-pair-classification",),
    "sts": ("text-pair-regression",),
    "semantic-textual-similarity": ("text-pair-regression",),
    "semantic-similarity": ("text-pair-regression",),
    "text-similarity": ("text-pair-regression",),
    "sentence-similarity": ("text-pair-regression",),
    "sentence-pair-regression": ("text-pair-regression",),
    "embedding": ("image-embedding", "text-embedding"),
    "retrieval": ("image-embedding", "text-embedding"),
    "metric-learning": ("image-embedding", "text-embedding"),
    "image-retrieval": ("image-embedding",),
    "text-retrieval": ("text-embedding",),
    "sentence-embedding": ("text-embedding",),
    "feature-extraction": ("image-embedding", "text-embedding"),
}
# Beginnings of words in the names of tasks that this version does not have, and what those are
# for; the first that occurs counts.
_ABSENT = {
    "anomal": "anomalies",
    "fill-mask": "words left out",
    "detect": "detection of objects",
    "bounding": "detection of objects",
    "yolo": "detection of objects",
    "instance": "masks of single objects",
    "panoptic": "masks of single objects",
    "question-answer": "answers to questions",
    "summar": "writing text",
    "translat": "writing text",
    "generat": "writing text",
    "caption": "writing text",
    "to-text": "writing text",
    "chat": "writing text",
    "to-image": "making images",
    "keypoint": "key points",
    "landmark": "key points",
    "pose": "key points",
    "audio": "sound",
    "speech": "sound",
    "video": "video",
    "tabular": "tables of numbers",
    "ocr": "reading text in images",
    "depth": "depth",
}
_KINDS = {
    "classification": "classification",
    "multilabel": "multi-label",
    "regression": "regression",
    "segmentation": "segmentation",
    "embedding": "embedding",
}


def known_task(name: str, field: str = "task") -> TaskSpec:
    """The task of a name.

    Args:
        name: Its key in `TASKS`.
        field: What names it in an error: a field, or the option in its place.

    Raises:
        RecipeError: There is none of that name.
    """
    if name in TASKS:
        return TASKS[name]
    problem, close = unknown_task(name)
    raise RecipeError(
        f"{field}: {problem}. Received: {name}. Allowed: {', '.join(TASKS)}.", hint=close
    )


def unknown_task(name: str) -> tuple[str, str | None]:
    """What is wrong with the name of a task, and a hint.

    Returns:
        The problem, and the right name or None.
    """
    plain = "-".join(name.strip().lower().replace("_", "-").split())
    meant = (plain,) if plain in TASKS else _CALLED.get(plain, ())
    if not meant:
        for part, what in _ABSENT.items():
            # Whole words for short ones, lest `ner` be found in `nervous`.
            end = "-" if len(part) < 4 else ""
            if f"-{part}{end}" in f"-{plain}-":
                return f"not in this version, which has no task for {what}", None
        meant = _nearest(plain)
    names = " or ".join(f"`{name}`" for name in meant)
    return "unknown task", f"did you mean {names}?" if names else None


def _nearest(plain: str) -> tuple[str, ...]:
    """The tasks of the kind that a name ends in, and of the modality that it names, if it does."""
    words = plain.split("-")
    ends = words[-1], "".join(words[-2:])
    near = [found for end in ends for found in get_close_matches(end, _KINDS, 1, 0.8)]
    kind = "multi-label" if "multilabel" in "".join(words) else _KINDS[near[0]] if near else None
    paired = "text_pair" if set(words) & {"pair", "pairs"} else None
    named = [m for word in words for m in get_close_matches(word, ("image", "text"), 1, 0.75)]
    return tuple(
        spec.name
        for spec in TASKS.values()
        if kind is not None
        and spec.name == f"{spec.modality.replace('_', '-')}-{kind}"
        and (spec.modality == paired if paired else spec.modality in (named or ("image", "text")))
    )


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

    def held_in(self, precision: str) -> Task:
        """The task as a model of this precision can hold it; see `Target.held_in`."""
        return replace(self, target=self.target.held_in(precision))

    def outputs(self, raw: Any) -> Any:
        """Turns the model's raw outputs (batch, num_outputs) into what a user reads.

        Probabilities (batch, labels); or numbers in their own units, (batch,)
        or (batch, numbers). Works on NumPy arrays and on backend tensors.
        """
        return self.target.outputs(raw)

    def loss(
        self, label_smoothing: float = 0.0, focal_gamma: float = 0.0, **options: float
    ) -> keras.losses.Loss:
        """The training loss on raw outputs and encoded targets.

        `options` are those that only some kinds of target have; they are given where they are set.
        """
        return self.target.loss(
            label_smoothing=label_smoothing, focal_gamma=focal_gamma, **_set(options)
        )

    def training_metrics(self, **options: float) -> list[keras.metrics.Metric]:
        """The metrics shown while training; the full report comes from evaluation.

        `options` as in `loss`.
        """
        return self.target.training_metrics(**_set(options))

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
