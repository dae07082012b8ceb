"""Tiny trained models with held-out rows, for tests of export and prediction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tiny

from tltool.data.examples import Examples
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.embeddings.kind import EmbeddingTarget
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


def knowing(method: str, made: TinyTrained | None = None) -> TinyTrained:
    """A classifier, of texts if none is given, with a score; accepts 80 % of its test rows."""
    from tltool.tasks.unknown.scores import fit_score

    made = made or text_classifier()
    truth = made.task.target.truth(made.held_out.targets)
    return scored(made, method, lambda found: fit_score(method, found, truth, seed=0), 0.8)


def scored(made: TinyTrained, method: str, fit: Callable, coverage: float) -> TinyTrained:
    """A model with a score that is fitted on features of its test rows, and accepts most of them.

    Args:
        made: Without a score.
        method: What the score is.
        fit: From the features (n, channels) to the layer of the score.
        coverage: Share of the rows that is accepted.
    """
    import keras

    from tltool.evaluation.inference import raw_outputs
    from tltool.model.unknown import features_of, with_score
    from tltool.tasks.unknown import kind
    from tltool.tasks.unknown.scores import threshold_of
    from tltool.tasks.unknown.settings import Unknown

    features = features_of(made.model)
    both = keras.Model(made.model.input, features)
    layer = fit(raw_outputs(both, made.held_out, made.preprocessing))
    model = with_score(made.model, features, layer)
    scores = raw_outputs(model, made.held_out, made.preprocessing)[:, -1]
    if method == "knn":  # each row that it was fitted on is its own nearest
        scores = scores + 1e-3
    known = Unknown(method, coverage, threshold_of(scores, coverage), len(scores), "rows")
    task = replace(made.task, target=kind.knowing(made.task.target, known))
    return replace(made, model=model, task=task)


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


@cache
def text_tagger() -> TinyTrained:
    """Several labels: what a text is about, and whether it is praise; some texts have none."""
    texts, sides = tiny.texts(128)
    words = [text.split() for text in texts]
    targets = [
        tuple(
            name
            for name, found in (("film", "film" in row), ("food", "food" in row), ("praise", side))
            if found is True or found == "positive"
        )
        for row, side in zip(words, sides, strict=True)
    ]
    target = ClassSetTarget(("film", "food", "praise"), thresholds=(0.35, 0.62, 0.5))
    task = Task(TASKS["text-multi-label"], target)
    return _text_model(task, texts, targets, epochs=12)


def image_tagger(folder: Path) -> TinyTrained:
    """Several labels: which channels of a picture are bright; every eighth is dark."""
    labels = ("blue", "green", "red")
    bright = [np.flatnonzero([i & 4, i & 2, i & 1]) for i in range(64)]
    files = pictures(folder, bright)
    targets = [tuple(labels[2 - channel] for channel in row)[::-1] for row in bright]
    target = ClassSetTarget(labels, thresholds=(0.5, 0.3, 0.7))
    return _image_model(Task(TASKS["image-multi-label"], target), files, targets, epochs=30)


@cache
def text_rater() -> TinyTrained:
    """Two numbers of different scale: stars of 1 to 5, and a price that food makes high."""
    texts, sides = tiny.texts(128)
    stars = [5.0 if side == "positive" else 1.0 for side in sides]
    prices = [300_000.0 if "food" in text.split() else 200_000.0 for text in texts]
    targets = list(zip(stars, prices, strict=True))
    target = NumbersTarget.fit(targets, ("stars", "price"))
    return _text_model(Task(TASKS["text-regression"], target), texts, targets, epochs=12)


def image_rater(folder: Path) -> TinyTrained:
    """Two numbers of different scale: 0 to 1 by the blue, up to a million by the red."""
    levels = np.random.default_rng(1).uniform(0, 150, (64, 2))
    files = pictures(folder, [(0, 2)] * 64, levels)
    targets = [(float(blue / 150), float(red / 150 * 1e6)) for red, blue in levels]
    target = NumbersTarget.fit(targets, ("blue", "red"))
    return _image_model(Task(TASKS["image-regression"], target), files, targets, epochs=30)


@cache
def text_clock() -> TinyTrained:
    """Seconds since 1970, which float32 tells apart only by 128: praise came two minutes later."""
    texts, sides = tiny.texts(96)
    targets = [1_700_000_000.0 + (60.0 if side == "positive" else -60.0) for side in sides]
    target = NumbersTarget.fit(targets, ("seconds",))
    assert target.offset_outside
    return _text_model(Task(TASKS["text-regression"], target), texts, targets, epochs=8)


@cache
def text_embedder() -> TinyTrained:
    """Vectors that are near for texts of one side."""
    texts, sides = tiny.texts(128)
    target = EmbeddingTarget.fit(sides).with_width(12)
    return _text_model(Task(TASKS["text-embedding"], target), texts, sides, epochs=8)


def image_embedder(folder: Path) -> TinyTrained:
    """Vectors that are near for pictures in which the same channels are bright."""
    bright = [np.flatnonzero([i & 4, i & 2, i & 1]) for i in range(64)]
    names = [str(i % 8) for i in range(64)]
    target = EmbeddingTarget.fit(names).with_width(12)
    task = Task(TASKS["image-embedding"], target)
    return _image_model(task, pictures(folder, bright), names, epochs=20)


def _text_model(task, texts, targets, epochs) -> TinyTrained:
    """Trained on two thirds of the rows."""
    backbone = _seeded(tiny.tiny_text_backbone, layers=1, width=64)
    cut = len(texts) * 2 // 3
    encoded = task.target.encode(task.target.truth(targets[:cut]))
    model = _trained(backbone, task, texts[:cut], encoded, epochs=epochs)
    held_out = _examples("text", texts[cut:], targets[cut:])
    return TinyTrained(model, task, backbone.preprocessing, held_out)


def _image_model(task, files, targets, epochs) -> TinyTrained:
    """Trained on the first half of the rows."""
    backbone = _seeded(tiny.tiny_image_backbone)
    cut = len(files) // 2
    encoded = task.target.encode(task.target.truth(targets[:cut]))
    raw = [Path(file).read_bytes() for file in files[:cut]]
    model = _trained(backbone, task, raw, encoded, epochs=epochs)
    held_out = _examples("image", files[cut:], targets[cut:])
    return TinyTrained(model, task, backbone.preprocessing, held_out)


def pictures(folder: Path, channels, levels=None) -> list[str]:
    """Files of noise, in some channels brighter by 150 or by what `levels` says of each."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    rng, files = np.random.default_rng(0), []
    for number, bright in enumerate(channels):
        pixels = rng.integers(0, 90, (40, 48, 3)).astype("float32")
        pixels[..., list(bright)] += 150 if levels is None else levels[number]
        file = folder / f"{number:03d}.png"
        Image.fromarray(pixels.astype("uint8")).save(file)
        files.append(str(file))
    return files


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
