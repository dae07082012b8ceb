"""Kinds of targets whose rows say beside the classes how unknown the input is.

Outputs have one column more, the score; raw outputs too. Where the column is missing, as in what
a baseline says, everything is as without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from tltool.support.words import percent, short
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.labelled import LabelledTarget
from tltool.tasks.reports import Table
from tltool.tasks.target import Prediction, Program, Target
from tltool.tasks.unknown.settings import ACCEPTED, ON_FEATURES, SCORE, Method, Unknown

if TYPE_CHECKING:
    import numpy as np

    from tltool.tasks.watched import Watched

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class _Knowing(LabelledTarget):
    """What is the same for the kinds below, of which each is `_of` with a score.

    Attributes:
        known: What counts as known.
    """

    known: Unknown | None = None

    # ---- with and without the score ----------------------------------------------------------

    @cached_property
    def plain(self) -> Target:
        """The kind without the score."""
        own = KNOWING_OF[type(self)]
        return own(**{field.name: getattr(self, field.name) for field in fields(own)})  # type: ignore[arg-type]

    @property
    def _known(self) -> Unknown:
        if self.known is None:
            raise ValueError("it does not say what counts as known")
        return self.known

    def _width(self) -> int:
        return len(self.labels)

    def answers_in(self, outputs: Any) -> Any:
        """Outputs, raw ones too, without the score: an array, a tensor, or one row of them."""
        if getattr(outputs.dtype, "names", None) or outputs.shape[-1] == self._width():
            return outputs
        return outputs[..., :-1]

    def scores_in(self, outputs: Any) -> Any | None:
        """The score of each row (n,), or of one; None where outputs have none."""
        if names := getattr(outputs.dtype, "names", None):
            return outputs[SCORE] if SCORE in names else None
        return None if outputs.shape[-1] == self._width() else outputs[..., -1]

    def accepted(self, outputs: Array) -> Array | None:
        """Which rows are known, bool (n,); None where outputs have no score."""
        scores = self.scores_in(outputs)
        if scores is None:
            return None
        found: Array = scores <= self._known.threshold
        return found

    def settled(self, setting: Any, held_out: Any) -> Self:
        """As it is: all is chosen."""
        return self

    # ---- what a user reads -------------------------------------------------------------------

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Logits and the score."""
        return (self._width() + 1,)

    @property
    def row_shape(self) -> tuple[int | None, ...]:
        """Probabilities and the score."""
        return (self._width() + 1,)

    def outputs(self, raw: Any) -> Any:
        """Probabilities and the score, (n, labels + 1)."""
        from keras import ops

        answers = self.plain.outputs(self.answers_in(raw))
        scores = self.scores_in(raw)
        if scores is None:
            return answers
        return ops.concatenate([answers, ops.cast(scores, "float32")[..., None]], axis=-1)

    def prediction(self, output: Any) -> Prediction:
        """With the score and whether it is accepted."""
        found, score = self.plain.prediction(self.answers_in(output)), self.scores_in(output)
        if score is None:
            return found
        accepted = bool(score <= self._known.threshold)
        return replace(found, unknown_score=float(score), accepted=accepted)

    def row(self, output: Any) -> dict[str, Any]:
        """With `unknown_score` and `accepted`."""
        score = self.scores_in(output)
        found = self.plain.row(self.answers_in(output))
        if score is None:
            return found
        accepted = bool(score <= self._known.threshold)
        return {**found, SCORE: short(score), ACCEPTED: accepted}

    def kept(self, outputs: Array, targets: Sequence[Any], inputs: Sequence[Any] = ()) -> Array:
        """With the score, where few of very many classes are kept."""
        import numpy as np

        answers, scores = self.answers_in(outputs), self.scores_in(outputs)
        few = self.plain.kept(answers, targets, inputs)
        if not few.dtype.names or scores is None:
            return outputs
        found = np.zeros(len(few), [*few.dtype.descr, (SCORE, "f4")])
        for name in few.dtype.names:
            found[name] = few[name]
        found[SCORE] = scores
        return found

    # ---- what a model is worth ---------------------------------------------------------------

    def metrics(self, outputs: Array, truth: Array) -> dict[str, Any]:
        """With `acceptance_rate` and `unknown`: the settings and the curve of coverage."""
        from tltool.tasks.unknown.coverage import coverage_curve

        answers = self.answers_in(outputs)
        found, accepted = self.plain.metrics(answers, truth), self.accepted(outputs)
        scores = self.scores_in(outputs)
        if accepted is None or scores is None:
            return found
        right = self.plain.right(answers, truth)
        curve = coverage_curve(scores, right)
        of_accepted = None
        if right is not None and accepted.any():
            of_accepted = float(right[accepted].mean())
        told = {**self._known.to_json(), "accuracy_of_accepted": of_accepted, "curve": curve}
        return {**found, "acceptance_rate": float(accepted.mean()), "unknown": told}

    def score(self, outputs: Array, truth: Array) -> float:
        """See `Target.score`."""
        return self.plain.score(self.answers_in(outputs), truth)

    def right(self, outputs: Array, truth: Array) -> Array | None:
        """See `Target.right`."""
        return self.plain.right(self.answers_in(outputs), truth)

    def resampled(self, outputs: Array, truth: Array, counts: Array) -> Array:
        """See `Target.resampled`."""
        return self.plain.resampled(self.answers_in(outputs), truth, counts)

    def worst(self, outputs: Array, truth: Array) -> Array:
        """See `Target.worst`."""
        return self.plain.worst(self.answers_in(outputs), truth)

    def row_errors(self, outputs: Array, truth: Array) -> Any:
        """See `Target.row_errors`."""
        return self.plain.row_errors(self.answers_in(outputs), truth)

    def wrongness(self, outputs: Array, truth: Array) -> Any:
        """See `Target.wrongness`."""
        return self.plain.wrongness(self.answers_in(outputs), truth)

    def stated(self, outputs: Array, truth: Array) -> Any:
        """See `Target.stated`."""
        return self.plain.stated(self.answers_in(outputs), truth)

    def explained(self, output: Any, label: str | None = None) -> Any:
        """See `Target.explained`."""
        return self.plain.explained(self.answers_in(output), label)

    def watched(self, outputs: Array) -> Watched:
        """With the score."""
        found, scores = self.plain.watched(self.answers_in(outputs)), self.scores_in(outputs)
        if scores is None:
            return found
        return replace(found, columns={**found.columns, SCORE: scores.astype("float64")})

    def calibration_error(self, outputs: Array, truth: Array) -> float | None:
        """See `Target.calibration_error`."""
        return self.plain.calibration_error(self.answers_in(outputs), truth)

    def picture(self, outputs: Array, truth: Array, metrics: Mapping[str, Any]) -> Any:
        """See `Target.picture`."""
        return self.plain.picture(self.answers_in(outputs), truth, metrics)

    def tables(self, metrics: Mapping[str, Any]) -> list[Table]:
        """With the curve of coverage against accuracy."""
        found = self.plain.tables(metrics)
        if "unknown" not in metrics or metrics["unknown"]["accuracy_of_accepted"] is None:
            return found
        rows = [
            [
                f"the best known {percent(point['coverage'])}",
                f"{point['rows']:,}",
                "–" if point["accuracy"] is None else percent(point["accuracy"]),
            ]
            for point in metrics["unknown"]["curve"]
        ]
        return [*found, Table("Coverage against accuracy", ("Rows", "Number", "Accuracy"), rows)]

    def remarks(self, metrics: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
        """With how many rows are accepted."""
        found = self.plain.remarks(metrics)
        if "unknown" not in metrics:
            return found
        known, right = self._known, metrics["unknown"]["accuracy_of_accepted"]
        share = "" if right is None else f", of which {percent(right)} are right"
        line = (
            f"{percent(metrics['acceptance_rate'])} of these rows are accepted{share}: {SCORE} at "
            f"most {known.threshold:.4g} by {known.method}, which was chosen so that "
            f"{percent(known.coverage)} of {known.rows:,} {known.source} are"
        )
        return [*found, ("Known and unknown", [line])]

    def limits(self, metrics: Mapping[str, Any]) -> list[str]:
        """That what is accepted may be unknown all the same."""
        said = (
            f"An input is refused where its {SCORE} is above the threshold. Inputs of other kinds "
            "may be accepted all the same: try it on some of yours (docs/unknown.md)."
        )
        return [*self.plain.limits(metrics), said]

    # ---- exports -----------------------------------------------------------------------------

    @property
    def contents(self) -> Mapping[str, str]:
        """With the two outputs more."""
        share = percent(self._known.coverage)
        return {
            **self.plain.contents,
            SCORE: f"how unknown the input is, by {self._known.method}; higher is less known",
            ACCEPTED: f"1 where that is at most {self._known.threshold:.6g}, as it is for {share} "
            "of inputs like those it learnt from, else 0",
        }

    def result(self, raw: Any) -> Any:
        """The probabilities alone."""
        return self.plain.result(self.answers_in(raw))

    def results(self, raw: Any) -> dict[str, Any]:
        """Probabilities, score and whether it is accepted."""
        logits, score = self._parts(raw)
        accepted = self._accepted(score)
        return {self.result_name: self.plain.result(logits), SCORE: score, ACCEPTED: accepted}

    def raw_part(self, raw: Any) -> Any:
        """The logits."""
        return self._parts(raw)[0]

    def combined(self, results: Mapping[str, Any]) -> Array:
        """Probabilities and score, as `outputs` gives them."""
        import numpy as np

        parts = [np.asarray(results[name], np.float32) for name in (self.result_name, SCORE)]
        return np.concatenate(parts, axis=-1)

    def served(self, raw: Any) -> dict[str, Any]:
        """With score and whether it is accepted, each (n,)."""
        logits, score = self._parts(raw)
        flat = {SCORE: score[:, 0], ACCEPTED: self._accepted(score)[:, 0]}
        return {**self.plain.served(logits), **flat}

    def from_served(self, outputs: Mapping[str, Any]) -> tuple[Array, list[Any]]:
        """With the score; see `Target.from_served`."""
        import numpy as np

        answers, names = self.plain.from_served(outputs)
        score = np.asarray(outputs[SCORE], np.float32).reshape(-1, 1)
        return np.concatenate([answers, score], axis=-1), names

    def keras_result(self, raw: Any) -> Any:
        """The three as layers."""
        from tltool.tasks.unknown.layers import Accepted

        logits, score = raw
        accepted = Accepted(self._known.threshold)(score)
        return {
            self.result_name: self.plain.keras_result(logits),
            SCORE: score,
            ACCEPTED: accepted,
        }

    def _parts(self, raw: Any) -> tuple[Any, Any]:
        """Logits and score (n, 1), of a model that gives them apart or joined."""
        if isinstance(raw, list | tuple):
            logits, score = raw
            return logits, score
        return raw[..., :-1], raw[..., -1:]

    def _accepted(self, score: Any) -> Any:
        from keras import ops

        return ops.cast(score <= self._known.threshold, "float32")

    def answers(self, outputs: Array, labels: Sequence[str]) -> list[Any]:
        """See `Target.answers`."""
        return self.plain.answers(self.answers_in(outputs), labels)

    def program(self) -> Program:
        """See `Target.program`."""
        return replace(self.plain.program(), known=True)

    def gives(self) -> str:
        """See `Target.gives`."""
        return (
            f"{self.plain.gives()} `{SCORE}` says how unlike the training data an input is, and "
            f"`{ACCEPTED}` is 0 where the answer should not be used for that."
        )

    def golden_row(self, output: Any, decimals: int) -> Any:
        """The probabilities, which is what programs compare."""
        return self.plain.golden_row(self.answers_in(output), decimals)

    # ---- the export gate ---------------------------------------------------------------------

    def differences(self, expected: Array, received: Array) -> Array:
        """Of the probabilities."""
        return self.plain.differences(self.answers_in(expected), self.answers_in(received))

    def range_of(self, outputs: Array) -> float:
        """Of the probabilities."""
        return self.plain.range_of(self.answers_in(outputs))

    def log_odds(self, outputs: Array) -> Any:
        """Of the probabilities."""
        return self.plain.log_odds(self.answers_in(outputs))

    def agrees(self, expected: Array, answers: Sequence[Any]) -> Any:
        """See `Target.agrees`."""
        return self.plain.agrees(self.answers_in(expected), answers)

    def comparable(self, outputs: Array) -> Array:
        """See `Target.comparable`; the score stays."""
        import numpy as np

        answers = self.plain.comparable(self.answers_in(outputs))
        scores = self.scores_in(outputs)
        return answers if scores is None else np.concatenate([answers, scores[:, None]], axis=1)

    def brief(self, output: Any, answer: Any = None) -> str:
        """See `Target.brief`."""
        return self.plain.brief(self.answers_in(output), answer)

    def change(self, expected: Array, received: Array, *, raw: bool) -> float:
        """See `Target.change`."""
        return self.plain.change(self.answers_in(expected), self.answers_in(received), raw=raw)

    # ---- manifests ---------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """With what counts as known."""
        return {**self.plain.to_json(), "known": self._known.to_json()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """See `Target.from_json`."""
        own = KNOWING_OF[cls]
        plain = own.from_json(values)
        known = Unknown.from_json(values["known"])
        return cls(**{f.name: getattr(plain, f.name) for f in fields(own)}, known=known)  # type: ignore[arg-type]


@dataclass(frozen=True)
class KnowingClassTarget(_Knowing, ClassTarget):
    """One of several classes, and how unknown the input is."""


@dataclass(frozen=True)
class KnowingClassSetTarget(_Knowing, ClassSetTarget):
    """Several labels, and how unknown the input is."""


KNOWING_OF: dict[type[Target], type[Target]] = {
    KnowingClassTarget: ClassTarget,
    KnowingClassSetTarget: ClassSetTarget,
}
_KNOWING: dict[type[Target], Callable[..., Target]] = {
    plain: knowing for knowing, plain in KNOWING_OF.items()
}
# Of labels that are given by themselves, none at all is an answer too.
_ONE_ANSWER = (ClassTarget,)


def methods_for(kind: type[Target]) -> tuple[Method, ...]:
    """The scores that models of a kind of target can have; none where it has no unknown."""
    if kind not in _KNOWING:
        return ()
    return (*ON_FEATURES, "max_probability", "energy") if kind in _ONE_ANSWER else ON_FEATURES


def knowing(target: Target, known: Unknown) -> Target:
    """A target of a kind that `methods_for` has scores for, with the score in its outputs."""
    values = {field.name: getattr(target, field.name) for field in fields(target)}  # type: ignore[arg-type]
    return _KNOWING[type(target)](**values, known=known)


def groups_in(truth: Array) -> Array:
    """The class of each row, for scores that have a mean for each; one where rows have several."""
    import numpy as np

    return truth if truth.ndim == 1 else np.zeros(len(truth), np.int64)
