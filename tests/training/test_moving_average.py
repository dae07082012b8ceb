"""The moving average is measured and kept, and training goes on as if there were none."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from cached_fit import fit

from tltool.recipe.schema import CacheSection, PhaseSection, TrainingSection
from tltool.training.moving_average import MovingAverage, momentum_at
from tltool.training.optimizers import make_optimizer, make_schedule

NEVER, ALWAYS = CacheSection(use="never"), CacheSection(use="always")
ALL = ({"train": "all", "epochs": 3, "learning_rate": 0.02, "batch_norm": "train"},)


def test_the_momentum_is_small_at_first():
    found = [float(momentum_at(0.9, updates)) for updates in (0, 1, 40, 1000)]
    assert found == pytest.approx([1 / 10, 2 / 11, 41 / 50, 0.9])


def test_the_average_follows_the_formula_and_is_exchanged_for_the_weights():
    variable, still = keras.Variable([1.0], name="w"), keras.Variable([0.1], name="still")
    average = MovingAverage(0.5, [variable, still])
    schedule = make_schedule(PhaseSection(learning_rate=1.0, curve="constant"), 10)
    training = TrainingSection(optimizer="sgd", momentum=0.0, weight_decay=0.0,
                               gradient_clip_norm=None)  # fmt: skip
    optimizer = make_optimizer(training, schedule, {}, average)
    optimizer.build([variable])
    value = expected = 1.0
    for step in range(12):
        optimizer.apply([keras.ops.convert_to_tensor([0.25 * (-1) ** step])], [variable])
        value -= 0.25 * (-1) ** step
        momentum = min(0.5, (1 + step) / (10 + step))
        expected = momentum * expected + (1 - momentum) * value
    average.show()
    assert variable.numpy() == pytest.approx(expected)
    assert still.numpy() == np.float32(0.1)
    with average.hidden():
        assert variable.numpy() == pytest.approx(value)
    average.show()
    assert variable.numpy() == pytest.approx(expected)
    average.hide()
    assert variable.numpy() == pytest.approx(value)


@pytest.mark.parametrize("validate", [True, False])
def test_training_is_the_same_and_what_is_kept_is_the_average(validate, tmp_path):
    runs = [
        fit("cnn", tmp_path / str(momentum), ALL, NEVER, validate=validate, ema_momentum=momentum)
        for momentum in (None, 0.99)
    ]
    (plain, rows, *_), (averaged, other, *_) = runs
    assert [row["loss"] for row in rows] == [row["loss"] for row in other]
    if validate:
        assert [row["val_loss"] for row in rows] != [row["val_loss"] for row in other]
    for name in ("stem_conv/kernel", "stem_bn/moving_mean"):
        assert not np.array_equal(plain[name], averaged[name])


def test_the_values_of_an_epoch_are_those_of_its_average(tmp_path):
    """One epoch after another on the same data, the model of the first is the first's average."""
    from cached_fit import BATCH, examples_of, split_data

    phases = ({**ALL[0], "epochs": 1},)
    weights, rows, _, _ = fit("cnn", tmp_path, phases, NEVER, ema_momentum=0.9)
    import tiny

    from tltool.model.joining import join
    from tltool.recipe.schema import HeadSection
    from tltool.tasks.classes import ClassTarget
    from tltool.tasks.table import TASKS, Task

    task = Task(TASKS["image-classification"], ClassTarget(("blue", "red")))
    model = join(tiny.tiny_image_backbone(), HeadSection(dropout=0.2), task).model
    for variable in model.variables:
        if variable.path in weights:
            variable.assign(weights[variable.path])
    examples = examples_of("cnn", tmp_path / "images")
    data = split_data(examples, "validation", tiny.TINY_IMAGE, 0, batch_size=BATCH).batches(1)
    model.compile(loss=task.loss())
    assert model.evaluate(data, verbose=0) == pytest.approx(rows[0]["val_loss"], rel=1e-4)


def test_what_does_not_learn_is_not_touched(tmp_path):
    from cached_fit import fresh

    phases = ({"train": "head", "epochs": 2, "learning_rate": 0.01},)
    before = fresh("cnn")
    for section in (NEVER, ALWAYS):
        after = fit("cnn", tmp_path / section.use, phases, section, ema_momentum=0.9)[0]
        moved = {name for name in after if not np.array_equal(after[name], before[name])}
        assert moved == {name for name in after if name.startswith("head")}
