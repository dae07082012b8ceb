"""Rows of a made-up classifier, alike or drifted."""

from __future__ import annotations

import numpy as np

from tltool.evaluation.drift.rows import Rows

NAMES = tuple(f"class {number}" for number in range(77))


def some(count, seed, *, darker=0.0, moved=0.0, wrong=0.0, fewer=1.0):
    """Rows as a classifier of 77 classes has them; what is given makes them differ."""
    rng = np.random.default_rng(seed)
    confidence = rng.beta(8, 1, count)
    numbers = (rng.integers(0, len(NAMES), count) * fewer).astype(int)
    answers = rng.standard_normal((count, 40)) * np.linspace(3, 0.1, 40) + moved
    return Rows(
        columns={
            "width": ("inputs", np.full(count, 224.0)),
            "brightness": ("inputs", rng.beta(4, 4, count) * (1 - darker)),
            "words": ("inputs", rng.poisson(3, count).astype(float)),
            "class": ("predictions", np.array(NAMES, object)[numbers]),
            "confidence": ("predictions", confidence),
        },
        vectors={
            "contents": ("inputs", rng.exponential(size=(count, 20))),
            "answers": ("predictions", answers),
        },
        wrong=(rng.random(count) > confidence - wrong).astype(float),
        names={"class": NAMES},
    )
