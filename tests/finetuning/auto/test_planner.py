"""The budget is honoured whatever steps take, by a clock that only the steps move."""

from __future__ import annotations

import numpy as np
import pytest

from tltool.evaluation.comparison import Comparison
from tltool.finetuning.auto.budget import Budget
from tltool.finetuning.auto.candidates import Candidate, exact_head, fine_tunings, searched_head
from tltool.finetuning.auto.planner import Measured, Planner
from tltool.recipe.recipe import Recipe
from tltool.support.errors import BackboneError, TrainingError

cases: list[tuple[bool, bool]] = []
RECIPE = Recipe.of(task="text-classification", data={"train": "x.csv"}, backbone="any")


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Steps:
    """Steps that take what is drawn, and estimates of it that are off by a few per cent."""

    def __init__(self, clock: Clock, seed: int = 0, *, unit: float | None = None) -> None:
        rng = np.random.default_rng(seed)
        self._rng, self._clock = rng, clock
        scale = float(10 ** rng.uniform(-1, 1.5)) if unit is None else unit
        self.took = {
            name: scale * float(10 ** rng.uniform(-0.7, 0.7))
            for name in ("open", "solve", "rehearse", "startup", "epoch", "finish", "search")
        }
        self.folds = int(rng.integers(2, 6))
        self.guards = bool(rng.integers(2))
        self.limited = 1.0
        self.paced: set[tuple[str, str]] = set()
        self.rehearsed = False
        self.done: list[str] = []
        self.gain = lambda candidate: float(rng.normal(0, 0.02))
        self._gains: dict[tuple[str, str, int], float] = {}
        self.fails: set[str] = set()

    def _take(self, what: str, seconds: float) -> None:
        self.done.append(what)
        self._clock.seconds += seconds

    def _about(self, seconds: float) -> float:
        return seconds * float(self._rng.uniform(0.93, 1.07))

    def opening(self, backbone):
        return self._about(self.took["open"])

    def open(self, backbone):
        self._take(f"open {backbone}", self.took["open"])
        if backbone in self.fails:
            raise BackboneError(f"{backbone} is broken.")
        return "too large" if backbone.startswith("large") else None

    def solving(self, backbone):
        return self._about(self.limited * self.took["solve"])

    def limit(self, seconds):
        self.limited = min(1.0, seconds / self.took["solve"])
        self._take("limit", 0.0)

    def solve(self, backbone):
        self._take(f"solve {backbone}", self.limited * self.took["solve"])
        return Measured(exact_head(RECIPE, backbone), dict.fromkeys(range(self.folds), 0))

    def rehearsing(self, backbone):
        return 0.0 if self.rehearsed else self._about(self.took["rehearse"])

    def rehearse(self, backbone):
        self.rehearsed = True
        self._take("rehearse", self.took["rehearse"])

    def search_head(self, backbone, seconds):
        if self.took["search"] > seconds:
            return None
        self._take("search", self.took["search"])
        start = exact_head(RECIPE, backbone)
        recipe = start.recipe.with_overrides("schedule=[{train: head, epochs: 10}]")
        return searched_head(start, recipe)

    def settings(self, backbone):
        start = exact_head(RECIPE, backbone)
        return fine_tunings(start, groups=6, weights=10**7, rows=1000, classes=2)

    def training(self, candidate: Candidate) -> float:
        if not candidate.usual:
            return 0.1 * self.took["solve"]
        return self.took["startup"] + candidate.epochs * self.took["epoch"]

    def pacing(self, candidate):
        return 0.0 if candidate.key in self.paced else self._about(self.took["startup"])

    def pace(self, candidate):
        if candidate.key not in self.paced:
            self.paced.add(candidate.key)
            self._take(f"pace {candidate.name}", self.took["startup"])

    def folding(self, candidate):
        assert candidate.key in self.paced
        return self._about(self.training(candidate))

    def finishing(self, candidate):
        return self._about(self.took["finish"] + self.training(candidate))

    def measure(self, candidate, fold, until):
        if candidate.way in self.fails:
            raise TrainingError("The loss is nan.")
        self._take(f"fold {fold} of {candidate.name}", 0.0)
        end = self._clock.seconds + self.training(candidate)
        self._clock.seconds = min(end, until)
        return 0 if end <= until else None

    def compare(self, one, other):
        if not one.folds.keys() & other.folds.keys():
            return None
        key = (one.candidate.name, other.candidate.name, len(one.folds))
        gain = self._gains.setdefault(key, self.gain(one.candidate))
        bounds = (gain - 0.02, gain + 0.02)
        return Comparison(gain, bounds, 0.8 + gain, 0.8, 10 * len(one.folds), "as drawn")

    def scored(self, measured):
        return {"score": 0.8, "interval": (0.7, 0.9), "rows": 10 * len(measured.folds)}


def search(steps: Steps, clock: Clock, seconds: float, backbones=("small", "middle", "big")):
    budget = Budget(seconds, clock)
    clock.seconds += min(0.1 * seconds, 2.0)  # imports
    lines = []
    found = Planner(steps, budget, lambda line, best: lines.append(line)).run(backbones)
    assert tuple(lines) == found.trail
    return found, budget


@pytest.mark.parametrize("seed", range(400))
def test_the_budget_is_honoured_and_what_is_left_would_not_have_been_enough(seed):
    clock = Clock()
    steps = Steps(clock, seed)
    seconds = float(10 ** np.random.default_rng([seed, 1]).uniform(0.5, 3.5))
    found, budget = search(steps, clock, seconds)
    left = budget.left
    cases.append((found.candidate.usual > 0, left > 0.5 * seconds))
    total = budget.spent + steps.took["finish"] + steps.training(found.candidate)
    exact = steps.took["finish"] + steps.training(exact_head(RECIPE, "small"))
    least = min(2.0, 0.1 * seconds) + steps.took["open"] + steps.limited * steps.took["solve"]
    if total > 1.1 * seconds:  # there was no time for anything but what is always delivered
        assert total == pytest.approx(least + exact)
        assert found.candidate.way == "exact head"
    assert sum(line.seconds for line in found.trail) <= budget.spent + 0.1
    if total < 0.6 * seconds and "every" not in found.ended and "all" not in found.ended:
        done = {line.name for line in found.trail if line.verdict != "left out"}
        for candidate in steps.settings(found.candidate.backbone):
            if any(name.startswith(candidate.name.partition(",")[0]) for name in done):
                continue
            once = steps.training(candidate.with_epochs(candidate.least))
            assert 1.25 * (once + max(exact, steps.took["finish"] + once)) > left


def test_the_draws_have_cases_of_all_kinds():
    """Runs after the cases themselves; of some of them alone it can say nothing."""
    if len(cases) == 400:
        tuned, early = (sum(column) for column in zip(*cases, strict=True))
        assert 40 < tuned < 360
        assert 20 < early < 380


def test_with_much_time_all_settings_of_all_backbones_are_measured_on_all_folds():
    clock = Clock()
    steps = Steps(clock, 3, unit=0.1)
    steps.gain = lambda candidate: 0.0
    found, budget = search(steps, clock, 10_000.0)
    assert "all known settings" in found.ended
    assert found.candidate.way == "exact head"
    assert found.candidate.backbone == "small"  # equal ones don't take its place
    measured = [line for line in found.trail if line.folds]
    assert {line.folds for line in measured} == {steps.folds}
    assert len(measured) == 3 + 1 + 3 * len(steps.settings("small"))
    assert budget.spent < 1000


def test_a_candidate_that_wins_is_kept_and_twice_its_epochs_are_tried():
    clock = Clock()
    steps = Steps(clock, 3, unit=0.1)
    steps.gain = lambda candidate: 0.1 if candidate.way == "last layers" else -0.1
    found, _ = search(steps, clock, 10_000.0, ["small"])
    (usual,) = [c for c in steps.settings("small") if c.way == "last layers"]
    assert found.candidate.epochs == 4 * usual.epochs
    assert found.candidate.recipe.training.keep == "trained"
    assert found.measured
    kept = [line.name for line in found.trail if line.verdict == "kept"]
    assert kept == [
        "small: exact head",
        *(f"small: last layers, {n * usual.epochs} epochs" for n in (1, 2, 4)),
    ]
    folds = {line.name: line.folds for line in found.trail}
    assert folds[f"small: last layers, {usual.epochs} epochs"] == 1  # it was plain at once


def test_what_breaks_or_fails_is_told_and_left_out():
    clock = Clock()
    steps = Steps(clock, 3, unit=0.1)
    steps.fails = {"broken", "all layers"}
    steps.gain = lambda candidate: -0.1
    found, _ = search(steps, clock, 10_000.0, ["broken", "large one", "small"])
    out = {line.name: line.why for line in found.trail if line.verdict == "left out"}
    assert out["broken"] == "broken is broken."
    assert out["large one"] == "too large"
    (way,) = [one for one in steps.settings("small") if one.way == "all layers"]
    assert out[way.name] == "The loss is nan."
    assert found.candidate.backbone == "small"
    with pytest.raises(BackboneError, match="None of the backbones") as error:
        search(Steps(Clock(), 3), Clock(), 100.0, ["large one"])
    assert "large one: too large" in error.value.message


def test_with_little_time_rows_are_left_out_and_the_exact_head_is_delivered():
    clock = Clock()
    steps = Steps(clock, 5)
    steps.took = dict.fromkeys(steps.took, 10.0) | {"solve": 1000.0, "open": 1.0, "finish": 20.0}
    found, budget = search(steps, clock, 60.0)
    assert found.candidate.name == "small: exact head"
    assert steps.limited == pytest.approx(0.5 * 57 / 1000 / 1.1, rel=0.01)
    assert budget.spent + 20 + steps.training(found.candidate) * steps.limited < 1.1 * 60


def test_without_time_for_a_fold_the_training_itself_chooses():
    clock = Clock()
    steps = Steps(clock, 5)
    steps.guards = True
    steps.took = dict.fromkeys(steps.took, 1.0) | {"epoch": 20.0, "finish": 10.0, "search": 99.0}
    found, budget = search(steps, clock, 75.0, ["small"])
    assert not found.measured
    assert found.candidate.usual
    assert found.candidate.epochs < found.candidate.usual
    assert found.candidate.recipe.training.keep == "best"
    assert budget.spent + 10 + steps.training(found.candidate) <= 75.0
    steps = Steps(clock, 5)
    steps.guards = False
    steps.took = dict.fromkeys(steps.took, 1.0) | {"epoch": 20.0, "finish": 10.0, "search": 99.0}
    assert search(steps, clock, 75.0, ["small"])[0].candidate.way == "exact head"


def test_a_training_slower_than_it_seemed_is_stopped_in_time():
    clock = Clock()
    steps = Steps(clock, 5)
    steps.took = dict.fromkeys(steps.took, 1.0) | {"finish": 10.0, "search": 99.0}
    steps.gain = lambda candidate: 0.1 if candidate.usual else 0.0
    promised = steps.folding
    steps.folding = lambda candidate: 0.05 * promised(candidate)
    found, budget = search(steps, clock, 22.0, ["small"])
    assert any("stopped" in line.why for line in found.trail)
    assert budget.left >= steps.took["finish"] + steps.training(found.candidate)


def test_known_settings_fit_network_and_rows():
    start = exact_head(RECIPE, "small")
    few = fine_tunings(start, groups=6, weights=10**7, rows=100, classes=2)
    many = fine_tunings(start, groups=6, weights=10**8, rows=10_000, classes=2)
    assert few[-1].way == "contrastive"
    assert "contrastive" not in {one.way for one in many}
    assert few[0].epochs > many[0].epochs
    assert few[0].phases[-1].learning_rate == pytest.approx(4 * many[0].phases[-1].learning_rate)
    numbers = Recipe.of(task="image-regression", data={"train": "x.csv"}, backbone="any")
    start = exact_head(numbers, "cnn")
    for one in fine_tunings(start, groups=9, weights=10**7, rows=500, classes=0):
        Recipe.of(**one.recipe.to_values())  # its faults between fields too
        assert one.recipe.training.label_smoothing == 0
    assert few[0].recipe.training.monitor == "metric"
    twice = few[0].longer()
    assert twice.epochs == 2 * few[0].epochs
    assert twice.longer().longer() is None


def test_fields_that_were_given_stay_as_they_are():
    values = RECIPE.model_dump(mode="json", by_alias=True, exclude_unset=True)
    values |= {"task": "image-classification", "data": {"train": "x"}, "augment": None}
    for given in ({"monitor": "loss"}, {"label_smoothing": 0.0}, {"label_smoothing": 0.3}):
        start = exact_head(Recipe.of(**values | {"training": given}), "cnn")
        found = fine_tunings(start, groups=6, weights=10**7, rows=100, classes=2)
        assert not any(one.recipe.augment for one in found)
        for one in found:
            assert given.items() <= one.recipe.training.model_dump().items()
        usual = {"monitor": "metric", "label_smoothing": 0.1} | given
        assert usual.items() <= found[0].recipe.training.model_dump().items()
