"""Trains one default head on stored features, in NumPy: no graph to build, many at once.

The steps are those of the trainer: the default head of `tltool.model.heads`, the
losses of `tltool.tasks.table`, and AdamW as in `tltool.training.optimizers`, with the same
clipping, learning-rate curve, initial distribution and batch size. So a
setting found here means the same in a recipe. On the few and small matrices of
a head, what Keras and TensorFlow need for each step costs more than its
arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.special import erf

from tltool.tasks.target import Target

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-7  # Keras' Adam.
_KEPT_OF = 256  # Dropout draws one byte for each feature, so rates are multiples of 1/256.

Layer = tuple[np.ndarray, np.ndarray]  # kernel (inputs, outputs) and bias (outputs,)


@dataclass(frozen=True)
class HeadSettings:
    """What the search chooses.

    Attributes:
        hidden_units: Widths of hidden layers.
        dropout: Share of the inputs of each dense layer that is dropped.
        learning_rate: Peak learning rate.
        weight_decay: Decoupled weight decay of the kernels.
        label_smoothing: As in a recipe.
    """

    hidden_units: tuple[int, ...]
    dropout: float
    learning_rate: float
    weight_decay: float
    label_smoothing: float


@dataclass(frozen=True)
class FitSettings:
    """What all heads of a search share.

    Attributes:
        target: Gives loss, smoothing and initial bias.
        activation: Of hidden layers, as in a recipe.
        l2: Factor of the L2 penalty on kernels.
        batch_size: Rows a step.
        epochs: Passes over the rows.
        clip_norm: Longest global gradient norm, or None.
    """

    target: Target
    activation: str
    l2: float
    batch_size: int
    epochs: int
    clip_norm: float | None


def steps_of_fit(num_rows: int, shared: FitSettings) -> int:
    """Optimizer steps of a whole fit."""
    return -(-num_rows // shared.batch_size) * shared.epochs


def fit_head(
    features: np.ndarray,
    truth: np.ndarray,
    weights: np.ndarray,
    rows: np.ndarray,
    settings: HeadSettings,
    shared: FitSettings,
    rates: np.ndarray,
    seed: np.random.SeedSequence,
) -> list[Layer]:
    """Trains a head.

    Args:
        features: float32 (n, channels).
        truth: Of the rows, as the target gives it.
        weights: In the loss, float32: of each row (n,) or its outputs (n, outputs).
        rows: Row numbers to train on.
        settings, shared: The head and its training.
        rates: Learning rate of each step, (`steps_of_fit`,).
        seed: Of initial weights, order and dropout.

    Returns:
        The layers from input to output.
    """
    rng = np.random.default_rng(seed)
    target = shared.target
    widths = (features.shape[1], *settings.hidden_units, target.num_outputs)
    head = _Head(widths, settings, shared, rng)
    adam = _AdamW(head, settings.weight_decay, shared.clip_norm)
    if weights.ndim == 1:
        weights = weights[:, None]
    step = 0
    for _ in range(shared.epochs):
        order = rng.permutation(rows)
        for start in range(0, len(order), shared.batch_size):
            batch = order[start : start + shared.batch_size]
            targets = target.smoothed(target.encode(truth[batch]), settings.label_smoothing)
            head.gradient(features[batch], targets, weights[batch])
            adam.step(float(rates[step]))
            step += 1
    return head.layers


def head_outputs(layers: Sequence[Layer], features: np.ndarray, activation: str) -> np.ndarray:
    """Raw outputs of a trained head, float32 (n, outputs)."""
    x = features
    for kernel, bias in layers[:-1]:
        x = _ACTIVATIONS[activation](x @ kernel + bias)[0]
    kernel, bias = layers[-1]
    return x @ kernel + bias


class _Head:
    """The weights and gradients of a head, each in one vector with a view for every layer.

    Args:
        widths: Channels, hidden widths, outputs.
        settings, shared: Of the head.
        rng: Draws initial weights (Glorot uniform, as Keras' Dense) and dropout.
    """

    def __init__(
        self,
        widths: Sequence[int],
        settings: HeadSettings,
        shared: FitSettings,
        rng: np.random.Generator,
    ) -> None:
        pairs = list(pairwise(widths))
        size = sum((inputs + 1) * outputs for inputs, outputs in pairs)
        self.values = np.zeros(size, np.float32)
        self.gradients = np.zeros(size, np.float32)
        self.layers = _views(self.values, pairs)
        self._slots = _views(self.gradients, pairs)
        self._kept = round((1 - settings.dropout) * _KEPT_OF)
        self._activation = _ACTIVATIONS[shared.activation]
        self._shared = shared
        self._rng = rng
        for (inputs, outputs), (kernel, _) in zip(pairs, self.layers, strict=True):
            limit = np.sqrt(6 / (inputs + outputs))
            kernel[:] = rng.uniform(-limit, limit, kernel.shape)
        self._loss = shared.target.row_loss
        if (bias := shared.target.initial_bias()) is not None:
            self.layers[-1][1][:] = bias

    def gradient(self, features: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> None:
        """Fills `gradients` with those of the mean weighted loss of a batch."""
        read, masks, slopes = [], [], []
        x = features
        for index, (kernel, bias) in enumerate(self.layers):
            masks.append(self._mask(x.shape))
            if masks[-1] is not None:
                x = x * masks[-1]
            read.append(x)
            x = x @ kernel
            x += bias
            if index < len(self.layers) - 1:
                x, slope = self._activation(x)
                slopes.append(slope)
        error = self._loss.gradient(x, targets)
        error *= weights / np.float32(len(weights))
        for index in reversed(range(len(self.layers))):
            kernel = self.layers[index][0]
            kernel_slot, bias_slot = self._slots[index]
            np.matmul(read[index].T, error, out=kernel_slot)
            error.sum(axis=0, out=bias_slot)
            if self._shared.l2:
                kernel_slot += np.float32(2 * self._shared.l2) * kernel
            if index:
                error = error @ kernel.T
                if masks[index] is not None:
                    error *= masks[index]
                error *= slopes[index - 1]

    def _mask(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """0 for what is dropped and 1 / (share kept) for the rest, float32; None drops nothing."""
        if self._kept == _KEPT_OF:
            return None
        drawn = np.frombuffer(self._rng.bytes(int(np.prod(shape))), np.uint8).reshape(shape)
        return (drawn < self._kept) * np.float32(_KEPT_OF / self._kept)


class _AdamW:
    """The update of `tltool.training.optimizers.GroupRateAdam`, with fewer passes over the memory.

    The running means are kept as sums, m / (1 - beta1) and v / (1 - beta2).
    """

    def __init__(self, head: _Head, decay: float, clip_norm: float | None) -> None:
        self._head = head
        self._decay = decay
        self._clip_norm = clip_norm
        self._means = np.zeros_like(head.values)
        self._squares = np.zeros_like(head.values)
        self._scratch = np.zeros_like(head.values)
        self._step = 0

    def step(self, rate: float) -> None:
        """One update of all weights."""
        self._step += 1
        gradient, scratch = self._head.gradients, self._scratch
        if self._clip_norm is not None:
            norm = float(np.sqrt(np.dot(gradient, gradient)))
            if norm > self._clip_norm:
                gradient *= np.float32(self._clip_norm / norm)
        if self._decay:
            for layer in self._head.layers:
                np.multiply(layer[0], np.float32(1 - self._decay * rate), out=layer[0])
        self._means *= np.float32(_BETA1)
        self._means += gradient
        np.square(gradient, out=scratch)
        self._squares *= np.float32(_BETA2)
        self._squares += scratch
        np.sqrt(self._squares, out=scratch)
        root = np.sqrt(1 - _BETA2)
        scratch += np.float32(_EPSILON / root)
        np.divide(self._means, scratch, out=scratch)
        corrected = rate * np.sqrt(1 - _BETA2**self._step) / (1 - _BETA1**self._step)
        scratch *= np.float32(corrected * (1 - _BETA1) / root)
        self._head.values -= scratch


def _views(vector: np.ndarray, pairs: Sequence[tuple[int, int]]) -> list[Layer]:
    """Kernel and bias of each layer as views of one vector."""
    views, start = [], 0
    for inputs, outputs in pairs:
        middle, end = start + inputs * outputs, start + (inputs + 1) * outputs
        views.append((vector[start:middle].reshape(inputs, outputs), vector[middle:end]))
        start = end
    return views


# Each gives the activations and their derivatives.
def _relu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    positive = x > 0
    return x * positive, positive


def _tanh(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y = np.tanh(x)
    return y, 1 - y * y


def _silu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    gate = 0.5 * (1 + np.tanh(0.5 * x))
    return x * gate, gate * (1 + x * (1 - gate))


def _gelu(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    below = 0.5 * (1 + erf(x / np.float32(np.sqrt(2))))
    density = np.exp(-0.5 * x * x) / np.float32(np.sqrt(2 * np.pi))
    return x * below, below + x * density


_ACTIVATIONS: dict[str, Any] = {"relu": _relu, "gelu": _gelu, "tanh": _tanh, "silu": _silu}
