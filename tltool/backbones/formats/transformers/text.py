"""Text encoders from folders of transformers and sentence-transformers; see `ENCODERS`.

Built here from KerasHub's layers rather than loaded by KerasHub's converter,
which takes the tanh approximation of GELU for the exact one, ignores
`hidden_act`, the dropout and the epsilon of the folder's configuration, and
leaves `strip_accents` out of its tokenizer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import keras
import keras_hub
from keras import layers
from numpy.typing import NDArray

from tltool.backbones.base import Backbone, Features
from tltool.backbones.formats.folder_files import read_json, read_tensors, refuse_otherwise
from tltool.backbones.formats.tokenizer_files.folder import TokenizerFolder
from tltool.backbones.formats.tokenizer_files.read import read_tokenizer
from tltool.backbones.formats.torch.weights import TensorReader
from tltool.backbones.formats.transformers.names import (
    DEBERTA_TYPE,
    ENCODERS,
    FIXED_SEGMENT,
    IMAGE_ENCODERS,
    UNUSED_PREFIXES,
    EncoderNames,
)
from tltool.backbones.groups import GROUP_RULES, group_layers
from tltool.backbones.networks.layers import FirstToken, MaskedMean
from tltool.data.preprocessing import TextPreprocessing
from tltool.support.errors import BackboneError

Pooling = Literal["mean", "cls", "pooler"]


def load_encoder_folder(
    folder: Path,
    *,
    name: str,
    max_length: int | None = None,
    dropout: float | None = None,
    weights: Literal["pretrained", "random"] = "pretrained",
) -> Backbone:
    """Loads an encoder of `ENCODERS`.

    Args:
        folder: With `config.json`, the files of its tokenizer (see
            `transformers_tokenizers`) and `model.safetensors` (or
            `pytorch_model.bin`, read without torch).
            `1_Pooling/config.json` of sentence-transformers sets the pooling;
            without it, it is BERT's pooler, or the class token where the
            weights have no pooler.
        name: Of the backbone.
        max_length: Tokens of the longest text; None takes
            `sentence_bert_config.json`, else 128, within the positions there are.
        dropout: For hidden outputs and attention probabilities; None takes
            the configuration's `hidden_dropout_prob`.
        weights: "random" builds the same network with fresh weights.

    Raises:
        BackboneError: A file is missing or damaged, or the folder asks for
            something that would be computed differently here.
    """
    family, config = _read_config(folder)
    tensors = encoder_tensors(folder, family)
    has_pooler = f"{family.others.get('pooled_dense')}.weight" in tensors
    pooling = read_pooling(folder, has_pooler=has_pooler)
    rate = float(config.get(family.dropout, 0.1)) if dropout is None else dropout
    first = _first_position(family, config, folder)
    positions = config["max_position_embeddings"] - first
    inputs, sequence = _encoder(family, config, positions, rate)
    pooled = pool(sequence, inputs["padding_mask"], pooling)
    model = keras.Model(inputs, pooled, name=config["model_type"])
    if weights == "pretrained":
        fill_encoder(model, family, tensors, name, first_position=first)
    return Backbone(
        name=name,
        model=model,
        features=Features(pooled=pooled, sequence=sequence, mask=inputs["padding_mask"]),
        groups=group_layers(model, GROUP_RULES["albert" if family.shared_block else "bert"], name),
        preprocessing=_preprocessing(folder, family, config, first, max_length, name),
    )


def _read_config(folder: Path) -> tuple[EncoderNames, dict[str, Any]]:
    """The family and its configuration, refused where this builder would compute something else."""
    path = folder / "config.json"
    config = read_json(path)
    family = ENCODERS.get(str(config.get("model_type")))
    if family is None:
        raise BackboneError(
            f"{path}: model_type is {config.get('model_type')!r}; supported are "
            f"{', '.join(map(repr, (*ENCODERS, DEBERTA_TYPE, *IMAGE_ENCODERS)))}.",
            hint="loading it anyway would give other features than the original's",
        )
    only = {
        "position_embedding_type": "absolute",
        "is_decoder": False,
        "add_cross_attention": False,
        **family.only,
    }
    if config.get(family.activation) not in family.activations:
        only[family.activation] = next(iter(family.activations))
    refuse_otherwise(config, only, path)
    missing = [key for key in family.sizes if not isinstance(config.get(key), int)]
    if missing:
        raise BackboneError(f"{path} lacks {', '.join(missing)}.")
    return family, config


def _first_position(family: EncoderNames, config: dict[str, Any], folder: Path) -> int:
    """The row of the position embedding that a text's first token takes."""
    if not family.padding_first:
        return 0
    padding = config.get("pad_token_id", 1)
    if not isinstance(padding, int):
        raise BackboneError(
            f"{folder / 'config.json'}: pad_token_id is {padding!r}, but positions are counted "
            "from it."
        )
    return padding + 1


def encoder_tensors(folder: Path, family: EncoderNames) -> dict[str, NDArray[Any]]:
    """The weights by name, without the prefix that task models add, in today's spelling.

    Raises:
        BackboneError: There are none, or they cannot be read.
    """
    spelling = {".gamma": ".weight", ".beta": ".bias"}
    tensors = {}
    for key, value in read_tensors(folder).items():
        clean = key.removeprefix(family.prefix)
        for old, new in spelling.items():
            if clean.endswith("LayerNorm" + old):
                clean = clean.removesuffix(old) + new
        tensors[clean] = value
    return tensors


def read_pooling(folder: Path, *, has_pooler: bool) -> Pooling:
    """How features are pooled: as sentence-transformers says, else by the pooler, if there is one.

    Raises:
        BackboneError: `1_Pooling/config.json` asks for another way.
    """
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "pooler" if has_pooler else "cls"
    chosen = [key for key, on in read_json(path).items() if key.startswith("pooling_") and on]
    known: dict[str, Pooling] = {
        "pooling_mode_mean_tokens": "mean",
        "pooling_mode_cls_token": "cls",
    }
    if len(chosen) != 1 or chosen[0] not in known:
        raise BackboneError(f"{path} asks for {chosen}; one of {list(known)} is supported.")
    return known[chosen[0]]


def _encoder(
    family: EncoderNames, config: dict[str, Any], positions_reached: int, dropout: float
) -> tuple[dict[str, Any], Any]:
    """The inputs and the sequence output, (batch, tokens, width)."""
    vocabulary, width, blocks, *_ = (config[key] for key in family.sizes)
    embedded = (
        config.get("embedding_size", width) if "embeddings_project" in family.others else width
    )
    epsilon = float(config.get("layer_norm_eps", 1e-12))

    def embedding(rows: int, name: str) -> Any:
        return layers.Embedding(
            rows, embedded, embeddings_initializer=_initializer(config), name=f"{name}_embedding"
        )

    names = _input_names(family)
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in names}
    tokens = embedding(vocabulary, "token")(inputs["token_ids"])
    positions = keras_hub.layers.PositionEmbedding(
        positions_reached, initializer=_initializer(config), name="position_embedding"
    )(tokens)
    summands = [tokens, positions]
    if "segment_ids" in inputs:
        segment = embedding(config.get("type_vocab_size", 2), "segment")
        summands.append(segment(inputs["segment_ids"]))
    x = layers.Add(name="embeddings_add")(summands)
    x = layers.LayerNormalization(epsilon=epsilon, name="embeddings_layer_norm")(x)
    x = layers.Dropout(dropout, name="embeddings_dropout")(x)
    # ALBERT has the projection in any case.
    if embedded != width or family.shared_block:
        x = layers.Dense(width, name="embeddings_project")(x)
    different = [
        _block(family, config, dropout, index)
        for index in range(1 if family.shared_block else blocks)
    ]
    for index in range(blocks):
        x = different[index % len(different)](x, padding_mask=inputs["padding_mask"])
    return inputs, x


def _block(family: EncoderNames, config: dict[str, Any], dropout: float, index: int) -> Any:
    _, _, _, heads, inner, _ = (config[key] for key in family.sizes)
    activation = config.get(family.activation, next(iter(family.activations)))
    return keras_hub.layers.TransformerEncoder(
        intermediate_dim=inner,
        num_heads=heads,
        dropout=dropout,
        activation=family.activations[activation],
        layer_norm_epsilon=float(config.get("layer_norm_eps", 1e-12)),
        kernel_initializer=_initializer(config),
        name=f"transformer_layer_{index}",
    )


def _initializer(config: dict[str, Any]) -> Any:
    return keras.initializers.TruncatedNormal(stddev=config.get("initializer_range", 0.02))


def _input_names(family: EncoderNames) -> tuple[str, ...]:
    names = ("token_ids", "padding_mask", "segment_ids")
    return names if "segment_embedding" in family.others else names[:2]


def pool(sequence: Any, mask: Any, pooling: Pooling, activation: Any = "tanh") -> Any:
    """The features (batch, channels) of a sequence; the activation is that of the pooler."""
    if pooling == "mean":
        return MaskedMean(name="pooled")(sequence, padding_mask=mask)
    first = FirstToken(name="pooled" if pooling == "cls" else "first_token")(sequence)
    if pooling == "cls":
        return first
    return layers.Dense(sequence.shape[-1], activation=activation, name="pooled_dense")(first)


def fill_encoder(
    model: keras.Model,
    family: EncoderNames,
    tensors: dict[str, NDArray[Any]],
    name: str,
    *,
    first_position: int = 0,
) -> None:
    """Sets all weights of an encoder; `first_position` is the row of the first token's position.

    Raises:
        BackboneError: A tensor is missing, is left over, or has another shape.
    """
    reader = TensorReader(tensors, name)
    for layer in model.layers:
        for variable in layer.weights:
            key, transposed = _tensor_name(family, variable.path)
            value = reader.take(key)
            if layer.name == "position_embedding":
                value = value[first_position:]
            if layer.name == "token_embedding" and family.fixed_segment:
                value = value.astype("float32") + reader.take(FIXED_SEGMENT)[0]
            value = value.T if transposed else value
            variable.assign(reader.folded(value, variable, f"tensor {key!r}"))
    reader.finish((*UNUSED_PREFIXES, *family.unused))


def _tensor_name(family: EncoderNames, path: str) -> tuple[str, bool]:
    """The tensor of a Keras variable, and whether torch keeps it transposed."""
    layer, _, rest = path.partition("/")
    leaf = path.rpartition("/")[2]
    suffix = "bias" if leaf in {"bias", "beta"} else "weight"
    if layer in family.others:
        return f"{family.others[layer]}.{suffix}", leaf == "kernel"
    block = layer.removeprefix("transformer_layer_")
    part = family.parts[rest.rpartition("/")[0]]
    return f"{family.block}.{block}.{part}.{suffix}", leaf == "kernel"


def _preprocessing(
    folder: Path,
    family: EncoderNames,
    config: dict[str, Any],
    first_position: int,
    max_length: int | None,
    name: str,
) -> TextPreprocessing:
    contract = read_tokenizer(
        TokenizerFolder(
            folder=folder,
            family=family,
            rows=config["vocab_size"],
            positions=config["max_position_embeddings"] - first_position,
            inputs=_input_names(family),
            wanted_length=max_length,
            name=name,
        )
    )
    padding = contract.vocabulary.index(contract.padding_token)
    if family.padding_first and padding != first_position - 1:
        raise BackboneError(
            f"{folder}: the padding token is {padding} by the tokenizer and {first_position - 1} "
            "by config.json, from which positions are counted."
        )
    return contract
