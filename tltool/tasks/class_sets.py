"""Any number of labels for each row, also none: several labels for one input."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tltool.support.errors import DataError, EvaluationError
from tltool.support.words import count, excerpt, listed, percent, short
from tltool.tasks.label_cells import array_width, found_separator, labels_of, marked, values_of
from tltool.tasks.labelled import LabelledTarget, checked_labels
from tltool.tasks.reports import Bars, Score
from tltool.tasks.stratify import label_set_folds, over_label_sets
from tltool.tasks.target import (
    ClassWeights,
    HeldOut,
    LabelColumns,
    Prediction,
    Program,
    Reader,
    Refusal,
)
from tltool.tasks.values import HALF, NO_LABEL, sort_labels
from tltool.tasks.watched import LEAST_WATCHED, Watched

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tltool.tasks.doubts import Doubts, Overlap
    from tltool.tasks.losses.in_numpy import RowLoss
    from tltool.tasks.misreadings import Misreading

    Array = np.ndarray[Any, Any]

# Probabilities this close to their threshold count as tied with it.
TIE = 2e-4
_SMALLEST, _SMALLEST_REST = 1e-30, 1e-4
_LINES_SHOWN = 5


@dataclass(frozen=True)
class ClassSetTarget(LabelledTarget):
    """Several labels for each row, each by itself.

    A target is the tuple of a row's labels, in natural order.

    Attributes:
        labels: Names in the order of the model's outputs, at least one.
        thresholds: The probability from which on each label is given.
        frequencies: Share of the training rows that have each label.
    """

    thresholds: tuple[float, ...] = ()
    frequencies: tuple[float, ...] = ()

    kind = "class_set"
    noun = "label"
    scores: ClassVar = (
        Score("mean_average_precision", "Mean average precision"),
        Score("macro_f1", "Macro F1"),
        Score("micro_f1", "Micro F1"),
        Score("macro_precision", "Macro precision"),
        Score("macro_recall", "Macro recall"),
        Score("micro_precision", "Micro precision"),
        Score("micro_recall", "Micro recall"),
        Score("exact_match", "Exact match", share=True),
        Score("hamming_loss", "Hamming loss", higher_is_better=False),
    )
    search_scores: ClassVar = (
        Score("log_loss", "Log loss", higher_is_better=False),
        Score("mean_average_precision", "Mean average precision"),
    )
    refused: ClassVar[Mapping[str, Refusal]] = {}
    many_columns = True
    mistakes_title = "Most wrong labels"
    table_columns: ClassVar[Mapping[str, str]] = {
        "threshold": "From",
        "precision": "Precision",
        "recall": "Recall",
        "f1": "F1",
        "average_precision": "AP",
    }

    def __post_init__(self) -> None:
        if not self.thresholds:
            object.__setattr__(self, "thresholds", (HALF,) * len(self.labels))

    # ---- reading -----------------------------------------------------------------------------

    @classmethod
    def reader(cls, columns: LabelColumns, cells: Sequence[Any]) -> Reader:
        """Labels of one cell, a list, 0/1 columns or a row of a 0/1 array; see `Target.reader`."""
        if columns.several:
            return lambda cell: marked(columns.names, values_of(cell))
        width = array_width(cells)
        if width is not None:
            names = [str(number) for number in range(width)]
            return lambda cell: marked(names, values_of(cell))
        separator = columns.separator or found_separator(cells)
        return lambda cell: labels_of(cell, separator)

    @classmethod
    def names_in(cls, target: Any) -> tuple[str, ...]:
        """The labels; see `Target.names_in`."""
        return tuple(target)

    @classmethod
    def fit(cls, targets: Sequence[Any], names: Sequence[str] = ()) -> Self:
        """The labels in natural order, and how frequent each is.

        Raises:
            DataError: No row has a label, or a column's label is in no row, or in all of them.
        """
        counts = Counter(label for target in targets for label in target)
        if absent := [name for name in names if len(names) > 1 and not counts[name]]:
            raise DataError(
                f"No training example has {count(len(absent), 'label')}: {listed(absent)}.",
                hint="name the other columns in data.label_columns, or add examples",
            )
        if not counts:
            raise DataError("No training example has a label.")
        labels = sort_labels(counts)
        shares = tuple(counts[label] / len(targets) for label in labels)
        if always := [label for label, share in zip(labels, shares, strict=True) if share == 1]:
            raise DataError(
                f"All {len(targets)} training examples have {count(len(always), 'label')}: "
                f"{listed(always)}; there is nothing to tell apart.",
                hint="leave such labels out, or add examples without them",
            )
        return cls(labels=labels, frequencies=shares)

    @classmethod
    def remarks_on(cls, targets: Sequence[Any], task: str) -> list[str]:
        """Whether every row has just one label."""
        if any(len(target) != 1 for target in targets):
            return []
        modality = task.removesuffix("-multi-label")
        return [
            "Every training example has exactly one label: "
            f"task={modality}-classification fits such data better."
        ]

    # ---- dividing rows -----------------------------------------------------------------------

    @classmethod
    def strata(cls, targets: Sequence[Any]) -> list[str]:
        """The rarest of a row's labels."""
        counts = Counter(label for target in targets for label in target)
        return [
            f"The label {min(target, key=lambda label: (counts[label], label))!r}"
            if target
            else "The rows without a label"
            for target in targets
        ]

    @classmethod
    def divide(
        cls, targets: Sequence[Any], sizes: Sequence[int], shares: Mapping[str, float]
    ) -> list[str | None]:
        """Iterative stratification over the sets of labels; see `Target.divide`."""
        return over_label_sets(targets, sizes, shares)

    def folds(self, truth: Array, count: int, seed: int) -> list[tuple[Array, Array]]:
        """By iterative stratification, in an order of the seed."""
        import numpy as np

        sets = [[self.labels[i] for i in np.flatnonzero(row)] for row in truth]
        return label_set_folds(sets, count, seed)

    def pooled(self, others: Sequence[Self]) -> Self:
        """With the mean of their thresholds."""
        import numpy as np

        means = np.mean([other.thresholds for other in others], axis=0)
        return replace(self, thresholds=tuple(means.tolist()))

    def most_folds(self, truth: Array) -> int:
        """One row a fold."""
        return len(truth)

    # ---- encoding and training ---------------------------------------------------------------

    @property
    def num_outputs(self) -> int:
        """One logit a label."""
        return len(self.labels)

    def truth(self, targets: Sequence[Any], origins: Sequence[str] | None = None) -> Array:
        """Whether each row has each label, bool (n, labels)."""
        import numpy as np

        index = {label: i for i, label in enumerate(self.labels)}
        found = np.zeros((len(targets), len(self.labels)), bool)
        for row, target in enumerate(targets):
            if target is None:
                raise self.unknown(None, row, origins)
            for label in target:
                if label not in index:
                    raise self.unknown(label, row, origins)
                found[row, index[label]] = True
        return found

    def encode(self, truth: Array) -> Array:
        """Multi-hot."""
        import numpy as np

        return truth.astype(np.float32)

    def packed(self, truth: Array) -> tuple[Array, Callable[[Any], Any]]:
        """A bit a label."""
        import numpy as np
        import tensorflow as tf

        if type(self).encode is not ClassSetTarget.encode:
            return super().packed(truth)
        shifts = tf.constant(range(7, -1, -1), tf.uint8)

        def unpacked(rows: Any) -> Any:
            bits = tf.bitwise.bitwise_and(tf.bitwise.right_shift(rows[..., None], shifts), 1)
            wide = tf.reshape(bits, [-1, 8 * rows.shape[1]])
            return tf.cast(wide[:, : truth.shape[1]], tf.float32)

        return np.packbits(truth, axis=1), unpacked

    @classmethod
    def teachable(cls) -> bool:
        """Where outputs are a sigmoid of one logit a label, as here."""
        return cls.outputs is ClassSetTarget.outputs and cls.encode is ClassSetTarget.encode

    @property
    def row_loss(self) -> RowLoss:
        """Binary cross-entropy of each label."""
        from tltool.tasks.losses.in_numpy import Sigmoid

        return Sigmoid()

    def loss(self, *, label_smoothing: float = 0.0, focal_gamma: float = 0.0) -> keras.losses.Loss:
        """Binary cross-entropy, or the focal loss (Lin et al. 2017, arXiv:1708.02002)."""
        from tltool.tasks.losses.in_keras import BinaryCrossentropyByOutput

        return BinaryCrossentropyByOutput(label_smoothing=label_smoothing, focal_gamma=focal_gamma)

    def smoothed(self, encoded: Array, amount: float) -> Array:
        """Drawn towards one half."""
        import numpy as np

        if not amount:
            return encoded
        drawn: Array = encoded * (1 - amount) + np.float32(amount / 2)
        return drawn

    def training_metrics(self) -> list[keras.metrics.Metric]:
        """Mean average precision, by the area under the precision-recall curve of 200 points."""
        import keras

        return [
            keras.metrics.AUC(
                curve="PR",
                multi_label=True,
                num_labels=len(self.labels),
                from_logits=True,
                name="mean_average_precision",
            )
        ]

    def initial_bias(self) -> Sequence[float] | None:
        """The log-odds of each label, so that rare ones need not be unlearnt first.

        As in Lin et al. 2017 (arXiv:1708.02002), section 4.1, with each
        label's own prior in place of one for all.
        """
        import numpy as np

        if not self.frequencies:
            return None
        shares = np.asarray(self.frequencies)
        bias: list[float] = np.log(shares / (1 - shares)).astype("float32").tolist()
        return bias

    def weights(self, targets: Sequence[Any], setting: ClassWeights) -> Array:
        """Of each row's labels, (n, labels), which is what this loss takes; (n,) where all are 1.

        "balanced" gives rows with a label and rows without it the same sum of
        weights, n / (2 n_with) and n / (2 n_without); a mapping weighs rows
        that have a label, in that label's loss; "auto" leaves all at 1, since
        thresholds do what weights would.
        """
        import numpy as np

        if not setting or setting == "auto":
            return np.ones(len(targets), "float32")
        truth = self.truth(targets)
        if isinstance(setting, Mapping):
            self.check_names(setting)
            positive = np.array([float(setting.get(label, 1.0)) for label in self.labels])
            negative = np.ones(len(self.labels))
        else:
            having = truth.sum(axis=0)
            positive = len(truth) / (2 * np.maximum(having, 1))
            negative = len(truth) / (2 * np.maximum(len(truth) - having, 1))
        return np.where(truth, positive, negative).astype("float32")

    def settled(self, setting: Any, held_out: HeldOut | None) -> Self:
        """With thresholds as given, or those with the highest F1 on held-out rows."""
        from tltool.tasks.metrics.class_sets import best_thresholds

        if isinstance(setting, Mapping):
            self.check_names(setting, "evaluation.thresholds")
            chosen = [float(setting.get(label, HALF)) for label in self.labels]
        elif not isinstance(setting, str):
            chosen = [float(setting)] * len(self.labels)
        elif held_out is None:
            return self
        else:
            chosen = best_thresholds(*held_out())
        return replace(self, thresholds=tuple(chosen))

    # ---- what a user reads -------------------------------------------------------------------

    def outputs(self, raw: Any) -> Any:
        """Probabilities (n, labels), each by itself."""
        from keras import ops

        return ops.sigmoid(ops.cast(raw, "float32"))

    @classmethod
    def calibratable(cls) -> bool:
        """Where outputs are a sigmoid of one logit a label, as here."""
        return cls.teachable()

    def calibration_error(self, outputs: Array, truth: Array) -> float | None:
        """Of the probabilities of all labels, against how often a row has the label."""
        from tltool.tasks.metrics.classes import binned_gap

        return binned_gap(outputs.ravel(), truth.ravel())

    @classmethod
    def averaged(cls, raws: Sequence[Any]) -> Any:
        """Logits of the mean of probabilities."""
        from tltool.graph.means import mean_of_sigmoids

        return mean_of_sigmoids(raws)

    def given(self, output: Any) -> tuple[str, ...]:
        """The labels that one row's probabilities give, in the order of the labels."""
        from tltool.tasks.metrics.class_sets import given_labels

        marks = given_labels(output, self.thresholds)
        return tuple(label for label, mark in zip(self.labels, marks, strict=True) if mark)

    def prediction(self, output: Any) -> Prediction:
        """All labels that are given."""
        probabilities = dict(zip(self.labels, map(float, output), strict=True))
        return Prediction(self.given(output), None, probabilities)

    def row(self, output: Any) -> dict[str, Any]:
        """The labels given as a list, and all `probabilities`."""
        return {
            "prediction": list(self.given(output)),
            "probabilities": dict(zip(self.labels, map(short, output), strict=True)),
        }

    def shown(self, target: Any) -> Any:
        """The labels as a list."""
        return list(target)

    def words(self, value: Any) -> str:
        """`sea, trees`, or that there is none."""
        return ", ".join(value) or NO_LABEL

    def watched(self, outputs: Array) -> Watched:
        """How many labels are given, the highest probability, and the logits."""
        import numpy as np

        columns = {
            "labels given": (outputs >= np.asarray(self.thresholds)).sum(-1).astype(np.float64),
            "highest probability": outputs.max(-1).astype(np.float64),
        }
        values = np.clip(outputs.astype(np.float64), LEAST_WATCHED, 1 - LEAST_WATCHED)
        return Watched(columns, np.log(values) - np.log1p(-values))

    def wrongness(self, outputs: Array, truth: Array) -> Array:
        """As `row_errors`."""
        return self.row_errors(outputs, truth)[1]

    # ---- what a model is worth ---------------------------------------------------------------

    def metrics(self, outputs: Array, truth: Array) -> dict[str, Any]:
        """See `tltool.tasks.metrics.class_sets`."""
        from tltool.tasks.metrics.class_sets import class_set_metrics

        return class_set_metrics(outputs, truth, self.labels, self.thresholds)

    def resampled(self, outputs: Array, truth: Array, counts: Array) -> Array:
        """Mean average precision over the labels that a draw has rows of."""
        from tltool.tasks.metrics.class_sets import mean_average_precisions

        if type(self).score is not ClassSetTarget.score:
            return super().resampled(outputs, truth, counts)
        return mean_average_precisions(outputs, truth, counts)

    def constant_guess(self, truth: Array) -> tuple[str, Array]:
        """The share of the rows that have each label."""
        shares: Array = truth.mean(axis=0)
        return "the share of each label", shares

    def worst(self, outputs: Array, truth: Array) -> Array:
        """The rows with the most wrong labels, and of those the ones that were surest of them."""
        import numpy as np

        from tltool.tasks.metrics.class_sets import given_labels

        wrong = given_labels(outputs, self.thresholds) != truth
        sure = np.where(wrong, np.abs(outputs - np.asarray(self.thresholds)), 0.0).sum(axis=1)
        rows = np.flatnonzero(wrong.any(axis=1))
        return rows[np.lexsort((-sure[rows], -wrong[rows].sum(axis=1)))]

    def remarks(self, metrics: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
        """What is missed with which other label, and added to which."""
        missed = [
            f"{excerpt(cell['label'], 60)} missed with {excerpt(cell['with'], 60)}: "
            f"{cell['count']:,} of {cell['of']:,} rows that have both"
            for cell in metrics["missed"][:_LINES_SHOWN]
        ]
        added = [
            f"{excerpt(cell['label'], 60)} added to {excerpt(cell['with'], 60)}: "
            f"{cell['count']:,} of {cell['of']:,} ({percent(cell['count'] / cell['of'])})"
            for cell in metrics["added"][:_LINES_SHOWN]
        ]
        return [("Most frequently missed", missed), ("Most frequently added", added)]

    def limits(self, metrics: Mapping[str, Any]) -> list[str]:
        """Where thresholds come from."""
        chosen = set(self.thresholds) != {HALF}
        return [
            *super().limits(metrics),
            "A label is given where its probability reaches its threshold, "
            + ("chosen on held-out rows." if chosen else "0.5."),
        ]

    def picture(self, outputs: Array, truth: Array, metrics: Mapping[str, Any]) -> Bars:
        """Average precision and F1 of each label."""
        rows = metrics["per_class"]
        shares = {
            title: [row[key] for row in rows]
            for key, title in (("average_precision", "Average precision"), ("f1", "F1"))
        }
        return Bars([f"{row['label']} ({row['support']})" for row in rows], shares)

    def row_errors(self, outputs: Array, truth: Array) -> tuple[Score, Array]:
        """The share of labels that a row has and is not given, or the other way round.

        Their mean is the Hamming loss (Schapire and Singer 2000).
        """
        from tltool.tasks.metrics.class_sets import given_labels

        wrong = given_labels(outputs, self.thresholds) != truth
        score = Score("hamming_loss", "Wrong labels", share=True, higher_is_better=False)
        return score, wrong.mean(axis=1)

    def explained(self, output: Any, label: str | None = None) -> tuple[str, int]:
        """The logit of the most probable label, or of another one."""
        best = self.labels[int(output.argmax())]
        return self.chosen(self.labels, best if label is None else label)

    def stated(self, outputs: Array, truth: Array) -> tuple[Array, Array]:
        """The probability of each label of each row, and whether the row has it."""
        return outputs.ravel(), truth.astype(bool).ravel()

    # ---- linear models -----------------------------------------------------------------------

    linear_model = "logistic regression for each label"

    def fit_linear(self, features: Any, truth: Array, strength: float) -> Callable[[Any], Array]:
        """A logistic regression a label; one that all or no rows have keeps its share."""
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        shares = truth.mean(axis=0)
        if not ((shares > 0) & (shares < 1)).any():
            raise EvaluationError("A linear model needs a label that some training rows have.")
        models = {
            i: LogisticRegression(C=strength, max_iter=1000).fit(features, truth[:, i])
            for i in range(truth.shape[1])
            if 0 < shares[i] < 1
        }

        def predict(rows: Any) -> Array:
            probabilities = np.tile(shares, (rows.shape[0], 1))
            for i, model in models.items():
                probabilities[:, i] = model.predict_proba(rows)[:, 1]
            return probabilities

        return predict

    def linear_setting(self, strength: float) -> str:
        """The inverse of the penalty."""
        return f"C = {strength:g}"

    def score(self, outputs: Array, truth: Array) -> float:
        """Mean average precision; 0 where no label has rows."""
        from tltool.tasks.metrics.class_sets import mean_average_precision

        return mean_average_precision(outputs, truth) or 0.0

    def search_values(self, raw: Array, encoded: Array) -> dict[str, float]:
        """Log loss, mean over the labels, and mean average precision."""
        import numpy as np

        from tltool.tasks.losses.in_numpy import Sigmoid

        raw = raw.astype(np.float64)
        return {
            "log_loss": float(Sigmoid().values(raw, encoded).mean()),
            "mean_average_precision": self.score(raw, encoded > HALF),
        }

    # ---- an audit of labels ------------------------------------------------------------------

    def doubts(self, outputs: Array, truth: Array) -> Doubts:
        """By confident learning of each label by itself."""
        from tltool.tasks.doubts import of_class_sets

        return of_class_sets(outputs, truth, self.labels)

    def overlaps(self, outputs: Array, truth: Array) -> list[Overlap]:
        """See `Target.overlaps`."""
        from tltool.tasks.doubts import overlaps
        from tltool.tasks.metrics.class_sets import given_labels

        return overlaps(given_labels(outputs, self.thresholds), truth, self.labels)

    # ---- exports -----------------------------------------------------------------------------

    raw_name = "logits"

    @property
    def contents(self) -> Mapping[str, str]:
        """See `Target.contents`."""
        return {
            "probabilities": "the probability of each label by itself, in the order of "
            "`task.labels`; a label is given from its threshold in `task.thresholds` on",
            "labels": "the labels given, the most probable first, then empty texts",
            "logits": "the model's raw outputs, whose sigmoids are the probabilities",
        }

    def served(self, raw: Any) -> dict[str, Any]:
        """Probabilities, and the labels given, (n, labels) with empty texts after them."""
        import tensorflow as tf

        outputs = self.outputs(raw)
        given = tf.cast(outputs >= tf.constant(self.thresholds, tf.float32), tf.float32)
        # Those given come first, each group by probability.
        order = tf.argsort(outputs + given, axis=-1, direction="DESCENDING", stable=True)
        names = tf.gather(tf.constant(self.labels), order)
        marks = tf.gather(given, order, batch_dims=1) > 0
        return {
            "probabilities": outputs,
            "labels": tf.where(marks, names, tf.zeros_like(names)),
        }

    def keras_result(self, raw: keras.KerasTensor) -> keras.KerasTensor:
        """A sigmoid."""
        import keras

        return keras.layers.Activation("sigmoid", dtype="float32", name="probabilities")(raw)

    def answers(self, outputs: Array, labels: Sequence[str]) -> list[Any]:
        """The labels given to each row."""
        named = replace(self, labels=tuple(labels))
        return [named.given(row) for row in outputs]

    def from_served(self, outputs: Mapping[str, Any]) -> tuple[Array, list[Any]]:
        """See `Target.from_served`."""
        import numpy as np

        texts = [
            [name.decode() if isinstance(name, bytes) else name for name in row]
            for row in outputs["labels"]
        ]
        order = {label: i for i, label in enumerate(self.labels)}
        names = [
            tuple(sorted(filter(None, row), key=lambda name: order.get(name, -1))) for row in texts
        ]
        return np.asarray(outputs["probabilities"], np.float32), names

    def program(self) -> Program:
        """Programs print every label that is given."""
        return Program(labels=True, sets=True, constants={"THRESHOLDS": list(self.thresholds)})

    def gives(self) -> str:
        """See `Target.gives`."""
        return (
            f"It gives the probability of each of {len(self.labels)} labels by itself; a label is "
            "given where its probability reaches its threshold in `contract.json`."
        )

    # ---- apps that answer wrongly ------------------------------------------------------------

    def misreadings(self) -> list[Misreading]:
        """See `Target.misreadings`."""
        from tltool.tasks.misreadings import of_labels

        return of_labels(self.labels, self.log_odds)

    # ---- the export gate ---------------------------------------------------------------------

    same_answer = "same labels"

    def log_odds(self, outputs: Array) -> Array:
        """The logits, as far as float32 can say them: 1 - p has an error of 6e-8."""
        import numpy as np

        values = np.clip(outputs.astype(np.float64), _SMALLEST, 1 - _SMALLEST_REST)
        odds: Array = np.log(values) - np.log1p(-values)
        return odds

    def agrees(self, expected: Array, answers: Sequence[Any]) -> Array:
        """The share of each row's labels that are given or not as the model does.

        Those at their threshold count as the same; a row that names no label
        of the model's has none.
        """
        import numpy as np

        gaps = np.float32(expected) - np.float32(np.asarray(self.thresholds))
        known = set(self.labels)
        named = np.array([[label in answer for label in self.labels] for answer in answers])
        fits = (named == (gaps >= 0)) | (np.abs(gaps) <= TIE)
        return fits.mean(axis=1) * np.array([known.issuperset(answer) for answer in answers])

    def grace(self, rows: int) -> float:
        """What one row's change of rank can make of a label's average precision."""
        return 1 / rows

    def brief(self, output: Any, answer: Any = None) -> str:
        """`sea, trees 0.91 0.55`."""
        names = self.given(output) if answer is None else answer
        index = {label: i for i, label in enumerate(self.labels)}
        shares = " ".join(f"{output[index[name]]:.4f}" for name in names if name in index)
        return f"{self.words(names)} {shares}".rstrip()

    def change(self, expected: Array, received: Array, *, raw: bool) -> float:
        """Sum of the changes of a row's probabilities, mean over the rows.

        That is how many labels more or less a model expects to be right.
        """
        import numpy as np

        from tltool.tasks.losses.in_numpy import sigmoid

        if raw:
            expected, received = sigmoid(expected), sigmoid(received)
        return float(np.abs(received - expected).sum(axis=1).mean())

    # ---- manifests ---------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Labels, thresholds and frequencies."""
        return {
            **super().to_json(),
            "thresholds": list(self.thresholds),
            "frequencies": list(self.frequencies),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """See `Target.from_json`."""
        labels = checked_labels(values["labels"])
        thresholds = tuple(map(float, values["thresholds"]))
        if len(thresholds) != len(labels):
            raise ValueError(f"it has {len(labels)} labels and {len(thresholds)} thresholds")
        return cls(labels, thresholds, tuple(map(float, values.get("frequencies", ()))))
