"""The best weights without training: which are kept, what is put back, what their file may be."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file

from tltool.support.errors import RunError
from tltool.support.progress import Progress
from tltool.training.best_weights import BestWeights, Rule, best_row, load_best


def made_model(units=1):
    inputs = keras.Input((2,))
    hidden = keras.layers.Dense(2, name="lower")(inputs)
    return keras.Model(inputs, keras.layers.Dense(units, name="upper")(hidden))


def fill(model, value):
    for variable in model.variables:
        variable.assign(np.full(variable.shape, value))


def values(model):
    """The one value that each variable is filled with."""
    return {v.path: float(v.numpy().flat[0]) for v in model.variables}


LOWER = {"lower/kernel", "lower/bias"}
UPPER = {"upper/kernel", "upper/bias"}


class Notes(Progress):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.mark.parametrize(
    ("higher", "min_delta", "scores", "better"),
    [
        (True, 0.0, [-1.0, 0.5, 0.5, 0.75], [1, 1, 0, 1]),
        (False, 0.0, [2.0, 3.0, 2.0, 1.0], [1, 0, 0, 1]),
        # The first epoch counts, however little it reaches; a change must exceed the smallest one.
        (True, 0.5, [0.25, 0.5, 0.75, 0.875], [1, 0, 0, 1]),
        (False, 0.5, [1.0, 0.75, 0.25, 0.0], [1, 0, 1, 0]),
        (True, 0.0, [float("nan"), None, -0.5, 0.5], [0, 1, 0, 1]),
    ],
)
def test_an_epoch_is_kept_where_it_is_better_than_all_before(
    tmp_path, higher, min_delta, scores, better
):
    model = made_model()
    best = BestWeights(model, tmp_path / "best.safetensors", Rule("score", higher, min_delta))
    best.begin_phase(UPPER)
    for epoch, (score, expected) in enumerate(zip(scores, better, strict=True), start=1):
        fill(model, epoch)
        assert best.offer({"epoch": epoch, "score": score}) == bool(expected)
    last = max(epoch for epoch, kept in enumerate(better, start=1) if kept)
    assert best.row == best_row(best.path) == {"epoch": last, "score": scores[last - 1]}
    best.restore()
    assert {values(model)[path] for path in UPPER} == {last}


def test_of_equal_epochs_the_one_with_the_lower_loss_is_kept(tmp_path):
    model = made_model()
    best = BestWeights(model, tmp_path / "best.safetensors", Rule("score", True, 0.1, "loss"))
    best.begin_phase(UPPER)
    rows = [(0.5, 0.9), (0.5, 0.9), (0.5, 0.8), (0.5, 0.85), (0.55, 0.1), (0.7, 3.0), (0.7, 2.0)]
    found = []
    for epoch, (score, loss) in enumerate(rows, start=1):
        fill(model, epoch)
        found.append(best.offer({"score": score, "loss": loss}))
    # A score that is better by less than the smallest change counts as neither better nor equal.
    assert found == [True, False, True, False, False, True, True]
    best.restore()
    assert {values(model)[path] for path in UPPER} == {7.0}


def test_the_newest_epoch_can_be_kept_while_the_best_one_leads(tmp_path):
    model = made_model()
    best = BestWeights(model, tmp_path / "best.safetensors", Rule("score", True), newest=True)
    best.begin_phase(UPPER)
    found = []
    for epoch, score in enumerate((0.5, 0.9, 0.6), start=1):
        fill(model, epoch)
        found.append(best.offer({"epoch": epoch, "score": score}))
    assert found == [True, True, False]
    assert best.leader == {"epoch": 2, "score": 0.9}
    assert best.row == best_row(best.path) == {"epoch": 3, "score": 0.6}
    other = BestWeights(made_model(), None, Rule("score", True), newest=True)
    other.take_back(best.places, best.kept(), best.row, best.leader)
    assert not other.offer({"epoch": 4, "score": 0.8})
    assert other.offer({"epoch": 5, "score": 0.95})
    best.restore()
    assert {values(model)[path] for path in UPPER} == {3.0}


def test_what_no_phase_changes_is_neither_kept_nor_put_back(tmp_path):
    model = made_model()
    fill(model, 0)
    best = BestWeights(model, tmp_path / "best.safetensors", Rule("score", True))
    best.begin_phase(UPPER)
    best.restore()
    assert set(values(model).values()) == {0.0}
    fill(model, 1)
    best.restore()
    assert set(values(model).values()) == {1.0}, "no epoch has ended"
    best.offer({"score": 1.0})
    assert set(load_file(best.path)) == UPPER
    fill(model, 2)
    best.restore()
    assert values(model) == dict.fromkeys(LOWER, 2.0) | dict.fromkeys(UPPER, 1.0)


def test_a_later_phase_adds_its_weights_as_they_were_before_it(tmp_path):
    model = made_model()
    fill(model, 0)
    best = BestWeights(model, tmp_path / "best.safetensors", Rule("score", True))
    best.begin_phase(UPPER)
    fill(model, 1)
    best.offer({"score": 0.9})
    best.restore()
    fill(model, 2)
    best.begin_phase(LOWER | UPPER)
    fill(model, 3)
    assert not best.offer({"score": 0.8})
    best.restore()
    assert values(model) == dict.fromkeys(LOWER, 2.0) | dict.fromkeys(UPPER, 1.0)
    fill(model, 4)
    assert best.offer({"score": 1.0})
    assert set(load_file(best.path)) == LOWER | UPPER


def test_a_file_that_cannot_be_written_is_told_once_and_training_goes_on(tmp_path):
    model, progress = made_model(), Notes()
    path = tmp_path / "run" / "best.safetensors"
    path.parent.write_text("a file in the place of the folder")
    best = BestWeights(model, path, Rule("score", True), progress)
    best.begin_phase(UPPER)
    for epoch in (1, 2):
        fill(model, epoch)
        assert best.offer({"score": float(epoch)})
        assert len(progress.notes) == 1, "at once"
    (note,) = progress.notes
    assert note.startswith(f"warning: {path} cannot be written (")
    fill(model, 3)
    best.restore()
    assert {values(model)[path] for path in UPPER} == {2.0}
    path.parent.unlink()
    assert best.offer({"score": 3.0})
    assert best_row(path) == {"score": 3.0}
    assert len(progress.notes) == 1


def test_a_file_is_read_into_a_model_whose_layers_have_other_names(tmp_path):
    model = made_model()
    best = BestWeights(model, tmp_path / "best.safetensors", Rule("score", True))
    best.begin_phase(UPPER)
    fill(model, 7)
    best.offer({"score": 1.0})
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    fill(other, 0)
    load_best(best.path, other)
    assert [float(v.numpy().flat[0]) for v in other.variables] == [0, 0, 7, 7]


def test_a_file_that_is_damaged_or_of_another_model_is_refused(tmp_path):
    model, path = made_model(), tmp_path / "best.safetensors"
    best = BestWeights(model, path, Rule("score", True))
    best.begin_phase(UPPER)
    best.offer({"score": 1.0})
    shallow = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    for other in (made_model(units=3), shallow):
        with pytest.raises(RunError, match=r"best\.safetensors can't be put into the model"):
            load_best(path, other)
    whole = path.read_bytes()
    for damaged in (whole[:-1], b"", whole.replace(b'"row"', b'"raw"', 1)):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match="can't be put into the model"):
            best_row(path)
    path.unlink()
    with pytest.raises(RunError) as caught:
        best_row(path)
    assert "train again" in caught.value.hint
