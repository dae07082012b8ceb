"""The best linear layer on given features: by L-BFGS, and least squares in closed form.

Both minimise the trainer's mean loss plus a penalty on the squared length of
the kernel, `l2 / 2` times it (`l2` times it for squared errors), where the features are centred and
divided by their root mean square, so that one strength means the same for any
backbone. The strength is the one with the lowest loss on held-out rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from sklearn.model_selection import KFold

from tltool.tasks.losses.in_numpy import RowLoss, mean_loss

# From strong to weak: each solution is a good start for the next.
STRENGTHS = tuple(float(f"{10 ** (-exponent / 2):.0e}") for exponent in range(13))
_FOLDS = 3
_MIDDLE = 1e-3
# While the strength is chosen, its loss is needed to three digits only.
_ROUGH, _FINE = 1e-5, 1e-10
_MAX_ITERATIONS = 1000

Matrix = np.ndarray


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
    """

    features: Matrix
    targets: Matrix
    weights: Matrix

    def __len__(self) -> int:
        return len(self.features)

    def take(self, rows: Matrix) -> LinearRows:
        """Some of the rows."""
        return LinearRows(self.features[rows], self.targets[rows], self.weights[rows])


def solve_linear(
    train: LinearRows,
    held_out: LinearRows | None,
    loss: RowLoss,
    *,
    l2: float | None = None,
    seed: int = 0,
) -> LinearLayer:
    """Solves a linear layer.

    Args:
        train: Rows to fit.
        held_out: Rows that choose the strength of the penalty; None or none
            cross-validates it on the training rows.
        loss: The training loss.
        l2: The strength, if it is known.
        seed: Of the folds.
    """
    if l2 is None:
        parts = [(train, held_out)] if held_out is not None and len(held_out) else None
        l2 = _choose(parts or _parts(train, seed), loss)
    fit = _Fit(train, loss)
    # Start from stronger penalties, as in the choice: a cold start takes longer.
    start = None
    for stronger in [s for s in STRENGTHS if s > 1.5 * l2][::2]:
        start = fit.solve(stronger, start, _ROUGH)
    return fit.layer(fit.solve(l2, start, _FINE), l2)


def _parts(train: LinearRows, seed: int) -> list[tuple[LinearRows, LinearRows]]:
    if len(train) < 2 * _FOLDS:
        return []
    folds = KFold(_FOLDS, shuffle=True, random_state=seed).split(train.features)
    return [(train.take(rows), train.take(others)) for rows, others in folds]


def _choose(parts: Sequence[tuple[LinearRows, LinearRows]], loss: RowLoss) -> float:
    """The strength with the lowest mean held-out loss; weaker ones are not tried once it rises."""
    if not parts:
        return _MIDDLE
    fits = [_Fit(train, loss) for train, _ in parts]
    solved: list[Matrix | None] = [None] * len(fits)
    best, lowest = _MIDDLE, np.inf
    for strength in STRENGTHS:
        solved = [
            fit.solve(strength, start, _ROUGH) for fit, start in zip(fits, solved, strict=True)
        ]
        losses = [
            mean_loss(
                loss,
                fit.layer(found, strength).outputs(held_out.features),
                held_out.targets,
                held_out.weights,
            )
            for fit, found, (_, held_out) in zip(fits, solved, parts, strict=True)
            if found is not None
        ]
        mean = float(np.mean(losses))
        if mean > lowest:
            break
        best, lowest = strength, mean
    return best


class _Fit:
    """Solves for one set of rows and any strength; solutions are (channels + 1, outputs)."""

    def __init__(self, rows: LinearRows, loss: RowLoss) -> None:
        self._rows = rows
        self._centre = rows.features.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = rows.features - self._centre
        self._scale = np.float32(np.sqrt(np.mean(centred.astype(np.float64) ** 2)) or 1.0)
        self._scaled = centred / self._scale
        self._loss = loss
        self._solver = self._ridge if loss.closed_form else self._descend

    def solve(self, l2: float, start: Matrix | None, tolerance: float) -> Matrix:
        """Kernel and, in the last row, bias for scaled features."""
        return self._solver(l2, start, tolerance)

    def layer(self, solved: Matrix, l2: float) -> LinearLayer:
        """The layer for features as they are."""
        kernel = solved[:-1] / self._scale
        bias = solved[-1] - self._centre @ kernel
        return LinearLayer(kernel.astype(np.float32), bias.astype(np.float32), l2)

    def _descend(self, l2: float, start: Matrix | None, tolerance: float) -> Matrix:
        shape = (self._scaled.shape[1] + 1, self._rows.targets.shape[1])
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
        x = self._scaled.astype(np.float64)
        x -= x.mean(axis=0)
        mean = self._rows.targets.mean(axis=0, dtype=np.float64)
        gram = x.T @ x / len(x) + l2 * np.eye(x.shape[1])
        kernel = np.linalg.solve(gram, x.T @ (self._rows.targets - mean) / len(x))
        return np.concatenate([kernel, mean[None]])


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
