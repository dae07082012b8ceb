from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from tltool.graph.folding import fold_batch_norms


def trained(model):
    """Gives every BatchNorm statistics, scales and offsets of its own."""
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.3, 2.0, w.shape) for w in layer.get_weights()])
    return model


def norms(model):
    return sum(isinstance(layer, layers.BatchNormalization) for layer in model.layers)


def network(**norm):
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization(**norm)(x))
    y = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x)
    y = layers.ReLU()(layers.BatchNormalization(**norm)(y))
    y = layers.BatchNormalization(**norm)(layers.Conv2D(8, 1)(y))
    x = layers.Add()([x, y])
    return trained(keras.Model(image, layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("norm", [{}, {"scale": False}, {"center": False, "epsilon": 0.01}])
def test_the_folded_network_gives_the_same_without_any_batch_norm(norm):
    model = network(**norm)
    before = [w.copy() for w in model.get_weights()]
    folded = fold_batch_norms(model)
    assert (norms(model), norms(folded)) == (3, 0)
    x = np.random.default_rng(1).normal(size=(4, 16, 16, 3)).astype("float32")
    np.testing.assert_allclose(
        np.asarray(folded(x)[0] if isinstance(folded(x), list) else folded(x)),
        model(x, training=False),
        rtol=1e-4,
        atol=1e-5,
    )
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_what_more_than_the_norm_reads_is_left_alone():
    image = keras.Input((8, 8, 3))
    conv = layers.Conv2D(4, 1)(image)
    model = trained(keras.Model(image, layers.Add()([conv, layers.BatchNormalization()(conv)])))
    assert fold_batch_norms(model) is model


def test_a_convolution_with_an_activation_or_a_norm_before_it_is_left_alone():
    image = keras.Input((8, 8, 3))
    x = layers.BatchNormalization()(layers.Conv2D(4, 1, activation="relu")(image))
    model = trained(keras.Model(image, layers.Conv2D(4, 1)(x)))
    assert fold_batch_norms(model) is model
