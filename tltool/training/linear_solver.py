"""The best linear layer on given features: by L-BFGS, and least squares in closed form.

Both minimise the trainer's mean loss plus a penalty on the squared length of
the kernel, `l2 / 2` times it (`l2` times it for squared errors), where the features are centred and
divided by their root mean square, so that one strength means the same for any
backbone. The strength is the one with the lowest loss on held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import solve
from scipy.optimize import minimize
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from tltool.tasks.losses.in_numpy import RowLoss, mean_loss

FOLDS = 5
"""Of a cross-validation."""
ENOUGH = 500
"""Rows held out from which on no more are: their loss tells one strength from the next."""
# From strong to weak: each solution is a good start for the next.
STRENGTHS = tuple(float(f"{10 ** (-exponent / 2):.0e}") for exponent in range(-2, 13))
_MIDDLE = 1e-3
# Weaker ones are not tried once the loss has risen so often: it falls, then rises, but for noise.
_RISES = 2
# While the strength is chosen, its loss is needed to three digits only.
_ROUGH, _FINE = 1e-5, 1e-10
_MAX_ITERATIONS = 1000
# Products of fewer terms than these are made by one thread: where other programs run too, several
# wait for each other, for up to a hundred times as long as the product takes.
_TERMS_FOR_THREADS = 1e8
# Of the mean of a channel, what float32 leaves of equal values.
_ROUNDING = 1e-6

Matrix = np.ndarray
Folds = Iterable[tuple[Matrix, Matrix]]
"""Numbers of the rows to fit and of those held out."""


@dataclass(frozen=True)
class LinearLayer:
    """A solved layer.

    Attributes:
        kernel: float32 (channels, outputs).
        bias: float32 (outputs,).
        l2: Strength of the penalty.
    """

    kernel: Matrix
    bias: Matrix
    l2: float

    def outputs(self, features: Matrix) -> Matrix:
        """Raw outputs (n, outputs)."""
        return features @ self.kernel + self.bias


@dataclass(frozen=True)
class LinearRows:
    """Rows to fit or to measure.

    Attributes:
        features: float32 (n, channels).
        targets: Encoded, float32 (n, outputs).
        weights: In the loss, float32: of each row (n,) or its outputs (n, outputs).
        width: Number of outputs, where targets are of another; None where they are of that.
    """

    features: Matrix
    targets: Matrix
    weights: Matrix
    width: int | None = None

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: Matrix) -> LinearRows:
        """Some of the rows."""
        return LinearRows(self.features[rows], self.targets[rows], self.weights[rows], self.width)


@dataclass(frozen=True)
class Choice:
    """The strength of a penalty, and what it was chosen by.

    Attributes:
        l2: The strength; a middle one where no rows were held out.
        outputs: Raw outputs (m, outputs) of the rows of each part that were held out, by the layer
            of this strength that was fitted on the others.
    """

    l2: float
    outputs: Sequence[Matrix] = ()


def solve_linear(
    train: LinearRows,
    held_out: LinearRows | None,
    loss: RowLoss,
    *,
    l2: float | None = None,
    seed: int = 0,
    folds: Folds | None = None,
) -> LinearLayer:
    """Solves a linear layer.

    Args:
        train: Rows to fit.
        held_out: Rows that choose the strength of the penalty; where they are fewer than `ENOUGH`,
            together with those of folds of the training rows.
        loss: The training loss.
        l2: The strength, if it is known.
        seed: Of the folds.
        folds: In place of those that are drawn; none leaves the choice to `held_out`.
    """
    if l2 is None:
        drawn = drawn_folds(len(train), seed) if folds is None else folds
        l2 = choose_strength(held_out_parts(train, held_out, drawn), loss).l2
    return fit_linear(train, loss, l2)


def fit_linear(train: LinearRows, loss: RowLoss, l2: float, *, rough: bool = False) -> LinearLayer:
    """Solves a layer of a known strength.

    Args:
        train: Rows to fit.
        loss: The training loss.
        l2: The strength.
        rough: Whether three digits of the loss are enough, in a third of the time.

    Returns:
        A layer for features as they are.
    """
    fit = _Fit(train, loss)
    # Start from stronger penalties, as in the choice: a cold start takes longer.
    start, at_once = None, loss.closed_form or rough
    for stronger in [] if at_once else [s for s in STRENGTHS if s > 1.5 * l2][::2]:
        start = fit.solve(stronger, start, _ROUGH)
    return fit.layer(fit.solve(l2, start, _ROUGH if rough else _FINE), l2)


def drawn_folds(count: int, seed: int) -> Folds:
    """Random folds of so many rows; none of too few."""
    if count < 2 * FOLDS:
        return ()
    folds: Folds = KFold(FOLDS, shuffle=True, random_state=seed).split(np.empty(count))
    return folds


def undivided_folds(ties: Matrix, seed: int) -> Folds:
    """Random folds that divide no set of rows; none of a single set.

    Args:
        ties: The number of each row's set, from 0.
        seed: Of the draw.
    """
    sets = int(ties.max()) + 1
    folds = min(FOLDS, sets)
    fold = (np.random.default_rng(seed).permutation(sets) % folds)[ties]
    parts = range(folds if folds > 1 else 0)
    return [(np.flatnonzero(fold != one), np.flatnonzero(fold == one)) for one in parts]


def held_out_parts(
    train: LinearRows, held_out: LinearRows | None, folds: Folds
) -> list[tuple[LinearRows, LinearRows]]:
    """Rows to fit and rows to measure: those given, and folds until `ENOUGH` are held out."""
    parts = [(train, held_out)] if held_out is not None and len(held_out) else []
    measured = sum(len(rows) for _, rows in parts)
    for rows, others in folds:
        if measured >= ENOUGH:
            break
        parts.append((train.take(rows), train.take(others)))
        measured += len(others)
    return parts


def choose_strength(parts: Sequence[tuple[LinearRows, LinearRows]], loss: RowLoss) -> Choice:
    """The strength with the lowest mean loss over all rows that are held out.

    Args:
        parts: Rows to fit and rows to measure.
        loss: The training loss.
    """
    if not parts:
        return Choice(_MIDDLE)
    fits = [_Fit(train, loss) for train, _ in parts]
    sizes = [len(held_out) for _, held_out in parts]
    solved: list[Matrix | None] = [None] * len(fits)
    best, lowest, rises = Choice(_MIDDLE), np.inf, 0
    for strength in STRENGTHS:
        solved = [
            fit.solve(strength, start, _ROUGH) for fit, start in zip(fits, solved, strict=True)
        ]
        outputs = [
            fit.layer(found, strength).outputs(held_out.features)
            for fit, found, (_, held_out) in zip(fits, solved, parts, strict=True)
            if found is not None
        ]
        losses = [
            mean_loss(loss, values, held_out.targets, held_out.weights)
            for values, (_, held_out) in zip(outputs, parts, strict=True)
        ]
        mean = float(np.average(losses, weights=sizes))
        if mean < lowest:
            best, lowest, rises = Choice(strength, outputs), mean, 0
        else:
            rises += 1
        if rises == _RISES:
            break
    return best


class _Fit:
    """Solves for one set of rows and any strength; solutions are (channels + 1, outputs)."""

    def __init__(self, rows: LinearRows, loss: RowLoss) -> None:
        self._rows = rows
        self._centre = rows.features.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = rows.features - self._centre
        spread = np.sqrt(np.square(centred, dtype=np.float64).mean())
        # What is constant but for rounding says nothing: it is not made larger.
        rounded = _ROUNDING * np.abs(self._centre).max()
        self._scale = np.float32(spread if spread > rounded else 1.0)
        self._scaled = centred / self._scale
        self._loss = loss
        self._solver = self._ridge if loss.closed_form else self._descend

    def solve(self, l2: float, start: Matrix | None, tolerance: float) -> Matrix:
        """Kernel and, in the last row, bias for scaled features."""
        with self._threads():
            return self._solver(l2, start, tolerance)

    def _threads(self) -> AbstractContextManager[Any]:
        terms = self._scaled.size * (len(self._centre) if self._loss.closed_form else self._outputs)
        if terms < _TERMS_FOR_THREADS:
            return threadpool_limits(1, user_api="blas")
        return nullcontext()

    @property
    def _outputs(self) -> int:
        return self._rows.width or self._rows.targets.shape[1]

    def layer(self, solved: Matrix, l2: float) -> LinearLayer:
        """The layer for features as they are."""
        kernel = solved[:-1] / self._scale
        bias = solved[-1] - self._centre @ kernel
        return LinearLayer(kernel.astype(np.float32), bias.astype(np.float32), l2)

    def _descend(self, l2: float, start: Matrix | None, tolerance: float) -> Matrix:
        shape = (self._scaled.shape[1] + 1, self._outputs)
        first = np.zeros(shape) if start is None else start
        found = minimize(
            _objective(self._scaled, self._rows, self._loss, l2, shape),
            first.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={
                "maxiter": _MAX_ITERATIONS,
                "maxfun": 2 * _MAX_ITERATIONS,
                "ftol": tolerance,
                "gtol": tolerance,
            },
        )
        return np.asarray(found.x).reshape(shape)

    def _ridge(self, l2: float, start: Matrix | None, tolerance: float) -> Matrix:
        """The normal equations; the features are centred, so the bias is the mean target."""
        gram, moments, mean = self._normal
        kernel = solve(gram + l2 * np.eye(len(gram)), moments, assume_a="pos" if l2 else "sym")
        return np.concatenate([kernel, mean[None]])

    @cached_property
    def _normal(self) -> tuple[Matrix, Matrix, Matrix]:
        """What the normal equations of all strengths share: x'x / n, x'y / n, the mean of y."""
        x = self._scaled.astype(np.float64)
        x -= x.mean(axis=0)
        mean = self._rows.targets.mean(axis=0, dtype=np.float64)
        return x.T @ x / len(x), x.T @ (self._rows.targets - mean) / len(x), mean


def _objective(
    features: Matrix, rows: LinearRows, row_loss: RowLoss, l2: float, shape: tuple[int, int]
) -> Callable[[Matrix], tuple[float, Matrix]]:
    """Penalised mean loss and its gradient, as a function of one vector (float64)."""
    weights = rows.weights if rows.weights.ndim == 2 else rows.weights[:, None]
    share = (weights / len(rows)).astype(np.float32)

    def value_and_gradient(vector: Matrix) -> tuple[float, Matrix]:
        solution = vector.reshape(shape)
        outputs = features @ solution[:-1].astype(np.float32) + solution[-1].astype(np.float32)
        loss = mean_loss(row_loss, outputs, rows.targets, rows.weights)
        error = row_loss.gradient(outputs, rows.targets) * share
        gradient = np.empty(shape)
        gradient[:-1] = features.T @ error + l2 * solution[:-1]
        gradient[-1] = error.sum(axis=0)
        return loss + l2 / 2 * float(np.sum(solution[:-1] ** 2)), gradient.ravel()

    return value_and_gradient
