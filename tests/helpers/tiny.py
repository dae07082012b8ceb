"""Tiny random backbones and data sets: small enough to train in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tltool.data.preprocessing import ImagePreprocessing, WordPiecePreprocessing

# fmt: off
WORDS = (
    "good", "bad", "nice", "awful", "great", "poor", "love", "hate", "fine", "ugly", "the", "a",
    "is", "was", "film", "food", "service", "price", "very", "not", ",", ".", "!", "?", "##s",
    "##ed", "##ing",
)
# fmt: on
TINY_TEXT = WordPiecePreprocessing(
    vocabulary=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS), max_length=16
)
TINY_IMAGE = ImagePreprocessing(
    size_px=(32, 32), resize_px=36, interpolation="bicubic", mean=(127.0,) * 3, std=(128.0,) * 3
)


def tiny_text_backbone(layers: int = 3, width: int = 16, dropout: float = 0.1):
    """A BERT of a few thousand random weights, mean-pooled, in groups like the real one."""
    import keras
    import keras_hub

    from tltool.backbones.base import Backbone, Features, LayerGroup
    from tltool.backbones.networks.layers import MaskedMean

    bert = keras_hub.models.BertBackbone(
        vocabulary_size=len(TINY_TEXT.vocabulary),
        num_layers=layers,
        num_heads=2,
        hidden_dim=width,
        intermediate_dim=2 * width,
        dropout=dropout,
        max_sequence_length=32,
    )
    sequence, mask = bert.output["sequence_output"], bert.input["padding_mask"]
    pooled = MaskedMean(name="pooled")(sequence, padding_mask=mask)
    model = keras.Model(bert.input, pooled)
    blocks = [f"transformer_layer_{i}" for i in range(layers)]
    groups = [
        LayerGroup(f"block{i + 1}", tuple(model.get_layer(name).variables))
        for i, name in enumerate(blocks)
    ]
    taken = {id(v) for group in groups for v in group.variables}
    embeddings = tuple(v for v in model.variables if id(v) not in taken)
    return Backbone(
        name="tiny-bert",
        model=model,
        features=Features(pooled=pooled, sequence=sequence, mask=mask),
        groups=(LayerGroup("embeddings", embeddings), *groups),
        preprocessing=TINY_TEXT,
    )


def tiny_image_backbone(width: int = 8):
    """A CNN with a residual connection and BatchNorm: stem, stage1, stage2."""
    import keras
    from keras import layers

    from tltool.backbones.base import Backbone, Features, LayerGroup

    def conv(x, filters, stride, name):
        x = layers.Conv2D(filters, 3, stride, padding="same", use_bias=False, name=f"{name}_conv")(
            x
        )
        return layers.BatchNormalization(name=f"{name}_bn")(x)

    image = keras.Input((32, 32, 3), name="image")
    x = layers.ReLU(name="stem_relu")(conv(image, width, 2, "stem"))
    y = layers.ReLU(name="stage1_relu")(conv(x, width, 1, "stage1_a"))
    x = layers.Add(name="stage1_add")([x, conv(y, width, 1, "stage1_b")])
    x = layers.ReLU(name="stage2_relu")(conv(x, 2 * width, 2, "stage2"))
    pooled = layers.GlobalAveragePooling2D(name="pooled")(x)
    model = keras.Model(image, pooled)

    def group(name):
        variables = [v for v in model.variables if v.path.startswith(name)]
        return LayerGroup(name, tuple(variables))

    return Backbone(
        name="tiny-cnn",
        model=model,
        features=Features(pooled=pooled, feature_map=x),
        groups=tuple(group(name) for name in ("stem", "stage1", "stage2")),
        preprocessing=TINY_IMAGE,
    )


def write_images(folder: Path, classes=("blue", "red"), per_class: int = 8, seed: int = 0) -> Path:
    """A folder of small JPEGs whose class is their colour (learnable in a few steps)."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    for index, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(per_class):
            pixels = rng.integers(0, 90, (40, 48, 3), dtype=np.uint8)
            pixels[..., 2 - 2 * index if index < 2 else 1] += 150
            Image.fromarray(pixels).save(folder / name / f"{i:03d}.jpg", quality=95)
    return folder


def texts(count: int = 48, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts of known words with a learnable label, "negative" or "positive"."""
    rng = np.random.default_rng(seed)
    good, bad = ("good", "nice", "great", "love"), ("bad", "awful", "poor", "hate")
    filler = ("the", "film", "food", "was", "is", "very", "service")
    rows, labels = [], []
    for i in range(count):
        label = i % 2
        words = [str(rng.choice(filler)) for _ in range(int(rng.integers(1, 7)))]
        words.insert(int(rng.integers(0, len(words) + 1)), str(rng.choice((bad, good)[label])))
        rows.append(" ".join(words) + f" {'!' * int(rng.integers(0, 3))}".rstrip())
        labels.append(("negative", "positive")[label])
    return rows, labels
