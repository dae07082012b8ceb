"""The loss of labels and of what a teacher says, against its formula, in Keras and in NumPy."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tltool.support.errors import DataError
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.losses.taught import Teaching, parts
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.registry import KINDS

KINDS_TAUGHT = {
    "classes": (ClassTarget(("a", "b", "c")), 3.0),
    "labels": (ClassSetTarget(("a", "b", "c")), 3.0),
    "numbers": (NumbersTarget(("a", "b", "c"), (0.0,) * 3, (1.0,) * 3), 1.0),
}
WEIGHT = 0.6


def numbers(seed=0, rows=5):
    """Raw outputs of a student and of a teacher."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 2, (2, rows, 3)).astype("float32")


def labels_of(target, rows=5):
    rng = np.random.default_rng(1)
    if isinstance(target, ClassTarget):
        return target.encode(rng.integers(0, 3, rows))
    if isinstance(target, ClassSetTarget):
        return target.encode(rng.random((rows, 3)) < 0.5)
    return rng.normal(size=(rows, 3)).astype("float32")


def joined(target, teacher, temperature):
    said = np.asarray(target.softened(tf.constant(teacher), temperature))
    labels = labels_of(target)
    return np.concatenate([labels, said, np.ones((len(labels), 1), "float32")], axis=1)


def by_formula(target, targets, raw, temperature):
    """Losses (n,) as the module's docstring has them, computed in float64."""
    labels, said, _ = parts(targets.astype("float64"), 3)

    def plain(truth, z):
        if isinstance(target, ClassTarget):
            return -(truth * (z - np.log(np.exp(z).sum(axis=1, keepdims=True)))).sum(axis=1)
        if isinstance(target, ClassSetTarget):
            share = 1 / (1 + np.exp(-z))
            return -(truth * np.log(share) + (1 - truth) * np.log(1 - share)).mean(axis=1)
        return ((truth - z) ** 2).mean(axis=1)

    z = raw.astype("float64")
    own, taught = plain(labels, z), plain(said, z / temperature)
    return (1 - WEIGHT) * own + WEIGHT * temperature**2 * taught


@pytest.mark.parametrize("kind", KINDS_TAUGHT)
def test_the_loss_is_that_of_the_formula_in_keras_and_in_numpy(kind):
    target, temperature = KINDS_TAUGHT[kind]
    raw, teacher = numbers()
    targets = joined(target, teacher, temperature)
    expected = by_formula(target, targets, raw, temperature)
    how = Teaching(WEIGHT, temperature)
    loss = how.loss(target.loss(), target.loss())
    weights = np.linspace(0.5, 2, len(raw)).astype("float32")
    assert float(loss(targets, raw)) == pytest.approx(expected.mean(), rel=1e-5)
    weighed = float(loss(targets, raw, sample_weight=weights))
    assert weighed == pytest.approx((expected * weights).mean(), rel=1e-5)
    rows = how.row_loss(target.row_loss)
    solved = how.solved(targets, 3, target.row_loss)
    values = rows.values(raw.astype("float64"), solved).reshape(len(raw), -1).mean(axis=1)
    constant = expected - values  # least squares lack what no weight changes
    step = np.random.default_rng(2).normal(0, 1e-3, raw.shape)
    moved = by_formula(target, targets, raw + step, temperature)
    nearby = rows.values(raw + step, solved).reshape(len(raw), -1).mean(axis=1)
    np.testing.assert_allclose(moved - nearby, constant, atol=1e-6)
    if not rows.closed_form:
        np.testing.assert_allclose(values, expected, rtol=1e-5)
    slope = (rows.gradient(raw, solved) * step).sum(axis=1)
    np.testing.assert_allclose(moved - expected, slope, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS_TAUGHT)
def test_a_student_that_says_what_its_teacher_does_has_no_gradient(kind):
    target, temperature = KINDS_TAUGHT[kind]
    _, teacher = numbers()
    targets = tf.constant(joined(target, teacher, temperature))
    raw = tf.Variable(teacher)
    loss = Teaching(1.0, temperature).loss(target.loss(), target.loss())
    with tf.GradientTape() as tape:
        value = loss(targets, raw)
    np.testing.assert_allclose(tape.gradient(value, raw), np.zeros((5, 3)), atol=1e-6)


def test_smoothing_changes_the_part_of_the_labels_alone():
    target = ClassTarget(("a", "b", "c"))
    raw, teacher = numbers()
    targets = joined(target, teacher, 2.0)
    sharp, smooth = (
        Teaching(0.5, 2.0).loss(target.loss(label_smoothing=amount), target.loss())
        for amount in (0.0, 0.3)
    )
    labels = targets[:, :3]
    difference = float(smooth(targets, raw)) - float(sharp(targets, raw))
    own = float(target.loss(label_smoothing=0.3)(labels, raw)) - float(target.loss()(labels, raw))
    assert difference == pytest.approx(0.5 * own, rel=1e-4)
    alone = Teaching(1.0, 2.0).loss(target.loss(label_smoothing=0.3), target.loss())
    assert float(alone(targets, raw)) != pytest.approx(float(smooth(targets, raw)))
    # Validation rows have no teacher's part.
    assert float(sharp(labels, raw)) == pytest.approx(float(target.loss()(labels, raw)))


@pytest.mark.parametrize("kind", KINDS_TAUGHT)
def test_metrics_are_of_the_rows_that_have_labels(kind):
    target, temperature = KINDS_TAUGHT[kind]
    raw, teacher = numbers(rows=5)
    targets = joined(target, teacher, temperature)
    (metric,) = Teaching(WEIGHT, temperature).metrics(target.training_metrics())
    (plain,) = target.training_metrics()
    assert metric.name == plain.name
    targets[3:, 6] = 0
    metric.update_state(targets, raw)
    plain.update_state(targets[:3, :3], raw[:3])
    assert float(metric.result()) == pytest.approx(float(plain.result()), abs=1e-6)
    metric.reset_state()
    metric.update_state(targets[:3, :3], raw[:3])
    assert float(metric.result()) == pytest.approx(float(plain.result()), abs=1e-6)


def test_the_loss_is_restored_from_its_configuration():
    target = ClassSetTarget(("a", "b", "c"))
    raw, teacher = numbers()
    targets = joined(target, teacher, 3.0)
    loss = Teaching(WEIGHT, 3.0).loss(target.loss(focal_gamma=2.0), target.loss())
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert float(again(targets, raw)) == float(loss(targets, raw))
    assert again.reduction == loss.reduction


# Teachers ----------------------------------------------------------------------------------


def test_three_kinds_can_be_taught_and_kinds_with_other_outputs_can_not():
    class Reversed(ClassTarget):
        def outputs(self, raw):
            return super().outputs(-raw)

    assert {kind.kind for kind in KINDS.values() if kind.teachable()} == {
        "class", "class_set", "numbers",
    }  # fmt: skip
    assert not Reversed.teachable()


def test_logits_are_taken_by_the_names_of_classes():
    found = ClassTarget(("a", "b", "c")).translation(ClassTarget(("c", "a", "b")))
    assert found.order == (1, 2, 0)
    with pytest.raises(DataError, match=r"only the teacher has 1 class: 'c'.*only the data has"):
        ClassTarget(("a", "b", "d")).translation(ClassTarget(("a", "b", "c")))


def test_numbers_are_taken_in_their_own_units_and_one_alone_whatever_its_name():
    teacher = NumbersTarget(("x", "y"), (10.0, 200.0), (2.0, 50.0))
    student = NumbersTarget(("y", "x"), (100.0, 0.0), (25.0, 5.0))
    found = student.translation(teacher)
    raw = np.array([[1.0, -2.0], [0.0, 3.0]], "float32")
    translated = raw[:, list(found.order)] * found.scale + found.shift
    np.testing.assert_allclose(student.outputs(translated), teacher.outputs(raw)[:, ::-1])
    assert NumbersTarget(("price",)).translation(NumbersTarget(("cost",))).order == (0,)
    with pytest.raises(DataError, match="tells other numbers apart"):
        student.translation(NumbersTarget(("y", "z"), (0.0, 0.0), (1.0, 1.0)))
