"""A temperature in a model's graph: its raw outputs divided by one number."""

from __future__ import annotations

import keras


def with_temperature(model: keras.Model, temperature: float) -> keras.Model:
    """A model whose raw outputs are those of another, divided by a temperature.

    A dense layer at the end has it in its weights, so that nothing is added to the graph; else a
    layer follows.

    Args:
        model: Flat and functional; stays as it is, and shares all other layers with the result.
        temperature: More than 0.
    """
    last = model.output._keras_history.operation
    if isinstance(last, keras.layers.Dense) and last.activation is keras.activations.linear:
        copy = last.__class__.from_config(last.get_config())
        output = copy(last.input)
        copy.set_weights([weight / temperature for weight in last.get_weights()])
    else:
        output = keras.layers.Rescaling(1 / temperature, dtype="float32", name="temperature")(
            model.output
        )
    return keras.Model(model.input, output, name=model.name)
