"""What the transformers library calls the parts of its text encoders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tltool.backbones.networks.layers import exact_gelu, tanh_gelu

TokenizerKind = Literal["wordpiece", "byte_pair", "unigram"]


@dataclass(frozen=True)
class EncoderNames:
    """What the transformers library calls things in a family of encoders.

    Attributes:
        prefix: Before the names of the tensors in task models.
        sizes: Keys of the configuration: vocabulary, width, blocks, heads,
            width inside a block, and positions, in this order.
        activation, dropout: Keys of the configuration.
        activations: What each value of the former is; the first is meant where none is.
        only: Further keys that may have one value alone.
        block: Beginning of a block's tensors.
        parts: What each Keras layer of a block is called.
        others: Likewise outside the blocks.
        tokenizer: Beginning of the name of its tokenizer classes.
        tokenizer_kind: Of its tokenizers.
        unused: Beginnings of further tensors that the features do without.
        fixed_segment: Whether all tokens are of the first segment, whose
            embedding is a part of every token's.
        shared_block: Whether all blocks are one and the same, called again and again.
        padding_first: Whether positions are counted from the number after the
            padding token's id, so that the rows up to it are unused.
    """

    prefix: str
    sizes: tuple[str, ...]
    activation: str
    dropout: str
    block: str
    parts: dict[str, str]
    others: dict[str, str]
    tokenizer: str
    tokenizer_kind: TokenizerKind = "wordpiece"
    unused: tuple[str, ...] = ()
    activations: Mapping[str, Callable[[Any], Any]] = field(
        default_factory=lambda: {"gelu": exact_gelu}
    )
    only: Mapping[str, Any] = field(default_factory=dict)
    shared_block: bool = False
    fixed_segment: bool = False
    padding_first: bool = False


_BERT_SIZES = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
)
_BERT_PARTS = {
    "self_attention_layer/query": "attention.self.query",
    "self_attention_layer/key": "attention.self.key",
    "self_attention_layer/value": "attention.self.value",
    "self_attention_layer/attention_output": "attention.output.dense",
    "self_attention_layer_norm": "attention.output.LayerNorm",
    "feedforward_intermediate_dense": "intermediate.dense",
    "feedforward_output_dense": "output.dense",
    "feedforward_layer_norm": "output.LayerNorm",
}
_EMBEDDINGS = {
    "token_embedding": "embeddings.word_embeddings",
    "position_embedding": "embeddings.position_embeddings",
    "embeddings_layer_norm": "embeddings.LayerNorm",
}
_SEGMENTS = {"segment_embedding": "embeddings.token_type_embeddings"}
FIXED_SEGMENT = "embeddings.token_type_embeddings.weight"
"""The tensor whose first row is a part of every token's embedding; see `EncoderNames`."""
_ROBERTA = EncoderNames(
    # Also before the names of XLM-R and CamemBERT.
    prefix="roberta.",
    sizes=_BERT_SIZES,
    activation="hidden_act",
    dropout="hidden_dropout_prob",
    block="encoder.layer",
    parts=_BERT_PARTS,
    others={**_EMBEDDINGS, "pooled_dense": "pooler.dense"},
    tokenizer="Roberta",
    tokenizer_kind="byte_pair",
    fixed_segment=True,
    padding_first=True,
)
ENCODERS = {
    "bert": EncoderNames(
        prefix="bert.",
        sizes=_BERT_SIZES,
        activation="hidden_act",
        dropout="hidden_dropout_prob",
        block="encoder.layer",
        parts=_BERT_PARTS,
        others={**_EMBEDDINGS, **_SEGMENTS, "pooled_dense": "pooler.dense"},
        tokenizer="Bert",
    ),
    "electra": EncoderNames(
        prefix="electra.",
        sizes=_BERT_SIZES,
        activation="hidden_act",
        dropout="hidden_dropout_prob",
        block="encoder.layer",
        parts=_BERT_PARTS,
        others={**_EMBEDDINGS, **_SEGMENTS, "embeddings_project": "embeddings_project"},
        tokenizer="Electra",
    ),
    "distilbert": EncoderNames(
        prefix="distilbert.",
        sizes=("vocab_size", "dim", "n_layers", "n_heads", "hidden_dim", "max_position_embeddings"),
        activation="activation",
        dropout="dropout",
        block="transformer.layer",
        parts={
            "self_attention_layer/query": "attention.q_lin",
            "self_attention_layer/key": "attention.k_lin",
            "self_attention_layer/value": "attention.v_lin",
            "self_attention_layer/attention_output": "attention.out_lin",
            "self_attention_layer_norm": "sa_layer_norm",
            "feedforward_intermediate_dense": "ffn.lin1",
            "feedforward_output_dense": "ffn.lin2",
            "feedforward_layer_norm": "output_layer_norm",
        },
        others=_EMBEDDINGS,
        tokenizer="DistilBert",
    ),
    "albert": EncoderNames(
        prefix="albert.",
        sizes=_BERT_SIZES,
        activation="hidden_act",
        dropout="hidden_dropout_prob",
        block="encoder.albert_layer_groups.0.albert_layers",
        parts={
            "self_attention_layer/query": "attention.query",
            "self_attention_layer/key": "attention.key",
            "self_attention_layer/value": "attention.value",
            "self_attention_layer/attention_output": "attention.dense",
            "self_attention_layer_norm": "attention.LayerNorm",
            "feedforward_intermediate_dense": "ffn",
            "feedforward_output_dense": "ffn_output",
            "feedforward_layer_norm": "full_layer_layer_norm",
        },
        others={
            **_EMBEDDINGS,
            **_SEGMENTS,
            "embeddings_project": "encoder.embedding_hidden_mapping_in",
            "pooled_dense": "pooler",
        },
        tokenizer="Albert",
        tokenizer_kind="unigram",
        # The library's "gelu_new" is the tanh approximation, with which ALBERT was trained.
        activations={"gelu_new": tanh_gelu, "gelu": exact_gelu},
        only={"num_hidden_groups": 1, "inner_group_num": 1},
        shared_block=True,
    ),
    "roberta": _ROBERTA,
    "xlm-roberta": replace(_ROBERTA, tokenizer="XLMRoberta", tokenizer_kind="unigram"),
    "camembert": replace(_ROBERTA, tokenizer="Camembert", tokenizer_kind="unigram"),
}
DEBERTA_TYPE = "deberta-v2"
"""Model type of DeBERTa-v2 and v3; see `transformers_deberta`."""

DEBERTA = EncoderNames(
    prefix="deberta.",
    sizes=_BERT_SIZES,
    activation="hidden_act",
    dropout="hidden_dropout_prob",
    block="encoder.layer",
    parts={
        **_BERT_PARTS,
        "self_attention_layer/query": "attention.self.query_proj",
        "self_attention_layer/key": "attention.self.key_proj",
        "self_attention_layer/value": "attention.self.value_proj",
    },
    others={
        "token_embedding": "embeddings.word_embeddings",
        "embeddings_layer_norm": "embeddings.LayerNorm",
        "relative_positions": "encoder.rel_embeddings",
        "relative_norm": "encoder.LayerNorm",
        "pooled_dense": "pooler.dense",
    },
    tokenizer="DebertaV2",
    tokenizer_kind="unigram",
    # Published files hold absolute positions that nothing uses, and the heads of the pretraining.
    unused=("embeddings.position_embeddings", "lm_predictions.", "mask_predictions."),
)
IMAGE_ENCODERS = ("vit", "dinov2", "swin")
"""Model types of images; see `transformers_images`."""

# Heads of task models, which the features do without.
UNUSED_PREFIXES = (
    "pooler.",
    "cls.",
    "lm_head.",
    "classifier.",
    "pre_classifier.",
    "qa_outputs.",
    "vocab_",
    "discriminator_predictions.",
    "predictions.",
    "sop_classifier.",
    "generator_",
    "embeddings.position_ids",
)
