"""DeBERTa-v3 from a folder of the transformers library, which calls it `deberta-v2`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import keras

from tltool.backbones.base import Backbone, Features
from tltool.backbones.formats.folder_files import read_json
from tltool.backbones.formats.tokenizer_files.folder import TokenizerFolder
from tltool.backbones.formats.tokenizer_files.read import read_tokenizer
from tltool.backbones.formats.transformers.names import DEBERTA
from tltool.backbones.formats.transformers.text import (
    encoder_tensors,
    fill_encoder,
    pool,
    read_pooling,
)
from tltool.backbones.groups import GROUP_RULES, group_layers
from tltool.backbones.networks.deberta import DebertaShape, build_deberta
from tltool.backbones.networks.layers import exact_gelu
from tltool.data.preprocessing import TextPreprocessing
from tltool.support.errors import BackboneError

# By key of the configuration: what the library takes where it is missing, the one value that is
# computed here, and what any other would need.
_ONLY: dict[str, tuple[Any, Any, str]] = {
    "relative_attention": (False, True, "attention without relative positions"),
    "pos_att_type": (None, "c2p|p2c", "positions that are seen from one side only"),
    "share_att_key": (False, True, "projections of their own for positions"),
    "norm_rel_ebd": ("none", "layer_norm", "relative embeddings without a norm"),
    "position_biased_input": (True, False, "absolute positions"),
    "type_vocab_size": (0, 0, "segments"),
    "conv_kernel_size": (
        0,
        0,
        "the convolution that follows the first block of xlarge models",
    ),
    "hidden_act": ("gelu", "gelu", "another activation"),
    "pooler_hidden_act": ("gelu", "gelu", "another activation"),
}


def load_deberta_folder(
    folder: Path,
    *,
    name: str,
    max_length: int | None = None,
    dropout: float | None = None,
    weights: Literal["pretrained", "random"] = "pretrained",
) -> Backbone:
    """Loads an encoder with the arithmetic of DeBERTa-v3 (xsmall to large, mDeBERTa).

    Args:
        folder: With `config.json`, the tokenizer's files and `model.safetensors`
            (or `pytorch_model.bin`, read without torch). Features are pooled as
            `1_Pooling/config.json` of sentence-transformers says; without it, by
            the pooler of a task model, or the first token where there is none.
        name: Of the backbone.
        max_length: Tokens of the longest text; None takes 128 or what
            sentence-transformers says, within `max_position_embeddings`.
        dropout: For hidden outputs and attention; None takes the
            configuration's `hidden_dropout_prob`.
        weights: "random" builds the same network with fresh weights.

    Raises:
        BackboneError: A file is missing or damaged, or the folder asks for
            something that would be computed differently here.
    """
    path = folder / "config.json"
    config = read_json(path)
    shape = _shape(config, path)
    contract = _preprocessing(folder, config, max_length, name)
    tensors = encoder_tensors(folder, DEBERTA)
    rate = float(config.get("hidden_dropout_prob", 0.1)) if dropout is None else dropout
    inputs, sequence = build_deberta(shape, rate)
    pooling = read_pooling(folder, has_pooler="pooler.dense.weight" in tensors)
    pooled = pool(sequence, inputs["padding_mask"], pooling, exact_gelu)
    model = keras.Model(inputs, pooled, name="deberta")
    if weights == "pretrained":
        fill_encoder(model, DEBERTA, tensors, name)
    return Backbone(
        name=name,
        model=model,
        features=Features(pooled=pooled, sequence=sequence, mask=inputs["padding_mask"]),
        groups=group_layers(model, GROUP_RULES["deberta"], name),
        preprocessing=contract,
    )


def _shape(config: dict[str, Any], path: Path) -> DebertaShape:
    """The sizes, where all that the configuration asks for is computed here."""
    sizes = (*DEBERTA.sizes, "position_buckets")
    missing = [key for key in sizes if not isinstance(config.get(key), int)]
    if missing:
        raise BackboneError(f"{path} lacks {', '.join(missing)}.")
    vocabulary, width, blocks, heads, inner, reached, buckets = (config[key] for key in sizes)
    parts = {"embedding_size": width, "pooler_hidden_size": width}
    parts["attention_head_size"] = width // heads
    only = {key: (own, own, "another width inside the network") for key, own in parts.items()}
    for key, (default, supported, reason) in {**_ONLY, **only}.items():
        found = _plain(config.get(key, default))
        if found != supported:
            raise BackboneError(
                f"{path}: {key} is {found!r}; only {supported!r} is supported, and this needs "
                f"{reason}.",
                hint="take a DeBERTa-v3, such as microsoft/deberta-v3-small",
            )
    stated = config.get("max_relative_positions", -1)
    distance = stated if stated > 0 else reached
    if width % heads or not 1 < buckets < 2 * distance - 2:
        raise BackboneError(
            f"{path}: hidden_size {width} with {heads} heads, and position_buckets {buckets} for "
            f"{distance} positions, make no network of this kind.",
        )
    return DebertaShape(
        vocabulary,
        width,
        blocks,
        heads,
        inner,
        buckets,
        distance,
        epsilon=float(config.get("layer_norm_eps", 1e-7)),
        spread=float(config.get("initializer_range", 0.02)),
    )


def _plain(value: Any) -> Any:
    """A value of the configuration; a list of names, in whatever order and spelling, as `a|b`."""
    names = value.lower().split("|") if isinstance(value, str) else value
    return "|".join(sorted(map(str.strip, names))) if isinstance(names, list) else value


def _preprocessing(
    folder: Path, config: dict[str, Any], max_length: int | None, name: str
) -> TextPreprocessing:
    return read_tokenizer(
        TokenizerFolder(
            folder=folder,
            family=DEBERTA,
            rows=config["vocab_size"],
            positions=config["max_position_embeddings"],
            inputs=("token_ids", "padding_mask"),
            wanted_length=max_length,
            name=name,
        )
    )
