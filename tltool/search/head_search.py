"""Searches the default head's settings by cross-validation on stored features.

Every head is trained in full on one fold; the best of them, and the recipe's
own, on the other folds too. So time goes to the heads worth it, and no head is
judged by a shorter training than the recipe would give it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from tltool.search.head_fits import (
    FitSettings,
    HeadSettings,
    fit_head,
    head_outputs,
    steps_of_fit,
)
from tltool.support.spread import Processes, Spread
from tltool.tasks.reports import Score

# Shares of the candidates: half are linear, the usual best on pretrained features.
_HIDDEN_UNITS: tuple[tuple[int, ...], ...] = ((), (), (), (), (64,), (128,), (256,), (512,))
_LEARNING_RATES = (5e-4, 5e-2)
_WEIGHT_DECAYS = (1e-3, 1.0)
_MAX_DROPOUT = 0.5
_SMOOTHINGS = (0.0, 0.0, 0.05, 0.1)
# One in so many heads is trained on the other folds too, and at least so many.
_KEPT_SHARE, _MIN_KEPT = 5, 3

# Processes of their own need about two seconds to start; threads share one interpreter,
# and fits of so small matrices spend most of their time in it.
_WORTH_PROCESSES_SECONDS = 4.0

Rates = Callable[[float, int], np.ndarray]
"""From a peak learning rate and a number of steps to the rate of each step."""


@dataclass(frozen=True)
class HeadTrial:
    """One head's settings and what they gave.

    Attributes:
        number: 0 is the recipe's own head; the others are drawn.
        settings: What was tried.
        scores: For each fold it was trained on, the `search_scores` of the
            target on the held-out rows.
        seconds: Time of its fits, one core each.
    """

    number: int
    settings: HeadSettings
    scores: tuple[dict[str, float], ...]
    seconds: float

    def mean(self, metric: str) -> float:
        """Mean of a metric over its folds."""
        return float(np.mean([score[metric] for score in self.scores]))

    def std(self, metric: str) -> float | None:
        """Standard deviation of a metric over its folds (n - 1); None for a single one."""
        if len(self.scores) < 2:
            return None
        return float(np.std([score[metric] for score in self.scores], ddof=1))


@dataclass(frozen=True)
class SearchProblem:
    """What heads are searched for.

    Attributes:
        features: float32 (n, channels).
        truth: Of the rows, as the target gives it.
        weights: In the loss, float32: of each row (n,) or its outputs (n, outputs).
        shared: What all heads share.
        monitor: The score that ranks, one of the target's `search_scores`.
        seed: Of candidates, folds and fits.
        groups: What each row belongs to that folds do not divide, where it is known.
    """

    features: np.ndarray
    truth: np.ndarray
    weights: np.ndarray
    shared: FitSettings
    monitor: Score
    seed: int
    groups: Sequence[str] = ()


def draw_settings(count: int, own: HeadSettings, seed: int, *, smooths: bool) -> list[HeadSettings]:
    """The candidates: the recipe's own settings first, then drawn ones.

    Each setting's range is cut into as many parts as there are candidates and
    every part is drawn from once (Latin hypercube; McKay et al. 1979).

    Args:
        count: Of candidates.
        own: The recipe's.
        seed: Of the draw.
        smooths: Whether label smoothing means something for the targets.
    """
    rng = np.random.default_rng([seed, 0])
    drawn = max(0, count - 1)
    columns = [(rng.permutation(drawn) + rng.uniform(size=drawn)) / max(1, drawn) for _ in range(5)]
    found = [own]
    for hidden, dropout, rate, decay, smoothing in zip(*columns, strict=True):
        found.append(
            HeadSettings(
                hidden_units=_HIDDEN_UNITS[int(hidden * len(_HIDDEN_UNITS))],
                dropout=_rounded_to(0.05, dropout * _MAX_DROPOUT),
                learning_rate=_between(_LEARNING_RATES, rate),
                weight_decay=_between(_WEIGHT_DECAYS, decay),
                label_smoothing=_SMOOTHINGS[int(smoothing * len(_SMOOTHINGS))] if smooths else 0.0,
            )
        )
    return found


def _between(limits: tuple[float, float], share: float) -> float:
    """A value on a logarithmic scale, rounded to two digits."""
    low, high = np.log(limits)
    return float(f"{np.exp(low + share * (high - low)):.1e}")


def _rounded_to(step: float, value: float) -> float:
    return round(round(value / step) * step, 6)


def search_heads(
    problem: SearchProblem,
    candidates: Sequence[HeadSettings],
    rates: Rates,
    folds: int,
    note: Callable[[str], None],
    spread: Spread | None = None,
) -> list[HeadTrial]:
    """Trains the candidates and ranks them, the best first.

    Heads trained on all folds come before those trained on one.

    Args:
        problem: Features, targets and what all heads share.
        candidates: The first is trained on all folds in any case.
        rates: The learning-rate curve of every fit.
        folds: Number of folds, at least 2.
        note: Is told what happens.
        spread: Where heads are trained; None takes this machine's CPUs where that pays.

    Raises:
        DataError: There are too few rows for so many folds.
    """
    splits = problem.shared.target.folds_of(problem.truth, folds, problem.seed, problem.groups)
    running = [_Running(number, settings) for number, settings in enumerate(candidates)]
    _train(problem, rates, running, splits, [0], spread)
    kept = max(_MIN_KEPT, -(-len(running) // _KEPT_SHARE))
    best = _ranked(running, problem.monitor)[:kept]
    finalists = best if running[0] in best else [running[0], *best]
    note(
        f"{len(running)} heads trained on one fold of {folds}; "
        f"{len(finalists)} go on to the other folds"
    )
    _train(problem, rates, finalists, splits, range(1, folds), spread)
    return [trial.finished() for trial in _ranked(running, problem.monitor)]


@dataclass
class _Running:
    """A trial that is being trained; see `HeadTrial`."""

    number: int
    settings: HeadSettings
    scores: dict[int, dict[str, float]] = field(default_factory=dict)
    seconds: float = 0.0

    def finished(self) -> HeadTrial:
        scores = tuple(self.scores[fold] for fold in sorted(self.scores))
        return HeadTrial(self.number, self.settings, scores, self.seconds)


def _ranked(trials: Sequence[_Running], monitor: Score) -> list[_Running]:
    sign = -1 if monitor.higher_is_better else 1

    def key(trial: _Running) -> tuple[int, float, int]:
        mean = sign * float(np.mean([score[monitor.key] for score in trial.scores.values()]))
        # What overflowed goes last; NaN would make the order depend on the order before.
        return -len(trial.scores), mean if np.isfinite(mean) else np.inf, trial.number

    return sorted(trials, key=key)


def _train(
    problem: SearchProblem,
    rates: Rates,
    trials: Sequence[_Running],
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    folds: Sequence[int],
    spread: Spread | None,
) -> None:
    """Fits and scores each trial on each of the folds, one fit a core."""
    jobs = [(trial, fold) for trial in trials for fold in folds]
    # The widest first, so that no core waits for a wide one at the end.
    jobs.sort(key=lambda job: -sum(job[0].settings.hidden_units))
    fits = []
    for trial, fold in jobs:
        steps = steps_of_fit(len(splits[fold][0]), problem.shared)
        curve = rates(trial.settings.learning_rate, steps)
        seed = np.random.SeedSequence([problem.seed, 1, trial.number, fold])
        fits.append(_Fit(trial.settings, splits[fold], curve, seed))
    for (trial, fold), (scores, seconds) in zip(jobs, _all(problem, fits, spread), strict=True):
        trial.scores[fold] = scores
        trial.seconds += seconds


class _Fit(NamedTuple):
    """One head on one fold.

    Attributes:
        settings: The head's.
        split: Row numbers to train on, and to score on.
        rates: Learning rate of each step.
        seed: Of the fit.
    """

    settings: HeadSettings
    split: tuple[np.ndarray, np.ndarray]
    rates: np.ndarray
    seed: np.random.SeedSequence


def _all(
    problem: SearchProblem, fits: Sequence[_Fit], spread: Spread | None
) -> list[tuple[dict[str, float], float]]:
    """What `_fit` says of each."""
    fit = partial(_fit, problem)
    if spread is not None:
        return list(spread.map(fit, fits))
    started = time.perf_counter()
    first = fit(fits[0])
    worth = (len(fits) - 1) * (time.perf_counter() - started) > _WORTH_PROCESSES_SECONDS
    spread = Processes() if worth else Spread()
    return [first, *spread.map(fit, fits[1:])]


def _fit(problem: SearchProblem, fit: _Fit) -> tuple[dict[str, float], float]:
    """One fit: the metrics of its held-out rows, and its time in seconds."""
    started = time.perf_counter()
    rows, held_out = fit.split
    shared = problem.shared
    # One thread: the matrices are too small to share one among cores, and sums keep their order.
    # A rate that is too high overflows, and its score says so.
    with threadpool_limits(1), np.errstate(over="ignore", invalid="ignore"):
        layers = fit_head(
            problem.features,
            problem.truth,
            problem.weights,
            rows,
            fit.settings,
            shared,
            fit.rates,
            fit.seed,
        )
        outputs = head_outputs(layers, problem.features[held_out], shared.activation)
        encoded = shared.target.encode(problem.truth[held_out])
        scores = shared.target.search_values(outputs, encoded)
    return scores, time.perf_counter() - started
