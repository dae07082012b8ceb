"""One number for each row, or several that are predicted together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tltool.support.errors import DataError
from tltool.support.words import number, short
from tltool.tasks.reports import Scatter, Score, Table
from tltool.tasks.target import (
    LabelColumns,
    Prediction,
    Program,
    Reader,
    Refusal,
    Target,
    Translation,
    in_order,
)
from tltool.tasks.values import BadValueError, choices_in, finite_number
from tltool.tasks.watched import Watched

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tltool.tasks.doubts import Doubts
    from tltool.tasks.losses.in_numpy import RowLoss
    from tltool.tasks.misreadings import Misreading

    Array = np.ndarray[Any, Any]

BINS = 10
"""Strata of numbers: at most this many, and ten distinct inputs in each."""
# Where float32 cannot tell values apart that are this share of a standard deviation from each
# other, the scale is undone outside of it: no model predicts nearly as finely.
_FINEST = 1e-4
# Of a standard deviation, what rounding to float16 may be off by where nothing else is lost.
_FINEST_HALF = 0.01
_HALF_RANGE = (1e-3, 3e4)


@dataclass(frozen=True)
class NumbersTarget(Target):
    """A number, or several.

    A target is a float, or a tuple of them. The model is trained on
    `(y - mean) / std` of each by itself.

    Attributes:
        names: Of the columns they come from.
        mean, std: Of the training targets (population standard deviation, 1.0
            where that is 0).
        offset_outside: Whether an exported model is too coarse for
            `raw * std + mean`, so that it gives `raw` and who runs it undoes
            the scale in float64. Of a trained model: whether float32 is.
    """

    names: tuple[str, ...] = ("label",)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    offset_outside: bool = False

    kind = "numbers"
    noun = "number"
    scores: ClassVar = (
        Score("mae", "Mean absolute error", higher_is_better=False),
        Score("rmse", "Root mean squared error", higher_is_better=False),
        Score("r2", "R²"),
        Score("pearson", "Pearson correlation"),
        Score("spearman", "Spearman correlation"),
    )
    search_scores: ClassVar = (
        Score("mse", "Mean squared error", higher_is_better=False),
        Score("mae", "Mean absolute error", higher_is_better=False),
    )
    many_columns = True
    mistakes_title = "Largest errors"
    refused: ClassVar[Mapping[str, Refusal]] = {
        "training.label_smoothing": Refusal(
            "needs classes, but the task is a regression", "use training.label_smoothing=0"
        ),
        "training.class_weights": Refusal(
            "needs classes, but the task is a regression",
            "use training.class_weights=auto, which weighs classes where there are any",
        ),
        "training.focal_gamma": Refusal(
            "needs classes, but the task is a regression", "use training.focal_gamma=0"
        ),
        "augment.mixing": Refusal(
            "mixes classes, but the task is a regression", "leave the layer out"
        ),
        "teacher.temperature": Refusal(
            "divides logits, but the task is a regression", "leave it out"
        ),
        "evaluation.thresholds": Refusal(
            "needs labels, but the task is a regression", "use evaluation.thresholds=auto"
        ),
    }
    options: ClassVar = frozenset({"training.ranking"})

    # ---- reading -----------------------------------------------------------------------------

    @classmethod
    def reader(cls, columns: LabelColumns, cells: Sequence[Any]) -> Reader:
        """A number; or a tuple, of several columns or a row of an array."""
        names = columns.names

        def read(cell: Any) -> Any:
            values = cell.tolist() if getattr(cell, "ndim", 0) == 1 else cell
            if not isinstance(values, list | tuple):
                values = (values,)
            if columns.several and len(values) != len(names):
                raise BadValueError(f"there are {len(values)} values for {len(names)} columns")
            if not values:
                raise BadValueError("there is no number")
            numbers = tuple(
                _number_of(value, names[place] if columns.several else None)
                for place, value in enumerate(values)
            )
            return numbers[0] if len(numbers) == 1 else numbers

        return read

    @property
    def label_fields(self) -> dict[str, Any]:
        """The columns that the numbers come from."""
        first, *more = self.names
        return {"label_columns": self.names} if more else {"label_column": first}

    @classmethod
    def names_in(cls, target: Any) -> tuple[str, ...]:
        """None: numbers have no names."""
        return ()

    @classmethod
    def fit(cls, targets: Sequence[Any], names: Sequence[str] = ()) -> Self:
        """Mean and standard deviation of each number."""
        rows = [target if isinstance(target, tuple) else (target,) for target in targets]
        widths = {len(row) for row in rows}
        if len(widths) != 1:
            raise DataError(
                f"The training examples have {' and '.join(map(str, sorted(widths)))} numbers; "
                "all need the same."
            )
        (width,) = widths
        columns = list(zip(*rows, strict=True))
        if all(min(column) == max(column) for column in columns):
            raise DataError(
                f"All {len(rows)} training examples have the same target, {targets[0]}; two "
                "different ones at least are needed."
            )
        mean = [math.fsum(column) / len(column) for column in columns]
        std = [
            math.sqrt(math.fsum((value - middle) ** 2 for value in column) / len(column)) or 1.0
            for column, middle in zip(columns, mean, strict=True)
        ]
        named = tuple(names) if len(names) == width else tuple(f"number_{i}" for i in range(width))
        coarse = any(
            _float32_step(max(map(abs, column))) > _FINEST * spread
            for column, spread in zip(columns, std, strict=True)
        )
        return cls(named, tuple(mean), tuple(std), coarse)

    @classmethod
    def remarks_on(cls, targets: Sequence[Any], task: str) -> list[str]:
        """Which of several numbers is the same in all rows."""
        rows = [target for target in targets if isinstance(target, tuple)]
        return [
            f"number {place} of each row is always {column[0]}: there is nothing to learn of it"
            for place, column in enumerate(zip(*rows, strict=False), start=1)
            if min(column) == max(column)
        ]

    # ---- dividing rows -----------------------------------------------------------------------

    @classmethod
    def strata(cls, targets: Sequence[Any]) -> list[str]:
        """Quantile bins; of several numbers, of the mean of their ranks."""
        keys = _ranks(targets)
        order = sorted(range(len(keys)), key=keys.__getitem__)
        bins = max(1, min(BINS, len(keys) // 10))
        names = [""] * len(keys)
        for place, row in enumerate(order):
            names[row] = f"Quantile bin {place * bins // len(keys) + 1} of the targets"
        return names

    @classmethod
    def spread(cls, targets: Sequence[Any], count: int) -> list[int]:
        """Evenly over the sorted numbers, the smallest and the largest among them."""
        keys = _ranks(targets)
        order = sorted(range(len(keys)), key=keys.__getitem__)
        most = min(count, len(order))
        chosen = [order[round(i * (len(order) - 1) / max(1, most - 1))] for i in range(most)]
        # Every fourth goes to the end, so that the end spans the whole range as well.
        late = set(chosen[2::4])
        return [row for row in chosen if row not in late] + [row for row in chosen if row in late]

    def folds(self, truth: Array, count: int, seed: int) -> list[tuple[Array, Array]]:
        """In an order of the seed, as scikit-learn's `KFold`."""
        from sklearn.model_selection import KFold

        most = len(truth)
        if not 2 <= count <= most:
            raise DataError(
                f"{count} folds need {count} rows; there are {most}.",
                hint=f"take {most} folds or fewer, or add rows" if most > 1 else "add rows",
            )
        return list(KFold(count, shuffle=True, random_state=seed).split(truth))

    def most_folds(self, truth: Array) -> int:
        """One row a fold."""
        return len(truth)

    # ---- encoding and training ---------------------------------------------------------------

    @property
    def num_outputs(self) -> int:
        """One for each number."""
        return len(self.names)

    def truth(self, targets: Sequence[Any], origins: Sequence[str] | None = None) -> Array:
        """The numbers in their own units, float64 (n,) or (n, numbers)."""
        import numpy as np

        width = len(self.names)
        for row, target in enumerate(targets):
            values = target if isinstance(target, tuple | list) else (target,)
            good = all(isinstance(value, int | float | np.number) for value in values)
            if not good or len(values) != width:
                where = origins[row] if origins is not None else f"item {row}"
                what = "a number is" if width == 1 else f"{width} numbers are"
                raise DataError(f"{where} has the target {target!r}; {what} needed.")
        found: Array = np.array(targets, np.float64)
        return found.reshape(-1, width) if width > 1 else found.reshape(-1)

    def encode(self, truth: Array) -> Array:
        """Standardised."""
        import numpy as np

        columns = np.asarray(truth, np.float64).reshape(-1, len(self.names))
        scaled: Array = ((columns - np.array(self.mean)) / np.array(self.std)).astype(np.float32)
        return scaled

    @classmethod
    def teachable(cls) -> bool:
        """Where outputs are standardised numbers, as here."""
        return cls.outputs is NumbersTarget.outputs and cls.encode is NumbersTarget.encode

    def translation(self, teacher: Self) -> Translation:
        """From numbers that the teacher standardised to the same in this target's scale."""
        order: tuple[int, ...] = (0,)
        if len(self.names) > 1 or len(teacher.names) > 1:  # a single one may have any name
            order = in_order(teacher.names, self.names, self.noun)
        pairs = list(zip(self.mean, self.std, order, strict=True))
        return Translation(
            order,
            tuple(teacher.std[place] / std for _, std, place in pairs),
            tuple((teacher.mean[place] - mean) / std for mean, std, place in pairs),
        )

    def softened(self, raw: Any, temperature: float) -> Any:
        """The numbers themselves."""
        return raw

    @property
    def row_loss(self) -> RowLoss:
        """Squared error."""
        from tltool.tasks.losses.in_numpy import Squared

        return Squared()

    def loss(
        self, *, label_smoothing: float = 0.0, focal_gamma: float = 0.0, ranking: float = 0.0
    ) -> keras.losses.Loss:
        """Mean squared error of the standardised numbers, and maybe that of their order."""
        import keras

        if ranking:
            from tltool.tasks.losses.in_keras import RankedSquaredError

            return RankedSquaredError(ranking)
        return keras.losses.MeanSquaredError()

    def training_metrics(self, *, ranking: float = 0.0) -> list[keras.metrics.Metric]:
        """Mean absolute error in the target's own units, mean over the numbers.

        Where their order is trained, Spearman's correlation too.
        """
        import keras
        from keras import ops

        scale = list(self.std)

        def error(truth: Any, raw: Any) -> Any:
            distance = ops.abs(ops.cast(truth, "float32") - ops.cast(raw, "float32"))
            return ops.mean(distance * ops.convert_to_tensor(scale, "float32"), -1)

        metrics: list[keras.metrics.Metric] = [keras.metrics.MeanMetricWrapper(error, name="mae")]
        if ranking:
            from tltool.tasks.metrics.training_spearman import Spearman

            metrics.append(Spearman(len(self.names)))
        return metrics

    @classmethod
    def order_score(cls, ranking: float) -> Score | None:
        """Spearman's correlation, if the order is trained."""
        return next(score for score in cls.scores if score.key == "spearman") if ranking else None

    @property
    def training_units(self) -> str:
        """The columns' names."""
        return f"mae is {self.unit('mae')}"

    # ---- what a user reads -------------------------------------------------------------------

    def outputs(self, raw: Any) -> Any:
        """The numbers in their own units, (n,) or (n, numbers); float64 of NumPy arrays."""
        import numpy as np

        if isinstance(raw, np.ndarray):
            return self._squeezed(self._unscaled(raw))
        from keras import ops

        scaled = ops.cast(raw, "float32") * ops.convert_to_tensor(list(self.std), "float32")
        return self._squeezed(scaled + ops.convert_to_tensor(list(self.mean), "float32"))

    @classmethod
    def averaged(cls, raws: Sequence[Any]) -> Any:
        """The mean: the scale is the same for all."""
        from tltool.graph.means import mean_of

        return mean_of(raws)

    def _unscaled(self, raw: Array) -> Array:
        import numpy as np

        columns = np.asarray(raw, np.float64).reshape(-1, len(self.names))
        numbers: Array = columns * np.array(self.std) + np.array(self.mean)
        return numbers

    def _squeezed(self, columns: Any) -> Any:
        return columns[:, 0] if len(self.names) == 1 else columns

    def prediction(self, output: Any) -> Prediction:
        """The number, or the numbers by name."""
        return Prediction(self._named(output, float), None, {})

    def row(self, output: Any) -> dict[str, Any]:
        """The number, or the numbers by name."""
        return {"prediction": self._named(output, self._short)}

    def _short(self, value: Any) -> float:
        """A number with the digits that mean something."""
        return float(value) if self.offset_outside else short(value)

    def _named(self, output: Any, made: Callable[[Any], float]) -> Any:
        import numpy as np

        values = [made(value) for value in np.ravel(output)]
        return values[0] if len(values) == 1 else dict(zip(self.names, values, strict=True))

    def shown(self, target: Any) -> Any:
        """Several numbers by name."""
        return dict(zip(self.names, target, strict=True)) if isinstance(target, tuple) else target

    def words(self, value: Any) -> str:
        """`3.5`, or `rbc 12, wbc 1`."""
        shown = self.shown(value)
        items = shown if isinstance(shown, Mapping) else {"": shown}
        texts = [
            self._text(float(item), std) for item, std in zip(items.values(), self.std, strict=True)
        ]
        return ", ".join(f"{name} {text}".lstrip() for name, text in zip(items, texts, strict=True))

    def _text(self, value: float, std: float) -> str:
        """Four digits, or as many as tell a thousandth of a standard deviation."""
        if not self.offset_outside:
            return number(value)
        return f"{value:.{max(0, 3 - math.floor(math.log10(std)))}f}"

    def watched(self, outputs: Array) -> Watched:
        """The numbers, each by its name."""
        import numpy as np

        values = np.asarray(outputs, np.float64).reshape(len(outputs), -1)
        return Watched(dict(zip(self.names, values.T, strict=True)), values / self.units)

    def wrongness(self, outputs: Array, truth: Array) -> Array:
        """The absolute error; of several numbers the mean of theirs in standard deviations."""
        import numpy as np

        errors = np.abs(np.asarray(outputs, np.float64).reshape(len(truth), -1)
                        - truth.reshape(len(truth), -1))  # fmt: skip
        found: Array = (errors if len(self.names) == 1 else errors / self.units).mean(-1)
        return found

    # ---- what a model is worth ---------------------------------------------------------------

    def unit(self, key: str) -> str:
        """That of the column, for errors."""
        if key not in {"mae", "rmse"}:
            return ""
        if len(self.names) == 1:
            return f"in the unit of {self.names[0]}"
        return f"the mean of {' and '.join(self.names)}, each in its own unit"

    def metrics(self, outputs: Array, truth: Array) -> dict[str, Any]:
        """See `tltool.tasks.metrics.numbers`."""
        from tltool.tasks.metrics.numbers import numbers_metrics

        return numbers_metrics(outputs, truth, self.names)

    def explained(self, output: Any, label: str | None = None) -> tuple[str, int]:
        """The first number, or another one: what raises it."""
        return self.chosen(self.names, self.names[0] if label is None else label)

    def row_errors(self, outputs: Array, truth: Array) -> tuple[Score, Array]:
        """The absolute error, mean over the numbers."""
        import numpy as np

        errors = np.abs(_like(outputs, truth) - truth).reshape(len(truth), -1).mean(axis=1)
        return Score("mae", "Mean absolute error", higher_is_better=False), errors

    def resampled(self, outputs: Array, truth: Array, counts: Array) -> Array:
        """The mean absolute error, mean over the numbers."""
        import numpy as np

        if type(self).score is not NumbersTarget.score:
            return super().resampled(outputs, truth, counts)
        errors = np.abs(_like(outputs, truth) - truth).reshape(len(truth), -1).mean(axis=1)
        means: Array = counts @ errors / counts.sum(axis=1)
        return means

    def constant_guess(self, truth: Array) -> tuple[str, Array]:
        """The median, which has the least absolute error."""
        import numpy as np

        return "always the median", np.atleast_1d(np.median(truth, axis=0))

    def worst(self, outputs: Array, truth: Array) -> Array:
        """The largest errors first, in standard deviations where there are several numbers."""
        import numpy as np

        errors = np.abs(_like(outputs, truth) - truth).reshape(len(truth), -1) / np.array(self.std)
        largest = errors.max(axis=1)
        order = np.argsort(-largest, kind="stable")
        return order[largest[order] > 0]

    def tables(self, metrics: Mapping[str, Any]) -> list[Table]:
        """One row a number, where there are several."""
        rows = metrics.get("per_number", ())
        cells = [[row["name"], *(number(row[score.key]) for score in self.scores)] for row in rows]
        header = ("Number", "MAE", "RMSE", "R²", "Pearson", "Spearman")
        return [Table("Numbers", header, cells)] if cells else []

    def picture(self, outputs: Array, truth: Array, metrics: Mapping[str, Any]) -> Scatter:
        """Predicted against true values."""
        pairs = (values.reshape(len(truth), -1).T for values in (outputs, truth))
        return Scatter([(name, *pair) for name, *pair in zip(self.names, *pairs, strict=True)])

    # ---- linear models -----------------------------------------------------------------------

    linear_model = "ridge regression"

    def fit_linear(self, features: Any, truth: Array, strength: float) -> Callable[[Any], Array]:
        """A ridge regression of the standardised numbers."""
        import numpy as np
        from sklearn.linear_model import Ridge

        model = Ridge(alpha=1.0 / strength).fit(features, self.encode(truth).astype(np.float64))
        return lambda rows: self.outputs(np.asarray(model.predict(rows)).reshape(rows.shape[0], -1))

    def linear_setting(self, strength: float) -> str:
        """The penalty."""
        return f"alpha = {1 / strength:g}"

    def score(self, outputs: Array, truth: Array) -> float:
        """Mean absolute error, mean over the numbers."""
        import numpy as np

        return float(np.abs(_like(outputs, truth) - truth).mean())

    def search_values(self, raw: Array, encoded: Array) -> dict[str, float]:
        """Mean squared and mean absolute error in the target's own units, mean over the numbers."""
        import numpy as np

        errors = (raw - encoded).astype(np.float64) * np.array(self.std)
        return {"mse": float(np.mean(errors**2)), "mae": float(np.mean(np.abs(errors)))}

    # ---- an audit of labels ------------------------------------------------------------------

    @classmethod
    def of_cell(cls, cell: str) -> Any:
        """The number, or the numbers of a JSON list."""
        values = choices_in(cell)
        return finite_number(cell) if values is None else tuple(map(finite_number, values))

    def doubts(self, outputs: Array, truth: Array) -> Doubts:
        """By how far off models are."""
        from tltool.tasks.doubts import of_numbers

        return of_numbers(outputs, truth)

    # ---- exports -----------------------------------------------------------------------------

    raw_name = "standardised"

    def held_in(self, precision: str) -> Self:
        """The scale is left outside where float16 rounds it, or 8 bits have one for all numbers."""
        coarse = {
            "float16": not all(map(_in_float16, self.mean, self.std)),
            "int8": len(self.names) > 1,
        }
        return replace(self, offset_outside=True) if coarse.get(precision) else self

    @property
    def result_name(self) -> str:
        """The number itself, or what it is before the scale is undone."""
        return "standardised" if self.offset_outside else "prediction"

    @property
    def golden_name(self) -> str:
        """Numbers in their own units, whatever the model itself gives."""
        return "prediction"

    @property
    def result_shape(self) -> tuple[int | None, ...]:
        """One number a row, or several."""
        return (None,) if len(self.names) == 1 else (None, len(self.names))

    @property
    def contents(self) -> Mapping[str, str]:
        """See `Target.contents`."""
        several = len(self.names) > 1
        own = "the numbers, in the order of `task.numbers`, each" if several else "the number,"
        less = "each number" if several else "the number"
        return {
            "prediction": f"{own} in its own unit",
            "standardised": f"{less}, less its `task.mean`, over its `task.std`"
            + (": undo that in float64" if self.offset_outside else ""),
        }

    def result(self, raw: Any) -> Any:
        """The numbers in float32, as far as that can hold them."""
        from keras import ops

        if self.offset_outside:
            return self._squeezed(ops.cast(raw, "float32"))
        return self.outputs(raw)

    def served(self, raw: Any) -> dict[str, Any]:
        """The numbers; in float64 where float32 is too coarse."""
        import tensorflow as tf

        if not self.offset_outside:
            return {"prediction": self.outputs(raw)}
        raw = tf.cast(raw, tf.float64)
        scaled = raw * tf.constant(self.std, tf.float64) + tf.constant(self.mean, tf.float64)
        return {"prediction": self._squeezed(scaled)}

    def keras_result(self, raw: keras.KerasTensor) -> keras.KerasTensor:
        """A scaling and a change of shape."""
        from keras import layers

        several = len(self.names) > 1
        name = self.result_name
        if not self.offset_outside:
            scale, offset = (
                (list(self.std), list(self.mean)) if several else (self.std[0], self.mean[0])
            )
            named = {"name": name if several else "target_scale"}
            raw = layers.Rescaling(scale, offset, dtype="float32", **named)(raw)
        if several and not self.offset_outside:
            return raw
        shape = (len(self.names),) if several else ()
        return layers.Reshape(shape, dtype="float32", name=name)(raw)

    def from_result(self, result: Array) -> Array:
        """The numbers; the scale undone in float64 where the model leaves that to others."""
        if not self.offset_outside:
            return result
        return self.outputs(result)

    def from_served(self, outputs: Mapping[str, Any]) -> tuple[Array, list[Any]]:
        """See `Target.from_served`."""
        import numpy as np

        dtype = np.float64 if self.offset_outside else np.float32
        return np.asarray(outputs["prediction"], dtype), []

    def program(self) -> Program:
        """Programs print the number, or each with its name."""
        several = len(self.names) > 1
        doubles = {"TARGET_STD": self.std}
        if self.offset_outside:
            doubles["TARGET_MEAN"] = self.mean
        names = {"NAMES": list(self.names)} if several else {}
        return Program(
            numbers=several, offset=self.offset_outside, constants=names, doubles=doubles
        )

    def gives(self) -> str:
        """See `Target.gives`."""
        if self.offset_outside:
            return (
                "It predicts "
                + ("numbers" if len(self.names) > 1 else "a number")
                + " whose scale must be undone in float64, as `contract.json` says."
            )
        if len(self.names) > 1:
            return f"It predicts {len(self.names)} numbers: {', '.join(self.names)}."
        return "It predicts a number."

    # ---- apps that answer wrongly ------------------------------------------------------------

    def misreadings(self) -> list[Misreading]:
        """See `Target.misreadings`."""
        import numpy as np

        from tltool.tasks.misreadings import of_numbers

        return of_numbers(self.names, np.array(self.mean), np.array(self.std))

    # ---- the export gate ---------------------------------------------------------------------

    drop_unit = " standard deviations"

    @property
    def units(self) -> Any:
        """Standard deviations of the training targets."""
        import numpy as np

        return np.array(self.std)

    def drop(self, model: Mapping[str, Any], artifact: Mapping[str, Any]) -> float:
        """Rise of the mean absolute error in standard deviations, mean over the numbers."""
        before, after = (found.get("per_number") or [found] for found in (model, artifact))
        rises = [
            (second["mae"] - first["mae"]) / std
            for first, second, std in zip(before, after, self.std, strict=True)
        ]
        return sum(rises) / len(rises)

    def change(self, expected: Array, received: Array, *, raw: bool) -> float:
        """In standard deviations of the answers, mean over rows and numbers."""
        import numpy as np

        spread = expected.std(axis=0)
        return float((np.abs(received - expected) / np.where(spread > 0, spread, 1)).mean())

    def brief(self, output: Any, answer: Any = None) -> str:
        """`3.14159`."""
        import numpy as np

        digits = 17 if self.offset_outside else 6
        return ", ".join(f"{value:.{digits}g}" for value in np.ravel(output))

    # ---- manifests ---------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Names and scale."""
        return {
            "numbers": list(self.names),
            "mean": list(self.mean),
            "std": list(self.std),
            "offset_outside": self.offset_outside,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """See `Target.from_json`."""
        names = tuple(map(str, values["numbers"]))
        mean, std = (tuple(map(float, values[key])) for key in ("mean", "std"))
        if not len(names) == len(mean) == len(std) >= 1:
            sizes = len(names), len(mean), len(std)
            raise ValueError(f"its numbers, means and scales are {sizes} in number")
        return cls(names, mean, std, bool(values["offset_outside"]))


def _like(outputs: Array, truth: Array) -> Array:
    """Outputs in the shape of the truth: (n, 1) less (n,) would be (n, n)."""
    shaped: Array = outputs.reshape(truth.shape)
    return shaped


def _number_of(value: Any, column: str | None) -> float:
    """The number in a cell; what is wrong with it names its column where there are several."""
    try:
        return finite_number(value)
    except BadValueError as error:
        raise BadValueError(f"the column {column!r}: {error}" if column else str(error)) from None


def _float32_step(value: float) -> float:
    """The distance of neighbouring float32 numbers of this size; infinite beyond the largest."""
    if value >= 2.0**128:
        return math.inf
    return math.ldexp(1.0, max(math.frexp(value)[1], -125) - 24)


def _in_float16(mean: float, std: float) -> bool:
    """Whether float16 holds a scale, which a converter folds into weights and biases."""
    smallest, largest = _HALF_RANGE
    reach = abs(mean) + 3 * std
    step = math.ldexp(1.0, math.frexp(reach)[1] - 11)
    return smallest <= std and reach <= largest and step <= _FINEST_HALF * std


def _ranks(targets: Sequence[Any]) -> list[float]:
    """A key to sort by: the number, or the mean rank of several."""
    if not any(isinstance(target, tuple) for target in targets):
        return list(targets)
    sums = [0.0] * len(targets)
    for column in zip(*targets, strict=True):
        places = {value: place for place, value in enumerate(sorted(set(column)))}
        for row, value in enumerate(column):
            sums[row] += places[value] / max(1, len(places) - 1)
    return sums
