"""Which settings the recipe for photographs should have: cross-validated on six sets.

    python benchmarks/defaults.py --data DIR --kept scores.json
    python benchmarks/defaults.py --data DIR --kept scores.json --sets trash6 --tried "as shipped"
    python benchmarks/defaults.py --data DIR --test --seeds 3

Trains `my_images` with each of some changes on folds of the training rows of each set, with
several seeds (of the folds too), beside the linear model on frozen features of the same folds.
Test rows take no part. Prints a table of the mean accuracies, the losers' too, and, of a whole
measurement, puts it into RESULTS.md. It takes hours: with `--kept` each score is kept in a file as
it is there, and read from it. `--test` trains the recipe as it is on all training rows instead,
and measures on the test rows once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from results import table_row, write_section

import tltool
from tltool.data.reading.samples import fetch_sample, sample
from tltool.recipe.recipe import Recipe
from tltool.support.errors import TltoolError

RECIPE = "my_images"
FOLDS = 3
Rows = tuple[list[str], list[str]]


@dataclass(frozen=True)
class Set:
    """Photographs with a class each.

    Attributes:
        title: For people.
        rows: Makes the training and the test rows, of the data folder and one for files.
    """

    title: str
    rows: Callable[[Path, Path], tuple[Rows, Rows]]


def folders(name: str) -> Callable[[Path, Path], tuple[Rows, Rows]]:
    """A folder with a folder of each class, for training and for tests."""

    def rows(data: Path, _: Path) -> tuple[Rows, Rows]:
        train, test = (sorted((data / name / part).rglob("*.*")) for part in ("train", "test"))
        return _labelled(train), _labelled(test)

    return rows


def _labelled(files: Sequence[Path]) -> Rows:
    return [str(file) for file in files], [file.parent.name for file in files]


def single_scenes(data: Path, _: Path) -> tuple[Rows, Rows]:
    """Landscapes that have just one of five labels; unequally frequent."""
    parts = []
    for part in ("train", "test"):
        table = pd.read_csv(data / "miml_scenes" / f"{part}.csv").set_index("image")
        one = table[table.sum(axis=1) == 1].idxmax(axis=1)
        parts.append(([str(data / "miml_scenes" / name) for name in one.index], one.tolist()))
    return parts[0], parts[1]


def of_sample(name: str, train: int, test: int) -> Callable[[Path, Path], tuple[Rows, Rows]]:
    """So many rows of each class of a sample set for training, and for tests."""

    def rows(_: Path, __: Path) -> tuple[Rows, Rows]:
        place = fetch_sample(name) / sample(name).data
        if place.is_dir():
            files, labels = _labelled(sorted(path for path in place.rglob("*") if path.is_file()))
        else:
            listed = pd.read_csv(place)
            files = [str(place.parent / file) for file in listed["image"]]
            labels = listed["label"].tolist()
        table = pd.DataFrame({"file": files, "label": labels})
        drawn = table.groupby("label").sample(train + test, random_state=0)
        first = drawn.groupby("label").cumcount() < train
        parts = (drawn[first], drawn[~first])
        of_train, of_test = ((part["file"].tolist(), part["label"].tolist()) for part in parts)
        return of_train, of_test

    return rows


def drawings(_: Path, folder: Path) -> tuple[Rows, Rows]:
    """Outlines of eight shapes that differ by a corner or a hole, drawn with a shaking hand."""
    generator = np.random.default_rng(0)
    kinds = {f"{corners} corners{hole}": (corners, bool(hole))
             for corners in (3, 4, 5, 6) for hole in ("", ", hole")}  # fmt: skip
    parts: list[Rows] = []
    for part, number in (("train", 30), ("test", 30)):
        files = []
        for kind, (corners, hole) in kinds.items():
            for place in range(number):
                file = folder / part / kind / f"{place}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                _drawing(generator, corners, hole).save(file)
                files.append(file)
        parts.append(_labelled(files))
    return parts[0], parts[1]


def _drawing(generator: np.random.Generator, corners: int, hole: bool) -> Image.Image:
    picture = Image.new("L", (160, 160), 255)
    pencil = ImageDraw.Draw(picture)
    middle, size = generator.uniform(60, 100, 2), generator.uniform(30, 55)
    turn = generator.uniform(0, 2 * np.pi)
    for radius in (size, size / 2) if hole else (size,):
        angles = turn + 2 * np.pi * np.arange(corners) / corners
        points = middle + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
        points += generator.normal(0, radius / 15, points.shape)
        line = [tuple(point) for point in (*points, points[0])]
        pencil.line(line, fill=int(generator.integers(0, 120)), width=int(generator.integers(2, 5)))
    return picture


SETS = {
    "trash6": Set("photographs of rubbish, 6 classes of 35", folders("trash6")),
    "sign_digits": Set("hands that sign digits, 10 classes of 50", folders("sign_digits")),
    "scenes": Set("landscapes, 5 classes of 32 to 58", single_scenes),
    "solar": Set("solar cells, whole or not, 100 each", of_sample("solar-cells", 100, 150)),
    "digits": Set("written digits, 10 classes of 20", of_sample("mnist-5k", 20, 50)),
    "drawings": Set("outlines of shapes, 8 classes of 30", drawings),
}


def phases(epochs: int = 12, train: str = "{from: stage6}", rate: str = "2e-4", more: str = "",
           first: str = "{train: head, solver: exact}") -> str:  # fmt: skip
    """The recipe's schedule with other numbers."""
    second = f"train: {train}, epochs: {epochs}, learning_rate: {rate}, warmup_fraction: 0.1{more}"
    return f"schedule=[{first}, {{{second}}}]"


BY_STEPS = "{train: head, epochs: 5, learning_rate: 3e-3}"
SURE = "training.label_smoothing=0"
VALIDATED = "data.validation_fraction=0.15"
TRIED: Mapping[str, Sequence[str]] = {
    "as shipped": [],
    "the best epoch of 15 % validation rows": [VALIDATED],
    "the same, last epoch": [VALIDATED, "training.keep=last"],
    "the same, refit": [VALIDATED, "training.refit=true"],
    "no smoothing": [SURE],
    "head trained by steps, 5e-4": [phases(rate="5e-4", first=BY_STEPS)],
    "the same, 5 epochs, no smoothing": [SURE, phases(5, rate="5e-4", first=BY_STEPS)],
    "rate 1e-4": [phases(rate="1e-4")],
    "rate 5e-4": [phases(rate="5e-4")],
    "batches of 16": ["training.batch_size=16"],
    "from stage4": [phases(train="{from: stage4}")],
    "all layers, decay 0.7": [phases(train="all", more=", group_decay: 0.7")],
    "the same, batches of 16": [
        phases(train="all", more=", group_decay: 0.7"),
        "training.batch_size=16",
    ],
    "moving average": ["training.ema_momentum=0.98"],
    "mean of 5 last epochs": ["training.average_epochs={last: 5}"],
    "four stored views": ["augment.views=4"],
    "MixUp": ["augment.layers=[{layer: MixUp, alpha: 0.2}]"],
    "RandAugment": ["augment.layers=[{layer: RandAugment, num_ops: 2}]"],
    "320 px": ["backbone={name: efficientnet-lite0, image_size_px: 320}"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[*SETS])
    parser.add_argument("--tried", nargs="+", choices=TRIED, default=[*TRIED])
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0, 1, … (default 1)")
    parser.add_argument("--kept", type=Path, help="JSON file of the scores")
    parser.add_argument("--test", action="store_true", help="the recipe as it is, on test rows")
    given = parser.parse_args()
    kept = given.kept
    scores = json.loads(kept.read_text()) if kept and kept.exists() else {}
    ways = ["on test rows"] if given.test else given.tried
    with tempfile.TemporaryDirectory() as folder:
        try:
            for name in given.sets:
                train, test = SETS[name].rows(given.data, Path(folder))
                for seed in range(given.seeds):
                    for way in ways:
                        key = f"{name} / {seed} / {way}"
                        if key not in scores:
                            scores[key] = (
                                tested(train, test, seed)
                                if given.test
                                else cross_validated(train, seed, TRIED[way])
                            )
                            if kept:
                                kept.write_text(json.dumps(scores, indent=1))
                        print(key, *(f"{value:.4f}" for value in scores[key]),
                              file=sys.stderr, flush=True)  # fmt: skip
        except TltoolError as error:
            parser.exit(error.exit_code, f"error: {error}\n")
    text = section(scores, given.sets, ways, given.seeds, tested=given.test)
    print(text)
    if given.sets == [*SETS] and ways in ([*TRIED], ["on test rows"]):
        write_section("defaults, tested" if given.test else "defaults", text)


def cross_validated(rows: Rows, seed: int, changes: Sequence[str]) -> list[float]:
    """Mean accuracy over folds of the training rows, and that of the linear model."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe.load(RECIPE, [
            "data.test_fraction=0", f"data.split_seed={seed}", f"training.seed={seed}",
            "training.keep=trained", "export.formats=[]", f"output_dir={folder}", *changes,
        ])  # fmt: skip
        found = tltool.cross_validate(recipe, folds=FOLDS, data={"train": rows}).metrics
    return [float(one["mean"]["accuracy"]) for one in (found, found["baseline"])]


def tested(train: Rows, test: Rows, seed: int) -> list[float]:
    """Test accuracy of the recipe as it is, of what it keeps, and of the linear model."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe.load(RECIPE, [
            "data.test_fraction=0", f"training.seed={seed}", "export.formats=[]",
            f"output_dir={folder}",
        ])  # fmt: skip
        metrics: Mapping[str, Any] = tltool.finetune(
            recipe, data={"train": train, "test": test}
        ).metrics
    return [float(metrics[part]["accuracy"]) for part in ("test", "baseline")]


def section(
    scores: Mapping[str, Sequence[float]],
    sets: Sequence[str],
    ways: Sequence[str],
    seeds: int,
    *,
    tested: bool,
) -> str:
    """Title, table and conditions."""

    def mean(name: str, way: str, place: int = 0) -> float:
        return statistics.mean(scores[f"{name} / {seed} / {way}"][place] for seed in range(seeds))

    rows = {way: [mean(name, way) for name in sets] for way in ways}
    linear = [mean(name, ways[0], 1) for name in sets]
    place = "on test rows" if tested else f"over {FOLDS} folds of the training rows"
    lines = [
        f"## The recipe {RECIPE} on photographs, {place}",
        "",
        f"Accuracy, mean of {seeds} seed{'s' * (seeds > 1)}, in percent. "
        + "; ".join(f"{name}: {SETS[name].title}" for name in sets) + ".",
        "",
        table_row(["", *sets, "mean"]),
        table_row(["---", *["---:"] * (len(sets) + 1)]),
        table_row(["linear model on frozen features", *_percent(linear)]),
        *(table_row([way, *_percent(values)]) for way, values in rows.items()),
        "",
        f"tltool {tltool.__version__}, TensorFlow {version('tensorflow')}, on CPUs.",
    ]  # fmt: skip
    return "\n".join(lines)


def _percent(values: Sequence[float]) -> list[str]:
    return [f"{100 * value:.1f}" for value in (*values, statistics.mean(values))]


if __name__ == "__main__":
    main()
