"""What every kind of target answers: one object, which the rest of tltool asks.

A kind is a class that derives from `Target`. What is known before any data (how
a label is read, how rows are divided) is asked of the class; what is known of
training rows (the order of labels, a scale) is in an instance, which `fit` makes.
No other package asks which kind a target is: what differs is a method here.

Importing a kind is cheap: NumPy, Keras and scikit-learn are imported where they
are used, since reading a recipe needs the names of fields that do not apply.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from tltool.support.errors import DataError, did_you_mean
from tltool.support.words import count, listed, plural
from tltool.tasks.reports import Picture, Score, Table
from tltool.tasks.stratify import by_groups, by_strata, evenly_spaced, group_folds, in_turns
from tltool.tasks.watched import Watched

if TYPE_CHECKING:
    from pathlib import Path

    import keras
    import numpy as np

    from tltool.tasks.doubts import Doubts, Overlap
    from tltool.tasks.losses.in_numpy import RowLoss
    from tltool.tasks.misreadings import Misreading
    from tltool.tasks.tags.tagged import AtWords

    Array = np.ndarray[Any, Any]

Reader = Callable[[Any], Any]
"""From what stands in a row to its target; raises `BadValueError`."""
HeldOut = Callable[[], "tuple[Array, Array]"]
"""From nothing to outputs and truth, computed when they are asked for."""
ClassWeights = str | Mapping[str, float] | None
"""As `training.class_weights`: "auto", "balanced", a weight by name, or None."""


@dataclass(frozen=True)
class LabelColumns:
    """Where the labels of a table stand.

    Attributes:
        names: The columns; one, or several that are one target together.
        separator: Between several labels in one cell; None finds it out.
        several: Whether `names` were given as several columns, if only one.
        classes: What stands in masks for each class, or None; see `data.mask_classes`.
        ignored: What stands there for pixels without class; see `data.mask_ignored`.
    """

    names: tuple[str, ...] = ("label",)
    separator: str | None = None
    several: bool = False
    classes: Mapping[str, Any] | None = None
    ignored: Any = None


@dataclass(frozen=True)
class Layout:
    """What a kind finds in a folder or file of its own form.

    Attributes:
        rows: Input, label, where that is, and the folder it stands in, such as
            "train", or nothing.
        broken: What cannot be a row: where that is, and why.
        classes: As in `LabelColumns`, where the form says what they are.
    """

    rows: Sequence[tuple[Any, Any, str, str]]
    broken: Sequence[tuple[str, str]] = ()
    classes: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Translation:
    """From the raw outputs of a teacher to those of its student: `raw[:, order] * scale + shift`.

    Attributes:
        order: Of each of the student's outputs, which of the teacher's it is.
        scale, shift: Of each of them.
    """

    order: tuple[int, ...]
    scale: tuple[float, ...]
    shift: tuple[float, ...]


@dataclass(frozen=True)
class Refusal:
    """Why a field of a recipe does not apply to a kind, and what to write instead."""

    problem: str
    hint: str


@dataclass(frozen=True)
class Prediction:
    """What a model says of one input.

    Attributes:
        value: The class name; the names of all labels given; the number in the
            target's units; or the numbers by name.
        confidence: Probability of the class; None where there is no single one.
        probabilities: Of every label, in their order; empty for numbers.
        unknown_score: How unlike the training rows the input is; None where no such score is made.
        accepted: Whether it is known by that; None likewise.
        among: Classes of which one is right at a stated rate, the most probable first; None where
            no such sets were asked for.
    """

    value: Any
    confidence: float | None
    probabilities: dict[str, float]
    unknown_score: float | None = None
    accepted: bool | None = None
    among: tuple[str, ...] | None = None


def in_order(known: Sequence[str], wanted: Sequence[str], noun: str) -> tuple[int, ...]:
    """Where each of the names that a student tells apart stands among its teacher's.

    Args:
        known: The teacher's.
        wanted: The student's.
        noun: What one of them is.

    Raises:
        DataError: They are not the same names; lists those that only one of them has.
    """
    places, needed = {name: place for place, name in enumerate(known)}, set(wanted)
    only = [
        f"only the {who} has {count(len(names), noun)}: {listed(names)}"
        for who, names in (
            ("teacher", [name for name in known if name not in needed]),
            ("data", [name for name in wanted if name not in places]),
        )
        if names
    ]
    if only:
        raise DataError(
            f"The teacher tells other {plural(noun)} apart than the data: {'; '.join(only)}.",
            hint="take a teacher that was trained on these, or leave out `teacher`",
        )
    return tuple(places[name] for name in wanted)


_FLAGS = ("labels", "sets", "vectors", "numbers", "masks", "offset", "tags", "known")


@dataclass(frozen=True)
class Program:
    """What the programs beside an exported model must know of its output.

    Attributes:
        labels: Whether the output has labels.
        sets: Whether a label is given from its threshold on.
        vectors: Whether it is a vector to compare with others.
        numbers: Whether there are several numbers with names.
        masks: Whether the output has a class for each pixel.
        offset: Whether the program undoes the numbers' scale.
        tags: Whether each word has a label.
        known: Whether further outputs say if the input is known.
        constants: Names and values that it begins with.
        doubles: Those in double precision.
    """

    labels: bool = False
    sets: bool = False
    vectors: bool = False
    numbers: bool = False
    masks: bool = False
    offset: bool = False
    tags: bool = False
    known: bool = False
    constants: Mapping[str, Any] = field(default_factory=dict)
    doubles: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @property
    def flags(self) -> dict[str, bool]:
        """What the `% if` lines of templates ask for."""
        return {name: getattr(self, name) for name in _FLAGS}


class Target(ABC):
    """A kind of target, and an instance of it on particular training rows.

    Wherever rows are meant, they come first: outputs are (n, ...), and `truth`
    is what `truth()` makes of n targets.
    """

    kind: ClassVar[str]
    """Its name in manifests; a kind of one's own is found by its place in Python too."""
    noun: ClassVar[str]
    """What one of its names is: "class", "label", "number"."""
    scores: ClassVar[tuple[Score, ...]]
    """What `metrics` gives, in the order of reports; the first is the headline."""
    refused: ClassVar[Mapping[str, Refusal]] = {}
    """Fields of a recipe that mean nothing for it, by dotted path."""
    options: ClassVar[frozenset[str]] = frozenset()
    """Fields of a recipe, by dotted path, that only kinds that name them here have."""
    image_fit: ClassVar[Literal["stretch"] | None] = None
    """How pictures must become square; None leaves it to the recipe and the backbone."""
    label_column: ClassVar[str] = "label"
    """The column of tables that has the targets where a recipe names none."""
    file_labels: ClassVar[bool] = False
    """Whether a label in a table is the path of a file, relative to the table's folder."""
    own_files: ClassVar[bool] = False
    """Whether `file_rows` reads files, also such as are no tables."""
    own_recipes: ClassVar[Mapping[str, tuple[str, str]]] = {}
    """The shipped recipes for data of one's own by modality, and how such data may be called;
    others take those of the modality."""
    folder_hint: ClassVar[str] = ""
    """How a folder of pictures must look that `layout` reads; empty where there is none."""
    file_column: ClassVar[str] = ""
    """The column of predictions that names the file that `file_of` gives; empty for none."""
    draws_worst: ClassVar[bool] = False
    """Whether `drawn` makes a picture of a row."""
    from_folders: ClassVar[bool] = False
    """Whether the name of a folder is the target of what is in it."""
    many_columns: ClassVar[bool] = False
    """Whether several columns of a table can make one target."""
    search_scores: ClassVar[tuple[Score, Score]]
    """Of `search_values`: what `training.monitor: loss` ranks by, and what `metric` does. For kinds
    that do not refuse `head.search`."""
    reads: ClassVar[Literal["pooled", "sequence", "feature_map", "pyramid"]] = "pooled"
    """Which of a backbone's `Features` the default head builds on."""
    by_words: ClassVar[bool] = False
    """Whether outputs are of words: texts are then tokenized word by word, long ones in windows,
    and raw outputs and `outputs` of rows are arrays of `tltool.tasks.tags.tagged.WordScores`."""
    linear_copies: ClassVar[int] = 2
    """How many times the memory of its coefficients a fit of `linear_model` takes."""
    mistakes_title: ClassVar[str] = "Mistakes"
    """Heading of the list of worst rows."""
    open_names: ClassVar[bool] = False
    """Whether rows may have names that no training row has, to be measured on."""
    solvable: ClassVar[bool] = True
    """Whether a linear head can be solved exactly: see `row_loss`."""
    contrasts: ClassVar[bool] = False
    """Whether a phase may train with `objective: contrastive`: see `contrastive_loss`."""
    sized: ClassVar[bool] = False
    """Whether `head.dimensions` chooses the width of its output: see `with_width`."""
    compares_rows: ClassVar[bool] = False
    """Whether its loss compares the rows of a batch with each other: see `together`."""
    baseline_features: ClassVar[bool] = False
    """Whether it is compared with the pretrained features as they come, not a simple model."""

    of_texts: ClassVar[bool] = False
    """Whether a row of its data has several texts, each an input by itself: see `members`."""

    known_columns: ClassVar[tuple[tuple[str, tuple[str, ...]], ...]] = ()
    """Columns of inputs, and those of labels beside each, that are looked for in tables of which
    no column is named."""

    # ---- reading -----------------------------------------------------------------------------

    @classmethod
    def joined(cls, value: Any, label: Any) -> tuple[Any, Any]:
        """An input and what `reader` takes, of the two cells of a row.

        Raises:
            BadValueError: They do not fit each other.
        """
        return value, label

    @classmethod
    def alone(cls, value: Any) -> Any:
        """An input, of its cell in a row whose label does not matter.

        Raises:
            BadValueError: It is none.
        """
        return value

    @classmethod
    def file_rows(
        cls, path: Path, text: str, columns: Sequence[str | None], *, labelled: bool = True
    ) -> list[tuple[Any, Any, str]] | None:
        """The rows of a file in a form of the kind's own, where `own_files`; None for a table.

        Args:
            path: The file, no table of binary content.
            text: Its content.
            columns: Names of the columns of inputs and labels, None where none is named.
            labelled: Whether rows must have labels; if not, those given mean nothing.

        Returns:
            Input, label and place of each row; a `BadValueError` as the label of one that
            cannot be read.

        Raises:
            DataError: It is such a file and cannot be read.
        """
        return None

    @classmethod
    def likely_in(cls, labels: Sequence[Any], *, certain: bool = False) -> bool:
        """Whether labels as `file_rows` gives them look like this kind's, where nobody said so.

        Args:
            labels: Those of all rows.
            certain: Whether no table of other data may look like it.
        """
        return True

    @classmethod
    def noted(cls, labels: Sequence[Any]) -> str:
        """How labels of all rows were taken, as `joined` gives them; empty where it is plain."""
        return ""

    @classmethod
    @abstractmethod
    def reader(cls, columns: LabelColumns, cells: Sequence[Any]) -> Reader:
        """What reads the labels of rows.

        Args:
            columns: Where they stand.
            cells: Those of all rows, as they stand there, to find out how they are
                written: one value a row, or a tuple with one of each column.
        """

    @classmethod
    def layout(cls, source: Path, classes: Mapping[str, Any] | None = None) -> Layout | None:
        """The rows of a folder or file in a form that only this kind has; None for other forms.

        Args:
            source: The folder or file.
            classes: As in `LabelColumns`, where they are known.

        Raises:
            DataError: It is of such a form and cannot be used.
        """
        return None

    @classmethod
    def inputs_among(cls, files: Sequence[Path], folder: Path) -> list[Path]:
        """Of the files below a folder those that may be inputs, where labels are files too."""
        return list(files)

    @classmethod
    def fitted_to(cls, target: Any, value: Any) -> Any:
        """The target, where it can be that of this input.

        Raises:
            BadValueError: It cannot.
        """
        return target

    @classmethod
    def members(cls, row: int, texts: Sequence[str], target: Any) -> list[Any]:
        """The targets of the texts of a row, where `of_texts`.

        Args:
            row: Its number, which no other row of the data has.
            texts: As many as there are columns.
            target: As `reader` gives it.
        """
        raise NotImplementedError

    @property
    def label_fields(self) -> dict[str, Any]:
        """Fields of `data` that name the columns of labels, where they are known."""
        return {}

    @property
    def data_fields(self) -> dict[str, Any]:
        """Fields of `data` by which other data must be read as the training rows were."""
        return {}

    @classmethod
    @abstractmethod
    def names_in(cls, target: Any) -> tuple[str, ...]:
        """The names of labels that a target holds; none for numbers."""

    @classmethod
    def noun_of(cls, targets: Iterable[Any]) -> str:
        """What one of the names that `names_in` finds in targets is called."""
        return cls.noun

    @classmethod
    @abstractmethod
    def fit(cls, targets: Sequence[Any], names: Sequence[str] = ()) -> Self:
        """The kind on the targets of training rows.

        Args:
            targets: At least one, as `reader` gives them.
            names: Of the columns that they come from.

        Raises:
            DataError: There is nothing to learn, such as one class only.
        """

    @classmethod
    def remarks_on(cls, targets: Sequence[Any], task: str) -> list[str]:
        """What is legal but odd about training targets, in sentences."""
        return []

    # ---- dividing rows -----------------------------------------------------------------------

    @classmethod
    @abstractmethod
    def strata(cls, targets: Sequence[Any]) -> list[str]:
        """The stratum of each target, as messages call it: rows of one are alike."""

    @classmethod
    def divide(
        cls, targets: Sequence[Any], sizes: Sequence[int], shares: Mapping[str, float]
    ) -> list[str | None]:
        """Draws parts, such as splits, from all strata alike.

        Args:
            targets: Of groups of rows that must stay together, in the order of the draw.
            sizes: Rows of each group.
            shares: Share of the rows of each part; what is left is in none.

        Returns:
            The part of each group; None for what is left.

        Raises:
            DataError: A stratum has too few groups to be in every part; names all such.
        """
        return by_strata(cls.strata(targets), sizes, shares)

    @classmethod
    def divide_groups(
        cls, targets: Sequence[Any], groups: Sequence[Sequence[int]], shares: Mapping[str, float]
    ) -> list[str | None]:
        """As `divide`, where the data says what must stay together; see `by_groups`.

        Args:
            targets: Of the rows.
            groups: The rows of each group, in the order of the draw.
            shares: As for `divide`.

        Raises:
            DataError: There are too few groups for a part to have one.
        """
        return by_groups(cls.strata(targets), groups, shares)

    @classmethod
    def linked(cls, inputs: Sequence[Any]) -> Sequence[str]:
        """By what rows are alike that no split divides, besides duplicates; empty for nothing."""
        return ()

    @classmethod
    def some(cls, targets: Sequence[Any], most: int) -> list[int]:
        """At most `most` row numbers, evenly spaced, that can be measured on."""
        return evenly_spaced(len(targets), most)

    @classmethod
    def spread(cls, targets: Sequence[Any], count: int) -> list[int]:
        """At most `count` row numbers that stand for all rows; so does the last quarter of them."""
        return in_turns(cls.strata(targets), count)

    @abstractmethod
    def folds(self, truth: Array, count: int, seed: int) -> list[tuple[Array, Array]]:
        """Row numbers to fit on and to score, for each fold of a cross-validation.

        Raises:
            DataError: There are too few rows for so many folds.
        """

    def folds_of(
        self, truth: Array, count: int, seed: int, groups: Sequence[str]
    ) -> list[tuple[Array, Array]]:
        """As `folds`; where rows have groups, with all rows of one on one side."""
        if groups:
            return group_folds(self.alike(truth), groups, count, seed)
        return self.folds(truth, count, seed)

    def alike(self, truth: Array) -> Array:
        """Values (n, …) by which folds of groups are stratified: equal ones are alike."""
        return truth

    def pooled(self, others: Sequence[Self]) -> Self:
        """What measures the outputs of several models together, such as those of all folds.

        Args:
            others: The targets of these models, of the same names.
        """
        return self

    @abstractmethod
    def most_folds(self, truth: Array) -> int:
        """The most folds that make sense for these rows."""

    def rows_of_rarest(self, truth: Array) -> int:
        """Rows of the rarest class; all rows where there are no classes."""
        return len(truth)

    # ---- encoding and training ---------------------------------------------------------------

    @property
    def labels(self) -> tuple[str, ...]:
        """Names in the order of what a user reads; empty where outputs have none."""
        return ()

    @property
    def extent(self) -> str:
        """How many names it tells apart, such as "3 classes"; empty where it has no `labels`."""
        return count(len(self.labels), self.noun) if self.labels else ""

    @property
    @abstractmethod
    def num_outputs(self) -> int:
        """Width of the model's raw output: its last axis."""

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Shape of one row's raw output, None for a size that differs from row to row."""
        return (self.num_outputs,)

    def with_width(self, width: int) -> Self:
        """The target with raw outputs of this width, asked where `sized`."""
        raise NotImplementedError

    @abstractmethod
    def truth(self, targets: Sequence[Any], origins: Sequence[str] | None = None) -> Array:
        """What metrics compare outputs with.

        Args:
            targets: n of them.
            origins: Where they came from, for messages.

        Raises:
            DataError: A target is missing, or none that the model knows; names its row.
        """

    @abstractmethod
    def encode(self, truth: Array) -> Array:
        """What the loss compares raw outputs with, float32 (n, *output_shape) or as it takes it."""

    def packed(self, truth: Array) -> tuple[Array, Callable[[Any], Any]]:
        """`encode` for training a batch at a time, where all rows at once would be too much.

        Returns:
            What is kept of each row, (n, ...), and what makes `encode`'s values
            of some of these rows, with TensorFlow.
        """
        return self.encode(truth), lambda rows: rows

    @property
    @abstractmethod
    def row_loss(self) -> RowLoss:
        """The training loss without smoothing, in NumPy, for solvers of heads."""

    @abstractmethod
    def loss(self, *, label_smoothing: float = 0.0, focal_gamma: float = 0.0) -> keras.losses.Loss:
        """The training loss of raw outputs and encoded targets.

        A kind that has `training.dice` or `training.ranking` among its `options` takes it as an
        argument `dice` or `ranking` too.
        """

    def smoothed(self, encoded: Array, amount: float) -> Array:
        """Encoded targets as `loss` smooths them."""
        return encoded

    @abstractmethod
    def training_metrics(self) -> list[keras.metrics.Metric]:
        """What is shown while training, named as in `scores`, in the target's own unit."""

    @property
    def training_units(self) -> str:
        """In which unit `training_metrics` are, in words; empty where they have none."""
        return ""

    def together(self, truth: Array) -> tuple[Array, int] | None:
        """Which rows must meet in a batch where a loss compares rows with each other.

        Args:
            truth: Of the rows.

        Returns:
            The class of each row, int64 (n,), and how many of one class come
            together; None where nothing says which are alike.
        """
        return None

    def contrastive_loss(self) -> keras.losses.Loss:
        """What draws features (n, channels) of rows with equal targets together; if `contrasts`."""
        raise NotImplementedError

    def initial_kernel(self, channels: int) -> str:
        """The Keras initializer of the last layer's kernel (channels, num_outputs)."""
        return "glorot_uniform"

    def initial_bias(self) -> Sequence[float] | None:
        """What the last layer's bias starts at; None leaves it at 0."""
        return None

    def weights(self, targets: Sequence[Any], setting: ClassWeights) -> Array:
        """Weights in the loss: of each row (n,), or of each of its outputs (n, num_outputs).

        Raises:
            DataError: The setting names what is none of the labels, or there are no labels.
        """
        import numpy as np

        if setting not in (None, "auto"):
            raise DataError(
                f"Class weights were given, but a {self.noun} has no classes.",
                hint="use training.class_weights=auto, which weighs classes where there are any",
            )
        return np.ones(len(targets), "float32")

    def settled(self, setting: Any, held_out: HeldOut | None) -> Self:
        """The target after training, when what remains to be chosen is chosen.

        Args:
            setting: `evaluation.thresholds` of the recipe.
            held_out: Gives the trained model's `outputs` on validation rows and
                their truth; None where there are no such rows.

        Raises:
            DataError: The setting names what is none of the labels.
        """
        return self

    # ---- a teacher ---------------------------------------------------------------------------

    @classmethod
    def teachable(cls) -> bool:
        """Whether it can learn what another model says: `loss` takes what `softened` gives."""
        return False

    def translation(self, teacher: Self) -> Translation:
        """What makes raw outputs of this target of a teacher's, where `teachable`.

        Args:
            teacher: The target of another model.

        Raises:
            DataError: It tells other names apart; says which.
        """
        raise NotImplementedError

    def softened(self, raw: Any, temperature: float) -> Any:
        """What a teacher of these raw outputs says, as `loss` takes targets; backend tensors.

        Args:
            raw: float32 (n, num_outputs).
            temperature: Divides logits; 1 leaves them as they are.
        """
        raise NotImplementedError

    # ---- saying "unknown" ----------------------------------------------------------------------

    @property
    def plain(self) -> Target:
        """The target that is trained, without what is added to it afterwards."""
        return self

    def answers_in(self, outputs: Any) -> Any:
        """What `plain` takes of outputs, or of raw ones."""
        return outputs

    def accepted(self, outputs: Array) -> Array | None:
        """Which rows are of inputs that the model knows, bool (n,); None where it can't say."""
        return None

    @classmethod
    def has_sets(cls) -> bool:
        """Whether answers can be sets of classes that hold the right one at a stated rate."""
        return False

    def with_sets(self, coverage: float, outputs: Array, truth: Array) -> Self:
        """With sets of classes for an answer, as small as validation rows allow.

        Args:
            coverage: Share of inputs whose set is to hold the right class, above 0 and below 1.
            outputs: Of validation rows, as `kept` gives them.
            truth: Of these rows.
        """
        raise NotImplementedError

    # ---- calibration -------------------------------------------------------------------------

    @classmethod
    def calibratable(cls) -> bool:
        """Whether raw outputs are logits, which a temperature may divide without another answer."""
        return False

    def calibration_error(self, outputs: Array, truth: Array) -> float | None:
        """How far confidences are off on average, 0..1; None where that is not known.

        Args:
            outputs: As `kept` gives them.
            truth: Of the rows.
        """
        return None

    # ---- what a user reads -------------------------------------------------------------------

    @abstractmethod
    def outputs(self, raw: Any) -> Any:
        """What a user reads, of raw outputs (n, *output_shape), NumPy or backend tensors."""

    @classmethod
    def averaged(cls, raws: Sequence[Any]) -> Any:
        """Raw outputs whose `outputs` are the mean of those of several models, in the graph.

        A kind that defines `outputs` anew defines this too; without it, `can_average` is false.

        Args:
            raws: Of each model on the same rows, backend tensors (n, *output_shape), float32.

        Returns:
            (n, *output_shape).
        """
        raise NotImplementedError

    @classmethod
    def can_average(cls) -> bool:
        """Whether several models, or several views of a picture, can answer as one."""
        ours, outputs = (
            next(kind for kind in cls.__mro__ if name in vars(kind))
            for name in ("averaged", "outputs")
        )
        return ours is not Target and issubclass(ours, outputs)

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        """Shape of one row of `outputs`, None for a size that differs from row to row."""
        return self.result_shape[1:]

    @property
    def blank(self) -> Array:
        """A row of `outputs` without meaning, from which `row` makes all its columns."""
        import numpy as np

        return np.zeros([size or 0 for size in self.row_shape], np.float32)

    def finite(self, outputs: Array) -> Array:
        """Which rows have finite numbers alone, bool (n,); of `outputs` or what `kept` gives."""
        import numpy as np

        names = outputs.dtype.names
        parts = [outputs[name] for name in names] if names else [outputs]
        rows = [np.isfinite(part.reshape(len(outputs), -1)).all(axis=1) for part in parts]
        return np.all(rows, axis=0)

    @abstractmethod
    def prediction(self, output: Any) -> Prediction:
        """What one row of `outputs` says."""

    @abstractmethod
    def row(self, output: Any) -> dict[str, Any]:
        """One row of `outputs` for a table of predictions: `prediction` and more columns.

        All rows have the same keys, those of mappings in them too.
        """

    def kept(self, outputs: Array, targets: Sequence[Any], inputs: Sequence[Any] = ()) -> Array:
        """What evaluation keeps of the outputs of some rows, (n, …): all, unless that is too much.

        Args:
            outputs: As `outputs` gives them.
            targets: Of these rows, None where unknown.
            inputs: Of these rows, or nothing where they are not at hand.

        Returns:
            An array of n rows that `metrics`, `worst`, `picture` and `row` take as well.
        """
        return outputs

    def predictions(self, outputs: Array, inputs: Sequence[Any]) -> list[Prediction]:
        """What rows of `outputs` say of their inputs."""
        return [self.prediction(row) for row in outputs]

    def file_of(self, output: Any) -> bytes | None:
        """A PNG file that belongs to a row of predictions; None for none."""
        return None

    def shown(self, target: Any) -> Any:
        """A target as a table of predictions shows it."""
        return target

    def words(self, value: Any) -> str:
        """A target, or the value of a `Prediction`, in a sentence."""
        return str(value)

    def watched(self, outputs: Array) -> Watched:
        """What tells whether answers drift, of rows of `outputs`."""
        import numpy as np

        return Watched({}, (outputs / self.units).reshape(len(outputs), -1).astype(np.float64))

    def wrongness(self, outputs: Array, truth: Array) -> Array | None:
        """How wrong each row is, float64 (n,), 0 where it is right; None where nothing says so.

        Args:
            outputs: As `outputs` gives them.
            truth: Of the n rows.
        """
        return None

    def explained(self, output: Any, label: str | None = None) -> tuple[str, int] | None:
        """Which raw output an explanation is of, where raw outputs are (n, num_outputs).

        Args:
            output: One row of `outputs`.
            label: A name among `labels`, or of a number; None takes what was answered.

        Returns:
            Its name and number; None where no single output makes an answer.

        Raises:
            DataError: There is no such label.
        """
        return None

    def chosen(self, names: Sequence[str], label: str) -> tuple[str, int]:
        """A name and its number among some.

        Raises:
            DataError: It is none of them.
        """
        if label not in names:
            raise DataError(
                f"There is no {self.noun} {label!r}; there are {listed(names)}.",
                hint=did_you_mean(label, names),
            )
        return label, names.index(label)

    # ---- what a model is worth ---------------------------------------------------------------

    @classmethod
    def headline(cls) -> Score:
        """The score that sums a model up."""
        return cls.scores[0]

    @classmethod
    def order_score(cls, ranking: float) -> Score | None:
        """What tells a better epoch where the order of rows is trained, whose loss does not.

        Such a loss may rise while the order gets better. The score is one of
        `training_metrics`.

        Args:
            ranking: `training.ranking`; 0 trains no order but that which a kind always does.

        Returns:
            None where the loss tells.
        """
        return None

    def unit(self, key: str) -> str:
        """The unit of a score, in words such as "in the unit of price"; empty where it has none."""
        return ""

    @abstractmethod
    def metrics(self, outputs: Array, truth: Array) -> dict[str, Any]:
        """Everything the reports say, as JSON values, with the keys of `scores` and `n`.

        Raises:
            EvaluationError: No rows, or shapes or values that do not fit.
        """

    @abstractmethod
    def worst(self, outputs: Array, truth: Array) -> Array:
        """Row numbers of mistakes, the worst first."""

    def meant(self, row: int, outputs: Array, targets: Sequence[Any]) -> Any:
        """What a row of `worst` is, for `words`."""
        return targets[row]

    def mistake(self, row: int, outputs: Array, targets: Sequence[Any]) -> tuple[Any, float | None]:
        """What a row of `worst` was taken for, and the confidence in it, if there is one."""
        found = self.row(outputs[row])
        return found["prediction"], found.get("confidence")

    def tables(self, metrics: Mapping[str, Any]) -> list[Table]:
        """Tables for the reports."""
        return []

    def remarks(self, metrics: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
        """What is worth saying of the metrics: titles and lines."""
        return []

    def limits(self, metrics: Mapping[str, Any]) -> list[str]:
        """What a reader of the model card must know, in sentences."""
        return []

    @abstractmethod
    def picture(self, outputs: Array, truth: Array, metrics: Mapping[str, Any]) -> Picture:
        """What the report draws."""

    def stated(self, outputs: Array, truth: Array) -> tuple[Array, Array] | None:
        """Probabilities that it states, and whether what they are of came true, (m,) each.

        None where it states none.

        Args:
            outputs: As `kept` gives them.
            truth: Of the n rows.
        """
        return None

    def right(self, outputs: Array, truth: Array) -> Array | None:
        """Which rows are right, bool (m,), where the headline is their share; None where not.

        Args:
            outputs: As `kept` gives them.
            truth: Of the n rows, of which m can be right.
        """
        return None

    def row_errors(self, outputs: Array, truth: Array) -> tuple[Score, Array] | None:
        """How wrong each row is, float64 (n,), and what the mean of that is.

        None where rows are not judged one by one.

        Args:
            outputs: As `kept` gives them.
            truth: Of the n rows.
        """
        import numpy as np

        right = self.right(outputs, truth)
        if right is None or len(right) != len(truth):
            return None
        return Score("error_rate", "Errors", share=True, higher_is_better=False), np.where(
            right, 0.0, 1.0
        )

    def resampled(self, outputs: Array, truth: Array, counts: Array) -> Array:
        """The headline score of draws of the rows with replacement, (draws,).

        Args:
            outputs: As `kept` gives them.
            truth: Of the n rows.
            counts: How often each row was drawn, whole numbers (draws, n).

        Returns:
            NaN where a draw has no score.
        """
        import numpy as np

        rows = np.arange(len(truth))
        drawn = (np.repeat(rows, one.astype(np.int64)) for one in counts)
        return np.array([self.score(outputs[some], truth[some]) for some in drawn])

    def constant_guess(self, truth: Array) -> tuple[str, Array] | None:
        """The best answer that is the same for all inputs; None where there is none worth a look.

        Args:
            truth: Of the training rows.

        Returns:
            What it is, in words, and one row of `outputs`.
        """
        return None

    def baseline(
        self,
        train: tuple[Sequence[Any], Sequence[Any]],
        test: tuple[Sequence[Any], Sequence[Any]],
        loaded: Callable[[Sequence[Any]], Iterable[Any]],
    ) -> tuple[str, Array, str] | None:
        """A simple model to compare with; None takes a linear model on features of whole rows.

        Args:
            train, test: Inputs and targets.
            loaded: Gives pictures at the size of the model's input, uint8 (h, w, 3), a few
                of them at a time, of inputs that are pictures; texts as they are.

        Returns:
            Its name, what `metrics` takes as outputs on the test rows, and its setting in words.
        """
        return None

    def drawn(self, value: Any, target: Any, output: Any) -> bytes:
        """A picture of one row, as PNG, where `draws_worst`.

        Args:
            value: The input.
            target: The true one.
            output: As `kept` gives it of an unlabelled row.
        """
        raise NotImplementedError

    # ---- linear models to compare with -------------------------------------------------------

    @property
    @abstractmethod
    def linear_model(self) -> str:
        """What `fit_linear` fits, in words."""

    @abstractmethod
    def fit_linear(self, features: Any, truth: Array, strength: float) -> Callable[[Any], Array]:
        """Fits a linear model; the result gives `outputs` of features.

        Args:
            features: (n, channels), dense or sparse.
            truth: Of the rows.
            strength: Inverse of the penalty.

        Raises:
            EvaluationError: The rows cannot be fitted, such as one class only.
        """

    @abstractmethod
    def linear_setting(self, strength: float) -> str:
        """A strength as the model's own parameter."""

    @abstractmethod
    def score(self, outputs: Array, truth: Array) -> float:
        """The headline score alone."""

    def search_values(self, raw: Array, encoded: Array) -> dict[str, float]:
        """The two `search_scores` of raw outputs, without smoothing and weights."""
        raise NotImplementedError

    # ---- an audit of labels ------------------------------------------------------------------

    @classmethod
    def cell(cls, target: Any) -> str:
        """A target as one cell of a table of decisions: JSON."""
        return json.dumps(target, ensure_ascii=False)

    def told(self, target: Any, given: Any) -> str:
        """A target in words, for who reads it beside its input."""
        return self.words(target)

    @classmethod
    def of_cell(cls, cell: str) -> Any:
        """The target that stands in such a cell.

        Raises:
            BadValueError: It is none.
        """
        return cls.reader(LabelColumns(), [cell])(cell)

    def at_words(self, rows: Sequence[Any], truth: Array) -> AtWords:
        """What is said of the words that targets have, where each word has a label.

        Args:
            rows: `WordScores`, whose values are of any width.
            truth: Of these rows.
        """
        raise NotImplementedError

    def doubts(self, outputs: Array, truth: Array) -> Doubts | None:
        """Which labels are probably wrong; None for kinds that this cannot be told of.

        Args:
            outputs: Of models that have not seen the rows, as `outputs` gives them.
            truth: Of the rows.
        """
        return None

    def overlaps(self, outputs: Array, truth: Array) -> list[Overlap]:
        """Names that such models take for each other, the worst first."""
        return []

    def score_if_right(self, raw: Array, truth: Array, counts: Array) -> tuple[Array, Array] | None:
        """The headline score, were all labels right, and the share that is wrong.

        Args:
            raw: Raw outputs of models that have not seen the rows.
            truth: Of the rows, as given.
            counts: As for `resampled`.

        Returns:
            Both of each draw, (draws,); None for kinds that this cannot be told of.
        """
        return None

    # ---- exports -----------------------------------------------------------------------------

    def held_in(self, precision: str) -> Self:
        """The target as a model with weights of this precision can hold it.

        What it leaves to whoever runs the model is in its `to_json`.

        Args:
            precision: "float32", "float16", "dynamic_int8" or "int8".
        """
        return self

    @property
    @abstractmethod
    def result_name(self) -> str:
        """Name of the one output of models that give a single tensor."""

    @abstractmethod
    def result(self, raw: Any) -> Any:
        """That output in the graph, of raw outputs; a tensor."""

    def results(self, raw: Any) -> Mapping[str, Any]:
        """All outputs of such models in the graph by name, the result among them.

        Args:
            raw: What the model gives, as `tltool.tasks.unknown.layers.apart` has it.
        """
        return {self.result_name: self.result(raw)}

    def raw_part(self, raw: Any) -> Any:
        """What is called `raw_name` of what the model gives."""
        return raw

    def combined(self, results: Mapping[str, Any]) -> Any:
        """What `from_result` takes, of all outputs by name, of several rows or of one."""
        return results[self.result_name]

    @property
    @abstractmethod
    def raw_name(self) -> str:
        """Name of raw outputs where they are given."""

    @property
    @abstractmethod
    def result_shape(self) -> tuple[int | None, ...]:
        """Shape of that output, None for the batch."""

    @property
    @abstractmethod
    def contents(self) -> Mapping[str, str]:
        """What each named output of an exported model means."""

    @property
    def result_range(self) -> tuple[float, float] | None:
        """Smallest and largest possible value of the result; None where there are none."""
        return None

    def golden(self, outputs: Array) -> Array:
        """What golden examples hold of `outputs`: all, unless that is too much."""
        return outputs

    @property
    def golden_name(self) -> str:
        """What golden examples call what a user reads."""
        return self.result_name

    def golden_row(self, output: Any, decimals: int) -> Any:
        """One row of `outputs` in golden examples, its numbers with so many decimals."""
        import numpy as np

        return np.round(np.asarray(output, np.float64), decimals).tolist()

    def from_golden(self, values: Sequence[Any]) -> Array:
        """`outputs` of what `golden_row` gave for some rows."""
        import numpy as np

        return np.array(values)

    def with_inputs(self, outputs: Array, inputs: Sequence[Any]) -> Array:
        """What `from_served` gave, with what it does not say of the inputs."""
        return outputs

    @abstractmethod
    def served(self, raw: Any) -> dict[str, Any]:
        """The outputs of a SavedModel in the graph, of raw outputs, by name.

        Where texts are read word by word, of `tltool.tasks.tags.graph.WordTensors`.
        """

    def keras_result(self, raw: keras.KerasTensor) -> keras.KerasTensor | None:
        """The result as layers of Keras on a model's raw output, the last one named `result_name`.

        None where Keras has no layers for it: it becomes a layer that calls
        `result`, and the file needs tltool and this kind to be loaded.
        """
        return None

    @abstractmethod
    def from_result(self, result: Array) -> Array:
        """What a user reads, of the one output of an exported model."""

    def answers(self, outputs: Array, labels: Sequence[str]) -> list[Any]:
        """What rows of `outputs` name, by labels that lie beside a model; empty for numbers."""
        return []

    @abstractmethod
    def from_served(self, outputs: Mapping[str, Any]) -> tuple[Array, list[Any]]:
        """What a user reads and the names given, of a SavedModel's outputs (NumPy or lists)."""

    @abstractmethod
    def program(self) -> Program:
        """What programs beside an exported model must know."""

    @abstractmethod
    def gives(self) -> str:
        """What an exported model gives, in a sentence."""

    # ---- apps that answer wrongly ------------------------------------------------------------

    diagnosable: ClassVar[bool] = True
    """Whether `tltool diagnose` can read an app's answers: golden examples have all outputs."""

    def misreadings(self) -> list[Misreading]:
        """What an app can make wrongly of right outputs (n, outputs)."""
        return []

    # ---- the export gate ---------------------------------------------------------------------

    padding: ClassVar[Mapping[str, Any]] = {}
    """What pads those outputs of a SavedModel whose rows are as long as the longest of a batch."""
    answers_name: ClassVar[str] = "labels"
    """What golden examples call the answers of a row that can have several; empty leaves them
    out."""
    same_answer: ClassVar[str] = "same answer"
    """What `agrees` compares, in words."""
    drop_unit: ClassVar[str] = ""
    """Unit of `differences` and `drop`, in words with a space before it; empty for shares."""

    def differences(self, expected: Array, received: Array) -> Array:
        """How far outputs are apart, (n, outputs), in units that one limit fits."""
        import numpy as np

        distance: Array = np.abs(received - expected).reshape(len(expected), -1)
        return distance / self.units

    @property
    def units(self) -> Any:
        """What one unit of `differences` is, for each output."""
        return 1.0

    def range_of(self, outputs: Array) -> float:
        """The largest change of any output between two rows, as `differences` has it."""
        lowest, highest = outputs.min(axis=0), outputs.max(axis=0)
        return float(self.differences(lowest[None], highest[None]).max())

    def sent(self, outputs: Array, answers: list[Any]) -> tuple[dict[str, Any], list[Any]]:
        """Outputs and answers of an artifact, to be handed to another process.

        Returns:
            Arrays of numbers by name, and answers that are not among them, as JSON values.
        """
        return {"outputs": outputs}, answers

    def received(self, arrays: Mapping[str, Array], answers: list[Any]) -> tuple[Array, list[Any]]:
        """Outputs and answers, of what `sent` gave."""
        return arrays["outputs"], answers

    def log_odds(self, outputs: Array) -> Array | None:
        """What shows a difference that rounding hides in `outputs`, (n, outputs); None if nothing.

        Probabilities of a model that is sure of itself hide what their logits show.
        """
        return None

    def agrees(self, expected: Array, answers: Sequence[Any]) -> Array | None:
        """How far an artifact names what the model does, 0..1 (n,); None for numbers.

        Args:
            expected: `outputs` of the trained model.
            answers: What the artifact names for each row.
        """
        return None

    def comparable(self, outputs: Array) -> Array:
        """An artifact's outputs as `metrics` takes them: 8 bits round each one by itself."""
        return outputs

    def drop(self, model: Mapping[str, Any], artifact: Mapping[str, Any]) -> float:
        """How much worse the headline of an artifact's metrics is; negative where it is better."""
        head = self.headline()
        change: float = artifact[head.key] - model[head.key]
        return -change if head.higher_is_better else change

    def grace(self, rows: int) -> float:
        """A drop of the headline that one row makes, which is never a breach."""
        return 0.0

    def brief(self, output: Any, answer: Any = None) -> str:
        """One row's output in a few characters, with the answer it came with."""
        return self.words(self.prediction(output).value if answer is None else answer)

    def change(self, expected: Array, received: Array, *, raw: bool) -> float:
        """How much answers changed, mean over rows, for the search of what stays in float.

        Args:
            expected, received: (n, outputs).
            raw: Whether they are raw outputs, or what `result` makes of them.
        """
        import numpy as np

        return float(np.abs(received - expected).mean() / (expected.std() or 1.0))

    # ---- manifests ---------------------------------------------------------------------------

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """What `from_json` restores it from."""

    @classmethod
    @abstractmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Restores a target.

        Raises:
            ValueError, LookupError, TypeError: The values are not those of this kind.
        """
