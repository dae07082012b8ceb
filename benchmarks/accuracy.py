"""Test accuracy on published splits, over training seeds, beside the frozen features' own.

    python benchmarks/accuracy.py trash6 --seeds 3 --data DIR

Trains the recipe of that name in benchmarks/recipes/ once for each training
seed, on the published training split, and measures on the published test
split. In the same process and on the same rows, the frozen backbone's features
with a logistic regression are the reference: what fine-tuning must beat.
Prints a Markdown table and puts it into RESULTS.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from results import write_section

import tltool
from tltool.backbones.load import load_backbone
from tltool.data.examples import Examples
from tltool.data.labels import make_task
from tltool.evaluation.baseline import features_baseline
from tltool.evaluation.inference import raw_outputs
from tltool.recipe.recipe import Recipe
from tltool.support.errors import TltoolError
from tltool.support.progress import terminal_progress
from tltool.training.preparation import load_data

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Benchmark:
    """A published split, as paths below the data folder."""

    title: str
    train: str
    test: str


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
    recipe = Recipe.load(
        RECIPES / f"{name}.yaml",
        [f"data.train={data / benchmark.train}", f"data.test={data / benchmark.test}"],
    )
    examples, _ = load_data(recipe)
    reference = frozen_features_accuracy(recipe, examples)
    accuracies = [finetuned_accuracy(recipe, seed) for seed in range(seeds)]
    return section(name, examples, accuracies, reference)


def finetuned_accuracy(recipe: Recipe, seed: int) -> float:
    """Test accuracy after training with one seed; the split stays the same."""
    with tempfile.TemporaryDirectory() as folder:
        seeded = recipe.with_overrides(f"training.seed={seed}", f"output_dir={folder}")
        run = tltool.finetune(seeded, progress=terminal_progress())
        accuracy = float(run.metrics["test"]["accuracy"])
        print(f"seed {seed}: {accuracy:.4f}", file=sys.stderr, flush=True)
        return accuracy


def frozen_features_accuracy(recipe: Recipe, examples: Examples) -> float:
    """Test accuracy of a logistic regression on the pretrained backbone's features.

    It may use all rows that the fine-tuned model sees, the validation rows too.
    """
    settings = recipe.backbone
    backbone = load_backbone(
        settings.name,
        modality=recipe.spec.modality,
        max_length=settings.max_length,
        image_size_px=settings.image_size_px,
    )
    train, test = _rows(examples, {"train", "validation"}), _rows(examples, {"test"})
    result = features_baseline(
        raw_outputs(backbone.model, train, backbone.preprocessing),
        train.targets,
        raw_outputs(backbone.model, test, backbone.preprocessing),
        test.targets,
        make_task(recipe.spec, examples),
        name="frozen backbone",
    )
    return result.value


def _rows(examples: Examples, splits: set[str]) -> Examples:
    return examples.where(lambda row: examples.splits[row] in splits)


def section(name: str, examples: Examples, accuracies: list[float], reference: float) -> str:
    """Title, table and conditions."""
    spread = f"{statistics.stdev(accuracies):.3f}" if len(accuracies) > 1 else "—"
    head = [*(f"Seed {seed}" for seed in range(len(accuracies))), "Mean", "Standard deviation"]
    row = [*(f"{value:.3f}" for value in accuracies), f"{statistics.mean(accuracies):.3f}", spread]
    train, test = (len(_rows(examples, s)) for s in ({"train", "validation"}, {"test"}))
    return "\n".join(
        [
            f"## Accuracy on {BENCHMARKS[name].title}",
            "",
            f"Test accuracy of `recipes/{name}.yaml` in this folder, trained on the {train:,} rows "
            f"of the published training split and measured on all {test:,} test rows.",
            "",
            _table_row([*head, "Frozen features + logistic regression"]),
            _table_row(["---:"] * (len(head) + 1)),
            _table_row([*row, f"{reference:.3f}"]),
            "",
            f"The standard deviation is the sample's. tltool {tltool.__version__}, "
            f"TensorFlow {version('tensorflow')}, Keras {version('keras')}, on CPUs.",
        ]
    )


def _table_row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
