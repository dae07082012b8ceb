"""Low-rank adapters: LoRA (Hu et al. 2021, arXiv:2106.09685) on a transformer's attention.

The kernels of queries and values get an update of low rank, `kernel + a b`,
and only `a` and `b` learn; `b` starts at zero, so that the model begins as the
pretrained one. Before a model is saved the updates are added to the kernels,
so that what is exported has no trace of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import keras

from tltool.backbones.base import Backbone, LayerGroup
from tltool.backbones.networks.disentangled import DisentangledAttention
from tltool.support.errors import PlanError

ADAPTED = ("query", "value")
"""Which kernels of an attention layer get adapters, as in the paper (section 7.1)."""

ADAPTER_NAMES = ("lora_kernel_a", "lora_kernel_b")


def add_adapters(backbone: Backbone, rank: int) -> Backbone:
    """Puts adapters into a backbone's attention layers; call it in the strategy's scope.

    Args:
        backbone: Its model is changed in place; what it computes stays the same.
        rank: Of the updates.

    Returns:
        The backbone with the adapters in the layer groups of their kernels.

    Raises:
        PlanError: It has no attention layer, so nothing would train.
    """
    made: dict[int, list[Any]] = {}
    for places, dense in _attention_kernels(backbone.model):
        # The scopes give the adapters paths of their own, as the kernels have.
        with ExitStack() as scopes:
            for place in places:
                scopes.enter_context(keras.name_scope(place))
            dense.enable_lora(rank)
        # What learns is set by each phase's plan.
        dense._kernel.trainable = True
        made[id(dense._kernel)] = [dense.lora_kernel_a, dense.lora_kernel_b]
    if not made:
        raise PlanError(
            f"`train: lora` needs a transformer: backbone {backbone.name!r} has no attention "
            "layers, so no adapter would train.",
            hint="take `{last: N}` or `all`, or patterns such as `*/bias`",
        )
    groups = tuple(
        LayerGroup(
            group.name,
            (*group.variables, *(new for v in group.variables for new in made.get(id(v), ()))),
        )
        for group in backbone.groups
    )
    return replace(backbone, groups=groups)


def merge_adapters(model: keras.Model) -> None:
    """Adds each adapter to its kernel and removes it; the model computes the same."""
    for _, dense in _attention_kernels(model):
        if dense.lora_enabled:
            merged = keras.ops.convert_to_numpy(dense.kernel)
            # Keras adds adapters and never takes them away; these are the steps of its
            # `enable_lora`, backwards.
            dense.lora_enabled, dense.lora_rank, dense.lora_alpha = False, None, None
            dense._tracker.unlock()
            dense._untrack_variable(dense.lora_kernel_a)
            dense._untrack_variable(dense.lora_kernel_b)
            dense._tracker.lock()
            dense._kernel.assign(merged)


def idle_adapters(layers: Iterable[Any]) -> list[keras.Variable]:
    """The matrices of adapters that change nothing, since their `b` is zero as it was made.

    `kernel + a b` is then the kernel to the last bit, whatever `a` was drawn.

    Args:
        layers: With all layers inside them.
    """
    idle = []
    for layer in layers:
        for inner in layer._flatten_layers() if isinstance(layer, keras.Layer) else ():
            if getattr(inner, "lora_enabled", False) and not inner.lora_kernel_b.numpy().any():
                idle += [inner.lora_kernel_a, inner.lora_kernel_b]
    return idle


def _attention_kernels(model: keras.Model) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The layers that hold the adapted kernels, and the names of the layers around each."""
    for block in model.layers:
        for attention in block._flatten_layers(include_self=False):
            if isinstance(attention, keras.layers.MultiHeadAttention | DisentangledAttention):
                for dense in attention._flatten_layers(include_self=False, recursive=False):
                    if dense.name in ADAPTED:
                        yield (block.name, attention.name), dense
