"""The mean of several epochs' weights: of which, and when it is kept."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from cached_fit import fit

from tltool.recipe.schema import BestEpochs, CacheSection, LastEpochs
from tltool.report.history import weights_words
from tltool.training.best_weights import Rule
from tltool.training.epoch_average import EpochAverage

NEVER = CacheSection(use="never")
PHASES = (
    {"train": "head", "epochs": 2, "learning_rate": 0.01},
    {"train": "all", "epochs": 4, "learning_rate": 0.01, "curve": "constant"},
)


def averaged(which, losses, min_delta=0.0):
    """The row and the kernel of the mean of epochs whose kernels are their numbers."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    path, rule = model.variables[0].path, Rule("val_loss", False, min_delta)
    average = EpochAverage(model, frozenset({path}), which, rule)
    for epoch, loss in enumerate(losses, start=1):
        model.set_weights([np.full((1, 1), float(epoch))])
        row = {"phase": "2 all", "epoch": epoch, "total_epoch": 3 + epoch, "val_loss": loss}
        average.offer(row)
        # As a training that goes on would have it.
        again = EpochAverage(model, frozenset({path}), which, rule)
        again.take_back(*average.state())
        average = again
    return average.mean_in(), model.get_weights()[0].item()


def test_the_last_and_the_best_epochs():
    losses = (0.5, 0.1, 0.3, 0.2, 0.4)
    row, kernel = averaged(LastEpochs(last=3), losses)
    assert (row["averaged"], kernel) == ("3, 4 and 5", 4.0)
    row, kernel = averaged(BestEpochs(best=2), losses)
    assert (row["averaged"], kernel) == ("2 and 4", 3.0)
    assert (
        weights_words(row)
        == "Its weights are the mean of those of epochs 2 and 4 of phase 2 (all)."
    )


def test_of_equal_epochs_the_earlier_ones_are_kept():
    assert averaged(BestEpochs(best=2), (0.3, 0.2, 0.3, 0.3))[0]["averaged"] == "1 and 2"


def test_the_best_epochs_are_so_by_less_than_what_early_stopping_counts_as_better():
    row, _ = averaged(BestEpochs(best=2), (0.5, 0.4, 0.3, 0.2), min_delta=0.15)
    assert row["averaged"] == "3 and 4"


def test_one_epoch_has_no_mean(tmp_path):
    assert averaged(LastEpochs(last=3), (0.5,)) == (None, 1.0)
    phases = ({"train": "head", "epochs": 1, "learning_rate": 0.01},)
    said = fit("cnn", tmp_path, phases, NEVER, average_epochs=LastEpochs(last=3))[2]
    assert any("No mean of weights was taken" in line for line in said)


def test_a_training_ends_with_the_mean_where_there_is_no_validation(tmp_path):
    single = fit("cnn", tmp_path / "single", PHASES, NEVER, validate=False)
    mean = fit("cnn", tmp_path / "mean", PHASES, NEVER, validate=False,
               average_epochs=LastEpochs(last=2))  # fmt: skip
    assert [row["loss"] for row in mean[1]] == [row["loss"] for row in single[1]]
    assert not np.array_equal(mean[0]["stem_conv/kernel"], single[0]["stem_conv/kernel"])
    assert any("mean of those of epochs 3 and 4 of phase 2 (all)" in line for line in mean[2])


@pytest.mark.parametrize("worse", [True, False])
def test_the_mean_is_kept_where_it_is_no_worse(worse, tmp_path, monkeypatch):
    single = fit("cnn", tmp_path / "single", PHASES, NEVER)
    taken = EpochAverage.mean_in

    def mean_in(self):
        row = taken(self)
        for variable in self._variables.values():
            variable.assign(single[0][variable.path])
            if worse and variable.path.startswith("head"):  # the other class, always
                variable.assign(-variable)
        return row

    monkeypatch.setattr(EpochAverage, "mean_in", mean_in)
    weights, _, said, _ = fit("cnn", tmp_path / "mean", PHASES, NEVER,
                              average_epochs=BestEpochs(best=2))  # fmt: skip
    for name, value in single[0].items():
        np.testing.assert_array_equal(weights[name], value)
    assert any("is worse on the validation rows" in line for line in said) == worse
    assert any("Its weights are the mean" in line for line in said) != worse
