"""A unit vector for each row, near those of rows that are alike."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tltool.support.errors import DataError
from tltool.support.words import count, short
from tltool.tasks.classes import TOGETHER, ClassTarget
from tltool.tasks.labelled import at_least_two_folds, stratified_folds
from tltool.tasks.reports import Map, Score
from tltool.tasks.stratify import by_strata, evenly_spaced
from tltool.tasks.target import LabelColumns, Prediction, Program, Reader, Refusal, Target
from tltool.tasks.values import sort_labels

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tltool.tasks.losses.in_numpy import RowLoss

    Array = np.ndarray[Any, Any]

_POINTS = 2_000
_SHOWN = 4  # numbers of a vector


@dataclass(frozen=True)
class EmbeddingTarget(Target):
    """A unit vector; rows of one class shall be near each other, also of classes never seen.

    A target is the name of a class.

    Attributes:
        classes: Of the training rows, in natural order.
        width: Numbers of a vector.
    """

    classes: tuple[str, ...] = ()
    width: int = 2

    kind = "embedding"
    noun = "class"
    scores: ClassVar[tuple[Score, ...]] = (
        Score("recall_at_1", "Recall@1", share=True),
        Score("recall_at_5", "Recall@5", share=True),
        Score("recall_at_10", "Recall@10", share=True),
        Score("map", "Mean average precision"),
    )
    from_folders = True
    open_names = True
    solvable = False
    sized = True
    compares_rows = True
    baseline_features = True
    own_recipes: ClassVar = {
        "image": ("similar_images", "your_photos/"),
        "text": ("similar_texts", "your.csv"),
    }
    mistakes_title = "Nearest wrong neighbours"
    refused: ClassVar[Mapping[str, Refusal]] = {
        "training.label_smoothing": Refusal(
            "needs classes that are predicted, but the task gives vectors",
            "use training.label_smoothing=0",
        ),
        "training.class_weights": Refusal(
            "needs classes that are predicted, but the task gives vectors",
            "use training.class_weights=auto",
        ),
        "training.focal_gamma": Refusal(
            "needs classes that are predicted, but the task gives vectors",
            "use training.focal_gamma=0",
        ),
        "training.tokens_per_batch": Refusal(
            "makes batches of like lengths, but here a batch needs rows of like classes",
            "use training.batch_size",
        ),
        "augment.mixing": Refusal("mixes classes, but the task gives vectors", "leave it out"),
        "evaluation.thresholds": Refusal(
            "needs labels, but the task gives vectors", "use evaluation.thresholds=auto"
        ),
        "head.search": Refusal(
            "scores each row by itself, but vectors are worth what their neighbours are",
            "use head.search=false",
        ),
    }

    # ---- reading -----------------------------------------------------------------------------

    @classmethod
    def reader(cls, columns: LabelColumns, cells: Sequence[Any]) -> Reader:
        """The class, as of a classification."""
        return ClassTarget.reader(columns, cells)

    @classmethod
    def names_in(cls, target: Any) -> tuple[str, ...]:
        """The class."""
        return (target,)

    @classmethod
    def fit(cls, targets: Sequence[Any], names: Sequence[str] = ()) -> Self:
        """The classes; `with_width` makes it whole."""
        counts = Counter(targets)
        if len(counts) < 2:
            raise DataError(
                f"All {len(targets)} training examples have the same label, "
                f"{next(iter(counts))!r}; two classes at least are needed."
            )
        if max(counts.values()) < 2:
            raise DataError(
                f"Each of the {len(counts)} classes has one training example only, so nothing "
                "says what is alike.",
                hint="give two examples of a class at least",
            )
        return cls(classes=sort_labels(counts))

    @classmethod
    def remarks_on(cls, targets: Sequence[Any], task: str) -> list[str]:
        """How many rows have nothing to come near to."""
        alone = [name for name, rows in Counter(targets).items() if rows == 1]
        if not alone:
            return []
        return [f"{count(len(alone), 'training row')} alone in a class: nothing draws them near."]

    # ---- dividing rows -----------------------------------------------------------------------

    @classmethod
    def strata(cls, targets: Sequence[Any]) -> list[str]:
        """The class."""
        return ClassTarget.strata(targets)

    @classmethod
    def divide(
        cls, targets: Sequence[Any], sizes: Sequence[int], shares: Mapping[str, float]
    ) -> list[str | None]:
        """Two by two of each class, so that what is held out has something to find.

        Classes with too few rows for that are drawn whole, such as pairs.
        """
        members: dict[Any, list[int]] = defaultdict(list)
        for group, target in enumerate(targets):
            members[target].append(group)
        parts: list[str | None] = [None] * len(targets)
        couples: list[list[int]] = []
        strata: list[str] = []
        small: list[list[int]] = []
        for target, groups in members.items():
            if len(groups) < 2 * (1 + len(shares)):
                small += [groups] if len(groups) > 1 else []
                continue
            # An odd one goes with the last two.
            last = len(groups) // 2 - 1
            couples += [groups[2 * i : None if i == last else 2 * i + 2] for i in range(last + 1)]
            strata += cls.strata([target]) * (last + 1)
        if len(small) > len(shares):
            couples += small
            strata += ["The classes with few rows"] * len(small)
        rows = [sum(sizes[group] for group in couple) for couple in couples]
        for couple, part in zip(couples, by_strata(strata, rows, shares), strict=True):
            for group in couple:
                parts[group] = part
        return parts

    @classmethod
    def divide_groups(
        cls, targets: Sequence[Any], groups: Sequence[Sequence[int]], shares: Mapping[str, float]
    ) -> list[str | None]:
        """As `divide`, where each group is of one class; others stay what they are."""
        if any(len({targets[row] for row in rows}) > 1 for rows in groups):
            return super().divide_groups(targets, groups, shares)
        return cls.divide([targets[rows[0]] for rows in groups], list(map(len, groups)), shares)

    def folds(self, truth: Array, count: int, seed: int) -> list[tuple[Array, Array]]:
        """Stratified by class."""
        return stratified_folds(truth, at_least_two_folds(count), seed)

    def most_folds(self, truth: Array) -> int:
        """As many as leave two rows of the largest class in a fold, to find each other."""
        import numpy as np

        return int(np.bincount(truth).max()) // 2

    # ---- encoding and training ---------------------------------------------------------------

    @property
    def num_outputs(self) -> int:
        """Width of the vectors."""
        return self.width

    def with_width(self, width: int) -> Self:
        """Vectors of so many numbers."""
        return replace(self, width=width)

    def truth(self, targets: Sequence[Any], origins: Sequence[str] | None = None) -> Array:
        """Class numbers, int64 (n,); classes that training never saw come after the known ones."""
        import numpy as np

        if missing := [row for row, target in enumerate(targets) if target is None]:
            where = origins[missing[0]] if origins is not None else f"item {missing[0]}"
            raise DataError(f"{where}: there is no label.", hint="leave such rows out")
        known = dict.fromkeys(self.classes)
        others = sort_labels({target for target in targets if target not in known})
        numbers = {name: i for i, name in enumerate((*self.classes, *others))}
        return np.array([numbers[target] for target in targets], np.int64)

    def encode(self, truth: Array) -> Array:
        """The class number, float32 (n, 1)."""
        import numpy as np

        return np.asarray(truth, np.float32)[:, None]

    def together(self, truth: Array) -> tuple[Array, int]:
        """Four rows of a class."""
        return truth, TOGETHER

    @property
    def row_loss(self) -> RowLoss:
        """None: a row's loss depends on the others."""
        raise NotImplementedError

    def loss(self, *, label_smoothing: float = 0.0, focal_gamma: float = 0.0) -> keras.losses.Loss:
        """The supervised contrastive loss."""
        from tltool.tasks.embeddings.losses import SupervisedContrastive

        return SupervisedContrastive()

    def training_metrics(self) -> list[keras.metrics.Metric]:
        """Recall@1 among the rows of a batch."""
        from tltool.tasks.embeddings.losses import ComparingMean, nearest_is_alike

        return [ComparingMean(nearest_is_alike, name="recall_at_1")]

    @property
    def training_units(self) -> str:
        """Among what it searches."""
        return "recall_at_1 is among the rows of a batch"

    def initial_kernel(self, channels: int) -> str:
        """The model starts as its backbone, or as a rotation of it onto fewer numbers."""
        return "identity" if channels == self.width else "orthogonal"

    # ---- what a user reads -------------------------------------------------------------------

    def outputs(self, raw: Any) -> Any:
        """Unit vectors (n, width), float32."""
        import numpy as np

        if isinstance(raw, np.ndarray):
            from tltool.tasks.metrics.retrieval import unit_rows

            return unit_rows(raw)
        from tltool.tasks.embeddings.losses import unit

        return unit(raw)

    @classmethod
    def averaged(cls, raws: Sequence[Any]) -> Any:
        """The mean of unit vectors, to which `outputs` gives length 1 again."""
        from tltool.graph.means import mean_of
        from tltool.tasks.embeddings.losses import unit

        return mean_of([unit(raw) for raw in raws])

    def prediction(self, output: Any) -> Prediction:
        """The vector."""
        return Prediction([float(value) for value in output], None, {})

    def row(self, output: Any) -> dict[str, Any]:
        """The vector."""
        return {"prediction": [short(value) for value in output]}

    def words(self, value: Any) -> str:
        """A class, or the first numbers of a vector."""
        if isinstance(value, str):
            return value
        shown = ", ".join(f"{number:.4f}" for number in value[:_SHOWN])
        return f"[{shown}, … {len(value)} numbers]" if len(value) > _SHOWN else f"[{shown}]"

    # ---- what a model is worth ---------------------------------------------------------------

    def metrics(self, outputs: Array, truth: Array) -> dict[str, Any]:
        """See `tltool.tasks.metrics.retrieval`."""
        from tltool.tasks.metrics.retrieval import retrieval_metrics

        return retrieval_metrics(outputs, truth)

    def right(self, outputs: Array, truth: Array) -> Array | None:
        """Of rows that can ask, where the nearest other is of their class."""
        from tltool.tasks.metrics.retrieval import nearest_is_alike

        return nearest_is_alike(outputs, truth)

    def worst(self, outputs: Array, truth: Array) -> Array:
        """Rows with a wrong neighbour that is nearer than any of their own, by how much."""
        from tltool.tasks.metrics.retrieval import nearest_wrong

        return nearest_wrong(outputs, truth)[0]

    def mistake(self, row: int, outputs: Array, targets: Sequence[Any]) -> tuple[Any, float | None]:
        """The class of the nearest row of another class, with the cosine; no confidence."""
        import numpy as np

        cosines = self.outputs(outputs) @ self.outputs(outputs[row : row + 1])[0]
        alike = np.array([target == targets[row] for target in targets])
        nearest = int(np.argmax(np.where(alike, -np.inf, cosines)))
        return f"near {targets[nearest]} (cosine {cosines[nearest]:.3f})", None

    def limits(self, metrics: Mapping[str, Any]) -> list[str]:
        """What the scores are of."""
        asked, rows = metrics["queries"], metrics["n"]
        return [
            f"{asked:,} of {rows:,} held-out rows searched among all the others; scores depend on "
            "how many rows and classes there are to search.",
            "Similarities rank what is near; they are no probabilities.",
        ]

    def picture(self, outputs: Array, truth: Array, metrics: Mapping[str, Any]) -> Map:
        """The first two principal components, of 2,000 rows at most."""
        import numpy as np

        rows = evenly_spaced(len(outputs), _POINTS)
        values = np.asarray(outputs[rows], np.float64)
        centred = values - values.mean(axis=0)
        _, vectors = np.linalg.eigh(centred.T @ centred)
        names = [self._name(number) for number in np.asarray(truth)[rows]]
        return Map(centred @ vectors[:, :-3:-1], names, "First two principal components")

    def _name(self, number: int) -> str:
        if number < len(self.classes):
            return self.classes[number]
        return f"new class {number - len(self.classes) + 1}"

    # ---- linear models -----------------------------------------------------------------------

    linear_model = "the features as they come"

    def fit_linear(self, features: Any, truth: Array, strength: float) -> Callable[[Any], Array]:
        """Nothing is fitted: features are vectors already."""
        return self.outputs

    def linear_setting(self, strength: float) -> str:
        """Nothing is fitted."""
        return "not fitted"

    def score(self, outputs: Array, truth: Array) -> float:
        """Recall@1; 0 where no row has another of its class."""
        return float(self.metrics(outputs, truth)["recall_at_1"] or 0.0)

    # ---- exports -----------------------------------------------------------------------------

    result_name = "embedding"
    raw_name = "projection"

    @property
    def result_shape(self) -> tuple[int | None, ...]:
        """One vector a row."""
        return (None, self.width)

    @property
    def result_range(self) -> tuple[float, float]:
        """Of each number of a unit vector."""
        return (-1.0, 1.0)

    @property
    def contents(self) -> Mapping[str, str]:
        """See `Target.contents`."""
        return {
            "embedding": "the vector, of length 1: the sum of products of two is their similarity",
            "projection": "the vector before it is scaled to length 1",
        }

    def result(self, raw: Any) -> Any:
        """The unit vectors."""
        return self.outputs(raw)

    def served(self, raw: Any) -> dict[str, Any]:
        """The unit vectors."""
        return {"embedding": self.outputs(raw)}

    def keras_result(self, raw: keras.KerasTensor) -> keras.KerasTensor:
        """A scaling to length 1."""
        import keras

        return keras.layers.UnitNormalization(dtype="float32", name="embedding")(raw)

    def from_result(self, result: Array) -> Array:
        """The same: it is what a user reads."""
        return result

    def from_served(self, outputs: Mapping[str, Any]) -> tuple[Array, list[Any]]:
        """See `Target.from_served`."""
        import numpy as np

        return np.asarray(outputs["embedding"], np.float32), []

    def program(self) -> Program:
        """Programs print the vector."""
        return Program(vectors=True)

    def gives(self) -> str:
        """See `Target.gives`."""
        return (
            f"It gives a vector of {self.width} numbers and length 1; the more alike two inputs "
            "are, the larger is the sum of products of their vectors (their cosine)."
        )

    # ---- the export gate ---------------------------------------------------------------------

    def differences(self, expected: Array, received: Array) -> Array:
        """Length of the difference of both unit vectors, (n, 1): √(2 - 2 cosine)."""
        import numpy as np

        apart = self.outputs(received) - self.outputs(expected)
        return np.linalg.norm(apart.astype(np.float64), axis=-1, keepdims=True)

    def comparable(self, outputs: Array) -> Array:
        """Length 1, which 8 bits round."""
        return self.outputs(outputs)

    def drop(self, model: Mapping[str, Any], artifact: Mapping[str, Any]) -> float:
        """Queries lost, as a share of all rows: few of them may have anything to find."""
        return super().drop(model, artifact) * model["queries"] / model["n"]

    def grace(self, rows: int) -> float:
        """One query more that is wrong."""
        return 1 / rows

    def brief(self, output: Any, answer: Any = None) -> str:
        """The first numbers."""
        return self.words(output)

    # ---- manifests ---------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Classes and width."""
        return {"classes": list(self.classes), "width": self.width}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """See `Target.from_json`."""
        width = int(values["width"])
        if width < 1:
            raise ValueError(f"its width is {width}")
        return cls(tuple(map(str, values["classes"])), width)
