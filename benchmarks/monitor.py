"""False alarms of `tltool monitor` on the same data, and real shifts that it finds.

    python benchmarks/monitor.py --data DIR

A linear head is fitted on a part of each set. The rows that it has not seen are divided at random,
again each time: a sketch is made of some and the others are compared with it, as they are, or
shifted. The test is `tltool monitor`'s own at its usual level, without labels.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
from PIL import Image, ImageEnhance
from results import table_row, write_section

import tltool
from tltool.data.examples import Examples
from tltool.evaluation.drift.inputs import facts_of
from tltool.evaluation.drift.rows import Rows, watched_rows
from tltool.evaluation.drift.sketch import Sketch
from tltool.evaluation.drift.verdict import ALPHA, judge
from tltool.recipe.recipe import Recipe
from tltool.runs.run import Run

Array = np.ndarray[Any, Any]

SIZES = {"sign_digits": (200, 150), "banking77": (256, 300)}
"""Rows of the sketch, and rows that are compared with it."""
DARKER = 0.7
CARDS = (5, 8)
"""How much more frequent questions about cards, a third of all, are in other mixes of topics."""


@dataclass(frozen=True)
class Pool:
    """Rows that a model has not learnt from.

    Attributes:
        same: As they are.
        shifted: The same rows changed, or others, by the name of the shift.
        weights: How often each row comes, by the name of the shift.
    """

    same: Rows
    shifted: Mapping[str, Rows]
    weights: Mapping[str, Array]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--sets", nargs="+", choices=list(SIZES), default=list(SIZES))
    options = parser.parse_args()
    rows = []
    for name in options.sets:
        with tempfile.TemporaryDirectory() as place:
            pool = POOLS[name](options.data, Path(place))
            for what, found in alarms(pool, *SIZES[name], options.trials).items():
                rows.append([name, what, *map(str, SIZES[name]), f"{found} of {options.trials}"])
                print(*rows[-1], sep="\t", flush=True)
    text = section(rows)
    print(text)
    if options.trials >= 100 and options.sets == list(SIZES):
        write_section("monitor", text)


def alarms(pool: Pool, reference: int, new: int, trials: int) -> dict[str, int]:
    """In how many trials an alarm was raised, by what was compared."""
    found = dict.fromkeys(["the same data", *pool.shifted, *pool.weights], 0)
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        order = rng.permutation(len(pool.same))
        sketch, others = Sketch.of(pool.same.take(order[:reference])), order[reference:]
        compared = {"the same data": pool.same.take(others[:new])}
        for name, rows in pool.shifted.items():
            own = others if len(rows) == len(pool.same) else rng.permutation(len(rows))
            compared[name] = rows.take(own[:new])
        for name, weights in pool.weights.items():
            share = weights[others] / weights[others].sum()
            compared[name] = pool.same.take(rng.choice(others, new, replace=False, p=share))
        for name, rows in compared.items():
            found[name] += bool(judge(sketch, sketch.layout.tally(rows)).drifted)
    return found


def fitted(task: str, backbone: str, data: Any, place: Path) -> Run:
    """A run with a linear head on frozen features."""
    recipe = Recipe.of(
        name="monitored",
        task=task,
        backbone=backbone,
        output_dir=str(place / "runs"),
        data={"validation_fraction": 0.1, "test_fraction": 0},
        schedule=[{"train": "head", "solver": "exact"}],
        evaluation={"baseline": False},
        export={"formats": []},
    )
    return tltool.finetune(recipe, data=data)


def watched(run: Run, inputs: list[Any]) -> Rows:
    unknown: list[Any] = [None] * len(inputs)
    modality = run.task.spec.modality
    rows = Examples(modality, inputs, unknown, unknown, [f"row {i}" for i in range(len(inputs))])
    return watched_rows(facts_of(inputs, modality), run.outputs(rows), run.task.target)


def sign_digits(data: Path, place: Path) -> Pool:
    """Half of the training photographs train; darker ones, and photographs of rubbish."""
    files = sorted(path for path in (data / "sign_digits").rglob("*.JPG"))
    order = np.random.default_rng(0).permutation(len(files))
    own, pool = ([files[i] for i in part] for part in (order[:300], order[300:]))
    labels = [file.parent.name for file in own]
    run = fitted("image-classification", "efficientnet-lite0", ([*map(str, own)], labels), place)
    dark = [darkened(file, place / f"{number}.jpg") for number, file in enumerate(pool)]
    rubbish = sorted(map(str, (data / "trash6").rglob("*.jpg")))
    return Pool(
        watched(run, [*map(str, pool)]),
        {
            f"darker pictures ({DARKER:.0%} of the light)": watched(run, dark),
            "another source (trash6)": watched(run, rubbish),
        },
        {},
    )


def darkened(file: Path, copy: Path) -> str:
    with Image.open(file) as image:
        exif = image.getexif()
        dark = ImageEnhance.Brightness(image.convert("RGB")).enhance(DARKER)
    dark.save(copy, quality=95, exif=exif)
    return str(copy)


def banking77(data: Path, place: Path) -> Pool:
    """The test questions; film reviews; and more questions about cards."""
    train = pd.read_csv(data / "banking77" / "train.csv").sample(3000, random_state=0)
    test = pd.read_csv(data / "banking77" / "test.csv")
    run = fitted(
        "text-classification",
        "all-minilm-l6-v2",
        (train["text"].tolist(), train["label"].tolist()),
        place,
    )
    films = pd.read_csv(data / "sst2" / "train.csv").sample(500, random_state=0)["text"].tolist()
    cards = test["label"].str.contains("card").to_numpy()
    return Pool(
        watched(run, test["text"].tolist()),
        {"another source (sst2)": watched(run, films)},
        {
            f"another topic mix (cards {times} times as often)": np.where(cards, float(times), 1.0)
            for times in CARDS
        },
    )


POOLS: Mapping[str, Callable[[Path, Path], Pool]] = {
    "sign_digits": sign_digits,
    "banking77": banking77,
}


def section(rows: list[list[str]]) -> str:
    """The Markdown section."""
    return "\n".join(
        [
            "## Drift: false alarms, and shifts that are found",
            "",
            f"`tltool monitor` without labels at its level of {ALPHA:.0%}: alarms raised. Held-out "
            "rows are divided at random into those of the sketch and those that are compared.",
            "",
            table_row(["Set", "Compared", "Rows of the sketch", "Rows compared", "Alarms"]),
            table_row(["---", "---", "---:", "---:", "---:"]),
            *map(table_row, rows),
            "",
            f"tltool {tltool.__version__}.",
        ]
    )


if __name__ == "__main__":
    main()
