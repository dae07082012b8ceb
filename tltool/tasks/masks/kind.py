"""A class for each pixel of a picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self

from tltool.support.errors import DataError, EvaluationError
from tltool.support.words import count, listed, percent
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.labelled import LabelledTarget, checked_labels
from tltool.tasks.masks.files import ClassTable, Code, Mask, MaskReader, check_size, code_of, told
from tltool.tasks.reports import Bars, Score, Table
from tltool.tasks.stratify import evenly_spaced, label_set_folds, stratum_numbers
from tltool.tasks.target import (
    ClassWeights,
    LabelColumns,
    Layout,
    Prediction,
    Program,
    Reader,
    Refusal,
)
from tltool.tasks.watched import LEAST_WATCHED, Watched

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tltool.tasks.losses.in_numpy import RowLoss

    Array = np.ndarray[Any, Any]

# Top classes of a pixel this close in probability count as tied.
TIE = 2e-4
FEW_PICTURES = 30
"""Pictures with a class under which its own scores say little."""
# Below this a probability says no more about its logit: float32 ends near 1e-38.
_SMALLEST = 1e-30
_LINEAR = (
    "fits a linear model on one vector for each picture, and a mask has a class for each pixel"
)
_GOLDEN_SIDE = 16
_BASELINE_ROWS = 500
# Classes whose share of the pixels is watched by itself.
_WATCHED = 10


@dataclass(frozen=True)
class MaskTarget(LabelledTarget):
    """A class for each pixel (semantic segmentation).

    Targets are `Mask`s. Raw outputs are logits (n, height, width, classes) at
    the size of the model's input; what a user reads are their softmax, and the
    best class of each pixel at the picture's own size.

    Attributes:
        labels: Class names in the order of the model's outputs, at least two.
        codes: What stands for each class in masks: a value or a colour.
        ignored: What stands in masks for pixels that count for nothing, or None.
    """

    codes: tuple[Code, ...] = ()
    ignored: Code | None = None

    kind = "mask"
    noun = "class"
    scores: ClassVar = (
        Score("mean_iou", "Mean IoU"),
        Score("foreground_iou", "Mean IoU without background"),
        Score("pixel_accuracy", "Pixel accuracy", share=True),
        Score("mean_accuracy", "Mean accuracy of the classes", share=True),
        Score("boundary_f1", "Boundary F1"),
    )
    refused: ClassVar[Mapping[str, Refusal]] = {
        "evaluation.thresholds": Refusal(
            "is for several labels, but a pixel gets its most probable class",
            "use evaluation.thresholds=auto",
        ),
        "head.search": Refusal(f"{_LINEAR}", "leave it out"),
        "head.hidden_units": Refusal(
            "belongs to heads on one vector for each picture", "leave it out"
        ),
        "head.l2": Refusal("belongs to heads on one vector for each picture", "leave it out"),
        "data.label_columns": Refusal("is for several labels", "name one column of masks"),
        "backbone.image_fit": Refusal(
            "is always `stretch` here, since a mask is of the whole picture", "leave it out"
        ),
        "augment.untraceable": Refusal(
            "moves pixels in a way that a mask cannot follow",
            "write RandomRotation, RandomZoom, RandomShear … and layers of colour in its place",
        ),
        "augment.mixing": Refusal(
            "mixes the labels of whole pictures", "leave the layer out; others move masks too"
        ),
    }
    options: ClassVar = frozenset({"data.mask_classes", "data.mask_ignored", "training.dice"})
    reads: ClassVar = "pyramid"
    image_fit: ClassVar = "stretch"
    label_column: ClassVar = "mask"
    file_labels: ClassVar = True
    diagnosable: ClassVar = False
    own_recipes: ClassVar = {"image": ("my_masks", "your_scans/")}
    folder_hint: ClassVar = "make a folder images/ and a folder masks/ with files of the same names"
    file_column: ClassVar = "mask"
    draws_worst: ClassVar = True
    mistakes_title = "Pictures with the lowest IoU"
    table_columns: ClassVar[Mapping[str, str]] = {
        "iou": "IoU",
        "recall": "Accuracy",
        "precision": "Precision",
        "boundary_f1": "Boundary F1",
    }

    # ---- reading -----------------------------------------------------------------------------

    @classmethod
    def layout(cls, source: Path, classes: Mapping[str, Any] | None = None) -> Layout | None:
        """Folders of pictures and masks, and files of annotations; see `Target.layout`."""
        from tltool.tasks.masks.layouts import layout_of

        return layout_of(source, classes)

    @classmethod
    def inputs_among(cls, files: Sequence[Path], folder: Path) -> list[Path]:
        """Those that are no masks beside pictures; see `Target.inputs_among`."""
        from tltool.tasks.masks.layouts import without_masks

        return without_masks(files, folder)

    @classmethod
    def reader(cls, columns: LabelColumns, cells: Sequence[Any]) -> Reader:
        """Masks as paths, arrays or bytes; see `MaskReader`."""
        ignored = None if columns.ignored is None else code_of(columns.ignored)
        table = ClassTable.given(columns.classes, ignored) if columns.classes else None
        return MaskReader(cells, table, ignored)

    @classmethod
    def fitted_to(cls, target: Mask, value: Any) -> Mask:
        """A mask has the size of its picture; see `Target.fitted_to`."""
        return check_size(target, value)

    @classmethod
    def names_in(cls, target: Mask) -> tuple[str, ...]:
        """The classes that some pixel has."""
        return target.present

    @classmethod
    def fit(cls, targets: Sequence[Mask], names: Sequence[str] = ()) -> Self:
        """The classes of the masks' table, in its order."""
        table = targets[0].table
        present = {name for target in targets for name in target.present}
        if len(present) < 2:
            raise DataError(
                f"All pixels of the {count(len(targets), 'training mask')} have the same class"
                f"{''.join(f', {name!r}' for name in present)}; two classes at least are needed.",
                hint="data.mask_classes says which values of masks are which class",
            )
        return cls(table.names, table.codes, table.ignored)

    @classmethod
    def remarks_on(cls, targets: Sequence[Mask], task: str) -> list[str]:
        """What was found in masks without a table of classes, and what no mask has."""
        table = targets[0].table
        remarks = []
        if table.found:
            pairs = [f"{told(c)} = {n!r}" for n, c in zip(table.names, table.codes, strict=True)]
            remarks.append(
                f"The classes were found in the masks: {', '.join(pairs)}; data.mask_classes gives "
                "them names."
            )
        present = {name for target in targets for name in target.present}
        if absent := [name for name in table.names if name not in present]:
            remarks.append(
                f"No mask to train on has a pixel of {listed(absent)}: that cannot be learnt."
            )
        left_out = sum(target.size[0] * target.size[1] - sum(target.counts) for target in targets)
        if table.ignored is not None and left_out:
            pixels = sum(target.size[0] * target.size[1] for target in targets)
            remarks.append(
                f"Pixels of {told(table.ignored)} in masks count for nothing: "
                f"{percent(left_out / pixels)} of all."
            )
        return remarks

    @property
    def data_fields(self) -> dict[str, Any]:
        """The classes, so that other masks are read by them."""
        values = self._table.to_json()
        return {"mask_classes": values["classes"], "mask_ignored": values["ignored"]}

    @property
    def _table(self) -> ClassTable:
        return ClassTable(self.labels, self.codes, self.ignored)

    # ---- dividing rows -----------------------------------------------------------------------

    @classmethod
    def strata(cls, targets: Sequence[Mask]) -> list[str]:
        """The rarest of the classes in a mask."""
        return ClassSetTarget.strata([target.present for target in targets])

    @classmethod
    def divide(
        cls, targets: Sequence[Mask], sizes: Sequence[int], shares: Mapping[str, float]
    ) -> list[str | None]:
        """By the classes that masks have, iteratively; see `Target.divide`."""
        return ClassSetTarget.divide([target.present for target in targets], sizes, shares)

    def folds(self, truth: Array, count: int, seed: int) -> list[tuple[Array, Array]]:
        """By iterative stratification over the classes in each mask."""
        return label_set_folds([target.present for target in truth], count, seed)

    def alike(self, truth: Array) -> Array:
        """The rarest of a mask's classes; see `Target.alike`."""
        return stratum_numbers(self.strata(list(truth)))

    def most_folds(self, truth: Array) -> int:
        """There are none of a linear model; see `fit_linear`."""
        _no_linear_model()

    # ---- encoding and training ---------------------------------------------------------------

    @property
    def num_outputs(self) -> int:
        """One logit a class."""
        return len(self.labels)

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Logits of each pixel."""
        return (None, None, len(self.labels))

    def truth(self, targets: Sequence[Any], origins: Sequence[str] | None = None) -> Array:
        """The masks, an object array (n,)."""
        import numpy as np

        found = np.empty(len(targets), object)
        for row, target in enumerate(targets):
            if target is None:
                raise self.unknown(None, row, origins)
            if (target.table.names, target.table.codes) != (self.labels, self.codes):
                raise self.unknown(str(target.table.names), row, origins)
            found[row] = target
        return found

    def encode(self, truth: Array) -> Array:
        """The masks themselves, which batches decode at the size of the model's input."""
        return truth

    @property
    def row_loss(self) -> RowLoss:
        """There is none; see `fit_linear`."""
        _no_linear_model()

    def loss(
        self, *, label_smoothing: float = 0.0, focal_gamma: float = 0.0, dice: float = 0.0
    ) -> keras.losses.Loss:
        """Cross-entropy of pixels, with a share of the Dice loss; see `PixelLoss`."""
        from tltool.tasks.losses.in_keras import PixelLoss
        from tltool.tasks.masks.files import IGNORED

        return PixelLoss(IGNORED, dice, label_smoothing, focal_gamma)

    def training_metrics(self) -> list[keras.metrics.Metric]:
        """The mean IoU."""
        from tltool.tasks.masks.files import IGNORED
        from tltool.tasks.masks.training_iou import PixelIoU

        return [PixelIoU(len(self.labels), IGNORED)]

    def weights(self, targets: Sequence[Mask], setting: ClassWeights) -> Array:
        """Of each class, the same for all rows, (n, classes).

        "balanced" gives pixels / (k * pixels of the class) over the k classes
        that occur; a mapping gives 1.0 to classes that it does not name.
        """
        import numpy as np

        by_class = np.ones(len(self.labels), np.float32)
        if isinstance(setting, Mapping):
            self.check_names(setting)
            by_class[:] = [float(setting.get(label, 1.0)) for label in self.labels]
        elif setting == "balanced":
            pixels = np.sum([target.counts for target in targets], axis=0)
            there = pixels > 0
            by_class[there] = pixels.sum() / (there.sum() * pixels[there])
        return np.tile(by_class, (len(targets), 1))

    # ---- what a user reads -------------------------------------------------------------------

    def outputs(self, raw: Any) -> Any:
        """Probabilities (n, height, width, classes) that add up to 1 for each pixel."""
        from keras import ops

        return ops.softmax(ops.cast(raw, "float32"), axis=-1)

    @classmethod
    def averaged(cls, raws: Sequence[Any]) -> Any:
        """Logits of the mean of probabilities."""
        from tltool.graph.means import mean_of_softmaxes

        return mean_of_softmaxes(raws)

    @property
    def blank(self) -> Array:
        """See `Target.blank`."""
        import numpy as np

        return np.zeros((1, 1, len(self.labels)), np.float32)

    def finite(self, outputs: Array) -> Array:
        """Which pictures have finite probabilities; counts are always finite."""
        import numpy as np

        if outputs.dtype.names:
            return np.ones(len(outputs), bool)
        return np.asarray(np.isfinite(outputs).all(axis=(1, 2, 3)))

    def kept(self, outputs: Array, targets: Sequence[Any], inputs: Sequence[Any] = ()) -> Array:
        """Counts of pixels at the mask's own size; of unknown masks the predicted one.

        See `tltool.tasks.metrics.masks.count_dtype`.
        """
        import numpy as np

        from tltool.tasks.masks.files import upright_size
        from tltool.tasks.masks.pictures import class_numbers, coded_png
        from tltool.tasks.metrics.masks import count_dtype, counted

        kept = np.zeros(len(outputs), count_dtype(len(self.labels)))
        for row, (output, target) in enumerate(zip(outputs, targets, strict=True)):
            if not np.isfinite(output).all():
                raise EvaluationError(
                    "The model's output is not a finite number.",
                    hint="outputs like these mean that training diverged: lower the learning rate",
                )
            size = target.size if target is not None else None
            if size is None and len(inputs):
                size = upright_size(inputs[row])
            predicted = class_numbers(output, size or output.shape[:2])
            true = None if target is None else target.numbers()
            for name, values in counted(predicted, true, len(self.labels)).items():
                kept[name][row] = values
            if true is None:
                kept["mask"][row] = coded_png(predicted, self._table)
        return kept

    def _counts(self, output: Any) -> Any:
        """One row of `kept`, of one of `outputs` too."""
        names = getattr(output.dtype, "names", None)
        return output if names else self.kept(output[None], [None])[0]

    def prediction(self, output: Any) -> Prediction:
        """The mask: class numbers of the pixels, uint8 (height, width)."""
        from tltool.tasks.masks.pictures import numbers_in

        kept = self._counts(output)
        return Prediction(numbers_in(kept["mask"], self._table), None, self._shares(kept))

    def _shares(self, kept: Any) -> dict[str, float]:
        pixels = kept["predicted"].astype(float)
        return dict(zip(self.labels, map(float, pixels / max(pixels.sum(), 1)), strict=True))

    def row(self, output: Any) -> dict[str, Any]:
        """The classes found, the largest first; the `share` of each; a place for the `mask`."""
        shares = self._shares(self._counts(output))
        found = sorted((name for name in shares if shares[name]), key=lambda name: -shares[name])
        rounded = {name: round(share, 6) for name, share in shares.items()}
        return {"prediction": found, "share": rounded, self.file_column: None}

    def predictions(self, outputs: Array, inputs: Sequence[Any]) -> list[Prediction]:
        """Masks at the sizes of the pictures."""
        return [self.prediction(row) for row in self.kept(outputs, [None] * len(outputs), inputs)]

    def file_of(self, output: Any) -> bytes | None:
        """The predicted mask as PNG, with the values or colours of the training masks."""
        content: bytes | None = self._counts(output)["mask"]
        return content

    def shown(self, target: Mask) -> Any:
        """Where the mask is."""
        return str(target)

    def words(self, value: Any) -> str:
        """The classes of a mask, or those that a prediction lists; what `mistake` says."""
        if isinstance(value, str):
            return value
        if isinstance(value, Mask):
            return ", ".join(value.present)
        if isinstance(value, list | tuple):
            return ", ".join(value)
        import numpy as np

        return ", ".join(self.labels[number] for number in np.unique(value))

    def watched(self, outputs: Array) -> Watched:
        """The share of the pixels of each of the first classes, and mean logits."""
        import numpy as np

        found = outputs.argmax(-1).reshape(len(outputs), -1)
        columns = {
            f"share of {label}": (found == number).mean(-1)
            for number, label in enumerate(self.labels[:_WATCHED])
        }
        logs = np.log(np.maximum(outputs, LEAST_WATCHED, dtype=np.float64))
        return Watched(columns, logs.reshape(len(outputs), -1, len(self.labels)).mean(1))

    # ---- what a model is worth ---------------------------------------------------------------

    def metrics(self, outputs: Array, truth: Array) -> dict[str, Any]:
        """See `tltool.tasks.metrics.masks`."""
        from tltool.tasks.metrics.masks import mask_metrics

        return mask_metrics(self._kept(outputs, truth), self.labels)

    def resampled(self, outputs: Array, truth: Array, counts: Array) -> Array:
        """The mean IoU."""
        from tltool.tasks.metrics.masks import mean_ious

        if type(self).score is not MaskTarget.score:
            return super().resampled(outputs, truth, counts)
        return mean_ious(self._kept(outputs, truth), counts)

    def _kept(self, outputs: Array, truth: Sequence[Any] | Array) -> Array:
        return outputs if outputs.dtype.names else self.kept(outputs, list(truth))

    def row_errors(self, outputs: Array, truth: Array) -> tuple[Score, Array]:
        """1 less the mean IoU of each picture."""
        from tltool.tasks.metrics.masks import picture_ious

        score = Score("iou_missed", "1 less the mean IoU of a picture", higher_is_better=False)
        return score, 1 - picture_ious(self._kept(outputs, truth))

    def worst(self, outputs: Array, truth: Array) -> Array:
        """The pictures with the lowest mean IoU first."""
        import numpy as np

        from tltool.tasks.metrics.masks import picture_ious

        scores = picture_ious(self._kept(outputs, truth))
        order = np.argsort(scores, kind="stable")
        return order[scores[order] < 1.0]

    def mistake(self, row: int, outputs: Array, targets: Sequence[Any]) -> tuple[str, None]:
        """The classes that were found, and how well."""
        from tltool.tasks.metrics.masks import picture_ious

        predicted, _ = super().mistake(row, outputs, targets)
        (iou,) = picture_ious(self._kept(outputs[row : row + 1], targets[row : row + 1]))
        return f"{self.words(predicted)} with a mean IoU of {iou:.3f}", None

    def tables(self, metrics: Mapping[str, Any]) -> list[Table]:
        """One row a class, with the pictures that have it."""
        header = ("Class", *self.table_columns.values(), "Pictures", "Pixels")
        rows = [self._cells(row) for row in metrics["per_class"]]
        return [Table("Classes", header, rows)]

    def _cells(self, row: Mapping[str, Any]) -> list[str]:
        *cells, pixels = super()._cells(row)
        return [*cells, f"{row['pictures']:,}", pixels]

    def limits(self, metrics: Mapping[str, Any]) -> list[str]:
        """Which classes are in few pictures, and that every pixel gets a class."""
        few = [r["label"] for r in metrics["per_class"] if r["pictures"] < FEW_PICTURES]
        uncertain = (
            f"{count(len(few), 'class')} in fewer than {FEW_PICTURES} pictures, whose own scores "
            f"are uncertain: {listed(few)}."
        )
        return [
            *([uncertain] if few else []),
            "Every pixel gets one of the classes, also of a picture that shows none of them.",
        ]

    def picture(self, outputs: Array, truth: Array, metrics: Mapping[str, Any]) -> Bars:
        """The scores of each class."""
        rows = metrics["per_class"]
        shares = {
            title: [row[key] for row in rows]
            for key, title in {"iou": "IoU", "boundary_f1": "Boundary F1"}.items()
        }
        return Bars([row["label"] for row in rows], shares, "Scores of each class")

    def drawn(self, value: Any, target: Any, output: Any) -> bytes:
        """The picture with the true and the predicted mask over it, side by side, as PNG."""
        from tltool.tasks.masks.pictures import overlays

        return overlays(value, target.numbers(), self.prediction(output).value)

    # ---- baseline ----------------------------------------------------------------------------

    linear_model = "logistic regression of each pixel"

    def baseline(
        self,
        train: tuple[Sequence[Any], Sequence[Mask]],
        test: tuple[Sequence[Any], Sequence[Mask]],
        loaded: Callable[[Sequence[Any]], Iterable[Any]],
    ) -> tuple[str, Array, str]:
        """A logistic regression of each pixel's colour and surroundings; see `Target`."""
        from tltool.tasks.masks.baseline import pixel_baseline

        inputs, targets = train
        few = evenly_spaced(len(inputs), _BASELINE_ROWS)
        outputs, setting = pixel_baseline(
            len(self.labels),
            self.kept,
            loaded([inputs[row] for row in few]),
            [targets[row] for row in few],
            loaded(test[0]),
            test[1],
        )
        return "colours + logistic regression of each pixel", outputs, setting

    def fit_linear(self, features: Any, truth: Array, strength: float) -> Callable[[Any], Array]:
        """There is none on one vector for each picture.

        Raises:
            EvaluationError: Always.
        """
        _no_linear_model()

    def linear_setting(self, strength: float) -> str:
        """The inverse of the penalty."""
        return f"C = {strength:g}"

    def score(self, outputs: Array, truth: Array) -> float:
        """The mean IoU."""
        return float(self.metrics(outputs, truth)["mean_iou"])

    # ---- exports -----------------------------------------------------------------------------

    raw_name = "logits"

    @property
    def result_shape(self) -> tuple[int | None, ...]:
        """Probabilities of each pixel."""
        return (None, None, None, len(self.labels))

    @property
    def contents(self) -> Mapping[str, str]:
        """See `Target.contents`."""
        return {
            "probabilities": "the probability of each class at each pixel of the model's input, "
            "in the order of `task.labels`",
            "mask": "the number of the most probable class at each pixel, in that order from 0",
            "logits": "the model's raw outputs, whose softmax are the probabilities",
        }

    def served(self, raw: Any) -> dict[str, Any]:
        """Probabilities, and the most probable class of each pixel."""
        import tensorflow as tf

        outputs = self.outputs(raw)
        return {"probabilities": outputs, "mask": tf.argmax(outputs, axis=-1, output_type=tf.int32)}

    def keras_result(self, raw: keras.KerasTensor) -> keras.KerasTensor:
        """A softmax."""
        import keras

        return keras.layers.Activation("softmax", dtype="float32", name="probabilities")(raw)

    def answers(self, outputs: Array, labels: Sequence[str]) -> list[Any]:
        """The best class of each pixel."""
        return list(outputs.argmax(-1))

    def from_served(self, outputs: Mapping[str, Any]) -> tuple[Array, list[Any]]:
        """See `Target.from_served`."""
        import numpy as np

        return np.asarray(outputs["probabilities"], np.float32), list(np.asarray(outputs["mask"]))

    def golden(self, outputs: Array) -> Array:
        """Probabilities of a few rows and columns of pixels, spread evenly."""
        height, width = outputs.shape[1:3]
        rows, columns = (-(-side // _GOLDEN_SIDE) for side in (height, width))
        return outputs[:, ::rows, ::columns]

    def program(self) -> Program:
        """Programs write the mask."""
        return Program(labels=True, masks=True)

    def gives(self) -> str:
        """See `Target.gives`."""
        return f"It gives the probability of each of {len(self.labels)} classes at every pixel."

    # ---- the export gate ---------------------------------------------------------------------

    answers_name = ""
    same_answer = "same class of pixels"

    def differences(self, expected: Array, received: Array) -> Array:
        """Of the probability of each class, mean over a picture's pixels, (n, classes)."""
        import numpy as np

        distance: Array = np.abs(received - expected).mean(axis=(1, 2), dtype=np.float64)
        return distance

    def sent(self, outputs: Array, answers: list[Any]) -> tuple[dict[str, Any], list[Any]]:
        """The answers are arrays too."""
        import numpy as np

        return {"outputs": outputs, "answers": np.array(answers)}, []

    def received(self, arrays: Mapping[str, Array], answers: list[Any]) -> tuple[Array, list[Any]]:
        """See `sent`."""
        return arrays["outputs"], list(arrays["answers"])

    def log_odds(self, outputs: Array) -> Array:
        """Logits less their mean at each pixel, (n, pixels x classes)."""
        import numpy as np

        odds: Array = np.log(np.maximum(outputs, _SMALLEST))
        odds -= odds.mean(axis=-1, keepdims=True)
        return odds.reshape(len(odds), -1)

    def agrees(self, expected: Array, answers: Sequence[Any]) -> Array:
        """The share of a picture's pixels that have the same class, or one tied with it."""
        import numpy as np

        shares = []
        for row, names in zip(expected, answers, strict=True):
            named = np.take_along_axis(row, np.asarray(names, np.int64)[..., None], -1)[..., 0]
            shares.append((named >= row.max(-1) - TIE).mean())
        return np.array(shares)

    def brief(self, output: Any, answer: Any = None) -> str:
        """`nucleus 12.3 %, background 87.7 %`."""
        shares = self._shares(self._counts(output))
        return ", ".join(f"{name} {percent(share)}" for name, share in shares.items() if share)

    def change(self, expected: Array, received: Array, *, raw: bool) -> float:
        """Half the sum of the differences of a pixel's probabilities, mean over pixels."""
        import numpy as np

        if raw:
            expected, received = (np.asarray(self.outputs(v)) for v in (expected, received))
        return float(np.abs(received - expected).sum(axis=-1).mean() / 2)

    # ---- manifests ---------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The classes, and what stands for them in masks."""
        return {"labels": list(self.labels), **self.data_fields}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """See `Target.from_json`."""
        labels, classes = checked_labels(values["labels"]), values["mask_classes"]
        ignored = values["mask_ignored"]
        try:
            codes = tuple(code_of(classes[label]) for label in labels)
            return cls(labels, codes, None if ignored is None else code_of(ignored))
        except Exception as error:
            raise ValueError(f"its classes are {classes}: {error}") from error


def _no_linear_model() -> NoReturn:
    raise EvaluationError(
        f"This {_LINEAR}.", hint="train with `tltool finetune`, on some of the rows to be fast"
    )
