"""Tiny trained models with held-out rows, for tests of export and prediction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tiny

from tltool.data.examples import Examples
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.table import TASKS, Task


@dataclass(frozen=True)
class TinyTrained:
    """A trained model, what it means, and rows it was not trained on."""

    model: Any
    task: Task
    preprocessing: Any
    held_out: Examples

    def parts(self):
        """The first arguments of the exporters."""
        return self.model, self.task, self.preprocessing

    def with_model(self, model):
        return replace(self, model=model)


@cache
def text_classifier() -> TinyTrained:
    texts, labels = tiny.texts(96)
    backbone = _seeded(tiny.tiny_text_backbone, layers=1, width=64)
    task = Task(TASKS["text-classification"], ClassTarget(("negative", "positive")))
    targets = np.eye(2, dtype="float32")[[task.labels.index(label) for label in labels]]
    model = _trained(backbone, task, texts[:64], targets[:64], epochs=8)
    return TinyTrained(
        model, task, backbone.preprocessing, _examples("text", texts[64:], labels[64:])
    )


@cache
def text_regressor() -> TinyTrained:
    """Predicts 200 for negative and 300 for positive texts."""
    texts, labels = tiny.texts(96)
    backbone = _seeded(tiny.tiny_text_backbone, layers=1, width=64)
    task = Task(TASKS["text-regression"], NumbersTarget(mean=(250.0,), std=(50.0,)))
    targets = np.array([[1.0 if label == "positive" else -1.0] for label in labels], "float32")
    model = _trained(backbone, task, texts[:64], targets[:64], epochs=8)
    numbers = (250.0 + 50.0 * targets[64:, 0]).tolist()
    return TinyTrained(model, task, backbone.preprocessing, _examples("text", texts[64:], numbers))


def image_classifier(folder: Path) -> TinyTrained:
    tiny.write_images(folder, per_class=20)
    files = sorted(map(str, folder.rglob("*.jpg")))
    task = Task(TASKS["image-classification"], ClassTarget(("blue", "red")))
    backbone = _seeded(tiny.tiny_image_backbone)
    targets = np.eye(2, dtype="float32")[[int(Path(file).parent.name == "red") for file in files]]
    train = [i for i in range(len(files)) if i % 2]
    raw = [Path(files[i]).read_bytes() for i in train]
    model = _trained(backbone, task, raw, targets[train], epochs=20)
    held_out = _examples("image", files[::2], [Path(file).parent.name for file in files[::2]])
    return TinyTrained(model, task, backbone.preprocessing, held_out)


def _seeded(build, **options):
    """A backbone that does not depend on what other tests drew before."""
    import keras

    keras.utils.set_random_seed(0)
    return build(**options)


def _trained(backbone, task, raw, targets, epochs):
    import keras
    import tensorflow as tf

    from tltool.data.batches.pipeline import make_preprocessor

    keras.utils.set_random_seed(0)
    head = keras.layers.Dense(task.num_outputs, dtype="float32", name="head_outputs")
    model = keras.Model(backbone.model.input, head(backbone.features.pooled))
    inputs = make_preprocessor(backbone.preprocessing)(tf.constant(raw, dtype=tf.string))
    model.compile(keras.optimizers.Adam(3e-3), task.loss(), jit_compile=False)
    model.fit(inputs, targets, batch_size=16, epochs=epochs, verbose=0)
    return model


def _examples(modality, inputs, targets) -> Examples:
    count = len(inputs)
    return Examples(modality, inputs, targets, ["test"] * count, [f"row {i}" for i in range(count)])
