"""Why an app answers otherwise than the model that it runs: known faults, tried one after another.

The exported model is run here on its golden examples with each fault of preparation planted, and
the outputs are read with each fault of reading; what comes out as the app said is the cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from tltool.data.preprocessing import ImagePreprocessing
from tltool.export.artifact import read_contract
from tltool.export.contract import Contract
from tltool.export.diagnosis.answers import Answers, read_answers, read_golden
from tltool.export.diagnosis.faults import Fault, together
from tltool.export.diagnosis.feeds import Feeds
from tltool.export.diagnosis.search import Explanation, Found, Limits, Verdict, search
from tltool.export.feeding import Arrays
from tltool.export.formats.table import FORMATS
from tltool.recipe.export_section import LiteRTPrecision
from tltool.support.errors import DataError, ExportError
from tltool.tasks.misreadings import Misreading

Array = np.ndarray[Any, Any]

ARITHMETIC = 1e-4
"""What two runtimes' sums in another order may change an answer by: the gate's of float32."""
# One file in two runtimes. Measured with tiny models of every task in eleven runtimes of the last
# years (benchmarks/RESULTS.md): 1e-6 in float32 and float16, 2e-6 in dynamic_int8, 2e-2 in int8,
# whose kernels round otherwise. float16 and dynamic_int8 have room for kernels that compute in
# other types.
SAME_FILE: dict[LiteRTPrecision, float] = {
    "float32": ARITHMETIC,
    "float16": 1e-3,
    "dynamic_int8": 1e-2,
    "int8": 3e-2,
}
# What two other libraries than ours may change answers by, in what one was seen to change.
_LIBRARIES = 2.0
# Of pixels, in levels: libraries round otherwise.
_ONE_LEVEL = 1.01


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with an app.

    Attributes:
        export: The folder.
        examples: Golden examples that were compared.
        found: What the search found: of the tensors and the answers together where the app wrote
            both.
        limits: What sound answers differ by.
        tensors: What was found of the tensors alone; None where the app wrote none.
        outputs: What was found of the answers to these tensors; None likewise.
    """

    export: Path
    examples: int
    found: Found
    limits: Limits
    tensors: Found | None = None
    outputs: Found | None = None

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return self.found.verdict == "sound"


def diagnose(export: Path, answers: Path) -> Diagnosis:
    """Finds what explains an app's answers to the golden examples of an export.

    Args:
        export: The export folder; nothing else is needed.
        answers: What the app wrote, see `tltool.export.diagnosis.answers.read_answers`.

    Raises:
        ExportError: There is no such export, its model cannot be run, or its kind of answers
            cannot be diagnosed.
        DataError: The answers cannot be read, or are those of another model.
    """
    return Examiner(export)(answers)


class Examiner:
    """Diagnoses several apps with one export, which is loaded and run with each fault once.

    Args:
        export: As for `diagnose`.

    Raises:
        ExportError: As `diagnose`.
    """

    def __init__(self, export: Path) -> None:
        path, contract = read_contract(export)
        if not contract.task.target.diagnosable:
            raise ExportError(
                f"Answers of the task {contract.task.spec.name} cannot be diagnosed.",
                hint="compare what the app feeds with `model_input` in golden.json, and what it "
                "says with the rest of it: `goldenDifference` beside the export does that",
            )
        golden = read_golden(path.parent, contract)
        self._folder = path.parent
        self._feeds = Feeds(contract, golden, FORMATS[contract.form].load_call(path, contract))

    def __call__(self, answers: Path) -> Diagnosis:
        """As `diagnose`."""
        contract = self._feeds.contract
        said = read_answers(answers, contract, self._feeds.golden)
        feeds = replace(self._feeds, widths=_widths(said, contract))
        return _Case(feeds, said).solved(self._folder)


def _widths(said: Answers, contract: Contract) -> list[int] | None:
    """Tokens that the app padded each example to, where that is free and it says so."""
    preprocessing = contract.preprocessing
    if said.inputs is None or contract.length or isinstance(preprocessing, ImagePreprocessing):
        return None
    rows = 2 if preprocessing.pair == "apart" else 1
    return [len(one[preprocessing.inputs[0]]) // rows for one in said.inputs]


class _Case:
    """One app's answers, with what has been computed of them.

    Args:
        feeds: The golden examples as apps prepare them.
        said: What the app said.
    """

    def __init__(self, feeds: Feeds, said: Answers) -> None:
        self._feeds, self._said = feeds, said
        self._target = feeds.contract.task.target
        self._faults = feeds.faults()
        self._right_tensors = feeds.tensors({})

    def solved(self, export: Path) -> Diagnosis:
        examples = len(self._feeds.golden.inputs)
        if self._said.inputs is None:
            right = self._feeds.planted({})
            limits = self._limits(right)
            found = self._labelled(search(self._of(right, right), self._levels(right), limits))
            return Diagnosis(export, examples, found, limits)
        fed = self._fed()
        tensors = self._of_tensors(fed)
        right = self._feeds.outputs(fed)
        limits = replace(self._limits(right, decoded=False), shares=False)
        outputs = self._labelled(
            search(self._of(right, right), [lambda: self._readings(right)], limits)
        )
        both = _both(tensors, outputs)
        return Diagnosis(export, examples, both, limits, tensors, outputs)

    # ---- limits --------------------------------------------------------------------------------

    def _limits(self, right: Array, *, decoded: bool = True) -> Limits:
        """What sound answers may differ by: arithmetic, and libraries that read images."""
        contract, gate = self._feeds.contract, self._feeds.golden.tolerance
        tolerance = min(SAME_FILE[contract.precision], gate)
        for other in self._feeds.by_other_libraries() if decoded else ():
            changed = (self._feeds.planted(other) - right) / self._target.units
            tolerance = max(tolerance, _LIBRARIES * float(np.abs(changed).max()))
        # Kernels of 8 bits round otherwise in other runtimes: no fault is read out of that.
        same = SAME_FILE["int8"] if contract.precision == "int8" else ARITHMETIC
        return Limits(min(same, gate), tolerance)

    # ---- answers -------------------------------------------------------------------------------

    def _misread(self, right: Array, how: Misreading, *faults: Fault) -> Explanation:
        left = (how.undo(self._said.outputs, right) - right) / self._target.units
        return Explanation((*faults, how), np.full(left.size, np.inf), left.ravel(), whole=False)

    def _readings(self, right: Array, *faults: Fault) -> list[Explanation]:
        return [self._misread(right, how, *faults) for how in self._target.misreadings()]

    def _levels(self, right: Array) -> Iterator[Callable[[], Sequence[Explanation]]]:
        outputs: list[tuple[Fault, Array]] = []

        def single() -> Sequence[Explanation]:
            found = self._readings(right)
            for fault in self._faults:
                values = self._feeds.planted(fault.changes)
                outputs.append((fault, values))
                found.append(self._of(right, values, fault))
            return found

        def double() -> Sequence[Explanation]:
            found = [one for f, values in outputs for one in self._readings(values, f)]
            visible = [f for f, values in outputs if not np.array_equal(values, right)]
            for pair in _pairs(visible):
                values = self._feeds.planted(_changes(pair))
                found.append(self._of(right, values, *pair))
            return found

        yield single
        yield double

    def _of(self, right: Array, values: Array, *faults: Fault) -> Explanation:
        """What the app would say of what the model gives with faults of preparation."""
        units = self._target.units
        left = (self._said.outputs - values) / units
        return Explanation(faults, ((values - right) / units).ravel(), left.ravel())

    def _labelled(self, found: Found) -> Found:
        """Sound outputs whose names are others than the labels in their places."""
        named = self._said.labels
        if found.verdict != "sound" or named is None:
            return found
        names = [tuple(one) if isinstance(one, list) else one for one in named]
        agrees = self._target.agrees(self._said.outputs, names)
        order = [how for how in self._target.misreadings() if how.key == "label_order"]
        if agrees is None or np.all(agrees == 1) or not order:
            return found
        if all(isinstance(name, str) for name in names):
            _check_order(self._said.outputs.argmax(axis=-1), names, self._target.labels)
        wrong = replace(found.right, faults=(order[0],))
        return replace(found, verdict="fault", best=(wrong,))

    # ---- tensors -------------------------------------------------------------------------------

    def _fed(self) -> list[Arrays]:
        """The tensors that the app wrote."""
        try:
            return self._feeds.said(self._said.inputs or [])
        except ValueError as error:
            shapes = {name: values.shape for name, values in self._right_tensors[0].items()}
            raise DataError(
                f"The tensors in `input` are not of the model's size: {error}; it takes {shapes}.",
                hint="write the whole tensor that the model is given, row by row",
            ) from error

    def _of_tensors(self, fed: Sequence[Arrays]) -> Found:
        """What is wrong with them."""
        flat, right = self._flat(fed), self._flat(self._right_tensors)

        def explained(*faults: Fault) -> Explanation:
            values = self._flat(self._feeds.tensors(_changes(faults)))
            return Explanation(faults, values - right, flat - values)

        def single() -> Sequence[Explanation]:
            return [explained(fault) for fault in self._faults]

        def double() -> Sequence[Explanation]:
            return [explained(*pair) for pair in _pairs(self._faults)]

        limits = Limits(0.5, 0.5, shares=False)
        if others := self._feeds.by_other_libraries():
            changed = max(
                float(np.abs(self._flat(self._feeds.tensors(other)) - right).max())
                for other in others
            )
            limits = Limits(_ONE_LEVEL, max(_ONE_LEVEL, changed))
        return search(Explanation((), np.zeros_like(right), flat - right), [single, double], limits)

    def _flat(self, tensors: Sequence[Arrays]) -> Array:
        unit = self._feeds.unit()
        parts = [
            (values.astype(np.float64) / unit).ravel() for t in tensors for values in t.values()
        ]
        return np.concatenate(parts)


def _pairs(faults: Sequence[Fault]) -> Iterator[tuple[Fault, Fault]]:
    """The likely ones, two and two, that can come together."""
    likely = [fault for fault in faults if fault.likely]
    return (pair for pair in combinations(likely, 2) if together(*pair))


def _changes(faults: Sequence[Fault]) -> dict[str, Any]:
    return {name: value for fault in faults for name, value in fault.changes.items()}


def _both(tensors: Found, outputs: Found) -> Found:
    """What was found of the tensors, and of the answers to these very tensors."""
    if tensors.verdict == "sound":
        return outputs
    if tensors.verdict == "none" or outputs.verdict in ("sound", "none"):
        return tensors
    best = tuple(
        replace(last, faults=(*first.faults, *last.faults))
        for first in tensors.best
        for last in outputs.best
    )
    verdict: Verdict = "fault" if len(best) == 1 else "several"
    return replace(outputs, verdict=verdict, best=best, tried=tensors.tried + outputs.tried)


def _check_order(places: Array, names: Sequence[Any], labels: Sequence[str]) -> None:
    """Raises DataError where no other order of the labels gives these names to these places."""
    unknown = [name for name in names if name not in labels]
    pairs = set(zip(places.tolist(), names, strict=True))
    if not unknown and len(pairs) == len({place for place, _ in pairs}) == len(set(names)):
        return
    what = (
        f"{unknown[0]!r} is no label of the model"
        if unknown
        else "one output has several names, or several outputs have one"
    )
    raise DataError(
        f"The outputs are right, and `label` is not, in no other order of the labels either: "
        f"{what}.",
        hint="look where the app takes the name of its largest output from: labels.txt of this "
        "export, line by line",
    )
