"""What `tltool auto` makes of five sets in 3 minutes, against the default recipe.

    python benchmarks/auto.py --data DIR
    python benchmarks/auto.py --data DIR --sets airline --minutes 5

Trains each set by `auto` and by the recipe for data of one's own (`my_images`, `my_csv`), which
takes as long as it takes, and measures both on the same test rows. Each runs in a process of its
own, so that the start of the program is counted. Prints a Markdown table and, of a whole
measurement, puts it into RESULTS.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from few_examples import airline
from results import write_section

import tltool
from tltool.runs.folder import RunFolder

MINUTES = 3.0
METRIC = "accuracy"


@dataclass(frozen=True)
class Rows:
    """A set: where its training and test rows are, and the recipe for such data."""

    train: Path
    test: Path
    recipe: str

    @classmethod
    def folders(cls, data: Path, name: str) -> Rows:
        """Pictures in folders of classes."""
        return cls(data / name / "train", data / name / "test", "my_images")

    @classmethod
    def tables(cls, data: Path, name: str) -> Rows:
        """Texts in two tables."""
        return cls(data / name / "train.csv", data / name / "test.csv", "my_csv")

    @classmethod
    def sample(cls, place: Path) -> Rows:
        """The sample set of tltool, one half to train on, rows of the other to test on."""
        files = place / "airline-train.csv", place / "airline-test.csv"
        for file, table in zip(files, airline(place), strict=True):
            table.to_csv(file, index=False)
        return cls(*files, "my_csv")


@dataclass(frozen=True)
class Result:
    """A model on the test rows: the score, its interval, the minutes that it took."""

    score: float
    interval: tuple[float, float]
    minutes: float
    what: str = ""


SETS = ("trash6", "sign_digits", "banking77", "sst2", "airline")
PICTURES = ("trash6", "sign_digits")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--minutes", type=float, default=MINUTES, help=f"default {MINUTES:g}")
    given = parser.parse_args()
    found: dict[str, tuple[Result, Result]] = {}
    with tempfile.TemporaryDirectory(prefix="tltool-auto.") as folder:
        place = Path(folder)
        for name in given.sets:
            rows = rows_of(name, given.data, place)
            runs = place / name
            found[name] = by_auto(rows, given.minutes, runs), by_recipe(rows, runs)
            print(name, *found[name], file=sys.stderr, flush=True)
    text = section(found, given.minutes)
    print(text)
    if tuple(given.sets) == SETS and given.minutes == MINUTES:
        write_section("auto", text)


def rows_of(name: str, data: Path, place: Path) -> Rows:
    """Where the rows of a set are; those of the sample set are written first."""
    if name == "airline":
        return Rows.sample(place)
    return (Rows.folders if name in PICTURES else Rows.tables)(data, name)


def by_auto(rows: Rows, minutes: float, runs: Path) -> Result:
    """What `tltool auto` gives."""
    told, seconds = command(
        "auto", rows.train, f"data.test={rows.test}", "--minutes", minutes,
        "--output", runs / "auto", "--json",
    )  # fmt: skip
    score, interval = told["test"]
    return Result(score, tuple(interval), seconds / 60, told["winner"])


def by_recipe(rows: Rows, runs: Path) -> Result:
    """What the recipe for such data gives, with its columns where there are any."""
    columns = []
    if rows.train.is_file():
        with rows.train.open(newline="", encoding="utf-8") as file:
            header = next(csv.reader(file))
        columns = [f"data.input_column={header[0]}", "data.label_column=label"]
        columns = [] if {"text", "label"} <= set(header) else columns
    told, seconds = command(
        "finetune", rows.recipe, f"data.train={rows.train}", f"data.test={rows.test}", *columns,
        f"output_dir={runs / 'recipe'}", "--json",
    )  # fmt: skip
    metrics = json.loads(RunFolder(Path(told["run"])).metrics.read_text(encoding="utf-8"))["test"]
    return Result(metrics[METRIC], tuple(metrics[f"{METRIC}_interval"]), seconds / 60)


def command(*arguments: object) -> tuple[Any, float]:
    """The JSON that a command of tltool prints, and the seconds it took with its start.

    Raises:
        SystemExit: It failed.
    """
    started = time.perf_counter()
    words = [sys.executable, "-m", "tltool", *map(str, arguments)]
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}")
    return json.loads(done.stdout), time.perf_counter() - started


def section(found: dict[str, tuple[Result, Result]], minutes: float) -> str:
    """Title, table and conditions."""
    lines = [
        f"## `tltool auto` in {minutes:g} minutes",
        "",
        "Accuracy on the test rows with its 95 % interval, and minutes from the start of the "
        "program to its end; beside it the recipe for data of one's own, which takes as long as it "
        "takes and exports more.",
        "",
        row(["Set", "`auto`", "minutes", "the winner", "recipe", "minutes"]),
        row(["---", "---:", "---:", "---", "---:", "---:"]),
        *(
            row([name, shown(one), f"{one.minutes:.1f}", one.what, shown(other),
                 f"{other.minutes:.1f}"])
            for name, (one, other) in found.items()
        ),
        "",
        f"tltool {tltool.__version__}, TensorFlow {version('tensorflow')}, on CPUs.",
    ]  # fmt: skip
    return "\n".join(lines)


def shown(result: Result) -> str:
    """A score with its interval."""
    low, high = result.interval
    return f"{result.score:.3f} ({low:.3f} to {high:.3f})"


def row(cells: Sequence[str]) -> str:
    """Of a Markdown table."""
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
