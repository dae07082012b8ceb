"""Gradients taken in parts: the update of the large batch, whatever is learnt."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from cached_fit import fit

from tltool.recipe.schema import CacheSection, TrainingSection
from tltool.support.errors import PlanError
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.embeddings.kind import EmbeddingTarget
from tltool.tasks.masks.kind import MaskTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.tags.kind import TagsTarget
from tltool.training.accumulation import AccumulatingModel, check_loss

ROWS, UPDATE = 13, 8  # so that the last update is of five rows
RNG = np.random.default_rng(0)
NAMES = ("a", "b", "c")
BY_CLASS = np.array([0.5, 1.0, 2.0], "float32")


def places(*shape):
    return RNG.normal(size=(ROWS, *shape, 4)).astype("float32")


def kinds():
    """Of each kind: what it is, its loss, inputs of a linear layer, targets and weights."""
    classes = RNG.integers(0, 3, ROWS)
    one_hot = np.eye(3, dtype="float32")[classes]
    yield "classes", ClassTarget(NAMES).loss(), places(), one_hot, BY_CLASS[classes]
    several = (RNG.random((ROWS, 3)) < 0.4).astype("float32")
    weights = np.tile(BY_CLASS, (ROWS, 1))
    yield "sets", ClassSetTarget(NAMES).loss(), places(), several, weights
    numbers = NumbersTarget(("x", "y", "z"), (0, 0, 0), (1, 2, 3))
    yield "numbers", numbers.loss(), places(), places()[:, :3], np.ones(ROWS, "float32")
    tagged = RNG.integers(-1, 3, (ROWS, 5)).astype("int32")
    tags = TagsTarget(("O", "B-x", "I-x"))
    yield "tags", tags.loss(), places(5), tagged, ((tagged >= 0) * BY_CLASS[tagged])
    pixels = np.where(RNG.random((ROWS, 3, 3)) < 0.4, 255, RNG.integers(0, 3, (ROWS, 3, 3)))
    yield "masks", MaskTarget(NAMES).loss(), places(3, 3), pixels.astype("uint8"), weights


KINDS = list(kinds())


def trained(model_class, loss, inputs, targets, weights, **options):
    """Weights, updates and the loss of an epoch."""
    given = keras.Input(inputs.shape[1:])
    layer = keras.layers.Dense(3, kernel_initializer="ones", kernel_regularizer="l2")
    model = model_class(given, layer(given))
    for name, value in options.items():
        setattr(model, name, value)
    model.compile(optimizer=keras.optimizers.SGD(0.5), loss=loss, jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((inputs, targets, weights)).batch(UPDATE)
    history = model.fit(data, epochs=2, verbose=0, shuffle=False).history["loss"]
    return [v.numpy() for v in layer.variables], int(model.optimizer.iterations), history


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind[0])
@pytest.mark.parametrize("parts", [2, 3, 8])
def test_an_update_in_parts_is_that_of_the_large_batch(kind, parts):
    _, *what = kind
    expected = trained(keras.Model, *what)
    found = trained(AccumulatingModel, *what, parts=parts)
    for value, other in zip(found[0], expected[0], strict=True):
        np.testing.assert_allclose(value, other, atol=1e-5)
    assert found[1] == expected[1] == 4
    np.testing.assert_allclose(found[2], expected[2], atol=1e-5)


def test_parts_are_no_larger_than_those_of_a_full_batch():
    seen = []

    class Watched(AccumulatingModel):
        def _of_part(self, data):
            rows = tf.shape(data[0])[0]
            tf.py_function(lambda rows: seen.append(int(rows)), [rows], [])
            return super()._of_part(data)

    trained(Watched, *KINDS[0][1:], parts=4)
    assert seen == 2 * [2, 2, 2, 2, 2, 2, 1]


def test_a_loss_of_rows_that_are_compared_cannot_be_taken_in_parts():
    numbers = NumbersTarget(("x",), (0,), (1,))
    for loss in (EmbeddingTarget(NAMES, 3).loss(), numbers.loss(ranking=1.0)):
        with pytest.raises(PlanError, match="gradient_accumulation_steps") as error:
            check_loss(loss)
        assert "batch_size" in error.value.hint


CNN = (
    {"train": "head", "epochs": 1, "learning_rate": 0.01},
    {"train": "all", "epochs": 2, "learning_rate": 0.003, "warmup_fraction": 0.3},
)


@pytest.mark.parametrize("use", ["always", "never"])
def test_a_training_in_parts_is_that_of_the_large_batch(use, tmp_path):
    section = CacheSection(use=use)
    whole, parted = (
        fit("cnn", tmp_path / str(steps), CNN, section, dropout=0.0, optimizer="sgd",
            gradient_accumulation_steps=steps)
        for steps in (1, 4)
    )  # fmt: skip
    for name, value in whole[0].items():
        np.testing.assert_allclose(parted[0][name], value, atol=1e-5, err_msg=name)
    for row, other in zip(parted[1], whole[1], strict=True):
        assert row["val_loss"] == pytest.approx(other["val_loss"], abs=1e-5)
        assert row["accuracy"] == pytest.approx(other["accuracy"])
        assert row["learning_rate"] == other["learning_rate"]


def test_a_batch_of_the_training_is_an_update():
    section = TrainingSection(batch_size=8, gradient_accumulation_steps=4)
    assert section.rows_per_update == 32


def test_batch_norm_and_dropout_work_on_parts(tmp_path):
    phases = ({"train": "all", "batch_norm": "train", "epochs": 1, "learning_rate": 0.01},)
    section = CacheSection(use="never")
    _, rows, _, _ = fit("cnn", tmp_path, phases, section, gradient_accumulation_steps=2)
    assert np.isfinite(rows[0]["loss"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cnn", "bert"])
def test_two_devices_in_parts_are_one_that_is_not(kind, tmp_path):
    """In a process of its own: the processor can be split before it is used alone."""
    code = (
        "import json, pathlib, sys\n"
        "kind, devices, steps = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])\n"
        "from tltool.recipe.schema import CacheSection, TrainingSection\n"
        "from tltool.training.distribution import make_strategy\n"
        "names = tuple(f'cpu:{i}' for i in range(devices))\n"
        "strategy = make_strategy(TrainingSection(batch_size=8, devices=names))\n"
        "import cached_fit, tiny\n"
        "cached_fit.BACKBONES['bert'] = lambda: tiny.tiny_text_backbone(dropout=0)\n"
        "phases = ({'train': 'head', 'epochs': 1}, {'train': 'all', 'epochs': 2,\n"
        "          'learning_rate': 0.003})\n"
        "_, rows, _, _ = cached_fit.fit(kind, pathlib.Path(sys.argv[4]), phases,\n"
        "    CacheSection(use='never'), dropout=0.0, strategy=strategy, optimizer='sgd',\n"
        "    gradient_accumulation_steps=steps, gradient_clip_norm=None, ema_momentum=0.9)\n"
        "print(json.dumps([row[key] for row in rows for key in ('loss', 'val_loss')]))\n"
    )
    helpers = Path(__file__).parents[1] / "helpers"
    paths = os.pathsep.join([str(helpers), str(helpers.parents[1])])

    def losses(devices, steps):
        done = subprocess.run(
            [sys.executable, "-c", code, kind, str(devices), str(steps),
             str(tmp_path / f"{devices}-{steps}")],
            env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return np.array(done.stdout.splitlines()[-1].strip("[]").split(", "), float)

    np.testing.assert_allclose(losses(2, 2), losses(1, 1), atol=1e-4)
