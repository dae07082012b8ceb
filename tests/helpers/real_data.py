"""Where the real data sets are, which are not part of the project: tests are skipped without."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import tltool
from tltool.recipe.recipe import Recipe
from tltool.runs.run import Run

DATA = Path(os.environ.get("TLTOOL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


TRASH6 = {split: str(DATA / "trash6" / split) for split in ("train", "test")}


def need_data() -> None:
    """Skips the test where there are no data sets."""
    if not DATA.is_dir():
        pytest.skip(f"no data sets in {DATA}")


def questions(folder: Path, intents: int, rows: int) -> dict[str, str]:
    """The first questions of the first intents of banking77, to train on and to test."""
    need_data()
    tables = {}
    for split in ("train", "test"):
        with (DATA / "banking77" / f"{split}.csv").open(encoding="utf-8", newline="") as source:
            all_rows = list(csv.DictReader(source))
        labels = sorted({row["label"] for row in all_rows})[:intents]
        seen: Counter[str] = Counter()
        path = folder / f"{split}.csv"
        with path.open("w", encoding="utf-8", newline="") as target:
            writer = csv.DictWriter(target, ["text", "label"], extrasaction="ignore")
            writer.writeheader()
            for row in all_rows:
                seen[row["label"]] += 1
                if row["label"] in labels and seen[row["label"]] <= rows:
                    writer.writerow(row)
        tables[split] = str(path)
    return tables


def run_with_a_solved_head(folder: Path, **values: Any) -> Run:
    """A run on real data: a real backbone, its head fitted exactly, exported as LiteRT."""
    need_data()
    recipe = Recipe.of(
        schedule=[{"train": "head", "solver": "exact"}],
        evaluation={"baseline": False},
        export={"formats": ["litert"], "precisions": ["float32"]},
        output_dir=str(folder / "runs"),
        **values,
    )
    return tltool.finetune(recipe)


def banking77_texts() -> list[str]:
    """All questions of banking77's training table; skips the test where it is absent."""
    path = DATA / "banking77" / "train.csv"
    if not path.exists():
        pytest.skip(f"{path} is absent")
    with path.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]
