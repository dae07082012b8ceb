"""Batches of few shapes: what completes a batch counts nothing, and each shape is traced once."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from cached_fit import fit_on_devices
from tensorflow.python.framework import config

from tltool.data.batches.buckets import bucket_sizes
from tltool.data.batches.pipeline import make_batches
from tltool.data.batches.source import Source, example_source, nothing_to_load
from tltool.data.examples import Examples
from tltool.recipe.schema import TrainingSection
from tltool.support.errors import DeviceError
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.embeddings.kind import EmbeddingTarget
from tltool.tasks.embeddings.pairs import PairTarget, ScoredPairTarget
from tltool.tasks.masks.kind import MaskTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.tags.kind import TagsTarget
from tltool.training.distribution import make_strategy
from tltool.training.static_shapes import StaticModel, has_static_shapes, is_static

ROWS, BATCH = 13, 8
RNG = np.random.default_rng(0)
NAMES = ("a", "b", "c")
CLASSES = RNG.integers(0, 3, ROWS)
# Rows 0 and 1 are a pair, and so on; each text is one of its own.
PAIRS = [[row // 2, row % 2, row, row - row % 2, row % 5] for row in range(ROWS)]
ONES = np.ones(ROWS)


def places(*shape):
    return RNG.normal(size=(ROWS, *shape, 4)).astype("float32")


def kinds():
    """Of each kind: loss, metrics, raw inputs of the last layer, encoded targets, weights."""
    classes, sets = ClassTarget(NAMES), ClassSetTarget(NAMES)
    numbers, tags = NumbersTarget(("x", "y"), (0, 0), (1, 2)), TagsTarget(("O", "B-x", "I-x"))
    masks, alike = MaskTarget(NAMES), EmbeddingTarget(NAMES, 3)
    one_hot = np.eye(3, dtype="float32")[CLASSES]
    tagged = RNG.integers(-1, 3, (ROWS, 5)).astype("int32")
    pixels = np.where(RNG.random((ROWS, 3, 3)) < 0.2, 255, RNG.integers(0, 3, (ROWS, 3, 3)))
    by_class = np.array([0.5, 1.0, 2.0])
    pairs = np.array(PAIRS, "float32")
    yield "classes", classes, classes.loss(), places(), one_hot, by_class[CLASSES]
    yield "contrastive", classes, classes.contrastive_loss(), places(), one_hot, by_class[CLASSES]
    several = (RNG.random((ROWS, 3)) < 0.4).astype("float32")
    yield "sets", sets, sets.loss(), places(), several, np.tile(by_class, (ROWS, 1))
    yield "numbers", numbers, numbers.loss(), places(), places()[:, :2], ONES
    yield "ranked", numbers, numbers.loss(ranking=1.0), places(), places()[:, :2], ONES
    yield "tags", tags, tags.loss(), places(5), tagged, (tagged >= 0) * by_class[tagged]
    weights = np.tile(by_class, (ROWS, 1))
    yield "masks", masks, masks.loss(dice=0.5), places(3, 3), pixels.astype("uint8"), weights
    yield "vectors", alike, alike.loss(), places(), alike.encode(CLASSES), ONES
    yield "pairs", PairTarget(), PairTarget().loss(), places(), pairs, ONES
    scored = ScoredPairTarget()
    yield "scored pairs", scored, scored.loss(), places(), pairs, ONES


KINDS = {name: rest for name, *rest in kinds()}


def batches(inputs, targets, weights, *, complete):
    source = Source(ROWS, nothing_to_load, lambda _, rows: tf.gather(inputs, rows))
    return make_batches(
        source,
        targets=targets,
        weights=weights,
        batch_size=BATCH,
        training=False,
        complete=complete,
    )


def trained(kind, *, static, jit=False):
    """One epoch of a linear layer: its weights, and what its history and validation say."""
    target, loss, inputs, targets, weights = KINDS[kind]
    data = batches(inputs, targets, weights, complete=static)
    image = keras.Input(inputs.shape[1:])
    outputs = 2 if kind in ("numbers", "ranked") else 3
    start = np.random.default_rng(1).normal(size=(4, outputs))
    layer = keras.layers.Dense(outputs, kernel_initializer=keras.initializers.Constant(start))
    model = (StaticModel if static else keras.Model)(image, layer(image))
    metrics = [] if kind == "contrastive" else target.training_metrics()
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=loss, metrics=metrics, jit_compile=jit)
    if static:
        assert is_static(data)
        model.by_shape = jit
    history = model.fit(data, validation_data=data, verbose=0, shuffle=False).history
    return layer.kernel.numpy(), {name: value for name, (value,) in history.items()}


def assert_equal_runs(found, expected):
    assert found[1].keys() == expected[1].keys()
    for name, value in expected[1].items():
        assert found[1][name] == pytest.approx(value, rel=1e-5, abs=1e-6), name
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_metrics_and_updates_are_those_of_the_rows_themselves(kind):
    found, expected = trained(kind, static=True), trained(kind, static=False)
    assert expected[1]["loss"] > 0
    assert_equal_runs(found, expected)


@pytest.fixture
def indeterminate():
    """Keras compiles nothing with XLA in a process whose operations were made deterministic."""
    was = config.is_op_determinism_enabled()
    config.disable_op_determinism()
    yield
    if was:
        config.enable_op_determinism()


@pytest.mark.slow
@pytest.mark.usefixtures("indeterminate")
@pytest.mark.parametrize("kind", ["sets", "tags", "masks", "pairs"])
def test_losses_and_metrics_can_be_compiled(kind):
    """As a TPU does: with XLA, which refuses shapes that depend on values."""
    assert_equal_runs(trained(kind, static=True, jit=True), trained(kind, static=False))


def test_incomplete_batches_are_completed_with_rows_of_their_own():
    inputs = np.arange(ROWS)
    (_, _, full), (rows, targets, weights) = batches(inputs, inputs, ONES, complete=True)
    assert full.numpy().tolist() == [1] * 8
    assert rows.numpy().tolist() == targets.numpy().tolist() == [8, 9, 10, 11, 12, 8, 9, 10]
    assert weights.numpy().tolist() == [1, 1, 1, 1, 1, 0, 0, 0]


def test_texts_have_powers_of_two_as_widths():
    assert bucket_sizes(100, few=True) == (16, 32, 64, 100)
    assert bucket_sizes(16, few=True) == (16,)
    assert bucket_sizes(9, few=True) == (9,)
    assert set(bucket_sizes(64, few=True)) <= set(bucket_sizes(64))


def text_batches(**options):
    lengths = [1, 2, 3, 28, 29, 5, 4, 2, 60, 40, 1]
    texts = ["good " * length for length in lengths]
    contract = tiny.TINY_TEXT.model_copy(update={"max_length": 64})
    examples = Examples("text", texts, texts, ["train"] * len(texts), texts)
    targets = np.eye(2, dtype="float32")[np.arange(len(texts)) % 2]
    source = example_source(examples, contract, few_widths=True)
    return make_batches(
        source, targets=targets, batch_size=2, complete=True, **{"training": True, **options}
    )


def test_each_width_is_traced_once(monkeypatch):
    data = text_batches()
    shapes = {tuple(inputs["token_ids"].shape) for _ in range(3) for inputs, *_ in data}
    assert shapes <= {(2, 16), (2, 32), (2, 64)}
    assert len(shapes) == 3
    traced = []
    step = StaticModel.train_step
    monkeypatch.setattr(StaticModel, "train_step",
                        lambda self, data: traced.append(data[0]["token_ids"].shape)
                        or step(self, data))  # fmt: skip
    ids, mask, segments = (
        keras.Input((None,), dtype="int32", name=name) for name in data.element_spec[0]
    )
    vectors = keras.layers.Embedding(len(tiny.TINY_TEXT.vocabulary), 4)(ids)
    pooled = keras.layers.GlobalAveragePooling1D()(vectors)
    inputs = {"token_ids": ids, "padding_mask": mask, "segment_ids": segments}
    model = StaticModel(inputs, keras.layers.Dense(2)(pooled))
    loss = ClassTarget(NAMES).loss()
    model.compile(optimizer="sgd", loss=loss, metrics=[], steps_per_execution=4)
    model.fit(data, epochs=3, verbose=0, shuffle=False)
    assert len(traced) == len(set(traced)) == 3
    assert model.optimizer.iterations == 3 * 6


@pytest.mark.slow
def test_a_run_is_the_same_on_one_device_and_on_several():
    """Head, then all layers, from stored features, with an incomplete batch in both splits."""
    expected = fit_on_devices("bert", 1, "gradient", "never")
    for devices in (1, 2):
        found = fit_on_devices("bert", devices, "gradient", "always")
        assert found["replicas"] == devices
        assert found["losses"] == pytest.approx(expected["losses"], rel=1e-4)


def test_auto_is_for_tpus():
    strategy = tf.distribute.get_strategy()
    assert not has_static_shapes(TrainingSection(), strategy)
    assert has_static_shapes(TrainingSection(static_shapes="always"), strategy)
    tpu = object.__new__(tf.distribute.TPUStrategy)
    assert has_static_shapes(TrainingSection(), tpu)
    assert not has_static_shapes(TrainingSection(static_shapes="never"), tpu)


def test_a_budget_of_tokens_is_refused():
    with pytest.raises(DeviceError, match=r"training\.tokens_per_batch") as error:
        make_strategy(TrainingSection(tokens_per_batch=512, static_shapes="always"))
    assert "batch_size" in str(error.value.hint)
