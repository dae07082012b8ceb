"""Plain Keras on images: `trainable = False`, tf.data with a memory cache, `model.fit`.

The network is tltool's own EfficientNet-Lite0, since Keras has none that fits
these weights; everything else is written as an expert does in a notebook.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from keras_fit import accuracy, fit, one_hot, with_head
from protocol import Stopwatch, read_settings, read_table, report
from tfdata_images import load, normalized

from tltool.backbones.load import load_backbone


def main() -> None:
    settings = read_settings()
    keras.utils.set_random_seed(settings["seed"])
    stopwatch = Stopwatch()
    tables = {split: read_table(path) for split, path in settings["tables"].items()}
    names = sorted(set(tables["train"][1]))
    train, validation = (batches(tables[s], names, settings, s) for s in ("train", "validation"))
    model = build(settings, names)
    fit(model, train, validation, settings)
    times = stopwatch.read()
    test = batches(tables["test"], names, settings, "test")
    report(**times, test_accuracy=accuracy(model, test))


def batches(
    table: tuple[list[str], list[str]], names: list[str], settings: dict[str, Any], split: str
) -> tf.data.Dataset:
    """Images decoded in parallel in the first epoch and kept in memory as uint8."""
    paths, labels = table
    images = tf.data.Dataset.from_tensor_slices((paths, one_hot(labels, names)))
    images = images.map(lambda path, y: (load(path), y), num_parallel_calls=tf.data.AUTOTUNE)
    images = images.cache()
    if split == "train":
        images = images.shuffle(len(paths))
    images = images.batch(settings["batch_size"])
    images = images.map(lambda x, y: (normalized(x), y), num_parallel_calls=tf.data.AUTOTUNE)
    return images.prefetch(tf.data.AUTOTUNE)


def build(settings: dict[str, Any], names: list[str]) -> keras.Model:
    """The backbone, frozen as far as the case says, BatchNorm always; then the head."""
    backbone = load_backbone(settings["backbone"]).model
    train = settings["train"]
    learns = train == "all"
    for layer in backbone.layers:
        learns = learns or (isinstance(train, dict) and layer.name.startswith(train["from"]))
        layer.trainable = learns and not isinstance(layer, keras.layers.BatchNormalization)
    return with_head(backbone.input, backbone.output, names, settings["dropout"])


if __name__ == "__main__":
    main()
