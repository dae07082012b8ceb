"""Whether two runs came out the same, bit for bit, but for the time they took."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np

from tltool.runs.run import Run

TIMES = {"seconds", "examples_per_second"}


def history(run: Run) -> list[dict[str, Any]]:
    """The rows of `history.csv` without times."""
    rows = csv.DictReader((run.path / "history.csv").read_text().splitlines())
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def assert_equal(run: Run, other: Run) -> None:
    """Histories, metrics and weights."""
    assert history(run) == history(other)
    assert run.metrics == other.metrics
    for value, one in zip(run.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, one)
