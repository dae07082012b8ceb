from __future__ import annotations

import keras
import numpy as np
import pytest

from tltool.recipe.schema import PhaseSection, TrainingSection
from tltool.search.head_fits import FitSettings, HeadSettings, fit_head, head_outputs, steps_of_fit
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.training.optimizers import make_optimizer, make_schedule

ROWS, CHANNELS, CLASSES = 70, 12, 3
PHASE = PhaseSection(epochs=3, learning_rate=0.05, warmup_fraction=0.2)


TARGETS = {
    "classification": ClassTarget(("a", "b", "c")),
    "multi-label": ClassSetTarget(("a", "b", "c"), frequencies=(0.1, 0.4, 0.5)),
    "regression": NumbersTarget(),
}


def rows(kind="classification", seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(ROWS, CHANNELS)).astype("float32")
    truth = features @ rng.normal(size=(CHANNELS, CLASSES))
    targets = {
        "classification": truth.argmax(axis=1),
        "multi-label": truth > 0.5,
        "regression": truth[:, 0],
    }[kind]
    shape = (ROWS, CLASSES) if kind == "multi-label" else ROWS
    weights = rng.uniform(0.2, 3, shape).astype("float32")
    return features, targets, weights


def shared_of(kind="classification", **changes):
    settings = {"target": TARGETS[kind], "activation": "relu", "l2": 0.0, "batch_size": 16}
    return FitSettings(**{**settings, "epochs": PHASE.epochs, "clip_norm": 0.5, **changes})


def rates_of(shared, count=ROWS):
    steps = steps_of_fit(count, shared)
    phase = PHASE.model_copy(update={"epochs": shared.epochs})
    return np.asarray(make_schedule(phase, steps // shared.epochs)(np.arange(steps)))


def fitted(data, settings, shared, *, chosen=None, seed=1):
    chosen = np.arange(ROWS) if chosen is None else chosen
    rates = rates_of(shared, len(chosen))
    return fit_head(*data, chosen, settings, shared, rates, np.random.SeedSequence(seed))


def keras_fit(data, settings, shared, seed=1):
    """The same head, trained by Keras with the trainer's own optimizer, in the same order."""
    features, truth, weights = data
    targets = shared.target.encode(truth)
    penalty = keras.regularizers.L2(shared.l2) if shared.l2 else None
    model = keras.Sequential([keras.Input((CHANNELS,))])
    for units in settings.hidden_units:
        model.add(keras.layers.Dropout(settings.dropout))
        model.add(keras.layers.Dense(units, shared.activation, kernel_regularizer=penalty))
    model.add(keras.layers.Dropout(settings.dropout))
    model.add(keras.layers.Dense(targets.shape[1], kernel_regularizer=penalty))
    rng = np.random.default_rng(np.random.SeedSequence(seed))
    for layer in (layer for layer in model.layers if isinstance(layer, keras.layers.Dense)):
        limit = np.sqrt(6 / sum(layer.kernel.shape))
        layer.kernel.assign(rng.uniform(-limit, limit, layer.kernel.shape))
    if (bias := shared.target.initial_bias()) is not None:
        model.layers[-1].bias.assign(bias)
    training = TrainingSection(
        weight_decay=settings.weight_decay, gradient_clip_norm=shared.clip_norm
    )
    phase = PHASE.model_copy(update={"epochs": shared.epochs})
    schedule = make_schedule(phase, steps_of_fit(ROWS, shared) // shared.epochs)
    loss = shared.target.loss(label_smoothing=settings.label_smoothing)
    model.compile(make_optimizer(training, schedule, {}), loss)
    for _ in range(shared.epochs):
        order = rng.permutation(np.arange(ROWS))
        for start in range(0, ROWS, shared.batch_size):
            batch = order[start : start + shared.batch_size]
            model.train_on_batch(features[batch], targets[batch], weights[batch])
    return model


@pytest.mark.parametrize(
    ("kind", "hidden", "changes"),
    [
        ("classification", (), {}),
        ("classification", (8,), {}),
        ("classification", (8, 5), {"activation": "gelu", "l2": 0.01}),
        ("classification", (8,), {"activation": "silu", "clip_norm": None}),
        ("multi-label", (), {}),
        ("multi-label", (8,), {"l2": 0.01}),
        ("regression", (), {}),
        ("regression", (8,), {"activation": "tanh", "l2": 0.1}),
    ],
)
def test_a_fit_is_what_the_trainer_s_optimizer_makes_in_keras(kind, hidden, changes):
    data = rows(kind)
    smoothing = 0.0 if kind == "regression" else 0.1
    settings = HeadSettings(hidden, 0.0, PHASE.learning_rate, 0.3, smoothing)
    shared = shared_of(kind, **changes)
    layers = fitted(data, settings, shared)
    model = keras_fit(data, settings, shared)
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    for (kernel, bias), layer in zip(layers, dense, strict=True):
        np.testing.assert_allclose(kernel, layer.kernel.numpy(), atol=2e-4)
        np.testing.assert_allclose(bias, layer.bias.numpy(), atol=2e-4)
    outputs = head_outputs(layers, data[0], shared.activation)
    np.testing.assert_allclose(outputs, model.predict(data[0], verbose=0), atol=2e-3)


@pytest.mark.slow
def test_dropout_trains_as_in_keras_on_average():
    data = rows()
    shared = shared_of(epochs=12)

    def mean_loss(outputs):
        odds = np.exp(outputs - outputs.max(axis=1, keepdims=True))
        likely = odds[np.arange(ROWS), data[1]] / odds.sum(axis=1)
        return -np.log(likely).mean()

    losses = {"ours": [], "keras": [], "without": []}
    for seed in range(5):
        keras.utils.set_random_seed(seed)
        dropped = HeadSettings((16,), 0.5, PHASE.learning_rate, 0.0, 0.0)
        whole = HeadSettings((16,), 0.0, PHASE.learning_rate, 0.0, 0.0)
        for name, settings in (("ours", dropped), ("without", whole)):
            layers = fitted(data, settings, shared, seed=seed)
            losses[name].append(mean_loss(head_outputs(layers, data[0], "relu")))
        model = keras_fit(data, dropped, shared, seed=seed)
        losses["keras"].append(mean_loss(model.predict(data[0], verbose=0)))
    means = {name: np.mean(values) for name, values in losses.items()}
    assert means["ours"] == pytest.approx(means["keras"], rel=0.25)
    assert means["without"] < 0.5 * means["ours"]


def test_rows_without_weight_and_rows_left_out_teach_nothing():
    features, targets, weights = rows()
    settings = HeadSettings((8,), 0.2, PHASE.learning_rate, 0.01, 0.1)
    weights[:20] = 0
    chosen = np.arange(60)
    changed = features.copy()
    changed[:20] *= -5
    changed[60:] *= -5
    one = fitted((features, targets, weights), settings, shared_of(), chosen=chosen)
    other = fitted((changed, targets, weights), settings, shared_of(), chosen=chosen)
    for (kernel, bias), (kernel2, bias2) in zip(one, other, strict=True):
        np.testing.assert_array_equal(kernel, kernel2)
        np.testing.assert_array_equal(bias, bias2)
    heavy = fitted((changed, targets, weights + 1), settings, shared_of(), chosen=chosen)
    assert not np.array_equal(heavy[0][0], one[0][0])
