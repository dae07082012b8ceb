"""A tag for each word of a text: entities with their types, or plain classes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from tltool.support.errors import DataError, EvaluationError
from tltool.support.words import count, excerpt, listed, short
from tltool.tasks.labelled import FEW_ROWS, LabelledTarget, checked_labels
from tltool.tasks.reports import Bars, Score, Table
from tltool.tasks.stratify import label_set_folds, over_label_sets, stratum_numbers
from tltool.tasks.tags.cells import TaggedCell, cell_of, tagged_of, text_of
from tltool.tasks.tags.schemes import (
    OUTSIDE,
    are_likely,
    entities_of,
    found_scheme,
    misplaced,
    prefix_of,
)
from tltool.tasks.tags.tagged import AtWords, Tagged, WordScores, WordTags
from tltool.tasks.target import ClassWeights, LabelColumns, Prediction, Program, Reader, Refusal
from tltool.tasks.values import BadValueError, sort_labels
from tltool.tasks.watched import CONFIDENCE, LEAST_WATCHED, Watched

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tltool.tasks.doubts import Doubts, Overlap
    from tltool.tasks.losses.in_numpy import RowLoss

    Array = np.ndarray[Any, Any]

# Tags whose probabilities are this close count as tied.
TIE = 2e-4
_SHOWN = 30
_ENTITY_TYPE = "entity type"
_NAMED = 5
_NO_VECTOR = "has a tag for each word, and no linear model on one vector for each row"


@dataclass(frozen=True)
class TagsTarget(LabelledTarget):
    """A tag for each word of a text.

    A target is a `Tagged`; what a user reads are rows that are `WordScores`, or
    the `WordTags` that `kept` leaves of them, in arrays of objects (n,).

    Attributes:
        labels: Tags in the order of the model's outputs: `O`, then `B-` and
            `I-` of each type; or plain classes.
        shares: Of each tag among the words of the training rows.
    """

    shares: tuple[float, ...] = ()

    kind = "tags"
    noun = "tag"
    reads = "sequence"
    by_words = True
    scores: ClassVar = (
        Score("f1", "F1 of entities (plain classes: of words)"),
        Score("precision", "Precision"),
        Score("recall", "Recall"),
        Score("macro_f1", "Macro F1 (mean of types)"),
        Score("strict_f1", "F1 in strict mode"),
        Score("accuracy", "Accuracy of words", share=True),
    )
    refused: ClassVar[Mapping[str, Refusal]] = {
        "evaluation.thresholds": Refusal(
            "is for several labels, but each word has the most probable tag",
            "use evaluation.thresholds=auto",
        ),
        "head.search": Refusal(
            "tries heads on one vector for each row, but each word has a tag", "leave it out"
        ),
    }
    mistakes_title = "Rows with most mistakes"
    own_recipes: ClassVar = {"text": ("my_names", "your.jsonl")}
    own_files: ClassVar = True
    diagnosable: ClassVar = False
    known_columns: ClassVar = (
        ("tokens", ("tags", "ner_tags", "labels", "pos_tags", "chunk_tags", "upos")),
        ("words", ("tags", "ner_tags", "labels", "ner")),
        ("text", ("spans", "entities", "ents", "label", "labels")),
        ("data", ("entities", "label", "labels")),
    )

    # ---- reading -----------------------------------------------------------------------------

    @classmethod
    def joined(cls, value: Any, label: Any) -> tuple[Any, Any]:
        """Words and tags, or a text and spans; see `cell_of`."""
        return cell_of(value, label)

    @classmethod
    def alone(cls, value: Any) -> Any:
        """A text, or words joined to one as in training."""
        return text_of(value)

    @classmethod
    def file_rows(
        cls, path: Any, text: str, columns: Sequence[str | None], *, labelled: bool = True
    ) -> Any:
        """CoNLL files, and files of JSON; see `tltool.tasks.tags.files`."""
        from tltool.tasks.tags.files import rows_of

        return rows_of(path, text, columns, labelled=labelled)

    @classmethod
    def likely_in(cls, labels: Sequence[Any], *, certain: bool = False) -> bool:
        """Whether tags have prefixes, or are plain classes that come again in other sentences."""
        if not any(labels) or any(isinstance(label, str) for label in labels):
            return False  # of a classification, perhaps
        tags = [label for label in labels if label and all(isinstance(one, str) for one in label)]
        if certain:
            return found_scheme(tags) != "classes"
        return not tags or are_likely(tags)

    @classmethod
    def reader(cls, columns: LabelColumns, cells: Sequence[Any]) -> Reader:
        """Finds out the scheme of all rows' tags, and reads each; see `Target.reader`."""
        scheme = found_scheme(cell.tags for cell in cells if isinstance(cell, TaggedCell))
        return lambda cell: tagged_of(cell, scheme)

    @classmethod
    def noted(cls, labels: Sequence[Any]) -> str:
        """In which scheme tags are written."""
        tags = [cell.tags for cell in labels if isinstance(cell, TaggedCell)]
        if not tags:
            return ""
        scheme = found_scheme(tags)
        if scheme == "classes":
            return "the tags are taken for plain classes"
        return f"the tags are in the scheme {scheme}"

    @classmethod
    def names_in(cls, target: Any) -> tuple[str, ...]:
        """The types of a row's entities, or its classes."""
        found = {prefix_of(tag) for tag in target.tags}
        return tuple(sorted({kind for prefix, kind in found if prefix or kind != OUTSIDE}))

    @classmethod
    def noun_of(cls, targets: Iterable[Any]) -> str:
        """Of entities their type."""
        prefixed = any(prefix_of(tag)[0] for target in targets for tag in target.tags)
        return _ENTITY_TYPE if prefixed else cls.noun

    @classmethod
    def fit(cls, targets: Sequence[Any], names: Sequence[str] = ()) -> Self:
        """The tags in natural order of their types, and how frequent each is."""
        counts = Counter(tag for target in targets for tag in target.tags)
        pairs = {prefix_of(tag) for tag in counts}
        types = sort_labels(kind for prefix, kind in pairs if prefix)
        others = sort_labels({kind for prefix, kind in pairs if not prefix} - {OUTSIDE})
        if types and others:
            raise DataError(
                "Some tags have the prefix of a scheme, such as "
                f"{next(tag for tag in counts if prefix_of(tag)[0])!r}, and others have none: "
                f"{listed(others)}.",
                hint="mend these tags, or take the prefixes off the others",
            )
        if types:
            labels = (OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in "BI"))
        else:
            labels = sort_labels(counts)
        if len(labels) < 2:
            raise DataError(
                "No training example has an entity."
                if labels == (OUTSIDE,)
                else f"All words of the {len(targets)} training examples have one tag: {labels}.",
                hint="check which column holds the tags: data.label_column",
            )
        total = counts.total()
        # As if each tag occurred once more, so that none is impossible.
        shares = tuple((counts[label] + 1) / (total + len(labels)) for label in labels)
        return cls(labels=labels, shares=shares)

    @classmethod
    def remarks_on(cls, targets: Sequence[Any], task: str) -> list[str]:
        """Whether tags are numbers, or go on with entities that are not there."""
        tags = {tag for target in targets for tag in target.tags}
        if tags and all(map(str.isdecimal, tags)):
            return [
                "The tags are numbers, which are taken for plain classes: no entities are counted. "
                "If they stand for names, write these in their place, such as B-person and O; of "
                "Parquet and Arrow files the names of a ClassLabel are read."
            ]
        number = sum(misplaced(target.tags) for target in targets)
        if not number:
            return []
        return [
            f"{count(number, 'tag')} I-… in the training and validation rows go on with no entity "
            "of their type; they are taken for the beginning of one, as seqeval does, except in "
            "strict mode."
        ]

    # ---- dividing rows -----------------------------------------------------------------------

    @classmethod
    def strata(cls, targets: Sequence[Any]) -> list[str]:
        """The rarest of a row's types."""
        named = [cls.names_in(target) for target in targets]
        counts = Counter(name for names in named for name in names)
        return [
            f"The tag {min(names, key=lambda name: (counts[name], name))!r}"
            if names
            else "The rows without a tag"
            for names in named
        ]

    @classmethod
    def divide(
        cls, targets: Sequence[Any], sizes: Sequence[int], shares: Mapping[str, float]
    ) -> list[str | None]:
        """Iterative stratification over the types in each row; see `Target.divide`."""
        return over_label_sets([cls.names_in(target) for target in targets], sizes, shares)

    def folds(self, truth: Array, count: int, seed: int) -> list[tuple[Array, Array]]:
        """By iterative stratification over the types in each row."""
        return label_set_folds([self.names_in(target) for target in truth], count, seed)

    def alike(self, truth: Array) -> Array:
        """The rarest of a row's types; see `Target.alike`."""
        return stratum_numbers(self.strata(list(truth)))

    def most_folds(self, truth: Array) -> int:
        """None of a linear model: see `fit_linear`."""
        return 0

    # ---- encoding and training ---------------------------------------------------------------

    @property
    def entities(self) -> bool:
        """Whether tags say where entities are."""
        return any(prefix_of(label)[0] for label in self.labels)

    @property
    def types(self) -> tuple[str, ...]:
        """Of entities; of plain classes all of them."""
        kinds = [prefix_of(label)[1] for label in self.labels if label.startswith("B-")]
        return tuple(kinds) if self.entities else self.labels

    @property
    def extent(self) -> str:
        """How many types of entities, or how many plain classes."""
        if self.entities:
            return count(len(self.types), _ENTITY_TYPE)
        return count(len({*self.labels} - {OUTSIDE}), self.noun)

    @property
    def num_outputs(self) -> int:
        """One logit a tag."""
        return len(self.labels)

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Logits of each token."""
        return (None, len(self.labels))

    def truth(self, targets: Sequence[Any], origins: Sequence[str] | None = None) -> Array:
        """The same targets, each a `Tagged`, as an array of objects (n,)."""
        known = set(self.labels)
        for row, target in enumerate(targets):
            if target is None:
                raise self.unknown(None, row, origins)
            for tag in target.tags:
                if tag not in known:
                    raise self.unknown(tag, row, origins)
        return _objects(targets)

    def encode(self, truth: Array) -> Array:
        """Of each row's words the number of the tag, and that within the word.

        int32 (words, 2) in an array of objects (n,): a word that begins an entity
        goes on with it in its further parts.
        """
        import numpy as np

        numbers = {label: i for i, label in enumerate(self.labels)}
        both = {tag: (numbers[tag], numbers.get(_inside(tag), numbers[tag])) for tag in numbers}
        return _objects(
            [np.array([both[t] for t in row.tags], np.int32).reshape(-1, 2) for row in truth]
        )

    @property
    def row_loss(self) -> RowLoss:
        """There is none: see `fit_linear`."""
        raise _no_linear_model()

    def loss(self, *, label_smoothing: float = 0.0, focal_gamma: float = 0.0) -> keras.losses.Loss:
        """Cross-entropy at the first piece of each word."""
        from tltool.tasks.losses.in_keras import CrossentropyByPlace

        return CrossentropyByPlace(label_smoothing=label_smoothing, focal_gamma=focal_gamma)

    def training_metrics(self) -> list[keras.metrics.Metric]:
        """The F1 of entities, or the accuracy of plain classes under the same name."""
        from tltool.tasks.tags.training_f1 import TagF1

        return [TagF1(self.labels, entities=self.entities)]

    def initial_bias(self) -> Sequence[float] | None:
        """The logarithm of each tag's share."""
        import numpy as np

        if not self.shares:
            return None
        bias: list[float] = np.log(np.asarray(self.shares)).astype("float32").tolist()
        return bias

    def weights(self, targets: Sequence[Any], setting: ClassWeights) -> Array:
        """Of each word, float32 (words,) in an array of objects (n,), by its tag.

        "balanced" gives n / (k * n_tag) over the k tags present; a mapping gives
        1.0 to tags that it does not name; "auto" leaves all at 1, since words
        outside of entities are most in any text.
        """
        import numpy as np

        by_tag = dict.fromkeys(self.labels, 1.0)
        if isinstance(setting, Mapping):
            self.check_names(setting)
            by_tag |= {tag: float(weight) for tag, weight in setting.items()}
        elif setting == "balanced":
            counts = Counter(tag for target in targets for tag in target.tags)
            by_tag |= {t: counts.total() / (len(counts) * n) for t, n in counts.items()}
        return _objects([np.array([by_tag[t] for t in row.tags], np.float32) for row in targets])

    # ---- what a user reads -------------------------------------------------------------------

    def outputs(self, raw: Any) -> Any:
        """Probabilities of tags: of tensors (n, tokens, tags), or of rows that are `WordScores`."""
        import numpy as np

        if isinstance(raw, np.ndarray) and raw.dtype == object:
            from tltool.tasks.losses.in_numpy import softmax

            return _objects([row.with_values(softmax(row.values)) for row in raw])
        from keras import ops

        return ops.softmax(ops.cast(raw, "float32"), axis=-1)

    @classmethod
    def averaged(cls, raws: Sequence[Any]) -> Any:
        """Logits of the mean of probabilities."""
        from tltool.graph.means import mean_of_softmaxes

        return mean_of_softmaxes(raws)

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        """A row is one object."""
        return ()

    @property
    def blank(self) -> Any:
        """A text without words."""
        import numpy as np

        none = np.zeros(0, np.int32)
        row = np.empty((), object)
        row[()] = WordScores("", none, none, np.zeros((0, len(self.labels)), np.float32))
        return row

    def finite(self, outputs: Array) -> Array:
        """By the probabilities of a row's words."""
        import numpy as np

        return np.array([np.isfinite(_numbers(row)).all() for row in outputs], bool)

    def kept(self, outputs: Array, targets: Sequence[Any], inputs: Sequence[Any] = ()) -> Array:
        """The chosen tags; of labelled rows those of their own words."""
        return _objects(
            row if isinstance(row, WordTags) else self._chosen(row, target)
            for row, target in zip(outputs, targets, strict=True)
        )

    def _chosen(self, row: WordScores, target: Tagged | None = None) -> WordTags:
        """The most probable tags of a row's words, or of those that a target has.

        The tag of a target's word is that of the first word within it that the
        model has; one of which it has none is outside of all entities.
        """
        import numpy as np

        from tltool.tasks.tags.decoding import decode, transitions

        moves = transitions(self.labels)
        if target is None:
            tags = decode(row.values, *moves)
            likely = row.values[np.arange(len(tags)), tags]
            return WordTags(row.text, row.starts, row.ends, tags, likely)
        there, place = _places(row, target)
        starts, ends = np.asarray(target.starts, np.int64), np.asarray(target.ends, np.int64)
        values = row.values[place]
        tags = np.full(len(starts), self._missing, np.int32)
        likely = np.zeros(len(starts), np.float32)
        tags[there] = found = decode(values, *moves)
        likely[there] = values[np.arange(len(found)), found]
        return WordTags(row.text, starts.astype(np.int32), ends.astype(np.int32), tags, likely)

    @property
    def _missing(self) -> int:
        """The tag of words of which the tokenizer makes nothing."""
        if OUTSIDE in self.labels:
            return self.labels.index(OUTSIDE)
        return max(range(len(self.labels)), key=lambda i: self.shares[i] if self.shares else 0)

    def _tags(self, row: WordScores | WordTags, target: Tagged | None = None) -> list[str]:
        chosen = row if isinstance(row, WordTags) else self._chosen(row, target)
        return [self.labels[number] for number in chosen.tags]

    def found(self, row: WordScores | WordTags) -> list[dict[str, Any]]:
        """The entities of a row: text, start, end (characters), type and score.

        The score is the mean probability of the tags of its words. Of plain
        classes each word is one.
        """
        chosen = row if isinstance(row, WordTags) else self._chosen(row)
        tags = self._tags(chosen)
        if self.entities:
            spans = [(one.first, one.end, one.type) for one in entities_of(tags)]
        else:
            spans = [(place, place + 1, tag) for place, tag in enumerate(tags)]
        return [
            {
                "text": row.text[int(chosen.starts[first]) : int(chosen.ends[end - 1])],
                "start": int(chosen.starts[first]),
                "end": int(chosen.ends[end - 1]),
                "type": kind,
                "score": short(chosen.scores[first:end].mean()),
            }
            for first, end, kind in spans
        ]

    def prediction(self, output: Any) -> Prediction:
        """The entities, each with text, start, end, type and score."""
        return Prediction(self.found(_row(output)), None, {})

    def row(self, output: Any) -> dict[str, Any]:
        """The entities as a list."""
        return {"prediction": self.found(_row(output))}

    def shown(self, target: Any) -> Any:
        """The entities with start, end (characters) and type."""
        tags = target.tags
        if self.entities:
            spans = [(one.first, one.end, one.type) for one in entities_of(tags)]
        else:
            spans = [(place, place + 1, tag) for place, tag in enumerate(tags)]
        return [
            {"start": target.starts[first], "end": target.ends[end - 1], "type": kind}
            for first, end, kind in spans
        ]

    def meant(self, row: int, outputs: Array, targets: Sequence[Any]) -> Any:
        """The entities with their text."""
        text = _row(outputs[row]).text
        found = self.shown(targets[row])
        return [{"text": text[one["start"] : one["end"]], **one} for one in found]

    def words(self, value: Any) -> str:
        """`Ada Lovelace (person), London (place)`; of targets, which have no text, the places."""
        found = self.shown(value) if isinstance(value, Tagged) else value
        if not found:
            return "nothing"
        named = [
            f"{excerpt(one['text'], 40) if 'text' in one else one['start']} ({one['type']})"
            for one in found[:_NAMED]
        ]
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        return ", ".join(named) + more

    def watched(self, outputs: Array) -> Watched:
        """The mean probability of a text's best tags, the share that is not the most frequent tag,
        and mean logits of the words."""
        import numpy as np

        rows = [np.maximum(row.values, LEAST_WATCHED, dtype=np.float64) for row in outputs]
        usual = int(np.argmax(self.shares)) if self.shares else 0
        columns = {
            CONFIDENCE: [row.max(-1).mean() if len(row) else 1.0 for row in rows],
            "words tagged": [(row.argmax(-1) != usual).mean() if len(row) else 0.0 for row in rows],
        }
        nothing = np.zeros(len(self.labels))
        vectors = [np.log(row).mean(0) if len(row) else nothing for row in rows]
        return Watched({n: np.array(v, np.float64) for n, v in columns.items()}, np.array(vectors))

    # ---- what a model is worth ---------------------------------------------------------------

    def metrics(self, outputs: Array, truth: Array) -> dict[str, Any]:
        """See `tltool.tasks.metrics.tags`."""
        from tltool.tasks.metrics.tags import entity_metrics, word_metrics

        if len(outputs) != len(truth):
            raise EvaluationError(f"There are {len(outputs)} outputs for {len(truth)} rows.")
        if bad := int((~self.finite(outputs)).sum()):
            raise EvaluationError(f"{bad} of {len(outputs)} outputs are not finite numbers.")
        predicted = [self._tags(row, target) for row, target in zip(outputs, truth, strict=True)]
        true = [target.tags for target in truth]
        measure = entity_metrics if self.entities else word_metrics
        return measure(true, predicted, self.types)

    def resampled(self, outputs: Array, truth: Array, counts: Array) -> Array:
        """The F1 of entities, or the share of words that are right."""
        import numpy as np

        from tltool.tasks.metrics.tags import f1_of

        if type(self).score is not TagsTarget.score:
            return super().resampled(outputs, truth, counts)
        found = []
        for row, target in zip(outputs, truth, strict=True):
            tags = self._tags(row, target)
            if self.entities:
                true, given = set(entities_of(target.tags)), set(entities_of(tags))
                found.append((len(true & given), len(given), len(true)))
            else:
                hits = sum(a == b for a, b in zip(tags, target.tags, strict=True))
                found.append((hits, len(tags), len(tags)))
        return f1_of(counts @ np.array(found))

    def row_errors(self, outputs: Array, truth: Array) -> tuple[Score, Array]:
        """The share of a row's words that have another tag; 0 of a row without words."""
        import numpy as np

        found = np.zeros(len(truth))
        for number, (row, target) in enumerate(zip(outputs, truth, strict=True)):
            wrong = [a != b for a, b in zip(self._tags(row, target), target.tags, strict=True)]
            found[number] = np.mean(wrong) if wrong else 0.0
        return Score("wrong_words", "Wrong words", share=True, higher_is_better=False), found

    def worst(self, outputs: Array, truth: Array) -> Array:
        """Rows with most mistakes first."""
        import numpy as np

        from tltool.tasks.metrics.tags import mistakes

        wrong = np.zeros(len(truth), int)
        for number, (row, target) in enumerate(zip(outputs, truth, strict=True)):
            tags = self._tags(row, target)
            if self.entities:
                wrong[number] = len(mistakes(set(entities_of(target.tags)), set(entities_of(tags))))
            else:
                wrong[number] = sum(a != b for a, b in zip(tags, target.tags, strict=True))
        order = np.argsort(-wrong, kind="stable")
        return order[wrong[order] > 0]

    def tables(self, metrics: Mapping[str, Any]) -> list[Table]:
        """One row a type, and the kinds of mistakes."""
        header = ("Type", *self.table_columns.values(), "Entities" if self.entities else "Words")
        tables = [Table("Types", header, [self._cells(row) for row in metrics["per_class"]])]
        if "errors" in metrics:
            rows = [
                (kind.replace("_", " "), f"{number:,}")
                for kind, number in metrics["errors"].items()
            ]
            tables.append(Table("Mistakes with entities", ("Kind", "Number"), rows))
        return tables

    def limits(self, metrics: Mapping[str, Any]) -> list[str]:
        """Which types have few entities."""
        few = [row["label"] for row in metrics["per_class"] if row["support"] < FEW_ROWS]
        if not few:
            return []
        return [
            f"{count(len(few), 'type')} with fewer than {FEW_ROWS} examples, whose own scores are "
            f"uncertain: {', '.join(few[:10])}."
        ]

    def picture(self, outputs: Array, truth: Array, metrics: Mapping[str, Any]) -> Bars:
        """Precision and recall of each type, of the most frequent ones."""
        rows = [row for row in metrics["per_class"] if row["support"]]
        rows = sorted(rows, key=lambda row: -int(row["support"]))[:_SHOWN]
        shares = {
            name.capitalize(): [row[name] for row in rows] for name in ("precision", "recall")
        }
        return Bars([row["label"] for row in rows], shares, "Scores of each type")

    def baseline(
        self,
        train: tuple[Sequence[Any], Sequence[Any]],
        test: tuple[Sequence[Any], Sequence[Any]],
        loaded: Callable[[Sequence[Any]], Iterable[Any]],
    ) -> tuple[str, Array, str]:
        """A logistic regression on what words and their neighbours look like."""
        from tltool.tasks.tags.baseline import word_features_baseline

        found = word_features_baseline(self.labels, train, test)
        name = "word features + logistic regression"
        return name, _objects(found), "L2 penalty 1e-5, 10 passes"

    # ---- linear models -----------------------------------------------------------------------

    linear_model = "no linear model"

    def fit_linear(self, features: Any, truth: Array, strength: float) -> Callable[[Any], Array]:
        """There is none on one vector for each row."""
        raise _no_linear_model()

    def linear_setting(self, strength: float) -> str:
        """See `fit_linear`."""
        return ""

    def score(self, outputs: Array, truth: Array) -> float:
        """The F1."""
        return float(self.metrics(outputs, truth)["f1"])

    # ---- an audit of labels ------------------------------------------------------------------

    @classmethod
    def cell(cls, target: Any) -> str:
        """JSON of start, end and tag of each word."""
        return json.dumps([*zip(*target, strict=True)], ensure_ascii=False)

    @classmethod
    def of_cell(cls, cell: str) -> Any:
        """See `cell`."""
        try:
            words = [(int(start), int(end), str(tag)) for start, end, tag in json.loads(cell)]
        except (ValueError, TypeError):
            raise BadValueError(
                f'it is no list of words such as [[0, 3, "O"], …] but {excerpt(cell, 60)}'
            ) from None
        return Tagged(*zip(*words, strict=True)) if words else Tagged((), (), ())

    def told(self, target: Any, given: Any) -> str:
        """The entities by their text; see `Target.told`."""
        found = [{"text": given[one["start"] : one["end"]], **one} for one in self.shown(target)]
        return self.words(found)

    def at_words(
        self, rows: Sequence[WordScores] | Array, truth: Sequence[Tagged] | Array
    ) -> AtWords:
        """What is said of the words that targets have; see `_chosen` for which these are."""
        import numpy as np

        number_of = {label: number for number, label in enumerate(self.labels)}
        values, numbers, places = [], [], []
        for row, target in zip(rows, truth, strict=True):
            there, place = _places(row, target)
            values.append(row.values[place])
            places.append(np.flatnonzero(there))
            numbers.append(np.array([number_of[target.tags[i]] for i in places[-1]], np.int64))
        owners = np.repeat(np.arange(len(places)), [len(part) for part in places])
        joined = [np.concatenate(parts) for parts in (values, numbers, places)]
        return AtWords(joined[0], joined[1], owners, joined[2])

    def doubts(self, outputs: Array, truth: Array) -> Doubts:
        """Of each word as of classes; a row is worth what its worst word is.

        Wang and Mueller 2022, "Detecting Label Errors in Token Classification Data"
        (arXiv:2210.03920). Where no word is suspected, the worst one would be changed.
        """
        import numpy as np

        from tltool.tasks.doubts import Doubts, of_classes

        words = self.at_words(outputs, truth)
        found = of_classes(words.values, words.numbers, self.labels)
        quality, suspected = np.ones(len(truth)), np.zeros(len(truth), bool)
        suggested = [list(target.tags) for target in truth]
        new = list(found.suggested)
        np.minimum.at(quality, words.rows, found.quality)
        suspected[words.rows[found.suspected]] = True
        worst = found.quality == quality[words.rows]
        chosen = np.flatnonzero(np.where(suspected[words.rows], found.suspected, worst)).tolist()
        for word in chosen:
            suggested[words.rows[word]][words.places[word]] = new[word]
        return Doubts(
            quality=quality,
            suspected=suspected,
            suggested=[target._replace(tags=tuple(tags))
                       for target, tags in zip(truth, suggested, strict=True)],
        )  # fmt: skip

    def overlaps(self, outputs: Array, truth: Array) -> list[Overlap]:
        """Of words, by the type of their entity; see `Target.overlaps`."""
        import numpy as np

        from tltool.tasks.doubts import overlaps

        words = self.at_words(outputs, truth)
        types = [prefix_of(label)[1] for label in self.labels]
        names = tuple(dict.fromkeys(types))
        rows = np.eye(len(names), dtype=bool)[[names.index(kind) for kind in types]]
        return overlaps(rows[words.values.argmax(axis=1)], rows[words.numbers], names)

    # ---- exports -----------------------------------------------------------------------------

    raw_name = "logits"

    @property
    def result_shape(self) -> tuple[int | None, ...]:
        """Probabilities of each token's tags."""
        return (None, None, len(self.labels))

    @property
    def contents(self) -> Mapping[str, str]:
        """See `Target.contents`."""
        none = "padded to the row with most"
        return {
            "probabilities": "the probability of each tag, in the order of `task.labels`, at each "
            "token; that of the first token of a word counts",
            "logits": "the model's raw outputs at each token, whose softmax are the probabilities",
            "entity_text": f"the text of each entity, {none} with empty texts",
            "entity_start": f"its first character, counted from 0, {none} with -1",
            "entity_end": f"the character after its last one, {none} with -1",
            "entity_type": f"its type, {none} with empty texts",
            "entity_score": f"the mean probability of its words' tags, {none} with 0",
            "word_start": f"the first character of each word, {none} with -1",
            "word_end": f"the character after its last one, {none} with -1",
            "word_probabilities": f"the probability of each tag of each word, {none} with 0",
        }

    def served(self, raw: Any) -> dict[str, Any]:
        """Entities, and words with the probabilities of their tags, of `WordTensors`."""
        from tltool.tasks.tags.graph import served_entities

        return served_entities(raw, self.labels, self.entities)

    def keras_result(self, raw: keras.KerasTensor) -> keras.KerasTensor | None:
        """A softmax."""
        import keras

        return keras.layers.Activation("softmax", dtype="float32", name="probabilities")(raw)

    def answers(self, outputs: Array, labels: Sequence[str]) -> list[Any]:
        """Start, end and type of the entities of each row."""
        named = replace(self, labels=tuple(labels))
        return [self._named(named.found(row)) for row in outputs]

    @staticmethod
    def _named(found: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
        return [[one["start"], one["end"], one["type"]] for one in found]

    def from_served(self, outputs: Mapping[str, Any]) -> tuple[Array, list[Any]]:
        """See `Target.from_served`."""
        import numpy as np

        rows, names = [], []
        for row in range(len(outputs["word_start"])):
            starts, ends, values = (
                np.asarray(outputs[f"word_{name}"][row])
                for name in ("start", "end", "probabilities")
            )
            kept = starts >= 0
            probabilities = values.reshape(len(starts), len(self.labels))[kept].astype(np.float32)
            starts, ends = starts[kept].astype(np.int32), ends[kept].astype(np.int32)
            rows.append(WordScores("", starts, ends, probabilities))
            places = (outputs[f"entity_{name}"][row] for name in ("start", "end", "type"))
            names.append(
                [
                    [int(start), int(end), kind.decode() if isinstance(kind, bytes) else str(kind)]
                    for start, end, kind in zip(*places, strict=True)
                    if start >= 0
                ]
            )
        return _objects(rows), names

    def program(self) -> Program:
        """Programs print the entities."""
        return Program(labels=True, tags=True)

    def gives(self) -> str:
        """See `Target.gives`."""
        return f"It gives the probability of each of {len(self.labels)} tags at each token."

    @property
    def golden_name(self) -> str:
        """The probabilities of each word."""
        return "word_probabilities"

    def golden_row(self, output: Any, decimals: int) -> Any:
        """Of each word its place and the probabilities of its tags."""
        row = _row(output)
        return [
            {"start": int(start), "end": int(end), "probabilities": short_list(values, decimals)}
            for start, end, values in zip(row.starts, row.ends, row.values, strict=True)
        ]

    def from_golden(self, values: Sequence[Any]) -> Array:
        """See `golden_row`."""
        import numpy as np

        return _objects(
            WordScores(
                "",
                np.array([word["start"] for word in row], np.int32),
                np.array([word["end"] for word in row], np.int32),
                np.array([word["probabilities"] for word in row], np.float32).reshape(
                    len(row), len(self.labels)
                ),
            )
            for row in values
        )

    def with_inputs(self, outputs: Array, inputs: Sequence[Any]) -> Array:
        """With the texts."""
        pairs = zip(outputs, inputs, strict=True)
        return _objects(
            replace(row, text=text.decode() if isinstance(text, bytes) else text)
            for row, text in pairs
        )

    # ---- the export gate ---------------------------------------------------------------------

    padding: ClassVar[Mapping[str, Any]] = {
        "entity_text": b"",
        "entity_start": -1,
        "entity_end": -1,
        "entity_type": b"",
        "entity_score": 0.0,
        "word_start": -1,
        "word_end": -1,
        "word_probabilities": 0.0,
    }
    answers_name = "entities"
    same_answer = "same entities"

    def differences(self, expected: Array, received: Array) -> Array:
        """The largest of each row, (n, 1); infinite where the words differ."""
        import numpy as np

        return np.array([[_distance(a, b)] for a, b in zip(expected, received, strict=True)])

    def range_of(self, outputs: Array) -> float:
        """Probabilities go from 0 to 1."""
        return 1.0

    def sent(self, outputs: Array, answers: list[Any]) -> tuple[dict[str, Any], list[Any]]:
        """All rows' words one after the other, and how many each row has; texts in UTF-8."""
        import numpy as np

        texts = [row.text.encode("utf-8", "surrogatepass") for row in outputs]
        none = self.blank[()]
        arrays = {
            "texts": np.frombuffer(b"".join(texts), np.uint8),
            "bytes": np.array([len(text) for text in texts], np.int64),
            "words": np.array([len(row.starts) for row in outputs], np.int64),
            "starts": np.concatenate([none.starts, *(row.starts for row in outputs)]),
            "ends": np.concatenate([none.ends, *(row.ends for row in outputs)]),
            "values": np.concatenate([none.values, *(row.values for row in outputs)]),
        }
        return arrays, answers

    def received(self, arrays: Mapping[str, Array], answers: list[Any]) -> tuple[Array, list[Any]]:
        """See `sent`."""
        import numpy as np

        texts = arrays["texts"].tobytes()
        ends = np.cumsum(arrays["bytes"])
        places = np.cumsum(arrays["words"])[:-1]
        by_row = [np.split(arrays[name], places) for name in ("starts", "ends", "values")]
        rows = (
            WordScores(texts[end - size : end].decode("utf-8", "surrogatepass"), *words)
            for end, size, *words in zip(ends, arrays["bytes"], *by_row, strict=True)
        )
        return _objects(rows), answers

    def agrees(self, expected: Array, answers: Sequence[Any]) -> Array:
        """Where the same entities are named, or a word's tags are tied."""
        import numpy as np

        return np.array(
            [
                self._named(self.found(row)) == [list(one) for one in names] or _tied(row)
                for row, names in zip(expected, answers, strict=True)
            ],
            bool,
        )

    def grace(self, rows: int) -> float:
        """What one row's entities may change."""
        return 1 / rows

    def brief(self, output: Any, answer: Any = None) -> str:
        """`0–12 person, 20–26 place`."""
        names = self._named(self.found(output)) if answer is None else answer
        return ", ".join(f"{start}–{end} {kind}" for start, end, kind in names[:4]) or "nothing"

    def change(self, expected: Array, received: Array, *, raw: bool) -> float:
        """Half the sum of the differences of a token's probabilities, mean over the tokens."""
        import numpy as np

        from tltool.tasks.losses.in_numpy import softmax

        if raw:
            expected, received = softmax(expected), softmax(received)
        return float(np.abs(received - expected).sum(axis=-1).mean() / 2)

    # ---- manifests ---------------------------------------------------------------------------

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """See `Target.from_json`."""
        return cls(labels=checked_labels(values["labels"]))


def _inside(tag: str) -> str:
    """The tag with which a word goes on that begins with this one."""
    prefix, kind = prefix_of(tag)
    return f"I-{kind}" if prefix else tag


def short_list(values: Any, decimals: int) -> list[float]:
    """Numbers with so many decimals."""
    import numpy as np

    rounded: list[float] = np.round(np.asarray(values, np.float64), decimals).tolist()
    return rounded


def _objects(rows: Any) -> Array:
    """An array of objects (n,), whatever they are."""
    import numpy as np

    rows = list(rows)
    array = np.empty(len(rows), object)
    for number, row in enumerate(rows):
        array[number] = row
    return array


def _places(row: WordScores, target: Tagged) -> tuple[Array, Array]:
    """Which words of a target a model has, bool (words,); and which of its own each of them is."""
    import numpy as np

    starts, ends = np.asarray(target.starts, np.int64), np.asarray(target.ends, np.int64)
    place = np.searchsorted(row.starts, starts)
    there = place < len(row.starts)
    there[there] = row.starts[place[there]] < ends[there]
    return there, place[there]


def _row(output: Any) -> Any:
    """The object that a row of outputs is, also where it is an array of no axis."""
    return output[()] if hasattr(output, "dtype") else output


def _numbers(row: WordScores | WordTags) -> Array:
    return row.values if isinstance(row, WordScores) else row.scores


def _distance(one: WordScores, other: WordScores) -> float:
    import numpy as np

    same = np.array_equal(one.starts, other.starts) and np.array_equal(one.ends, other.ends)
    if not same:
        return float("inf")
    return float(np.abs(one.values - other.values).max()) if len(one.starts) else 0.0


def _tied(row: WordScores) -> bool:
    import numpy as np

    if not len(row.starts):
        return False
    best = np.sort(row.values, axis=1)[:, -2:]
    return bool((best[:, 1] - best[:, 0] < TIE).any())


def _no_linear_model() -> EvaluationError:
    return EvaluationError(
        f"A kind of target that {_NO_VECTOR}.", hint="train with `solver: gradient`"
    )
