"""Unit vectors learnt from rows of texts that are alike, in place of classes.

A row of the data has a text (the anchor), one that is like it (the positive) and maybe
one that is not, though it seems so (the hard negative); or two texts and how alike
they are. The model reads each text by itself, so each becomes an example of its own,
whose target, a `Member`, says of which row it is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

from tltool.support.errors import DataError
from tltool.support.words import excerpt, number
from tltool.tasks.embeddings.kind import EmbeddingTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.reports import Map, Scatter, Score
from tltool.tasks.stratify import by_strata, evenly_spaced, group_folds
from tltool.tasks.target import LabelColumns, Reader, Refusal

if TYPE_CHECKING:
    import keras
    import numpy as np

    Array = np.ndarray[Any, Any]

ROLES = ("anchor", "positive", "negative")
"""What the texts of a row are, by their place."""
_COMPARED = Refusal(
    "makes batches of like lengths, but here a batch needs all texts of a row",
    "use training.batch_size",
)


class Member(NamedTuple):
    """The target of one text of a row.

    Attributes:
        row: The row's number.
        role: The text's place in `texts`; see `ROLES`.
        texts: All of the row.
        number: How alike the first two are; 1 where the data does not say.
    """

    row: int
    role: int
    texts: tuple[str, ...]
    number: float


@dataclass(frozen=True)
class PairTarget(EmbeddingTarget):
    """A unit vector; that of each text shall be nearest to that of the text like it.

    A target is True for a row of texts, and a `Member` for each of them.
    """

    kind = "embedding_pair"
    noun = "row"
    scores: ClassVar[tuple[Score, ...]] = (
        Score("recall_at_1", "Recall@1", share=True),
        Score("recall_at_5", "Recall@5", share=True),
        Score("recall_at_10", "Recall@10", share=True),
        Score("mrr", "Mean reciprocal rank"),
        Score("map", "Mean average precision"),
    )
    refused: ClassVar[Mapping[str, Refusal]] = {
        **EmbeddingTarget.refused,
        "training.tokens_per_batch": _COMPARED,
    }
    from_folders = False
    label_column = ""
    of_texts = True

    # ---- reading -----------------------------------------------------------------------------

    @classmethod
    def reader(cls, columns: LabelColumns, cells: Sequence[Any]) -> Reader:
        """True: that a row is there says that its first two texts are alike."""
        return lambda cell: True

    @classmethod
    def names_in(cls, target: Any) -> tuple[str, ...]:
        """None: rows have no names."""
        return ()

    @classmethod
    def members(cls, row: int, texts: Sequence[str], target: Any) -> list[Any]:
        """See `Target.members`."""
        return [Member(row, role, tuple(texts), float(target)) for role in range(len(texts))]

    @classmethod
    def fit(cls, targets: Sequence[Any], names: Sequence[str] = ()) -> Self:
        """Nothing is fitted; `with_width` makes it whole."""
        if len(_rows_of(targets)) < 2:
            raise DataError(
                "There is one training row only, so nothing says what is not alike.",
                hint="give two rows at least",
            )
        return cls()

    @classmethod
    def remarks_on(cls, targets: Sequence[Any], task: str) -> list[str]:
        """Nothing."""
        return []

    # ---- dividing rows -----------------------------------------------------------------------

    @classmethod
    def strata(cls, targets: Sequence[Any]) -> list[str]:
        """All rows are of one."""
        return ["The data"] * len(targets)

    @classmethod
    def divide(
        cls, targets: Sequence[Any], sizes: Sequence[int], shares: Mapping[str, float]
    ) -> list[str | None]:
        """By stratum, as other kinds do."""
        return by_strata(cls.strata(targets), sizes, shares)

    @classmethod
    def linked(cls, inputs: Sequence[Any]) -> Sequence[str]:
        """The anchor: one that is in several rows must not ask in training and test."""
        return [texts[0].strip() for texts in inputs]

    @classmethod
    def some(cls, targets: Sequence[Any], most: int) -> list[int]:
        """Whole rows."""
        rows = _rows_of(targets)
        fitting = most // max(map(len, rows), default=1)
        chosen = evenly_spaced(len(rows), max(1, fitting))
        return [place for row in chosen for place in rows[row]]

    @classmethod
    def spread(cls, targets: Sequence[Any], count: int) -> list[int]:
        """Evenly spaced; every fourth goes to the end, so that the end is spread as well."""
        chosen = evenly_spaced(len(targets), count)
        return [place for first in range(4) for place in chosen[first::4]]

    def folds(self, truth: Array, count: int, seed: int) -> list[tuple[Array, Array]]:
        """Of whole rows."""
        import numpy as np

        return group_folds(np.zeros(len(truth)), list(map(str, truth[:, 0])), count, seed)

    def most_folds(self, truth: Array) -> int:
        """As many as leave two rows in a fold."""
        import numpy as np

        return len(np.unique(truth[:, 0])) // 2

    # ---- encoding and training ---------------------------------------------------------------

    def truth(self, targets: Sequence[Any], origins: Sequence[str] | None = None) -> Array:
        """Of each text its row, its role, its number, that of the anchor, and the row's number.

        float64 (n, 5). Texts that are equal have the same number.
        """
        import numpy as np

        numbers: dict[str, int] = {}
        found = []
        for place, target in enumerate(targets):
            if not isinstance(target, Member):
                where = origins[place] if origins is not None else f"item {place}"
                raise DataError(
                    f"{where}: nothing says what the text is like.", hint="leave such rows out"
                )
            row, role, texts, alike = target
            own, anchor = (
                numbers.setdefault(text.strip(), len(numbers)) for text in (texts[role], texts[0])
            )
            found.append((row, role, own, anchor, alike))
        return np.array(found, np.float64).reshape(-1, 5)

    def encode(self, truth: Array) -> Array:
        """The same, float32 (n, 5)."""
        import numpy as np

        return np.asarray(truth, np.float32)

    def together(self, truth: Array) -> tuple[Array, int]:
        """All texts of a row."""
        import numpy as np

        rows = truth[:, 0].astype(np.int64)
        return rows, int(np.unique(rows, return_counts=True)[1].max(initial=1))

    def loss(self, *, label_smoothing: float = 0.0, focal_gamma: float = 0.0) -> keras.losses.Loss:
        """The multiple negatives ranking loss."""
        from tltool.tasks.embeddings.losses import MultipleNegativesRanking

        return MultipleNegativesRanking()

    def training_metrics(self) -> list[keras.metrics.Metric]:
        """Recall@1 of the anchors of a batch among its other texts."""
        from tltool.tasks.embeddings.losses import ComparingMean, nearest_is_positive

        return [ComparingMean(nearest_is_positive, name="recall_at_1")]

    @property
    def training_units(self) -> str:
        """Among what it searches."""
        return "recall_at_1 is among the rows of a batch"

    # ---- what a user reads -------------------------------------------------------------------

    def shown(self, target: Any) -> Any:
        """What the text is in its row."""
        return ROLES[target.role]

    def words(self, value: Any) -> str:
        """The text that is like it, or the first numbers of a vector."""
        if isinstance(value, Member):
            return f"like “{excerpt(value.texts[1])}”"
        return super().words(value)

    # ---- what a model is worth ---------------------------------------------------------------

    def metrics(self, outputs: Array, truth: Array) -> dict[str, Any]:
        """See `tltool.tasks.metrics.retrieval.pair_metrics`."""
        from tltool.tasks.metrics.retrieval import pair_metrics

        return pair_metrics(outputs, truth)

    def right(self, outputs: Array, truth: Array) -> Array | None:
        """Of anchors, where the nearest positive is one of their own."""
        from tltool.tasks.metrics.retrieval import nearest_is_own

        return nearest_is_own(outputs, truth)

    def worst(self, outputs: Array, truth: Array) -> Array:
        """Anchors to which another text is nearer than any of their own, by how much."""
        from tltool.tasks.metrics.retrieval import nearest_other

        return nearest_other(outputs, truth)[0]

    def mistake(self, row: int, outputs: Array, targets: Sequence[Any]) -> tuple[Any, float | None]:
        """The nearest positive of another text, with the cosine; no confidence."""
        import numpy as np

        anchor = targets[row].texts[0].strip()
        own = {one.texts[1].strip() for one in targets if one.texts[0].strip() == anchor} | {anchor}
        others = [
            place
            for place, one in enumerate(targets)
            if one.role == 1 and one.texts[1].strip() not in own
        ]
        cosines = self.outputs(outputs[others]) @ self.outputs(outputs[row : row + 1])[0]
        nearest = int(np.argmax(cosines))
        text = excerpt(targets[others[nearest]].texts[1])
        return f"nearer to “{text}” (cosine {cosines[nearest]:.3f})", None

    def limits(self, metrics: Mapping[str, Any]) -> list[str]:
        """What the scores are of."""
        return [
            f"{metrics['queries']:,} held-out texts searched for those like them among "
            f"{metrics['candidates']:,}; scores depend on how many there are to search.",
            "Similarities rank what is near; they are no probabilities.",
        ]

    def _name(self, number: int) -> str:
        return ROLES[number]

    def picture(self, outputs: Array, truth: Array, metrics: Mapping[str, Any]) -> Any:
        """The first two principal components, of 2,000 texts at most."""
        found: Map = super().picture(outputs, truth[:, 1].astype(int), metrics)
        return found


@dataclass(frozen=True)
class ScoredPairTarget(PairTarget):
    """A unit vector; the larger the number of two texts, the nearer shall theirs be.

    A target is the number, and a `Member` for each text.
    """

    kind = "embedding_scored_pair"
    noun = "number"
    label_column = "label"
    scores: ClassVar[tuple[Score, ...]] = (
        Score("spearman", "Spearman correlation of the cosine"),
        Score("pearson", "Pearson correlation of the cosine"),
    )
    mistakes_title = "Cosines that are furthest from their place"

    @classmethod
    def reader(cls, columns: LabelColumns, cells: Sequence[Any]) -> Reader:
        """A number."""
        return NumbersTarget.reader(columns, cells)

    @classmethod
    def fit(cls, targets: Sequence[Any], names: Sequence[str] = ()) -> Self:
        """Nothing is fitted, but the numbers must differ."""
        values = {one.number if isinstance(one, Member) else one for one in targets}
        if len(values) < 2:
            raise DataError(
                f"All training rows have the same number, {values.pop():g}; two at least are "
                "needed.",
                hint="where all rows are alike, leave data.label_column out",
            )
        return cls()

    @classmethod
    def strata(cls, targets: Sequence[Any]) -> list[str]:
        """As of numbers."""
        return NumbersTarget.strata(targets)

    @classmethod
    def linked(cls, inputs: Sequence[Any]) -> Sequence[str]:
        """Nothing but duplicates."""
        return ()

    def loss(self, *, label_smoothing: float = 0.0, focal_gamma: float = 0.0) -> keras.losses.Loss:
        """The loss of the order of cosines (CoSENT)."""
        from tltool.tasks.embeddings.losses import CosineOrder

        return CosineOrder()

    def training_metrics(self) -> list[keras.metrics.Metric]:
        """Spearman's correlation of the pairs of a batch."""
        from tltool.tasks.embeddings.losses import ComparingMean, rank_correlation

        return [ComparingMean(rank_correlation, name="spearman")]

    @classmethod
    def order_score(cls, ranking: float) -> Score | None:
        """Spearman's correlation: the order is all that is trained."""
        return cls.headline()

    @property
    def training_units(self) -> str:
        """Among what it compares."""
        return "spearman is of the pairs of a batch"

    def shown(self, target: Any) -> Any:
        """The number."""
        return target.number

    def words(self, value: Any) -> str:
        """The number, or the first numbers of a vector."""
        return number(value.number) if isinstance(value, Member) else super().words(value)

    def metrics(self, outputs: Array, truth: Array) -> dict[str, Any]:
        """Spearman's and Pearson's correlation of cosines with the numbers."""
        from tltool.tasks.metrics.common import rank_correlation_interval
        from tltool.tasks.metrics.numbers import regression_metrics
        from tltool.tasks.metrics.retrieval import cosines_of

        _, cosines, numbers = cosines_of(outputs, truth)
        found = regression_metrics(cosines, numbers)
        interval = rank_correlation_interval(found["spearman"], found["n"])
        kept = {score.key: found[score.key] for score in self.scores}
        return {"n": len(outputs), "pairs": found["n"], **kept, "spearman_interval": interval}

    def right(self, outputs: Array, truth: Array) -> None:
        """A correlation is of no single rows."""

    def resampled(self, outputs: Array, truth: Array, counts: Array) -> Array:
        """Spearman's correlation of the pairs, each drawn as often as its first text."""
        import numpy as np
        from scipy.stats import rankdata

        from tltool.tasks.metrics.retrieval import cosines_of

        places, cosines, numbers = cosines_of(outputs, truth)
        pairs, found = np.arange(len(places)), []
        for times in counts[:, places].astype(np.int64):
            ranks = [rankdata(v[np.repeat(pairs, times)]) for v in (cosines, numbers)]
            varied = all(np.ptp(some) for some in ranks) if times.sum() > 1 else False
            found.append(np.corrcoef(*ranks)[0, 1] if varied else np.nan)
        return np.array(found)

    def worst(self, outputs: Array, truth: Array) -> Array:
        """First texts of pairs, by how far the rank of their cosine is from that of the number."""
        import numpy as np

        places, cosines, numbers = _ranks(outputs, truth)
        apart = np.abs(cosines - numbers)
        order = np.argsort(-apart, kind="stable")
        return places[order[apart[order] > 0]]

    def mistake(self, row: int, outputs: Array, targets: Sequence[Any]) -> tuple[Any, float | None]:
        """The cosine of the pair."""
        asked = targets[row]
        other = next(
            place
            for place, one in enumerate(targets)
            if one.row == asked.row and one.role != asked.role
        )
        first, second = self.outputs(outputs[[row, other]])
        return f"cosine {first @ second:.3f} with “{excerpt(asked.texts[1])}”", None

    def limits(self, metrics: Mapping[str, Any]) -> list[str]:
        """What a cosine is not."""
        return ["The cosine has the order of the numbers, not their unit."]

    def picture(self, outputs: Array, truth: Array, metrics: Mapping[str, Any]) -> Any:
        """The ranks of cosines against those of the numbers."""
        _, cosines, numbers = _ranks(outputs, truth)
        return Scatter([("rank", cosines, numbers)], "Ranks of cosines against those of numbers")

    def score(self, outputs: Array, truth: Array) -> float:
        """Spearman's correlation; 0 where there is none."""
        return float(self.metrics(outputs, truth)["spearman"] or 0.0)

    def drop(self, model: Mapping[str, Any], artifact: Mapping[str, Any]) -> float:
        """Of Spearman's correlation; 0 where the model has none."""
        found = model["spearman"]
        return 0.0 if found is None else found - (artifact["spearman"] or 0.0)

    def grace(self, rows: int) -> float:
        """A pair whose cosine has come to any place: its rank is off by n/√6 on the average."""
        return 2 / rows


def _ranks(outputs: Array, truth: Array) -> tuple[Array, Array, Array]:
    """As `cosines_of`, of cosines and numbers their ranks; equal ones share a mean rank."""
    from scipy.stats import rankdata

    from tltool.tasks.metrics.retrieval import cosines_of

    places, cosines, numbers = cosines_of(outputs, truth)
    return places, rankdata(cosines), rankdata(numbers)


def _rows_of(targets: Sequence[Any]) -> list[list[int]]:
    """Places of the texts of each row; of rows that are not divided yet, each by itself."""
    rows: dict[Any, list[int]] = defaultdict(list)
    for place, target in enumerate(targets):
        rows[target.row if isinstance(target, Member) else -1 - place].append(place)
    return list(rows.values())
