"""Calibration errors, and how well each score tells inputs of another kind.

    python benchmarks/unknown.py --data DIR
    python benchmarks/unknown.py --data DIR --sets sign_digits --rows 300

Trains a classifier of each set with the schedule that is given (by default its head is solved
exactly), and shows it the test rows, and as many inputs of another set that are nothing of its
classes. Prints a Markdown table: the calibration error of the test rows without the temperature
and with it, and the area under the ROC curve of each score, the chance that it is higher for an
input of the other set than for a test row. With all sets and rows it goes into RESULTS.md.
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
from tltool.recipe.recipe import Recipe
from tltool.support.errors import TltoolError

METHODS = ("knn", "mahalanobis", "max_probability", "energy")
ROWS = 2000


@dataclass(frozen=True)
class Pair:
    """What a model learns, and what is strange to it.

    Attributes:
        task, backbone: As in a recipe.
        train, test: Of what it learns, below the data folder.
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
    if [*arguments.sets] == [*SETS] and arguments.rows == ROWS and not arguments.schedule:
        write_section("unknown", text)


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
        given = {split: some(recipe, data / path, most)
                 for split, path in (("train", pair.train), ("test", pair.test))}  # fmt: skip
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
        error = run.metrics["test"]["calibration_error"]
        before = error if found["error_before"] is None else found["error_before"]
        return [pair.strange.split("/")[0], f"{before:.3f}", f"{error:.3f}",
                f"{found['temperature']:.2f}", *areas]  # fmt: skip


def some(recipe: Recipe, path: Path, most: int) -> Examples:
    """At most so many rows of a folder or a table, drawn with seed 0."""
    from tltool.data.reading.sources import load_labelled

    rows = load_labelled(path, recipe.data, recipe.spec)
    drawn = np.random.default_rng(0).permutation(len(rows))[:most]
    return rows.take(np.sort(drawn).tolist())


def section(rows: list[list[Any]], most: int, schedule: str) -> str:
    """Title, table and conditions."""
    columns = ["Set", "Strange inputs", "Calibration error before", "after", "Temperature"]
    how = f"`{schedule}`" if schedule else "its head solved exactly"
    lines = [
        "## Calibration and unknown inputs",
        "",
        f"Test rows of a classifier, {how}, on at most {most:,} rows, a fifth of them for "
        "validation: expected calibration error without and with the temperature, and the area "
        "under the ROC curve by which each score tells inputs of another set.",
        "",
        table_row([*columns, *METHODS]),
        table_row(["---", "---", *["---:"] * (3 + len(METHODS))]),
        *map(table_row, rows),
    ]
    conditions = f"tltool {tltool.__version__}, TensorFlow {version('tensorflow')}, on CPUs."
    return "\n".join([*lines, "", conditions])


if __name__ == "__main__":
    main()
