"""What a key of stored features depends on, and what it does not."""

from __future__ import annotations

import keras
import numpy as np

from tltool.features.keys import layers_digest, weights_digest
from tltool.graph.cut import cut_model


def variables(*values):
    return [keras.Variable(value, dtype=np.asarray(value).dtype) for value in values]


def test_weights_count_with_values_types_shapes_and_order():
    one, other = np.array([1.0, 2.0], "float32"), np.array([3.0, 4.0], "float32")
    digest = weights_digest(variables(one, other))
    assert weights_digest(variables(one, other)) == digest
    assert len(digest) == 64
    changed = [
        (other, one),
        (one,),
        (one, other + np.float32(1e-6)),
        (one[:, None], other),
        (one.view("int32"), other),
    ]
    found = {weights_digest(variables(*values)) for values in changed}
    assert len(found | {digest}) == len(changed) + 1


class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def nodes_of(units=3, activation="relu", *, foreign=None, name="second", crossed=False):
    inputs = keras.Input((4,), name="inputs")
    first = keras.layers.Dense(units, activation=activation, name="first")(inputs)
    x = keras.layers.Dense(units, name=name)(first)
    x = keras.layers.Subtract(name="minus")([first, x] if crossed else [x, first])
    if foreign is not None:
        inside = keras.Input((units,), name="inside")
        x = keras.Model(inside, foreign(name="own")(inside), name="inner")(x)
    head = keras.layers.Dense(1, name="head")
    cut = cut_model(keras.Model(inputs, head(x)), {v.path for v in head.variables})
    return cut.nodes


def test_layers_count_with_their_settings_names_inputs_and_order():
    digest = layers_digest(nodes_of())
    assert layers_digest(nodes_of()) == digest
    changed = [
        nodes_of(units=5),
        nodes_of(activation="tanh"),
        nodes_of(name="renamed"),
        nodes_of(crossed=True),
        nodes_of()[::-1],
        nodes_of()[:-1],
    ]
    assert len({layers_digest(nodes) for nodes in changed} | {digest}) == len(changed) + 1


def test_a_model_that_is_built_again_is_the_same_one_whatever_keras_calls_its_layers():
    def unnamed(second=keras.layers.ReLU):
        inputs = keras.Input((4,))
        first = keras.layers.Dense(3)(inputs)
        both = keras.layers.Subtract()([first, second()(first)])
        head = keras.layers.Dense(1)
        cut = cut_model(keras.Model(inputs, head(both[:, ::-1])), {v.path for v in head.variables})
        return [node.operation.name for node in cut.nodes], layers_digest(cut.nodes)

    names, digest = unnamed()
    other_names, same = unnamed()
    assert names != other_names
    assert same == digest
    assert unnamed(keras.layers.Softmax)[1] != digest


def test_layers_of_a_user_count_with_their_source_wherever_they_are(monkeypatch):
    digest = layers_digest(nodes_of(foreign=Doubled))
    assert layers_digest(nodes_of(foreign=Doubled)) == digest
    # As after a change of the file.
    monkeypatch.setattr("inspect.getsource", lambda found: "changed")
    assert layers_digest(nodes_of(foreign=Doubled)) != digest


def test_layers_whose_source_is_not_to_be_had_count_with_their_class(monkeypatch):
    def missing(found):
        raise OSError("could not get source code")

    digest = layers_digest(nodes_of(foreign=Doubled))
    monkeypatch.setattr("inspect.getsource", missing)
    assert layers_digest(nodes_of(foreign=Doubled)) not in {digest, layers_digest(nodes_of())}
    # Layers of Keras itself count with its version, which is in the key elsewhere.
    monkeypatch.undo()
    plain = layers_digest(nodes_of())
    monkeypatch.setattr("inspect.getsource", missing)
    assert layers_digest(nodes_of()) == plain


class Windowed(keras.layers.Layer):
    """A layer whose configuration JSON does not know."""

    def __init__(self, window, **settings):
        super().__init__(**settings)
        self.window = window

    def call(self, x):
        return x

    def get_config(self):
        return {**super().get_config(), "window": self.window}


def test_settings_that_json_does_not_know_and_plain_operations_count():
    def digest(window, operation=keras.ops.relu):
        keras.utils.clear_session()  # which numbers names of operations anew
        inputs = keras.Input((4,), name="inputs")
        x = operation(keras.layers.Dense(3, name="first")(inputs))
        x = Windowed(window, name="windowed")(x)
        head = keras.layers.Dense(1, name="head")
        cut = cut_model(keras.Model(inputs, head(x)), {v.path for v in head.variables})
        return layers_digest(cut.nodes)

    assert digest(range(3)) == digest(range(3))
    assert len({digest(range(3)), digest(range(4)), digest(range(3), keras.ops.tanh)}) == 3
