"""How much arithmetic a model does, and how fast this machine can do it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Of a batch: an example of two texts that are compared is two of its rows.
_ROWS = 2
_SIDE = 1024
_MEASURED_SECONDS = 0.3


def forward_flops(model: keras.Model, tokens: int | None = None) -> float:
    """Floating-point operations of one example's forward pass: two for each multiply-add.

    Counted are matrix products and convolutions, in the graph that TensorFlow
    makes of the model; everything else is left out, as is usual.

    Args:
        model: Functional.
        tokens: Length taken for an unknown axis.
    """

    def spec(tensor: Any) -> tf.TensorSpec:
        shape = [_ROWS, *(tokens if length is None else length for length in tensor.shape[1:])]
        return tf.TensorSpec(shape, tensor.dtype)

    inputs = keras.tree.map_structure(spec, model.input)
    run = tf.function(lambda x: model(x, training=False), autograph=False)
    graph = run.get_concrete_function(inputs).graph
    inner = [f.graph for f in graph._functions.values() if hasattr(f, "graph")]
    found = sum(_operation_flops(op) for g in (graph, *inner) for op in g.get_operations())
    return found / (graph.outputs[0].shape[0] or _ROWS)


def matmul_rate() -> float:
    """Floating-point operations a second of float32 matrix products of 1024 x 1024.

    The median of repeated products within a third of a second, on the device
    TensorFlow takes by itself.
    """
    a = tf.random.stateless_normal((_SIDE, _SIDE), (0, 1))
    seconds: list[float] = []
    until = time.perf_counter() + _MEASURED_SECONDS
    tf.linalg.matmul(a, a).numpy()
    while not seconds or time.perf_counter() < until:
        began = time.perf_counter()
        tf.linalg.matmul(a, a).numpy()
        seconds.append(time.perf_counter() - began)
    return float(2 * _SIDE**3 / np.median(seconds))


def _operation_flops(op: Any) -> float:
    shapes = [tuple(tensor.shape) for tensor in op.inputs]
    match op.type:
        case "MatMul":
            inner = shapes[0][0 if op.get_attr("transpose_a") else 1]
            return 2.0 * math.prod(op.outputs[0].shape) * inner
        case "BatchMatMulV2" | "BatchMatMulV3":
            inner = shapes[0][-2 if op.get_attr("adj_x") else -1]
            return 2.0 * math.prod(op.outputs[0].shape) * inner
        case "Einsum":
            return _einsum_flops(op.get_attr("equation").decode(), shapes)
        case "Conv2D":
            return 2.0 * math.prod(op.outputs[0].shape) * math.prod(shapes[1][:3])
        case "DepthwiseConv2dNative":
            return 2.0 * math.prod(op.outputs[0].shape) * math.prod(shapes[1][:2])
    return 0.0


def _einsum_flops(equation: str, shapes: Sequence[tuple[int, ...]]) -> float:
    names = equation.partition("->")[0].split(",")
    if "..." in equation or len(names) != 2:
        return 0.0
    sizes = {n: size for part, shape in zip(names, shapes, strict=True)
             for n, size in zip(part, shape, strict=True)}  # fmt: skip
    return 2.0 * math.prod(sizes.values())
