"""One model, an ensemble of three, and views of each picture: test accuracy and what it costs.

    python benchmarks/ensembles.py --data DIR
    python benchmarks/ensembles.py --data DIR --sets banking77 --seeds 2

Trains an ensemble on two published splits, with the recipes in benchmarks/recipes/, and measures
on all test rows what each of its members says by itself (a member is the model that a run with
its seed gives), what they say together and, of pictures, the same over flips. Prints a Markdown
table and, of a whole measurement, puts it into RESULTS.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from results import mean_and_spread, table_row, write_section

import tltool
from tltool.data.examples import Examples
from tltool.evaluation.evaluate import evaluate_outputs
from tltool.recipe.recipe import Recipe
from tltool.runs.run import Run
from tltool.support.errors import TltoolError
from tltool.support.progress import terminal_progress

if TYPE_CHECKING:
    import keras

RECIPES = Path(__file__).parent / "recipes"
SEEDS = 3
SETS = {
    "trash6": ("trash6/train", "trash6/test", ("horizontal_flip",)),
    "banking77": ("banking77/train.csv", "banking77/test.csv", ()),
}
"""Below the data folder; and the views that are tried."""
_TOKENS = 16


@dataclass(frozen=True)
class Measured:
    """What models of one kind gave.

    Attributes:
        name: What they are.
        accuracies: Of each on the test rows.
        weights: Of one of them, how many numbers.
        flops: Of one of them, for one example.
        seconds: For all test rows, by one of them.
    """

    name: str
    accuracies: Sequence[float]
    weights: int
    flops: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[*SETS])
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"members (default {SEEDS})")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error("--seeds must be at least 2")
    try:
        found = {name: measure(name, arguments.data, arguments.seeds) for name in arguments.sets}
    except TltoolError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    text = section(found, arguments.seeds)
    print(text)
    if list(arguments.sets) == [*SETS] and arguments.seeds == SEEDS:
        write_section("ensembles", text)


def measure(name: str, data: Path, seeds: int) -> list[Measured]:
    """Each member by itself, all together, and the same over the views of a set."""
    from tltool.model.averaging import averaging
    from tltool.training.ensemble import member_recipe, rebuilt

    train, test, views = SETS[name]
    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe.load(
            RECIPES / f"{name}.yaml",
            [
                f"data.train={data / train}",
                f"data.test={data / test}",
                f"ensemble.seeds={seeds}",
                f"output_dir={folder}",
                "training.keep=trained",
            ],
        )
        run = tltool.finetune(recipe, progress=terminal_progress())
        files, rows = run.folder.kept_weights(), run.examples("test")
        ones = [
            rebuilt(member_recipe(recipe, number), run.task, run.preprocessing, [file])
            for number, file in enumerate(files, start=1)
        ]
        found, target = list[Measured](), type(run.task.target)
        for seen in [(), views] if views else [()]:
            flips = f", and {' and '.join(seen).replace('_', ' ')}" if seen else ""
            singles = [averaging([one], target, seen) for one in ones]
            found.append(measured(f"one model{flips}", singles, run, rows))
            together = averaging(ones, target, seen)
            found.append(measured(f"ensemble of {seeds}{flips}", [together], run, rows))
    return found


def measured(name: str, models: Sequence[keras.Model], run: Run, rows: Examples) -> Measured:
    """The accuracy of each model, and the cost of the first."""
    from tltool.graph.arithmetic import forward_flops

    accuracies, seconds = [], []
    for model in models:
        by = Run(run.folder, run.recipe, run.task, run.preprocessing, model)
        by.outputs(rows)  # traces
        started = time.perf_counter()
        outputs = by.outputs(rows)
        seconds.append(time.perf_counter() - started)
        accuracies.append(float(evaluate_outputs(outputs, rows, run.task).metrics["accuracy"]))
    print(name, *(f"{one:.4f}" for one in accuracies), file=sys.stderr, flush=True)
    flops = forward_flops(models[0], _TOKENS)
    return Measured(name, accuracies, models[0].count_params(), flops, statistics.median(seconds))


def section(found: dict[str, list[Measured]], seeds: int) -> str:
    """Title, table and conditions."""
    lines = [
        "## Several models and views as one",
        "",
        f"Test accuracy of single models (the mean of {seeds} seeds, and in brackets their "
        "sample standard deviation), of the ensemble of these, and over mirrored pictures; what "
        "each costs beside one model on one view: weights, computing, and the time for all test "
        "rows with the reading of them.",
        "",
        table_row(["Set", "Model", "Test accuracy", "Weights", "Computing", "Time"]),
        table_row(["---", "---", *["---:"] * 4]),
    ]
    for name, kinds in found.items():
        one = kinds[0]
        lines += [
            table_row(
                [
                    name,
                    kind.name,
                    mean_and_spread(kind.accuracies),
                    f"{kind.weights / one.weights:.2f}",
                    f"{kind.flops / one.flops:.2f}",
                    f"{kind.seconds / one.seconds:.2f}",
                ]
            )
            for kind in kinds
        ]
    conditions = f"tltool {tltool.__version__}, TensorFlow {version('tensorflow')}, on CPUs."
    return "\n".join([*lines, "", conditions])


if __name__ == "__main__":
    main()
