"""Joins a backbone and a head into one flat model, describes it, and applies freezing plans."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import keras

from tltool.backbones.base import Backbone
from tltool.backbones.pyramid import with_pyramid
from tltool.data.preprocessing import WORD_SHAPES, TextPreprocessing
from tltool.model.freezing import HEAD, Group, PhasePlan, Weight
from tltool.model.heads import build_head
from tltool.model.lora import ADAPTER_NAMES
from tltool.recipe.schema import HeadSection, Precision
from tltool.support.errors import HeadError
from tltool.tasks.table import Task


@dataclass(frozen=True)
class TransferModel:
    """A backbone with its head.

    Attributes:
        model: Flat functional model from the backbone's inputs to raw outputs
            (batch, task.num_outputs); it shares its layers with the backbone.
        groups: Layer groups from input to output, the head last.
        group_of: Path of every weight to the name of its group.
        features: Model of the same layers from the same inputs to the backbone's
            pooled features (batch, channels).
    """

    model: keras.Model
    groups: tuple[Group, ...]
    group_of: dict[str, str]
    features: keras.Model


def join(backbone: Backbone, head: HeadSection, task: Task) -> TransferModel:
    """Builds the model to train; call it in the scope of the distribution strategy.

    The head is attached to the backbone's own graph instead of calling the
    backbone as one layer, so that the model can be cut between any two layers.

    Raises:
        HeadError: The head can't be built, or hides two weights under one path.
    """
    plain = head.name == "default" and task.target.reads != "pyramid"
    features = backbone.features if plain else with_pyramid(backbone)
    inputs = backbone.model.input
    contract = backbone.preprocessing
    if isinstance(contract, TextPreprocessing) and WORD_SHAPES in contract.inputs:
        shapes = keras.Input((None,), dtype="int32", name=WORD_SHAPES)
        inputs, features = {**inputs, WORD_SHAPES: shapes}, replace(features, shapes=shapes)
    output = build_head(head, features, task)
    model = keras.Model(inputs, output, name="tltool_model")
    inside = {id(v): group.name for group in backbone.groups for v in group.variables}
    # Those of a head are new: there is nothing pretrained to be kept.
    norms = {id(v) for layer in _batch_norms(model) for v in layer.variables} & inside.keys()
    grouped: dict[str, list[Weight]] = {group.name: [] for group in backbone.groups}
    grouped[HEAD] = []
    for variable in model.variables:
        grouped[inside.get(id(variable), HEAD)].append(_weight(variable, norms))
    groups = tuple(Group(name, tuple(weights)) for name, weights in grouped.items())
    group_of = {weight.path: group.name for group in groups for weight in group.weights}
    if len(group_of) != len(model.variables):
        raise HeadError(
            "Two weights of the model have the same path, so they can't be told apart.",
            hint="Give every layer of the head a name of its own.",
        )
    return TransferModel(model, groups, group_of, keras.Model(model.input, features.pooled))


def _batch_norms(model: keras.Model) -> list[Any]:
    layers = model._flatten_layers(include_self=False, recursive=True)
    return [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]


def _weight(variable: Any, norms: set[int]) -> Weight:
    size = 1
    for length in variable.shape:
        size *= int(length)
    # Freshly loaded layers are all trainable: what is not by itself is a moving average or a seed.
    if not variable.trainable:
        return Weight(variable.path, size, "statistic")
    if variable.name in ADAPTER_NAMES:
        return Weight(variable.path, size, "adapter")
    return Weight(variable.path, size, "batch_norm" if id(variable) in norms else "weight")


def apply_plan(model: keras.Model, plan: PhasePlan) -> None:
    """Sets what learns in a phase; the model must be compiled again afterwards.

    A BatchNorm layer in which nothing learns is set to `trainable = False`,
    which in Keras also means inference mode: it uses its moving statistics and
    doesn't change them (Keras transfer-learning guide).
    """
    model.trainable = True
    for layer in _batch_norms(model):
        layer.trainable = any(v.path in plan.trainable for v in layer.variables)
    for variable in model.variables:
        variable.trainable = variable.path in plan.trainable


@contextmanager
def precision_scope(precision: Precision) -> Iterator[None]:
    """Builds layers under a Keras dtype policy and restores the earlier one."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def to_float32(model: keras.Model) -> keras.Model:
    """The same function computed in float32, without optimizer or loss.

    A model trained in mixed precision holds float32 weights but 16-bit
    operations, which LiteRT cannot convert and CPUs run slowly: it is copied.
    A float32 model shares its layers with the result.
    """
    plain = keras.Model(model.input, model.output, name=model.name)
    if not is_mixed(model):
        return plain
    copied = float32_network(plain)
    copied.set_weights(plain.get_weights())
    return copied


def is_mixed(model: keras.Model) -> bool:
    """Whether some layers of a model compute in 16 bits."""
    return any(layer.compute_dtype in {"float16", "bfloat16"} for layer in model.layers)


def float32_network(model: keras.Model) -> keras.Model:
    """The same network in float32 with new weights, without the adapters that LoRA has added."""
    return keras.models.clone_model(model, clone_function=_float32_layer, recursive=True)


def _float32_layer(layer: Any) -> Any:
    return layer.__class__.from_config(_in_float32(layer.get_config()))


def _in_float32(config: Any) -> Any:
    """A layer's config with every 16-bit dtype policy in it, nested ones too, made float32."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return "float32"
        return {key: _in_float32(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_in_float32(value) for value in config)
    return config
