"""Layer groups: which layers of a model belong together, as one table of rules a family."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from tltool.backbones.base import LayerGroup
from tltool.support.errors import BackboneError


class Rule(NamedTuple):
    """Layers whose whole name matches `pattern` belong to `group`.

    Attributes:
        group: Name of the group; "{n}" stands for the number that the
            pattern's first parentheses match.
        pattern: Regular expression over layer names.
        shift: Added to that number, so that groups count from 1.
    """

    group: str
    pattern: str
    shift: int = 0


_BLOCKS = Rule("block{n}", r"transformer_layer_(\d+)", shift=1)

# Ordered from input to output.
GROUP_RULES: dict[str, tuple[Rule, ...]] = {
    "bert": (
        Rule("embeddings", r"(token|position|segment)_embedding|embeddings_.*"),
        _BLOCKS,
        Rule("pooler", r"pooled_dense"),
    ),
    "deberta": (
        # All blocks use the relative embeddings, the first one first.
        Rule("embeddings", r"token_embedding|embeddings_.*|relative_.*"),
        _BLOCKS,
        Rule("pooler", r"pooled_dense"),
    ),
    "albert": (
        Rule("embeddings", r"(token|position|segment)_embedding|embeddings?_.*"),
        # All of its blocks are this one, which KerasHub calls the latter.
        Rule("block", r"transformer_layer_0|group_0_inner_layer_0"),
        Rule("pooler", r"pooled_dense"),
    ),
    "deberta_v3": (
        Rule("embeddings", r"token_embedding|embeddings_.*|rel_embedding"),
        Rule("block{n}", r"disentangled_attention_encoder_layer_(\d+)", shift=1),
    ),
    "distil_bert": (Rule("embeddings", r"token_and_position_embedding|embeddings_.*"), _BLOCKS),
    "roberta": (Rule("embeddings", r"embeddings(_.*)?"), _BLOCKS),
    "vit": (
        Rule("embeddings", r"patch_embedding|tokens_and_positions|embeddings_dropout"),
        _BLOCKS,
        Rule("top", r"final_norm"),
    ),
    "swin": (
        Rule("stem", r"patch_.*"),
        # What halves the map belongs to the stage that it leads to.
        Rule("stage{n}", r"stage(\d+)_.*"),
        Rule("top", r"final_norm"),
    ),
    "resnet": (
        Rule("stem", r"conv\d+_(conv|bn)"),
        Rule("stage{n}", r"stack(\d+)_.*", shift=1),
        Rule("top", r"post_bn"),
    ),
    "efficientnet": (
        Rule("stem", r"stem_.*"),
        Rule("stage{n}", r"block(\d+)[a-z].*"),
        Rule("top", r"top_.*"),
    ),
    "mobilenet": (
        Rule("stem", r"input_.*"),
        Rule("stage{n}", r"block_(\d+)_\d+", shift=1),
    ),
    "resnet_keras": (
        Rule("stem", r"conv1_.*"),
        Rule("stage{n}", r"conv(\d)_block.*", shift=-1),
        Rule("top", r"post_bn"),
    ),
    "mobilenet_v1": (
        Rule("stem", r"conv1(_bn)?"),
        Rule("block{n}", r"conv_[dp]w_(\d+)(?:_bn)?"),
    ),
    "mobilenet_v2": (
        Rule("stem", r"Conv1|bn_Conv1|expanded_conv_.*"),
        Rule("block{n}", r"block_(\d+)_.*"),
        Rule("top", r"Conv_1(_bn)?"),
    ),
    "mobilenet_v3": (
        Rule("stem", r"conv(_bn)?|expanded_conv_[a-z].*"),
        Rule("block{n}", r"expanded_conv_(\d+)_.*"),
        Rule("top", r"conv_1(_bn)?"),
    ),
    "densenet": (
        Rule("stem", r"conv1_.*"),
        Rule("stage{n}", r"(?:conv|pool)(\d)_.*", shift=-1),
        Rule("top", r"bn"),
    ),
    "vgg": (Rule("stage{n}", r"block(\d)_(?:conv|bn)\d"),),
    "xception": (
        Rule("stem", r"block1_.*"),
        Rule("block{n}", r"block(\d+)_.*"),
    ),
    "convnext": (
        Rule("stem", r".*_stem"),
        # What halves the map belongs to the stage that it leads to.
        Rule("stage{n}", r".*_downsampling_block_(\d)", shift=2),
        Rule("stage{n}", r".*_stage_(\d)_.*", shift=1),
        Rule("top", r"top_layer_norm"),
    ),
    "inverted": (
        Rule("stem", r"stem_.*"),
        Rule("stage{n}", r"stage(\d+)_.*"),
        Rule("top", r"top_.*"),
    ),
    "csp_darknet": (
        Rule("stem", r"stem_.*"),
        Rule("stage{n}", r"dark(\d+)_.*", shift=-1),
    ),
    "yolo_v8": (
        Rule("stem", r"stem_.*"),
        Rule("stage{n}", r"stack(\d+)_.*"),
    ),
    "efficientnet_lite": (
        Rule("stem", r"stem_.*"),
        Rule("stage{n}", r"stage(\d+)_.*"),
        Rule("top", r"top_.*"),
    ),
}


def group_layers(model: Any, rules: Sequence[Rule], name: str) -> tuple[LayerGroup, ...]:
    """Sorts the layers of a flat functional model into groups, input first.

    Args:
        model: Keras functional model.
        rules: Ordered from input to output; the first that matches counts.
        name: Of the backbone, for the message.

    Raises:
        BackboneError: A layer with weights matches no rule.
    """
    variables: dict[tuple[int, int], list[Any]] = {}
    names: dict[tuple[int, int], str] = {}
    for layer in model.layers:
        if not layer.variables:
            continue
        place, group = _place(layer, rules, name)
        variables.setdefault(place, []).extend(layer.variables)
        names[place] = group
    return tuple(LayerGroup(names[place], tuple(variables[place])) for place in sorted(variables))


def _place(layer: Any, rules: Sequence[Rule], name: str) -> tuple[tuple[int, int], str]:
    """Where the layer's group stands in the order, and the group's name."""
    for rule in rules:
        match = re.fullmatch(rule.pattern, layer.name)
        if match:
            number = int(match[1]) + rule.shift if "{n}" in rule.group else 0
            return (_first(rules, rule.group), number), rule.group.format(n=number)
    raise BackboneError(
        f"Backbone {name!r}: layer {layer.name!r} with the weight {layer.variables[0].path!r} "
        "belongs to no layer group.",
        hint=f"the groups known for it are {', '.join(rule.group for rule in rules)}",
    )


def _first(rules: Sequence[Rule], group: str) -> int:
    """Where the first rule of a group stands; several may fill one group."""
    return next(index for index, rule in enumerate(rules) if rule.group == group)
