"""How the plain Keras programs compile, fit and test: as in a notebook, with no callback a step."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf


def one_hot(labels: list[str], names: list[str]) -> np.ndarray:
    """Targets (n, classes) for the loss with label smoothing."""
    place = {name: i for i, name in enumerate(names)}
    return np.eye(len(names), dtype="float32")[[place[label] for label in labels]]


def with_head(inputs: Any, features: Any, names: list[str], dropout: float) -> keras.Model:
    """The model: dropout and a linear layer on the features (batch, channels)."""
    x = keras.layers.Dropout(dropout)(features)
    return keras.Model(inputs, keras.layers.Dense(len(names))(x))


def fit(
    model: keras.Model,
    train: tf.data.Dataset,
    validation: tf.data.Dataset,
    settings: dict[str, Any],
) -> None:
    """Trains, and leaves the weights of the epoch with the lowest validation loss in the model."""
    steps = settings["epochs"] * int(train.cardinality())
    optimizer = keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(settings["learning_rate"], steps),
        weight_decay=settings["weight_decay"],
        global_clipnorm=settings["gradient_clip_norm"],
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(
        optimizer,
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=settings["label_smoothing"]
        ),
        metrics=["accuracy"],
        jit_compile=settings["jit_compile"],
    )
    best = keras.callbacks.EarlyStopping(patience=settings["epochs"], restore_best_weights=True)
    model.fit(
        train,
        validation_data=validation,
        epochs=settings["epochs"],
        callbacks=[best],
        shuffle=False,  # the dataset does
        verbose=0,
    )


def accuracy(model: keras.Model, test: tf.data.Dataset) -> float:
    """Share of the test rows whose class the model finds."""
    return float(model.evaluate(test, verbose=0, return_dict=True)["accuracy"])
