"""Tiny random backbones as preset folders, the way KerasHub saves them: a recipe can name them."""

from __future__ import annotations

from pathlib import Path

import tiny


def write_text_preset(folder: Path, layers: int = 2) -> Path:
    """A BERT of small layers whose tokenizer knows the words of `tiny.texts`."""
    import keras
    import keras_hub

    vocabulary = list(tiny.TINY_TEXT.vocabulary)
    keras.utils.set_random_seed(7)
    keras_hub.models.BertBackbone(
        vocabulary_size=len(vocabulary),
        num_layers=layers,
        num_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
        max_sequence_length=16,
    ).save_to_preset(str(folder))
    keras_hub.tokenizers.BertTokenizer(vocabulary=vocabulary, lowercase=True).save_to_preset(
        str(folder)
    )
    return folder


def write_image_preset(folder: Path) -> Path:
    """A ResNet of two small stages for pictures of 32×32 pixels."""
    import keras
    import keras_hub

    keras.utils.set_random_seed(7)
    keras_hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 16],
        stackwise_num_blocks=[1, 1],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        use_pre_activation=False,
    ).save_to_preset(str(folder))
    keras_hub.layers.ImageConverter(
        image_size=(32, 32), scale=1 / 127.5, offset=-1.0
    ).save_to_preset(str(folder))
    return folder


def write_texts(file: Path, count: int = 120) -> Path:
    """A CSV with the columns text and label."""
    rows = zip(*tiny.texts(count), strict=True)
    lines = [f'"{text}",{label}' for text, label in rows]
    file.write_text("\n".join(["text,label", *lines, ""]), encoding="utf-8")
    return file
