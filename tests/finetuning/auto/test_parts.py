"""The parts of `tltool auto` that need no model: the clock, the watch, limits, the page."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

import tltool
from tltool.finetuning.auto import at_hand
from tltool.finetuning.auto.bounds import Bounds, FileFacts, extremes
from tltool.finetuning.auto.budget import Budget
from tltool.finetuning.auto.page import Account
from tltool.finetuning.auto.planner import Tried
from tltool.finetuning.auto.watch import PacedError, TooSlowError, Watch
from tltool.support.errors import BackboneError, RecipeError
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget


class Clock:
    seconds = 50.0

    def __call__(self) -> float:
        return self.seconds

    def pass_by(self, seconds: float) -> None:
        self.seconds += seconds


def test_a_budget_runs_from_when_it_is_made_or_from_a_moment_before():
    clock = Clock()
    budget, earlier = Budget(60.0, clock), Budget(60.0, clock, begun=30.0)
    clock.pass_by(5)
    assert (budget.spent, budget.left, budget.end) == (5, 55, 110)
    assert (earlier.spent, earlier.left) == (25, 35)


def steps(watch: Watch, clock: Clock, seconds: list[float], epochs: int, each: int) -> int:
    """Calls of the watch, one after so many seconds each; how many it let pass."""
    with watch.phase("1 all", epochs, each):
        for number, taken in enumerate(seconds):
            clock.pass_by(taken)
            watch.step(number // each + 1, number % each + 1, 32, {})
    return len(seconds)


def test_the_first_step_is_the_start_and_the_pace_is_that_of_the_others():
    clock = Clock()
    watch = Watch(clock)
    steps(watch, clock, [20.0, 1.0, 2.0, 3.0], 2, 2)
    assert watch.first == 70.0
    assert watch.step_seconds == 2.0


def test_a_training_ends_once_its_pace_is_known():
    clock = Clock()
    watch = Watch(clock, enough=3)
    with pytest.raises(PacedError):
        steps(watch, clock, [1.0] * 100, 10, 10)
    assert clock.seconds == 54.0


def test_a_training_that_cannot_end_in_time_is_ended_early():
    clock = Clock()
    with pytest.raises(TooSlowError):
        steps(Watch(clock, until=50 + 90.0), clock, [1.0] * 100, 10, 10)
    assert clock.seconds == 54.0
    clock = Clock()
    assert steps(Watch(clock, until=50 + 101.0), clock, [1.0] * 100, 10, 10) == 100


def test_a_call_of_many_steps_counts_as_many():
    clock = Clock()
    watch = Watch(clock)
    with watch.phase("1 head", 1, 32):
        for done in (16, 32):
            clock.pass_by(8.0)
            watch.step(1, done, 16 * 32, {})
    assert watch.step_seconds == 0.5


def test_bounds_hold_for_both_and_tell_the_smallest_and_the_quickest():
    bounds = Bounds(size_mb=5.0, latency_ms=10.0, threads=2)
    assert bounds.within(FileFacts(5.0, 10.0))
    assert not bounds.within(FileFacts(5.1, 1.0))
    assert not bounds.within(FileFacts(1.0, 10.1))
    assert str(bounds) == "5 MB and 10 ms with 2 threads"
    assert not Bounds().are_any
    assert Bounds().within(FileFacts(1e9, 1e9))
    found = {
        "a": {"float32": FileFacts(90.0, 8.0), "dynamic_int8": FileFacts(23.0, 9.0)},
        "b": {"float32": FileFacts(40.0, 20.0)},
    }
    told = extremes(found)
    assert "smallest is a (dynamic_int8) with 23.0 MB" in told
    assert "quickest a (float32) with 8.0 ms" in told
    for wrong in ({"size_mb": 0.0}, {"latency_ms": -1.0}, {"latency_ms": math.nan}, {"threads": 0}):
        with pytest.raises(RecipeError, match=next(iter(wrong))):
            Bounds(**wrong)


def card(name: str, parameters: int, *, offline: bool, modality: str = "image"):
    return SimpleNamespace(
        name=name, parameters=parameters, works_offline=offline, modality=modality
    )


def test_backbones_at_hand_are_those_whose_weights_are_there(monkeypatch):
    cards = [
        card("lite", 3, offline=True),
        card("bert", 20, offline=True, modality="text"),
        card("large", 30, offline=False),
        card("small", 2, offline=False),
    ]
    there = {"large", "small"}
    monkeypatch.setattr(at_hand, "list_cards", lambda: cards)
    monkeypatch.setattr(at_hand, "is_cached", lambda one: one.name in there)
    assert at_hand.backbones_at_hand("image", download=False) == ("small", "large")
    assert at_hand.backbones_at_hand("image", download=True) == ("small", "lite", "large")
    assert at_hand.backbones_at_hand("text", download=True) == ("bert",)
    with pytest.raises(BackboneError, match="for texts is at hand") as error:
        at_hand.backbones_at_hand("text", download=False)
    assert "--download" in error.value.hint
    assert "tltool models pull bert" in error.value.hint


def test_the_page_tells_each_candidate_with_intervals_and_seconds():
    trail = (
        Tried("lite: exact head", "kept", "the first", 30.25, 0.8, (0.75, 0.85), 5, 300),
        Tried("lite: last layers, 3 epochs", "kept", "better than lite: exact head", 60.0, 0.85,
              (0.79, 0.9), 2, 120, 0.05, (0.01, 0.09)),
        Tried("lite: all layers | x", "left out", "no time", 0.0),
    )  # fmt: skip
    score = ClassTarget.headline()
    account = Account(
        "photos", "image-classification", 10.0, score, trail, trail[1].name, "the end came",
        False, 588.0, "runs/photos/1", (0.83, (0.8, 0.86)), ("a note",),
    )  # fmt: skip
    page = account.to_markdown()
    lines = page.splitlines()
    assert "10 minutes were given, 9.8 were used" in page
    assert "83.0 % (80.0 % to 86.0 %)" in page
    (first,) = [line for line in lines if line.startswith("| lite: exact head")]
    assert first.split(" | ")[1:5] == ["80.0 % (75.0 % to 85.0 %)", "5", "", "30.2"]
    (second,) = [line for line in lines if "last layers" in line and line.startswith("|")]
    assert "+5 points (+1 to +9)" in second
    assert any("all layers \\| x" in line for line in lines)  # a table still
    assert account.tried == 2
    assert "- Winner: " in page
    assert "- Best so far: " in replace(account, ended=None).to_markdown()
    told = json.loads(json.dumps(account.to_json(), allow_nan=False))
    assert told["score"] == "accuracy"
    assert told["trail"][1]["gain"] == 0.05
    numbers = Account("x", "text-regression", 1.0, NumbersTarget.headline(), trail[1:2])
    assert "+0.05 (+0.01 to +0.09)" in numbers.to_markdown()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"minutes": 0}, "minutes"),
        ({"minutes": math.nan}, "minutes"),
        ({"minutes": 1, "overrides": ["schedule=fine_tune"]}, "schedule"),
        ({"minutes": 1, "overrides": ["head.dropout=0.5"]}, "head.dropout"),
        ({"minutes": 1, "overrides": ["backbone=other"]}, "backbone"),
        ({"minutes": 1, "overrides": ["training={keep: trained}"]}, "training.keep: is what"),
        ({"minutes": 1, "task": "text-clasification"}, "task: unknown task. Received: text-clas"),
        ({"minutes": 1, "task": "text-classification", "seed": 0,
          "overrides": ["training.seed=2"]},
         "seed: 0 is given, but training.seed is 2 in an override"),
        ({"minutes": 1, "task": "text-classification", "overrides": ["task=text-regression"]},
         "task: text-classification is given, but task is text-regression in an override"),
        ({"minutes": 1}, "task"),
        ({"minutes": 1, "task": "text-embedding"}, "text-embedding has no linear head"),
        ({"minutes": 1, "task": "text-classification", "size_mb": 1.0,
          "overrides": ["export.formats=[saved_model]"]}, "export.formats"),
        ({"minutes": 1, "task": "text-classification",
          "overrides": ["training.distribution=multi_worker"]}, "training.distribution"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_before_anything_is_loaded(tmp_path, options, told):
    with pytest.raises(RecipeError, match=told):
        tltool.auto((["a", "b"], ["x", "y"]), output=tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()
