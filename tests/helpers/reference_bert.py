"""BERT in NumPy, float64, straight from its paper: what a loaded one is measured against."""

from __future__ import annotations

import math

import numpy as np

_erf = np.vectorize(math.erf)


def _norm(x, weights, name, epsilon=1e-12):
    centred = x - x.mean(-1, keepdims=True)
    scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _dense(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _attention(x, mask, weights, name, heads):
    def split(part):
        y = _dense(x, weights, f"{name}.self.{part}")
        return y.reshape(*y.shape[:-1], heads, -1).swapaxes(1, 2)

    query, key, value = split("query"), split("key"), split("value")
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1])
    scores = np.where(mask[:, None, None, :] == 1, scores, -1e9)
    mixed = (_softmax(scores) @ value).swapaxes(1, 2).reshape(x.shape)
    return _dense(mixed, weights, f"{name}.output.dense")


def reference_bert(weights, ids, mask, heads):
    """The sequence output (batch, tokens, width) for token ids and mask (batch, tokens)."""
    weights = {key: np.asarray(value, "float64") for key, value in weights.items()}
    x = weights["embeddings.word_embeddings.weight"][ids]
    x = x + weights["embeddings.position_embeddings.weight"][: ids.shape[1]]
    x = x + weights["embeddings.token_type_embeddings.weight"][0]
    x = _norm(x, weights, "embeddings.LayerNorm")
    layers = {key.split(".")[2] for key in weights if key.startswith("encoder.layer.")}
    for index in range(len(layers)):
        name = f"encoder.layer.{index}"
        attended = _attention(x, mask, weights, f"{name}.attention", heads)
        x = _norm(x + attended, weights, f"{name}.attention.output.LayerNorm")
        y = _dense(x, weights, f"{name}.intermediate.dense")
        y = _dense(y * (1 + _erf(y / math.sqrt(2))) / 2, weights, f"{name}.output.dense")
        x = _norm(x + y, weights, f"{name}.output.LayerNorm")
    return x


def mean_pool(sequence, mask):
    """Mean over real tokens."""
    return (sequence * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
