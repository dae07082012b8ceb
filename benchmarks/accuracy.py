"""Test scores on published splits, over training seeds, beside the frozen features' own.

    python benchmarks/accuracy.py trash6 --seeds 3 --data DIR

Trains the recipe of that name in benchmarks/recipes/ once for each training
seed, on the published training split, and measures on the published test
split. The reference, on the same rows, is the baseline that the run of the first
seed prints: a linear model on the frozen backbone's features, these as they come
for embeddings, the kind's own simple model for masks and tags.
Prints a Markdown table and puts it into RESULTS.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from results import table_row, write_section

import tltool
from tltool.data.examples import SPLITS
from tltool.recipe.recipe import Recipe
from tltool.support.errors import TltoolError
from tltool.support.progress import terminal_progress
from tltool.training.preparation import load_data

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Benchmark:
    """A published split.

    Attributes:
        title: For people.
        train, test, validation: Paths below the data folder; without validation
            rows of train validate.
        scores: Keys of the metrics to print, such as "accuracy"; of single
            numbers or classes "mae NAME".
        unseen: Classes, evenly spaced in the order of their names, that are left out
            of training and are all that is tested; of tables of texts.
    """

    title: str
    train: str
    test: str
    validation: str | None = None
    scores: tuple[str, ...] = ("accuracy",)
    unseen: int = 0


BENCHMARKS = {
    "trash6": Benchmark("trash6: photographs of rubbish, 6 classes", "trash6/train", "trash6/test"),
    "sign_digits": Benchmark(
        "sign_digits: photographs of hands that sign digits, 10 classes",
        "sign_digits/train",
        "sign_digits/test",
    ),
    "banking77": Benchmark(
        "banking77: questions to a bank, 77 intents", "banking77/train.csv", "banking77/test.csv"
    ),
    "banking77_embedding": Benchmark(
        "banking77: questions to a bank of 20 intents that training never saw, among each other",
        "banking77/train.csv",
        "banking77/test.csv",
        scores=("recall_at_1", "recall_at_5", "map"),
        unseen=20,
    ),
    "goemotions": Benchmark(
        "goemotions: comments with any of 28 emotions",
        "goemotions/train.csv",
        "goemotions/test.csv",
        "goemotions/dev.csv",
        ("macro_f1", "micro_f1", "mean_average_precision"),
    ),
    "wnut17": Benchmark(
        "wnut17: names of six types in tweets and comments, entity F1 as seqeval measures it",
        "wnut17/train.jsonl",
        "wnut17/test.jsonl",
        "wnut17/dev.jsonl",
        ("f1", "precision", "recall"),
    ),
    "miml_scenes": Benchmark(
        "miml_scenes: photographs of landscapes with any of 5 labels",
        "miml_scenes/train.csv",
        "miml_scenes/test.csv",
        scores=("mean_average_precision", "macro_f1", "micro_f1"),
    ),
    "bccd_counts": Benchmark(
        "bccd_counts: red cells, white cells and platelets in blood smears",
        "bccd_counts/train.csv",
        "bccd_counts/test.csv",
        "bccd_counts/val.csv",
        ("mae rbc", "mae wbc", "mae platelets"),
    ),
    "dsb2018_nuclei": Benchmark(
        "dsb2018_nuclei: which pixels of fluorescence images are nuclei of cells",
        "dsb2018_nuclei/train.csv",
        "dsb2018_nuclei/test.csv",
        scores=("picture_iou nucleus", "iou nucleus", "mean_iou", "boundary_f1"),
    ),
    "stsb": Benchmark(
        "stsb: how alike two sentences are",
        "stsb/train.csv",
        "stsb/test.csv",
        "stsb/dev.csv",
        ("spearman", "pearson"),
    ),
    "stsb_embedding": Benchmark(
        "stsb: how alike two sentences are, by the cosine of their vectors",
        "stsb/train.csv",
        "stsb/test.csv",
        "stsb/dev.csv",
        ("spearman", "pearson"),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("benchmark", choices=[*BENCHMARKS, "all"])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--seeds", type=int, default=3, help="training seeds 0, 1, … (default 3)")
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        parser.error("--seeds must be at least 1")
    names = list(BENCHMARKS) if arguments.benchmark == "all" else [arguments.benchmark]
    try:
        for name in names:
            text = measure(name, arguments.data, arguments.seeds)
            print(text, flush=True)
            write_section(f"accuracy {name}", text)
    except TltoolError as error:
        parser.exit(error.exit_code, f"error: {error}\n")


def measure(name: str, data: Path, seeds: int) -> str:
    """The Markdown section of one benchmark."""
    benchmark = BENCHMARKS[name]
    places = {
        "train": benchmark.train,
        "test": benchmark.test,
        "validation": benchmark.validation,
    }
    paths = {split: data / place for split, place in places.items() if place}
    with tempfile.TemporaryDirectory() as folder:
        if benchmark.unseen:
            paths = without_classes(paths, benchmark.unseen, Path(folder))
        recipe = Recipe.load(
            RECIPES / f"{name}.yaml", [f"data.{split}={path}" for split, path in paths.items()]
        )
        _, summary = load_data(recipe)
        found = [finetuned_metrics(recipe, seed, benchmark) for seed in range(seeds)]
    return section(name, summary["rows"], found, refitted=recipe.training.refit)


def without_classes(paths: Mapping[str, Path], count: int, folder: Path) -> dict[str, Path]:
    """Tables below `folder`: training without some classes, and the test rows of just these."""
    tables = {split: pd.read_csv(path) for split, path in paths.items()}
    names = sorted(tables["train"]["label"].unique())
    unseen = {names[i * len(names) // count] for i in range(count)}
    written = {}
    for split, table in tables.items():
        chosen = table["label"].isin(unseen) == (split == "test")
        written[split] = folder / f"{split}.csv"
        table[chosen].to_csv(written[split], index=False)
    return written


def finetuned_metrics(recipe: Recipe, seed: int, benchmark: Benchmark) -> Mapping[str, Any]:
    """All metrics after training with one seed; the split stays the same."""
    with tempfile.TemporaryDirectory() as folder:
        seeded = recipe.with_overrides(
            f"training.seed={seed}",
            f"output_dir={folder}",
            # What is measured is fine-tuning, also where the linear model would be kept.
            "training.keep=trained",
            f"evaluation.baseline={str(seed == 0).lower()}",
        )
        metrics = tltool.finetune(seeded, progress=terminal_progress()).metrics
        scores = ", ".join(f"{key} {score(metrics['test'], key):.4f}" for key in benchmark.scores)
        print(f"seed {seed}: {scores}", file=sys.stderr, flush=True)
        return metrics


def score(metrics: Mapping[str, Any], key: str) -> float:
    """A metric, or that of a number or a class by its name."""
    key, _, name = key.partition(" ")
    if name:
        rows = metrics.get("per_number") or metrics["per_class"]
        metrics = next(row for row in rows if name in (row.get("name"), row.get("label")))
    return float(metrics[key])


def section(
    name: str, counts: Mapping[str, int], found: Sequence[Mapping[str, Any]], *, refitted: bool
) -> str:
    """Title, table and conditions, of as many rows of each split as `counts` says."""
    benchmark, reference = BENCHMARKS[name], found[0]["baseline"]
    train, validation, test = (counts.get(split, 0) for split in SPLITS)
    rows_seen = (
        f"{train:,} published training rows, with the {validation:,} published validation rows to "
        f"choose by{', then once more on both together,' if refitted else ','}"
        if benchmark.validation
        else f"{train + validation:,} published training rows"
    )
    seeds = [f"Seed {seed}" for seed in range(len(found))]
    head = ["Test score", *seeds, "Mean", "Standard deviation", _capitalised(reference["name"])]
    rows = []
    for key in benchmark.scores:
        values = [score(metrics["test"], key) for metrics in found]
        spread = f"{statistics.stdev(values):.3f}" if len(values) > 1 else "—"
        cells = [f"{value:.3f}" for value in (*values, statistics.mean(values))]
        rows.append(table_row([key, *cells, spread, f"{score(reference, key):.3f}"]))
    return "\n".join(
        [
            f"## Test scores on {benchmark.title}",
            "",
            f"`recipes/{name}.yaml` in this folder, trained on the {rows_seen} and measured on "
            f"all {test:,} test rows.",
            "",
            table_row(head),
            table_row(["---", *["---:"] * (len(head) - 1)]),
            *rows,
            "",
            f"The standard deviation is the sample's. tltool {tltool.__version__}, "
            f"TensorFlow {version('tensorflow')}, Keras {version('keras')}, on CPUs.",
        ]
    )


def _capitalised(name: str) -> str:
    return name[:1].upper() + name[1:]


if __name__ == "__main__":
    main()
