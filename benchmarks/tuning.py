"""What a search over a whole recipe gains over the recipe as it stands, on test rows.

    python benchmarks/tuning.py my_recipe.yaml data.train=reviews.csv
    python benchmarks/tuning.py my_recipe.yaml data.train=photos/ --trials 40 --search-folds 3

Cross-validates the recipe (how well is its figure known?), searches the section `tune` of the
recipe or the usual space, and trains the recipe and the best one that was found with several seeds,
all measured on the same test rows, which the search does not see. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from importlib.metadata import version

import tltool
from tltool.finetuning.cross_validation import CrossValidation
from tltool.finetuning.tuning import TuningResult
from tltool.recipe.recipe import Recipe
from tltool.support.errors import TltoolError
from tltool.support.progress import terminal_progress

SEEDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", help="a recipe file, or the name of one of tltool's own")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--folds", type=int, default=5, help="of the cross-validation; 0 for none")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--hours", type=float, help="begin no trial after so many")
    parser.add_argument("--search-folds", type=int, help="folds of each trial of the search")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"trainings (default {SEEDS})")
    given = parser.parse_args()
    progress = terminal_progress()
    try:
        recipe = Recipe.load(given.recipe, ["export.formats=[]", *given.overrides])
        folds = None
        if given.folds:
            folds = tltool.cross_validate(recipe, folds=given.folds, progress=progress)
        search = tltool.tune(
            recipe, trials=given.trials, hours=given.hours, folds=given.search_folds,
            progress=progress,
        )  # fmt: skip
        if search.recipe is None:
            parser.exit(1, "error: no trial came to its end\n")
        before, after = (tested(one, given.seeds) for one in (recipe, search.recipe))
    except TltoolError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    print(report(recipe, folds, search, before, after))


def tested(recipe: Recipe, seeds: int) -> list[float]:
    """The main metric on the test rows, of a training with each seed."""
    found = []
    for seed in range(recipe.training.seed, recipe.training.seed + seeds):
        own = recipe.with_overrides(f"training.seed={seed}", "evaluation.baseline=false")
        run = tltool.finetune(own, audit=False)
        found.append(float(run.metrics["test"][recipe.spec.metric]))
    return found


def report(
    recipe: Recipe,
    folds: CrossValidation | None,
    search: TuningResult,
    before: Sequence[float],
    after: Sequence[float],
) -> str:
    """The table, what was chosen, and the conditions."""
    metric, own = recipe.spec.metric, search.own
    sought = "not tried" if own is None else f"{own.value:.4f}"
    lines = [
        f"| | {metric} on test rows | {search.metric} in the search |",
        "| --- | ---: | ---: |",
        f"| the recipe as it stands | {spread(before)} | {sought} |",
        f"| the best of {len(search.trials)} trials | {spread(after)} | {search.best.value:.4f} |",
        "",
        f"Gained on the test rows: {statistics.mean(after) - statistics.mean(before):+.4f}.",
        "",
        *(f"- `{field}`: {value}" for field, value in search.best.settings.items()),
        "",
    ]
    if folds is not None:
        mean, std = (folds.metrics[name][metric] for name in ("mean", "std"))
        lines += [f"The recipe as it stands over {folds.folds} folds of all rows: {mean:.4f}, "
                  f"standard deviation {std:.4f}.", ""]  # fmt: skip
    conditions = f"tltool {tltool.__version__}, TensorFlow {version('tensorflow')}"
    return "\n".join([*lines, f"{conditions}, {len(before)} seeds."])


def spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation."""
    found = f" ({statistics.stdev(values):.4f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.4f}{found}"


if __name__ == "__main__":
    main()
