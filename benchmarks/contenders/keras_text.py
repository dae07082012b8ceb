"""Plain Keras on texts: KerasHub's BERT, `trainable = False`, `model.fit`, as an expert writes it.

The texts are tokenized once by the fast tokenizer of the `tokenizers` library
and padded to the 99th percentile of the training lengths. With the setting
`batches: "tltool"` the batches are tltool's own instead, with its padding.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf
from keras_fit import accuracy, fit, one_hot, with_head
from protocol import Stopwatch, read_settings, read_table, report
from tokenizers import Tokenizer

NUM_BLOCKS = 6


def main() -> None:
    settings = read_settings()
    make_batches = tltool_batches if settings.get("batches") == "tltool" else padded_batches
    keras.utils.set_random_seed(settings["seed"])
    stopwatch = Stopwatch()
    tables = {split: read_table(path) for split, path in settings["tables"].items()}
    names = sorted(set(tables["train"][1]))
    train, validation = make_batches(settings, tables, names, ("train", "validation"))
    model = build(settings, names)
    fit(model, train, validation, settings)
    times = stopwatch.read()
    (test,) = make_batches(settings, tables, names, ("test",))
    report(**times, test_accuracy=accuracy(model, test))


def padded_batches(
    settings: dict[str, Any], tables: dict[str, Any], names: list[str], splits: tuple[str, ...]
) -> list[tf.data.Dataset]:
    """Batches of one width: the length that 99 of 100 training texts don't pass."""
    tokenizer = Tokenizer.from_file(str(Path(settings["weights"]) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)
    lengths = [len(x.ids) for x in tokenizer.encode_batch_fast(tables["train"][0])]
    width = int(np.ceil(np.percentile(lengths, 99)))
    tokenizer.enable_truncation(width)
    tokenizer.enable_padding(length=width)
    return [
        _batches(tokenizer, *tables[split], names, settings["batch_size"], split == "train")
        for split in splits
    ]


def _batches(
    tokenizer: Tokenizer,
    texts: list[str],
    labels: list[str],
    names: list[str],
    batch_size: int,
    shuffle: bool,
) -> tf.data.Dataset:
    encoded = tokenizer.encode_batch_fast(texts)
    ids = np.array([x.ids for x in encoded], "int32")
    mask = np.array([x.attention_mask for x in encoded], "int32")
    inputs = {"token_ids": ids, "padding_mask": mask, "segment_ids": np.zeros_like(ids)}
    dataset = tf.data.Dataset.from_tensor_slices((inputs, one_hot(labels, names)))
    if shuffle:
        dataset = dataset.shuffle(len(texts))
    return dataset.batch(batch_size, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def tltool_batches(
    settings: dict[str, Any], tables: dict[str, Any], names: list[str], splits: tuple[str, ...]
) -> list[tf.data.Dataset]:
    """tltool's batches: texts of like length together, padded to its few widths."""
    from tltool.backbones.load import load_backbone
    from tltool.data.batches.pipeline import make_dataset
    from tltool.data.examples import Examples
    from tltool.evaluation.inference import by_length

    contract = load_backbone(settings["backbone"], weights="random").preprocessing
    datasets = []
    for split in splits:
        texts, labels = tables[split]
        rows = [f"row {i}" for i in range(len(texts))]
        examples = Examples("text", texts, labels, [None] * len(texts), rows)
        if split != "train":
            examples = examples.take(by_length(examples))
        dataset = make_dataset(
            examples,
            contract,
            targets=one_hot(list(examples.targets), names),
            batch_size=settings["batch_size"],
            training=split == "train",
            seed=settings["seed"],
        )
        datasets.append(dataset.map(lambda inputs, targets, _: (inputs, targets)))
    return datasets


def build(settings: dict[str, Any], names: list[str]) -> keras.Model:
    """BERT with the mean over the real tokens, then the head; what is frozen has no dropout."""
    backbone = keras_hub.models.BertBackbone.from_preset(settings["weights"])
    blocks = [backbone.get_layer(f"transformer_layer_{i}") for i in range(NUM_BLOCKS)]
    for block in blocks:
        # KerasHub takes the tanh approximation; these weights were trained with the exact GELU.
        block._feedforward_intermediate_dense.activation = keras.activations.gelu
    train = settings["train"]
    if train != "all":
        learning = blocks[-train["last"] :] if isinstance(train, dict) else []
        freeze(layer for layer in backbone.layers if layer not in learning)
    tokens = backbone.output["sequence_output"]
    mask = keras.ops.cast(backbone.input["padding_mask"], "bool")
    features = keras.layers.GlobalAveragePooling1D()(tokens, mask=mask)
    return with_head(backbone.input, features, names, settings["dropout"])


def freeze(layers: Any) -> None:
    """Freezes layers, and takes their dropout out, which `fit` would apply all the same."""
    for layer in layers:
        layer.trainable = False
        for part in layer._flatten_layers():
            if isinstance(part, keras.layers.Dropout):
                part.rate = 0.0


if __name__ == "__main__":
    main()
