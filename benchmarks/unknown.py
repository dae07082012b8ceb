"""Calibration errors, and how well each score tells inputs of another kind.

    python benchmarks/unknown.py --data DIR
    python benchmarks/unknown.py --data DIR --sets sign_digits --rows 300
    python benchmarks/unknown.py --data DIR --schedule linear_probe_then_fine_tune --rows 7000

Trains a classifier of each set with the schedule that is given (by default its head is solved
exactly), and shows it the test rows, and as many inputs of another set that are nothing of its
classes. Prints a Markdown table: the calibration error of the test rows without the temperature
and with it, and what right confidences would show on as many rows; and the area under the ROC
curve of each score, the chance that it is higher for an input of the other set than for a test
row. With all sets and one of the two lines without `--sets` it goes into RESULTS.md.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from results import table_row, write_section
from sklearn.metrics import roc_auc_score

import tltool
from tltool.data.examples import Examples
from tltool.data.reading.samples import fetch_sample, sample
from tltool.recipe.recipe import Recipe
from tltool.support.errors import TltoolError

METHODS = ("knn", "mahalanobis", "max_probability", "energy")
ROWS = 2000
# The section of RESULTS.md that a whole measurement makes: by its schedule and its rows.
SECTIONS = {("", ROWS): "unknown", ("linear_probe_then_fine_tune", 7000): "calibration"}


@dataclass(frozen=True)
class Pair:
    """What a model learns, and what is strange to it.

    Attributes:
        task, backbone: As in a recipe.
        train, test: Of what it learns, below the data folder; without a test split a half of the
            sample set `train` is tested on.
        strange: Inputs of another kind.
    """

    task: str
    backbone: str
    train: str
    test: str
    strange: str


_IMAGES = ("image-classification", "efficientnet-lite0")
_TEXTS = ("text-classification", "all-minilm-l6-v2")
SETS = {
    "sign_digits": Pair(*_IMAGES, "sign_digits/train", "sign_digits/test", "trash6/test"),
    "trash6": Pair(*_IMAGES, "trash6/train", "trash6/test", "sign_digits/test"),
    "banking77": Pair(*_TEXTS, "banking77/train.csv", "banking77/test.csv", "sst2/test.csv"),
    "sst2": Pair(*_TEXTS, "sst2/train.csv", "sst2/test.csv", "banking77/test.csv"),
    "airline-tweets": Pair(*_TEXTS, "airline-tweets", "", "banking77/test.csv"),
    "bbc-news": Pair(*_TEXTS, "bbc-news", "", "sst2/test.csv"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[*SETS])
    parser.add_argument("--rows", type=int, default=ROWS, help="most rows of each split")
    parser.add_argument("--schedule", default="", help="of the recipe; empty solves the head")
    arguments = parser.parse_args()
    rows = []
    try:
        for name in arguments.sets:
            pair = SETS[name]
            rows.append([name, *measured(pair, arguments.data, arguments.rows, arguments.schedule)])
            print(rows[-1], flush=True)
    except TltoolError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    text = section(rows, arguments.rows, arguments.schedule)
    print(text)
    place = SECTIONS.get((arguments.schedule, arguments.rows))
    if [*arguments.sets] == [*SETS] and place is not None:
        write_section(place, text)


def measured(pair: Pair, data: Path, most: int, schedule: str) -> list[str]:
    """Name of the strange set, calibration errors, and the area of each score."""
    from tltool.finetuning.knowing import Reading
    from tltool.model.unknown import features_of
    from tltool.tasks.unknown.scores import fit_score

    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe.of(
            task=pair.task,
            backbone=pair.backbone,
            data={"validation_fraction": 0.2},
            schedule=schedule or [{"train": "head", "solver": "exact"}],
            evaluation={"baseline": False},
            export={"formats": []},
            output_dir=folder,
        )
        given = splits(pair, recipe, data, most)
        run = tltool.finetune(recipe, data={s: (list(e.inputs), list(e.targets))
                                            for s, e in given.items()})  # fmt: skip
        read = Reading(run.model, features_of(run.model), run.preprocessing)
        strange = read(some(recipe, data / pair.strange, most))
        train, test = read(given["train"]), read(given["test"])
        groups = run.task.target.truth(given["train"].targets)
        areas = []
        for method in METHODS:
            layer = fit_score(method, train.features, groups, seed=0)
            known, other = test.scores(layer), strange.scores(layer)
            is_other = np.repeat([False, True], [len(known), len(other)])
            areas.append(f"{roc_auc_score(is_other, np.concatenate([known, other])):.3f}")
        found = run.metrics["calibration"]
        error, chance = (run.metrics["test"][f"calibration_error{of}"] for of in ("", "_by_chance"))
        before = error if found["error_before"] is None else found["error_before"]
        return [f"{len(test.features):,}", f"{before:.3f}", f"{error:.3f}", f"{chance:.3f}",
                f"{found['temperature']:.2f}", pair.strange.split("/")[0], *areas]  # fmt: skip


def splits(pair: Pair, recipe: Recipe, data: Path, most: int) -> dict[str, Examples]:
    """Training and test rows, at most so many of each."""
    if pair.test:
        return {split: some(recipe, data / path, most)
                for split, path in (("train", pair.train), ("test", pair.test))}  # fmt: skip
    chosen = sample(pair.train)
    rows = some(recipe, fetch_sample(chosen.name) / chosen.data, 2 * most)
    half = len(rows) // 2
    drawn = np.random.default_rng(0).permutation(len(rows)).tolist()
    return {"train": rows.take(drawn[:half]), "test": rows.take(drawn[half:])}


def some(recipe: Recipe, path: Path, most: int) -> Examples:
    """At most so many rows of a folder or a table, drawn with seed 0."""
    from tltool.data.reading.sources import load_labelled

    rows = load_labelled(path, recipe.data, recipe.spec)
    drawn = np.random.default_rng(0).permutation(len(rows))[:most]
    return rows.take(np.sort(drawn).tolist())


def section(rows: list[list[Any]], most: int, schedule: str) -> str:
    """Title, table and conditions."""
    columns = ["Set", "Test rows", "Calibration error before", "after", "by chance", "Temperature"]
    how = f"`schedule: {schedule}`" if schedule else "its head solved exactly"
    lines = [
        f"## Calibration and unknown inputs: {how}",
        "",
        f"Test rows of a classifier, {how}, on at most {most:,} rows, a fifth of them for "
        "validation: expected calibration error without and with the temperature, that of right "
        "confidences on as many rows, and the area under the ROC curve by which each score tells "
        "inputs of another set.",
        "",
        table_row([*columns, "Strange inputs", *METHODS]),
        table_row(["---", *["---:"] * 5, "---", *["---:"] * len(METHODS)]),
        *map(table_row, rows),
    ]
    conditions = f"tltool {tltool.__version__}, TensorFlow {version('tensorflow')}, on CPUs."
    return "\n".join([*lines, "", conditions])


if __name__ == "__main__":
    main()
