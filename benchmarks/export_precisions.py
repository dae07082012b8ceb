"""What each LiteRT precision costs and saves, for networks of five kinds.

    python benchmarks/export_precisions.py --data DIR

Trains each network a little, exports every precision by the code of
`tltool quantize`, prints the gate's figures as Markdown and puts them into
docs/precisions.md. With `--runs DIR` the trained runs are kept there, and those
that are there already are not trained again. Fails where a figure is not
within `REQUIRED`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import random_starts
from contest import markdown_table, say
from results import write_section

import tltool
from tltool.export.gate.comparison import ROUNDING
from tltool.export.sweep.choice import Candidate, Sweep
from tltool.recipe.recipe import Recipe
from tltool.runs.run import Run
from tltool.support.errors import TltoolError
from tltool.support.files import size_text
from tltool.support.progress import terminal_progress

ROOT = Path(__file__).parents[1]
RECIPES = Path(__file__).parent / "recipes" / "precisions"
DOCUMENT = ROOT / "docs" / "precisions.md"
GATE_ROWS = 1000


@dataclass(frozen=True)
class Model:
    """A network that is trained and exported.

    Attributes:
        title: Of its section.
        note: What it was trained on.
        start: Makes its random weights in a folder; None where it has pretrained ones.
        option: The recipe's field that takes them.
    """

    title: str
    note: str
    start: Callable[[Path], Path] | None = None
    option: str = ""


MODELS = {
    "lite0": Model(
        "EfficientNet-Lite0", "pretrained; fine-tuned on trash6, photographs of rubbish, 6 classes"
    ),
    "resnet50": Model(
        "ResNet-50",
        "trained from random weights on sign_digits, signed digits, 10 classes, at 64 pixels",
        random_starts.resnet50,
        "backbone.weights_file",
    ),
    "mobilenetv3": Model(
        "MobileNetV3 Small",
        "trained from random weights on sign_digits at 96 pixels",
        random_starts.mobilenetv3,
        "backbone.weights_file",
    ),
    "vit": Model(
        "ViT-Ti, patches of 16 pixels",
        "trained from random weights on sign_digits at 96 pixels",
        random_starts.vit,
        "backbone.name",
    ),
    "minilm": Model(
        "all-MiniLM-L6-v2", "pretrained; fine-tuned on banking77, questions to a bank, 77 intents"
    ),
}


@dataclass(frozen=True)
class Required:
    """What a precision must keep: largest difference, agreement, fall of the accuracy."""

    max_difference: float = 1.0
    min_agreement: float = 0.0
    max_drop: float = 1.0


REQUIRED = {
    "float32": Required(max_difference=1e-4),
    "float16": Required(min_agreement=0.99),
    "dynamic_int8": Required(max_drop=0.01),
    "int8": Required(max_drop=0.01),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--only", nargs="+", choices=MODELS, default=list(MODELS), metavar="NAME")
    parser.add_argument("--runs", type=Path, help="keeps the trained runs; takes those it has")
    parser.add_argument("--threads", type=int, default=1, help="of LiteRT, while it is timed")
    options = parser.parse_args()
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        runs = options.runs or Path(folder)
        try:
            for name in options.only:
                run = trained(name, options.data, runs)
                sweep = run.quantize(threads=options.threads)
                text = section(MODELS[name], run, sweep)
                print(text, flush=True)
                write_section(name, text, DOCUMENT)
                wrong += [f"{name}: {fault}" for fault in faults(sweep)]
        except TltoolError as error:
            parser.exit(error.exit_code, f"error: {error}\n")
    if wrong:
        sys.exit("error: not within what is required:\n" + "\n".join(wrong))


def trained(name: str, data: Path, runs: Path) -> Run:
    """The run of a model, trained now unless there is one."""
    if (runs / name).is_dir():
        run = tltool.load_run(runs / name)
    else:
        say(f"{name}: training")
        run = tltool.finetune(recipe_of(name, data, runs), progress=terminal_progress())
    run.recipe = run.recipe.with_overrides(f"export.gate.examples={GATE_ROWS}")
    return run


def recipe_of(name: str, data: Path, runs: Path) -> Recipe:
    """The recipe with the places of its data and of its first weights."""
    model, recipe = MODELS[name], Recipe.load(RECIPES / f"{name}.yaml")
    overrides = [
        f"data.train={(data / str(recipe.data.train)).resolve()}",
        f"data.test={(data / str(recipe.data.test)).resolve()}",
        f"output_dir={runs}",
    ]
    if model.start is not None:
        starts = runs / "starts" / name
        starts.mkdir(parents=True)
        overrides.append(f"{model.option}={model.start(starts)}")
    return recipe.with_overrides(*overrides)


def faults(sweep: Sweep) -> list[str]:
    """What is not as it is required, in words."""
    found = []
    for candidate in sweep.candidates:
        required, report = REQUIRED[candidate.precision], candidate.report
        if report is None or not report.passed:
            found.append(f"{candidate.precision}: {candidate.reason}")
            continue
        if report.max_difference > required.max_difference:
            found.append(f"{candidate.precision}: largest difference {report.max_difference:.1e}")
        if report.agreement is not None and report.agreement < required.min_agreement:
            found.append(f"{candidate.precision}: agreement {report.agreement:.3f}")
        # One row of few is more than a point.
        most = max(required.max_drop, 1 / report.rows) + ROUNDING
        if candidate.drop is not None and candidate.drop > most:
            found.append(f"{candidate.precision}: accuracy falls by {candidate.drop:.3f}")
    return found


def section(model: Model, run: Run, sweep: Sweep) -> str:
    """The Markdown section of one model."""
    rows = [row(candidate, sweep) for candidate in sweep.candidates]
    heads = ["Precision", "Size", "ms", "Largest difference", "Same top class",
             "Accuracy", "Change", "Worst class", "Gate"]  # fmt: skip
    reference = next(c.report for c in sweep.candidates if c.report and c.report.metric)
    accuracy = reference.metric.model if reference.metric else float("nan")
    chance = 1 / len(run.task.labels)
    lines = [
        f"## {model.title}",
        f"{model.note[0].upper()}{model.note[1:]}. {reference.rows} held-out rows, of which the "
        f"trained model gets {accuracy:.1%} right (chance: {chance:.1%}). Times with "
        f"{sweep.threads} of {os.cpu_count()} processors.",
        markdown_table(heads, rows),
        f"`tltool quantize` picks {sweep.chosen.precision if sweep.chosen else 'none'}.",
    ]
    kept = [c.report.kept_float for c in sweep.candidates if c.report and c.report.kept_float]
    lines += [f"Kept in float by int8: {found}." for found in kept]
    return "\n\n".join(lines)


def row(candidate: Candidate, sweep: Sweep) -> list[str]:
    """One precision of one model."""
    report, first = candidate.report, sweep.candidates[0]
    if report is None:
        return [f"`{candidate.precision}`", *["–"] * 7, candidate.reason]
    metric, worst = report.metric, candidate.worst_class
    size, took = size_text(report.size_bytes), f"{candidate.latency_ms or 0:.3g}"
    if first.report and first.latency_ms and candidate is not first:
        size += f" ({report.size_bytes / first.report.size_bytes:.2f})"
        took += f" ({(candidate.latency_ms or 0) / first.latency_ms:.2f})"
    return [
        f"`{candidate.precision}`",
        size,
        took,
        f"{report.max_difference:.1e}",
        "–" if report.agreement is None else f"{report.agreement:.1%}",
        f"{metric.artifact:.3f}" if metric else "–",
        f"{-metric.drop:+.3f}" if metric else "–",
        f"{worst.label} {worst.artifact:.2f} ({worst.artifact - worst.model:+.2f})"
        if worst
        else "–",
        "passed" if candidate.passed else f"refused: {candidate.reason}",
    ]


if __name__ == "__main__":
    main()
