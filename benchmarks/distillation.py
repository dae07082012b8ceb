"""A small student alone, and taught by a larger model: what distillation gains.

    python benchmarks/distillation.py --data DIR
    python benchmarks/distillation.py --data DIR --seeds 1 --labelled 70

The teacher is EfficientNet-Lite0 at 224 px, trained as `recipes/trash6.yaml` says; the student is
the same network at 96 px, which takes about a fifth of the multiplications, trained for as long.
Once with the labels of all training rows, and once with those of a share of them: teacher and
student have these labels, and the taught student the pictures of the others too, without labels.
Measures all on the test rows, prints a Markdown table and, of a whole measurement, puts it into
RESULTS.md.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from results import mean_and_spread, table_row, write_section

import tltool
from tltool.recipe.recipe import Recipe
from tltool.support.errors import TltoolError

RECIPE = Path(__file__).parent / "recipes" / "trash6.yaml"
SIZE_PX = 96
SHARES = (100, 50)
SEEDS = 3
COLUMNS = ("teacher", "student alone", "student taught")
Scores = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds trash6")
    parser.add_argument("--seeds", type=int, default=SEEDS, help=f"of training (default {SEEDS})")
    parser.add_argument(
        "--labelled", nargs="+", type=int, default=list(SHARES), help="per cent of the rows"
    )
    parser.add_argument("--size", type=int, default=SIZE_PX, help="of the student's input, px")
    arguments = parser.parse_args()
    found: dict[int, Scores] = {}
    try:
        for share in arguments.labelled:
            cell = found.setdefault(share, {name: [] for name in COLUMNS})
            for seed in range(arguments.seeds):
                measured = measure(arguments.data / "trash6", share, seed, arguments.size)
                for name, accuracy in measured.items():
                    cell[name].append(accuracy)
                    print(share, seed, name, f"{accuracy:.4f}", file=sys.stderr, flush=True)
    except TltoolError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    text = section(found, arguments.seeds, arguments.size)
    print(text)
    whole = tuple(arguments.labelled) == SHARES and arguments.size == SIZE_PX
    if whole and arguments.seeds >= SEEDS:
        write_section("distillation", text)


def measure(folder: Path, share: int, seed: int, size: int) -> Mapping[str, float]:
    """The test accuracy of teacher, student alone and student taught.

    Args:
        folder: With `train` and `test`, which have a folder for each class.
        share: Per cent of each class's training rows that have labels.
        seed: Of the training, and of which rows those are.
        size: Height and width of the student's input.
    """
    with tempfile.TemporaryDirectory() as place:
        labelled, others = divided(folder / "train", share, seed, Path(place))
        overrides = [
            f"data.train={labelled}",
            f"data.test={folder / 'test'}",
            f"training.seed={seed}",
            f"output_dir={place}/runs",
        ]
        small = f"backbone.image_size_px={size}"
        teacher = accuracy([*overrides, "name=teacher"])
        alone = accuracy([*overrides, "name=alone", small])
        lesson = [f"teacher={place}/runs/teacher/1"]
        if others is not None:
            lesson.append(f"teacher.unlabelled={others}")
        taught = accuracy([*overrides, "name=taught", small, *lesson])
    return dict(zip(COLUMNS, (teacher, alone, taught), strict=True))


def accuracy(overrides: Sequence[str]) -> float:
    """The test accuracy of one training."""
    run = tltool.finetune(Recipe.load(RECIPE, overrides))
    return float(run.metrics["test"]["accuracy"])


def divided(train: Path, share: int, seed: int, place: Path) -> tuple[Path, Path | None]:
    """Links to a share of each class's pictures, and to the others without their classes."""
    if share == 100:
        return train, None
    import numpy as np

    labelled, others = place / "labelled", place / "others"
    others.mkdir()
    generator = np.random.default_rng(seed)
    for name in sorted(path.name for path in train.iterdir() if path.is_dir()):
        files = sorted(path for path in (train / name).iterdir() if path.is_file())
        drawn = generator.permutation(len(files))
        (labelled / name).mkdir(parents=True)
        for rank, number in enumerate(drawn):
            file = files[number].resolve()
            own = rank < round(len(files) * share / 100)
            link = labelled / name / file.name if own else others / f"{name}-{file.name}"
            link.symlink_to(file)
    return labelled, others


def section(found: Mapping[int, Scores], seeds: int, size: int) -> str:
    """Title, table and conditions."""
    lines = [
        "## Distillation",
        "",
        "Test accuracy on trash6, photographs of rubbish in 6 classes: EfficientNet-Lite0 at "
        f"224 px as the teacher, the same network at {size} px as the student. Where not all "
        "training rows have labels, the others train the taught student alone, without theirs. "
        f"Mean over {seeds} seeds, and in brackets the sample standard deviation.",
        "",
        table_row(["Rows with labels", *COLUMNS]),
        table_row(["---", *["---:"] * len(COLUMNS)]),
    ]
    for share, cell in found.items():
        lines.append(table_row([f"{share} %", *(mean_and_spread(cell[name]) for name in COLUMNS)]))
    conditions = f"tltool {tltool.__version__}, TensorFlow {version('tensorflow')}, on CPUs."
    return "\n".join([*lines, "", conditions])


if __name__ == "__main__":
    main()
