"""One of several classes for each row."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tltool.support.errors import DataError, EvaluationError
from tltool.support.words import count, excerpt, percent, short
from tltool.tasks.best_classes import MANY_CLASSES, best_classes
from tltool.tasks.labelled import LabelledTarget, at_least_two_folds, stratified_folds
from tltool.tasks.prediction_sets import PredictionSets
from tltool.tasks.reports import Bars, Matrix, Score
from tltool.tasks.target import ClassWeights, LabelColumns, Prediction, Program, Reader, Refusal
from tltool.tasks.values import BadValueError, choices_in, label_text, sort_labels
from tltool.tasks.watched import CONFIDENCE, LEAST_WATCHED, MOST_NAMES, Watched

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tltool.tasks.doubts import Doubts, Overlap
    from tltool.tasks.losses.in_numpy import RowLoss
    from tltool.tasks.misreadings import Misreading

    Array = np.ndarray[Any, Any]

# Top classes this close in probability count as tied.
TIE = 2e-4
# Below this a probability says no more about its logit: float32 ends near 1e-38.
SMALLEST = 1e-30
TOGETHER = 4
"""Rows of a class that meet in a batch of a contrastive loss, so that each has some to come near.
"""
_CONFUSIONS_SHOWN = 5
_CALIBRATION_NOTED = 0.05
# Of logits, when it is judged how far single rows' answers move: see `change`.
_CONFIDENCE = 0.7
_MANY_NUMBERS = 30


@dataclass(frozen=True)
class ClassTarget(LabelledTarget):
    """One of several classes.

    Attributes:
        labels: Class names in the order of the model's outputs, at least two.
        sets: How sets of classes are made for an answer, where the recipe asks for them.
    """

    sets: PredictionSets | None = field(default=None, kw_only=True)

    kind = "class"
    noun = "class"
    scores: ClassVar = (
        Score("accuracy", "Accuracy", share=True),
        Score("macro_f1", "Macro F1"),
        Score("weighted_f1", "Weighted F1"),
        Score("macro_precision", "Macro precision"),
        Score("macro_recall", "Macro recall"),
        Score("roc_auc", "ROC-AUC (one against the rest)"),
        Score("pr_auc", "PR-AUC (average precision)"),
        Score("calibration_error", "Calibration error (15 bins)", higher_is_better=False),
        Score("log_loss", "Log loss", higher_is_better=False),
    )
    search_scores: ClassVar = (
        Score("log_loss", "Log loss", higher_is_better=False),
        Score("accuracy", "Accuracy", share=True),
    )
    refused: ClassVar[Mapping[str, Refusal]] = {
        "evaluation.thresholds": Refusal(
            "is for several labels, but the task gives the most probable class",
            "use evaluation.thresholds=auto",
        ),
    }
    from_folders = True
    contrasts = True
    mistakes_title = "Most confident mistakes"

    # ---- reading -----------------------------------------------------------------------------

    @classmethod
    def reader(cls, columns: LabelColumns, cells: Sequence[Any]) -> Reader:
        """One label a row, also as a list of one; see `Target.reader`."""
        return _label_of

    @classmethod
    def names_in(cls, target: Any) -> tuple[str, ...]:
        """The class; see `Target.names_in`."""
        return (target,)

    @classmethod
    def fit(cls, targets: Sequence[Any], names: Sequence[str] = ()) -> Self:
        """The classes in natural order ("2" before "10"; numbers by value)."""
        labels = sort_labels(targets)
        if len(labels) < 2:
            raise DataError(
                f"All {len(targets)} training examples have the same label, {labels[0]!r}; "
                "two classes at least are needed."
            )
        return cls(labels=labels)

    @classmethod
    def remarks_on(cls, targets: Sequence[Any], task: str) -> list[str]:
        """Whether the labels look like numbers that a regression would predict."""
        distinct = set(targets)
        try:
            numbers = [float(label) for label in distinct]
        except ValueError:
            return []
        whole = all(number.is_integer() for number in numbers)
        if not all(map(math.isfinite, numbers)) or (whole and len(distinct) <= _MANY_NUMBERS):
            return []
        modality = task.removesuffix("-classification")
        return [
            f"The {len(distinct)} labels are all numbers, such as {sorted(distinct)[0]}: "
            f"task={modality}-regression predicts numbers; {task} takes each for a class."
        ]

    # ---- dividing rows -----------------------------------------------------------------------

    @classmethod
    def strata(cls, targets: Sequence[Any]) -> list[str]:
        """The class; see `Target.strata`."""
        names = {target: f"The class {target!r}" for target in set(targets)}
        return [names[target] for target in targets]

    def folds(self, truth: Array, count: int, seed: int) -> list[tuple[Array, Array]]:
        """Stratified by class; a class with fewer rows than folds is missing from some."""
        most = self.most_folds(truth)
        if count > most:
            raise DataError(
                f"{count} folds need {count} rows of at least one class; there are {most}.",
                hint=f"take {most} folds or fewer, or add rows" if most > 1 else "add rows",
            )
        return stratified_folds(truth, at_least_two_folds(count), seed)

    def most_folds(self, truth: Array) -> int:
        """Rows of the largest class."""
        import numpy as np

        return int(np.bincount(truth).max())

    def rows_of_rarest(self, truth: Array) -> int:
        """Of those that are there."""
        import numpy as np

        return int(np.unique(truth, return_counts=True)[1].min())

    def class_numbers(self, encoded: Array) -> Array:
        """The class of each encoded row, int64 (n,): what `encode` was given."""
        numbers: Array = encoded.argmax(axis=1)
        return numbers

    # ---- encoding and training ---------------------------------------------------------------

    @property
    def num_outputs(self) -> int:
        """One logit a class."""
        return len(self.labels)

    def truth(self, targets: Sequence[Any], origins: Sequence[str] | None = None) -> Array:
        """Class numbers, int64 (n,)."""
        import numpy as np

        numbers = {label: i for i, label in enumerate(self.labels)}
        for row, target in enumerate(targets):
            if target not in numbers:
                raise self.unknown(target, row, origins)
        return np.array([numbers[target] for target in targets], np.int64)

    def encode(self, truth: Array) -> Array:
        """One-hot."""
        import numpy as np

        encoded = np.zeros((len(truth), len(self.labels)), np.float32)
        encoded[np.arange(len(truth)), truth] = 1
        return encoded

    def packed(self, truth: Array) -> tuple[Array, Callable[[Any], Any]]:
        """The class numbers."""
        import tensorflow as tf

        if type(self).encode is not ClassTarget.encode:
            return super().packed(truth)
        return truth, lambda rows: tf.one_hot(rows, len(self.labels))

    @classmethod
    def teachable(cls) -> bool:
        """Where outputs are a softmax of one logit a class, as here."""
        return cls.outputs is ClassTarget.outputs and cls.encode is ClassTarget.encode

    @property
    def row_loss(self) -> RowLoss:
        """Cross-entropy."""
        from tltool.tasks.losses.in_numpy import Softmax

        return Softmax()

    def loss(self, *, label_smoothing: float = 0.0, focal_gamma: float = 0.0) -> keras.losses.Loss:
        """Cross-entropy, or the focal loss (Lin et al. 2017, arXiv:1708.02002)."""
        import keras

        if focal_gamma:
            return keras.losses.CategoricalFocalCrossentropy(
                alpha=1.0, gamma=focal_gamma, from_logits=True, label_smoothing=label_smoothing
            )
        return keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=label_smoothing
        )

    def together(self, truth: Array) -> tuple[Array, int]:
        """Rows of one class, where a phase is contrastive."""
        return truth, TOGETHER

    def contrastive_loss(self) -> keras.losses.Loss:
        """The supervised contrastive loss."""
        from tltool.tasks.embeddings.losses import SupervisedContrastive

        return SupervisedContrastive()

    def smoothed(self, encoded: Array, amount: float) -> Array:
        """A share of each row spread over all classes."""
        import numpy as np

        if not amount:
            return encoded
        spread: Array = encoded * (1 - amount) + np.float32(amount / encoded.shape[1])
        return spread

    def training_metrics(self) -> list[keras.metrics.Metric]:
        """The accuracy."""
        import keras

        return [keras.metrics.CategoricalAccuracy(name="accuracy")]

    def weights(self, targets: Sequence[Any], setting: ClassWeights) -> Array:
        """Of each row (n,), by its class.

        "balanced" and "auto" give n / (k * n_class) over the k classes
        present, as scikit-learn's `compute_class_weight`; a mapping gives 1.0
        to classes that it does not name.
        """
        import numpy as np

        if setting is None:
            return np.ones(len(targets), "float32")
        if isinstance(setting, Mapping):
            self.check_names(setting)
            by_class = {label: float(setting.get(label, 1.0)) for label in self.labels}
        else:
            counts = Counter(targets)
            by_class = {c: len(targets) / (len(counts) * number) for c, number in counts.items()}
        return np.array([by_class[target] for target in targets], "float32")

    # ---- what a user reads -------------------------------------------------------------------

    def outputs(self, raw: Any) -> Any:
        """Probabilities (n, classes) that add up to 1."""
        from keras import ops

        return ops.softmax(ops.cast(raw, "float32"), axis=-1)

    @classmethod
    def averaged(cls, raws: Sequence[Any]) -> Any:
        """Logits of the mean of probabilities."""
        from tltool.graph.means import mean_of_softmaxes

        return mean_of_softmaxes(raws)

    @classmethod
    def calibratable(cls) -> bool:
        """Where outputs are a softmax of one logit a class, as here."""
        return cls.teachable()

    @classmethod
    def has_sets(cls) -> bool:
        """Where outputs are a softmax of one logit a class, as here."""
        return cls.teachable()

    def with_sets(self, coverage: float, outputs: Array, truth: Array) -> Self:
        """By the probability of the true class."""
        return replace(self, sets=PredictionSets.of(_likely(outputs, truth), coverage))

    def pooled(self, others: Sequence[Self]) -> Self:
        """With the mean of their thresholds of sets."""
        found = [other.sets for other in others if other.sets is not None]
        if self.sets is None or not found:
            return self
        mean = sum(sets.threshold for sets in found) / len(found)
        return replace(self, sets=replace(self.sets, threshold=mean))

    def calibration_error(self, outputs: Array, truth: Array) -> float | None:
        """Of the most probable class: see `tltool.tasks.metrics.classes`."""
        from tltool.tasks.metrics.classes import binned_gap

        best, confidence = _best(outputs)
        return binned_gap(confidence, best == truth)

    @property
    def _softmax_of_raw(self) -> bool:
        """Whether `outputs` is this kind's own, and not that of one derived from it."""
        return type(self).outputs is ClassTarget.outputs

    def _probabilities(self, raw: Array) -> Array:
        """`outputs` of a NumPy array as one, without Keras where that is not needed."""
        import numpy as np

        from tltool.tasks.losses.in_numpy import softmax

        return softmax(raw) if self._softmax_of_raw else np.asarray(self.outputs(raw))

    def prediction(self, output: Any) -> Prediction:
        """The most probable class."""
        best = int(output.argmax())
        probabilities = dict(zip(self.labels, map(float, output), strict=True))
        return Prediction(
            self.labels[best], float(output[best]), probabilities, among=self._among(output)
        )

    def _among(self, output: Any) -> tuple[str, ...] | None:
        """The set of one row, of what `kept` gives too; the most probable class first."""
        if self.sets is None:
            return None
        if output.dtype.names:
            classes, probabilities = output["classes"], output["probabilities"]
        else:
            classes = (-output).argsort(kind="stable")
            probabilities = output[classes]
        members = self.sets.members(probabilities)
        return tuple(self.labels[number] for number in classes[members])

    def row(self, output: Any) -> dict[str, Any]:
        """The class, its probability as `confidence`, and all `probabilities`.

        Of more than `MANY_CLASSES` the `best` few, the first of them first. With sets, the classes
        `among` which the right one is at their rate.
        """
        among = self._among(output)
        more = {} if among is None else {"among": list(among)}
        if len(self.labels) > MANY_CLASSES:
            kept = output if output.dtype.names else best_classes(output[None], [-1])[0]
            few = [
                {"label": self.labels[number], "probability": short(value)}
                for number, value in zip(kept["classes"], kept["probabilities"], strict=True)
            ]
            label, probability = few[0].values()
            return {"prediction": label, "confidence": probability, **more, "best": few}
        best = int(output.argmax())
        return {
            "prediction": self.labels[best],
            "confidence": short(output[best]),
            **more,
            "probabilities": dict(zip(self.labels, map(short, output), strict=True)),
        }

    def kept(self, outputs: Array, targets: Sequence[Any], inputs: Sequence[Any] = ()) -> Array:
        """Of more than `MANY_CLASSES` the best few; see `best_classes`."""
        if len(self.labels) <= MANY_CLASSES:
            return outputs
        numbers = {label: i for i, label in enumerate(self.labels)}
        return best_classes(outputs, [numbers.get(target, -1) for target in targets])

    def watched(self, outputs: Array) -> Watched:
        """The class, the confidence in it, and the logits."""
        import numpy as np

        columns = {CONFIDENCE: outputs.max(-1).astype(np.float64)}
        logits = np.log(np.maximum(outputs, LEAST_WATCHED, dtype=np.float64))
        if len(self.labels) > MOST_NAMES:
            return Watched(columns, logits)
        columns["class"] = np.array(self.labels, object)[outputs.argmax(-1)]
        return Watched(columns, logits, {"class": self.labels})

    def wrongness(self, outputs: Array, truth: Array) -> Array:
        """1 where another class is the most probable one."""
        import numpy as np

        return (outputs.argmax(-1) != truth).astype(np.float64)

    # ---- what a model is worth ---------------------------------------------------------------

    def metrics(self, outputs: Array, truth: Array) -> dict[str, Any]:
        """See `tltool.tasks.metrics.classes`; with `sets`, what these are worth."""
        from tltool.tasks.metrics.classes import classification_metrics

        found = classification_metrics(outputs, truth, self.labels)
        if self.sets is None:
            return found
        probabilities = outputs["probabilities"] if outputs.dtype.names else outputs
        return {**found, "sets": self.sets.metrics(probabilities, _likely(outputs, truth))}

    def right(self, outputs: Array, truth: Array) -> Array | None:
        """Where the most probable class is the true one."""
        if type(self).score is not ClassTarget.score:
            return None
        found: Array = _best(outputs)[0] == truth
        return found

    def constant_guess(self, truth: Array) -> tuple[str, Array]:
        """The most frequent class, with the shares of all."""
        import numpy as np

        shares = np.bincount(truth, minlength=len(self.labels)) / len(truth)
        return f"always {excerpt(self.labels[int(shares.argmax())], 60)}", shares

    def worst(self, outputs: Array, truth: Array) -> Array:
        """The most confident wrong ones first."""
        import numpy as np

        best, confidence = _best(outputs)
        wrong = np.flatnonzero(best != truth)
        return wrong[np.argsort(-confidence[wrong], kind="stable")]

    def remarks(self, metrics: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
        """The most frequent confusions, and what sets of classes are worth."""
        rows_of = {row["label"]: row["support"] for row in metrics["per_class"]}
        lines = [
            f"{excerpt(cell['true'], 60)} taken for {excerpt(cell['predicted'], 60)}: "
            f"{cell['count']:,} of {rows_of[cell['true']]:,} ({percent(cell['share'])})"
            for cell in metrics["confusions"][:_CONFUSIONS_SHOWN]
        ]
        found = [("Most frequent confusions", lines)]
        if (sets := metrics.get("sets")) is not None:
            line = (
                f"{percent(sets['found_coverage'])} of the sets hold the right class, of "
                f"{sets['mean_size']:.2f} classes on average and of one in "
                f"{percent(sets['share_of_one'])}: those of a probability of at least "
                f"{sets['threshold']:.4g}, which was chosen on {sets['rows']:,} validation rows "
                f"for {percent(sets['coverage'])}"
            )
            found.append(("Sets of classes", [line]))
        return found

    def limits(self, metrics: Mapping[str, Any]) -> list[str]:
        """How far confidences can be trusted, and that every input gets a class."""
        error, chance = metrics["calibration_error"], metrics["calibration_error_by_chance"]
        advice = ": treat them as scores, not as probabilities"
        return [
            *super().limits(metrics),
            f"Confidences are off by {percent(error)} on average ({percent(chance)} is what right "
            f"ones show on as many rows)"
            + (f"{advice}." if error - chance > _CALIBRATION_NOTED else "."),
            "The model always answers with one of its classes, also for input that fits none.",
        ]

    def picture(self, outputs: Array, truth: Array, metrics: Mapping[str, Any]) -> Matrix | Bars:
        """The confusion matrix; of more than `MANY_CLASSES` the scores of the weakest."""
        if metrics["confusion_matrix"] is None:
            rows = [row for row in metrics["per_class"] if row["support"]]
            weakest = sorted(rows, key=lambda row: float(row["f1"]))[:_MANY_NUMBERS]
            shares = {name.capitalize(): [row[name] for row in weakest]
                      for name in ("precision", "recall")}  # fmt: skip
            return Bars([row["label"] for row in weakest], shares, "Scores of the weakest classes")
        return Matrix(metrics["confusion_matrix"], self.labels, truth, _best(outputs)[0])

    def explained(self, output: Any, label: str | None = None) -> tuple[str, int] | None:
        """The logit of the predicted class, or of another one."""
        if not self._softmax_of_raw:
            return None
        best = self.labels[int(output.argmax())]
        return self.chosen(self.labels, best if label is None else label)

    def stated(self, outputs: Array, truth: Array) -> tuple[Array, Array] | None:
        """The probability of the predicted class, and whether it is the true one."""
        if not self._softmax_of_raw:
            return None
        best, confidence = _best(outputs)
        return confidence, best == truth

    # ---- linear models -----------------------------------------------------------------------

    linear_model = "logistic regression"
    linear_copies = 24  # L-BFGS keeps the last ten steps and gradients of all classes

    def fit_linear(self, features: Any, truth: Array, strength: float) -> Callable[[Any], Array]:
        """A logistic regression; a class without rows keeps probability 0."""
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        present = np.unique(truth)
        if len(present) < 2:
            raise EvaluationError(
                "A linear model needs training rows of at least two classes. "
                f"Received: only {self.labels[present[0]]!r}."
            )
        model = LogisticRegression(C=strength, max_iter=1000).fit(features, truth)

        def predict(rows: Any) -> Array:
            probabilities = np.zeros((rows.shape[0], len(self.labels)))
            probabilities[:, model.classes_] = model.predict_proba(rows)
            return probabilities

        return predict

    def linear_setting(self, strength: float) -> str:
        """The inverse of the penalty."""
        return f"C = {strength:g}"

    def score(self, outputs: Array, truth: Array) -> float:
        """The accuracy."""
        return float((outputs.argmax(axis=1) == truth).mean())

    def search_values(self, raw: Array, encoded: Array) -> dict[str, float]:
        """Log loss and accuracy."""
        import numpy as np

        probabilities = self._probabilities(raw.astype(np.float64))
        truth = self.class_numbers(encoded)
        likely = probabilities[np.arange(len(truth)), truth]
        return {
            "log_loss": float(-np.log(np.maximum(likely, 1e-12)).mean()),
            "accuracy": self.score(probabilities, truth),
        }

    # ---- an audit of labels ------------------------------------------------------------------

    @classmethod
    def cell(cls, target: Any) -> str:
        """The class as it is."""
        return str(target)

    @classmethod
    def of_cell(cls, cell: str) -> Any:
        """The class as it is."""
        return label_text(cell)

    def doubts(self, outputs: Array, truth: Array) -> Doubts:
        """By confident learning and self-confidence."""
        from tltool.tasks.doubts import of_classes

        return of_classes(outputs, truth, self.labels)

    def overlaps(self, outputs: Array, truth: Array) -> list[Overlap]:
        """See `Target.overlaps`."""
        from tltool.tasks.doubts import overlaps

        answered, given = (self.encode(of) > 0 for of in (outputs.argmax(axis=1), truth))
        return overlaps(answered, given, self.labels)

    def score_if_right(self, raw: Array, truth: Array, counts: Array) -> tuple[Array, Array] | None:
        """The accuracy, by a model of noisy labels; see `NoisyLabels`."""
        from tltool.tasks.doubts import NoisyLabels

        if type(self).score is not ClassTarget.score or not self._softmax_of_raw:
            return None
        return NoisyLabels.of(raw, truth).right(counts)

    # ---- exports -----------------------------------------------------------------------------

    raw_name = "logits"

    @property
    def contents(self) -> Mapping[str, str]:
        """See `Target.contents`."""
        return {
            "probabilities": "the probability of each class, in the order of `task.labels`",
            "label": "the name of the most probable class",
            "score": "the probability of that class",
            "logits": "the model's raw outputs, whose softmax are the probabilities",
        }

    def served(self, raw: Any) -> dict[str, Any]:
        """Probabilities, and name and probability of the best class."""
        import tensorflow as tf

        outputs = self.outputs(raw)
        return {
            "probabilities": outputs,
            "label": tf.gather(tf.constant(self.labels), tf.argmax(outputs, axis=-1)),
            "score": tf.reduce_max(outputs, axis=-1),
        }

    def keras_result(self, raw: keras.KerasTensor) -> keras.KerasTensor | None:
        """A softmax."""
        import keras

        if not self._softmax_of_raw:
            return None
        return keras.layers.Activation("softmax", dtype="float32", name="probabilities")(raw)

    def answers(self, outputs: Array, labels: Sequence[str]) -> list[Any]:
        """The best class of each row."""
        return [labels[best] for best in outputs.argmax(-1)]

    def from_served(self, outputs: Mapping[str, Any]) -> tuple[Array, list[Any]]:
        """See `Target.from_served`."""
        import numpy as np

        return np.asarray(outputs["probabilities"], np.float32), [
            name.decode() if isinstance(name, bytes) else name for name in outputs["label"]
        ]

    def program(self) -> Program:
        """Programs print the best class."""
        return Program(labels=True)

    def gives(self) -> str:
        """See `Target.gives`."""
        found = f"It gives the probability of each of {len(self.labels)} classes."
        if self.sets is None:
            return found
        return (
            f"{found} Those of at least {self.sets.threshold:.6g}, and the most probable one, are "
            f"a set that holds the right class for {percent(self.sets.coverage)} of inputs like "
            "those it learnt from."
        )

    # ---- manifests ---------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The labels, and the sets where there are any."""
        found = super().to_json()
        return found if self.sets is None else {**found, "sets": self.sets.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """See `Target.from_json`."""
        found = super().from_json(values)
        sets = values.get("sets")
        return found if sets is None else replace(found, sets=PredictionSets.from_json(sets))

    # ---- apps that answer wrongly ------------------------------------------------------------

    def misreadings(self) -> list[Misreading]:
        """See `Target.misreadings`."""
        from tltool.tasks.misreadings import of_classes

        return of_classes(self.labels)

    # ---- the export gate ---------------------------------------------------------------------

    same_answer = "same top class"

    def log_odds(self, outputs: Array) -> Array:
        """The logarithm of a softmax is its logits but for one constant a row."""
        import numpy as np

        odds: Array = np.log(np.maximum(outputs, SMALLEST, dtype=np.float64))
        return odds

    def agrees(self, expected: Array, answers: Sequence[Any]) -> Array:
        """Where the top class is named, or one tied with it."""
        import numpy as np

        index = {label: i for i, label in enumerate(self.labels)}
        pairs = zip(expected, answers, strict=True)
        return np.array([name in index and row[index[name]] >= row.max() - TIE
                         for row, name in pairs])  # fmt: skip

    def comparable(self, outputs: Array) -> Array:
        """Probabilities that add up to 1: those of 8 bits are rounded one by one."""
        import numpy as np

        positive = np.maximum(outputs, SMALLEST)
        scaled: Array = positive / positive.sum(axis=1, keepdims=True)
        return scaled

    def grace(self, rows: int) -> float:
        """One row more that is wrong."""
        return 1 / rows

    def brief(self, output: Any, answer: Any = None) -> str:
        """`cat 0.9312`."""
        return f"{answer or self.labels[output.argmax()]} {output.max():.4f}"

    def change(self, expected: Array, received: Array, *, raw: bool) -> float:
        """Half the sum of the differences of a row's probabilities, mean over the rows.

        That is the share that goes to other classes (total variation
        distance); the accuracy that a model expects of itself changes by no
        more. Training rows are learnt by heart, so the logits are divided by
        the temperature at which the mean confidence is 0.7 at most.
        """
        import numpy as np

        if raw:
            temperature = self._temperature(expected)
            expected, received = (
                self._probabilities(values / temperature) for values in (expected, received)
            )
        differences = received - expected
        return float(np.abs(differences).sum(axis=1).mean() / 2)

    def _temperature(self, logits: Array) -> float:
        """The lowest of a fine scale from 1 at which the mean confidence is 0.7 at most."""
        import numpy as np

        for temperature in np.geomspace(1, 1000, 200):
            probabilities = self._probabilities(logits / temperature)
            if probabilities.max(axis=1).mean() <= _CONFIDENCE:
                return float(temperature)
        return 1.0


def _best(outputs: Array) -> tuple[Array, Array]:
    """The most probable class of each row and its probability, of what `kept` gives."""
    if outputs.dtype.names:
        return outputs["classes"][:, 0], outputs["probabilities"][:, 0]
    return outputs.argmax(axis=1), outputs.max(axis=1)


def _likely(outputs: Array, truth: Array) -> Array:
    """The probability of the true class of each row, (n,), of what `kept` gives."""
    import numpy as np

    if outputs.dtype.names:
        return outputs["likely"]
    found: Array = outputs[np.arange(len(truth)), truth]
    return found


def _label_of(cell: Any) -> str:
    choices = choices_in(cell)
    if choices is not None and len(choices) != 1:
        raise BadValueError(
            f"the cell has {count(len(choices), 'label')}, where one is needed; the multi-label "
            "tasks take several"
        )
    return label_text(cell if choices is None else choices[0])
