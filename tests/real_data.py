"""Where the real data sets are, which are not part of the project: tests are skipped without."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("TLTOOL_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))


def banking77_texts() -> list[str]:
    """All questions of banking77's training table; skips the test where it is absent."""
    path = DATA / "banking77" / "train.csv"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    with path.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]
