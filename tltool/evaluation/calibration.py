"""Temperature scaling: one number that makes a model's confidences mean what they say.

Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599), section 4.2: the
logits are divided by the temperature that gives rows the model has not learnt from the lowest loss.
No answer changes by it, since the order of the classes stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from tltool.tasks.losses.in_numpy import RowLoss

    Array = np.ndarray[Any, Any]

FEW_ROWS = 40
"""Rows below which no temperature is fitted unless the recipe insists."""
_FOLDS = 5
_LOWEST, _HIGHEST = 0.05, 20.0


@dataclass(frozen=True)
class Calibration:
    """What became of a model's temperature.

    Attributes:
        temperature: Divides the logits; 1 where none is kept.
        rows: Rows that it was fitted on.
        source: What rows these are, in words.
        loss_before, loss_after: Mean loss of the rows without it, and by cross-validation with
            it (nats); None where that could not be told.
        kept: Whether the model has it.
        reason: Why, in words.
    """

    temperature: float = 1.0
    rows: int = 0
    source: str = ""
    loss_before: float | None = None
    loss_after: float | None = None
    kept: bool = False
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @property
    def words(self) -> str:
        """What became of the temperature, in a sentence."""
        if not self.kept:
            return f"confidences stay as they are: {self.reason}"
        return (
            f"confidences are calibrated: temperature {self.temperature:.3g}, "
            f"fitted on {self.rows:,} {self.source}"
        )


def calibrate(
    raw: Array,
    encoded: Array,
    loss: RowLoss,
    smoothed: Callable[[Array, float], Array],
    *,
    source: str,
    anyway: bool = False,
) -> Calibration:
    """Fits a temperature, and keeps it where folds of the rows say that it helps.

    Args:
        raw: Logits (n, outputs) of rows that the model has not learnt from.
        encoded: Their encoded targets (n, outputs).
        loss: Of raw outputs.
        smoothed: Spreads a share of encoded targets, as `Target.smoothed`.
        source: What rows these are, in words.
        anyway: Keep it whatever the folds say.
    """
    import numpy as np

    rows, raw = len(raw), raw.astype(np.float64)
    if rows < (_FOLDS if anyway else FEW_ROWS):
        few = f"{rows} {source} are too few" if rows else f"there are no {source}"
        return Calibration(rows=rows, source=source, reason=few)
    if not np.isfinite(raw).all():
        return Calibration(rows=rows, source=source, reason="not all logits are finite numbers")
    before = float(loss.values(raw, encoded).mean())
    after = _cross_validated(raw, encoded, loss, smoothed)
    if after >= before and not anyway:
        reason = "the confidences fit the rows as they are"
        return Calibration(1.0, rows, source, before, after, False, reason)
    temperature = fit_temperature(raw, encoded, loss, smoothed)
    reason = "training.calibrate is true" if after >= before else "the loss of held-out rows falls"
    return Calibration(temperature, rows, source, before, after, True, reason)


def fit_temperature(
    raw: Array, encoded: Array, loss: RowLoss, smoothed: Callable[[Array, float], Array]
) -> float:
    """The temperature of the lowest mean loss, in 0.05..20.

    Targets are smoothed by 1 / (n + 2), as those of Platt 1999, "Probabilistic Outputs for Support
    Vector Machines", section 2.2: else a model that has all rows right would become as sure as
    the bounds allow.

    Args:
        raw, encoded, loss, smoothed: As for `calibrate`.
    """
    import numpy as np
    from scipy.optimize import minimize_scalar

    targets = smoothed(encoded, 1 / (len(raw) + 2))
    found = minimize_scalar(
        lambda power: loss.values(raw / np.exp(power), targets).mean(),
        bounds=(np.log(_LOWEST), np.log(_HIGHEST)),
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def _cross_validated(
    raw: Array, encoded: Array, loss: RowLoss, smoothed: Callable[[Array, float], Array]
) -> float:
    """The mean loss of rows under the temperature that was fitted on the others."""
    import numpy as np
    from sklearn.model_selection import KFold

    losses = []
    for fit, held_out in KFold(_FOLDS, shuffle=True, random_state=0).split(raw):
        temperature = fit_temperature(raw[fit], encoded[fit], loss, smoothed)
        losses.append(loss.values(raw[held_out] / temperature, encoded[held_out]))
    return float(np.concatenate(losses).mean())
