"""Few examples of each class: contrastive, fine-tuned and frozen features side by side.

    python benchmarks/few_examples.py --data DIR
    python benchmarks/few_examples.py --data DIR --sets sst2 --rows 8 --draws 1
    python benchmarks/few_examples.py --data DIR --kept scores.json

Draws some rows of each class (all of a class that has fewer) from the training
rows of three sets, trains on just these in each of the ways that `schedule:
few_examples` chooses from, and measures on all test rows. No row validates:
nothing is chosen by more rows than there are. `--ways few_examples` adds the
choice itself. Prints a Markdown table and, of a whole measurement, puts it into
RESULTS.md. A whole one takes two hours on a core: with `--kept` each score is
kept in a file as it is there, and read from it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from results import mean_and_spread, table_row, write_section

import tltool
from tltool.data.reading.samples import fetch_sample, sample
from tltool.recipe.recipe import Recipe
from tltool.search.few_examples import SCHEDULE, candidates
from tltool.support.errors import TltoolError

ROWS = (8, 16, 64)
DRAWS = 3
BATCH = 32
TESTED = 3000
Tables = tuple[pd.DataFrame, pd.DataFrame]


def published(name: str) -> Callable[[Path], Tables]:
    """The training and the test table of a set below the data folder."""
    return lambda data: (pd.read_csv(data / name / "train.csv"),
                         pd.read_csv(data / name / "test.csv"))  # fmt: skip


def airline(_: Path) -> Tables:
    """The sample set of tltool: a half to draw from, and rows of the other half to test on."""
    chosen = sample("airline-tweets")
    table = pd.read_csv(fetch_sample(chosen.name) / chosen.data)
    shuffled = table.sample(frac=1, random_state=0, ignore_index=True)
    half = len(shuffled) // 2
    return shuffled[:half], shuffled[half : half + TESTED]


SETS = {"sst2": published("sst2"), "banking77": published("banking77"), "airline": airline}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[*SETS])
    parser.add_argument("--rows", nargs="+", type=int, default=list(ROWS), help="of each class")
    parser.add_argument("--draws", type=int, default=DRAWS, help=f"of rows (default {DRAWS})")
    ways = list(candidates("text", 1))
    parser.add_argument("--ways", nargs="+", choices=[*ways, SCHEDULE], default=ways)
    parser.add_argument("--kept", type=Path, help="JSON file of the scores")
    arguments = parser.parse_args()
    kept = arguments.kept
    scores = json.loads(kept.read_text()) if kept and kept.exists() else {}
    found: dict[tuple[str, int], dict[str, list[float]]] = {}
    try:
        for name in arguments.sets:
            tables = SETS[name](arguments.data)
            for rows in arguments.rows:
                cell = found.setdefault((name, rows), {way: [] for way in arguments.ways})
                for draw in range(arguments.draws):
                    for way in arguments.ways:
                        key = f"{name} {rows} {draw} {way}"
                        if key not in scores:
                            scores[key] = accuracy(tables, rows, draw, way)
                            if kept:
                                kept.write_text(json.dumps(scores, indent=1))
                        cell[way].append(scores[key])
                        print(key, f"{scores[key]:.4f}", file=sys.stderr, flush=True)
    except TltoolError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    text = section(found, arguments.ways, arguments.draws)
    print(text)
    if list(arguments.sets) == [*SETS] and tuple(arguments.rows) == ROWS:
        write_section("few examples", text)


def accuracy(tables: Tables, rows: int, draw: int, way: str) -> float:
    """The test accuracy of one way on one draw."""
    train, test = tables
    generator = np.random.RandomState(draw)
    drawn = pd.concat([
        of_class.sample(min(rows, len(of_class)), random_state=generator)
        for _, of_class in train.groupby("label")
    ])  # fmt: skip
    schedule: Any = SCHEDULE
    if way != SCHEDULE:
        phases = candidates("text", math.ceil(len(drawn) / BATCH))[way]
        schedule = [phase.model_dump(mode="json", by_alias=True) for phase in phases]
    data = {split: (table["text"].tolist(), table["label"].tolist())
            for split, table in (("train", drawn), ("test", test))}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe.of(
            task="text-classification",
            data={"validation_fraction": 0.0},
            backbone="all-minilm-l6-v2",
            schedule=schedule,
            training={"seed": draw, "batch_size": BATCH},
            evaluation={"baseline": False},
            export={"formats": []},
            output_dir=folder,
        )
        return float(tltool.finetune(recipe, data=data).metrics["test"]["accuracy"])


def section(
    found: Mapping[tuple[str, int], Mapping[str, list[float]]], ways: list[str], draws: int
) -> str:
    """Title, table and conditions."""
    lines = [
        "## Few examples of each class",
        "",
        f"Test accuracy of all-MiniLM-L6-v2, mean over {draws} draws of the training rows, and in "
        "brackets the sample standard deviation. sst2 has 2 classes, banking77 has 77, airline 3.",
        "",
        table_row(["Set", "Rows of each class", *ways]),
        table_row(["---", *["---:"] * (1 + len(ways))]),
    ]
    for (name, rows), cell in found.items():
        lines.append(table_row([name, str(rows), *(mean_and_spread(cell[way]) for way in ways)]))
    conditions = f"tltool {tltool.__version__}, TensorFlow {version('tensorflow')}, on CPUs."
    return "\n".join([*lines, "", conditions])


if __name__ == "__main__":
    main()
