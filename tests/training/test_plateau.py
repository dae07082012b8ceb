"""The rate falls where nothing gets better, as the history says it."""

from __future__ import annotations

import pytest
from cached_fit import fit

from tltool.recipe.schema import CacheSection
from tltool.training.best_weights import Rule
from tltool.training.plateau import plateau_scale

LOWER = Rule("val_loss", False)


def scales(losses, patience, rule=LOWER):
    rows = [{"val_loss": loss} for loss in losses]
    return [plateau_scale(rows[:n], rule, 0.5, patience) for n in range(len(rows) + 1)]


def test_it_falls_after_epochs_without_a_better_one_and_again_after_as_many():
    assert scales([3, 2, 2, 2, 2, 2], 2) == [1, 1, 1, 1, 0.5, 0.5, 0.25]
    assert scales([3, 4, 2, 3, 1], 2) == [1] * 6
    assert scales([3, 2.9, 2.8], 1, Rule("val_loss", False, min_delta=0.5)) == [1, 1, 0.5, 0.25]


def test_the_epochs_rates_are_those_of_the_history(tmp_path):
    phases = (
        {"train": "head", "epochs": 2, "learning_rate": 0.01},
        {"train": "head", "epochs": 8, "learning_rate": 0.5, "curve": "plateau",
         "plateau_factor": 0.1, "plateau_patience": 1},
    )  # fmt: skip
    # Few epochs are better by so much.
    stopping = {"patience": 50, "min_delta": 0.3}
    _, rows, _, _ = fit("cnn", tmp_path, phases, CacheSection(use="always"), optimizer="sgd",
                        early_stopping=stopping)  # fmt: skip
    rule = Rule("val_loss", False, min_delta=0.3)
    own = [row for row in rows if row["phase"].startswith("2")]
    expected = [0.5 * plateau_scale(own[:n], rule, 0.1, 1) for n in range(len(own))]
    assert [row["learning_rate"] for row in own] == pytest.approx(expected)
    assert expected[-1] < 0.5, "the rate was meant to fall"
