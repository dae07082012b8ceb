"""Runs that are killed at random moments and gone on with: is the result the undisturbed one's?

    python benchmarks/interruptions.py --moments 100

A fine-tuning runs to its end as `tltool finetune` does. At random moments its process is frozen
(SIGSTOP) and its run's folder copied, which is what SIGKILL would leave of it at that moment; then
it goes on (SIGCONT). Each copy is resumed, and its weights, history, predictions, metrics and
exports are compared, bit for bit, with those of the run that was never stopped. One more run of
each recipe gets SIGTERM itself, goes on, gets SIGKILL and goes on again. Two kinds of task, with
phases that are solved, that train adapters (LoRA), a head, some groups, and all.

Prints a table, and exits with 1 where a run came out different.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "helpers")]

RECIPES = {
    "text": {
        "task": "text-classification",
        "data": {"train": "texts.csv"},
        "backbone": {"name": "bert", "dropout": 0.1},
        "schedule": [
            {"train": "head", "solver": "exact"},
            {"train": "lora", "rank": 2, "epochs": 2},
            {"train": "all", "epochs": 3},
        ],
        "training": {"batch_size": 8, "early_stopping": {"patience": 2}},
    },
    "image": {
        "task": "image-classification",
        "data": {"train": "pictures"},
        "backbone": {"name": "resnet"},
        "schedule": [
            {"train": "head", "epochs": 3, "learning_rate": 0.01},
            {"train": {"last": 1}, "epochs": 3, "batch_norm": "train"},
        ],
        "augment": {"horizontal_flip": True, "layers": [{"layer": "MixUp"}]},
        "training": {"batch_size": 8, "optimizer": "sgd"},
    },
}  # fmt: skip
# What takes another time in each run.
TIMES = {"seconds", "examples_per_second"}


def prepare(work: Path) -> None:
    """Writes tiny random backbones, data and recipes into a folder."""
    import presets
    import tiny

    presets.write_text_preset(work / "bert")
    presets.write_image_preset(work / "resnet")
    presets.write_texts(work / "texts.csv", 120)
    tiny.write_images(work / "pictures", per_class=40)
    for name, recipe in RECIPES.items():
        training = {**recipe["training"], "checkpoint": {"steps": 1}}
        common = {
            "name": name,
            "evaluation": {"baseline": False},
            "export": {"formats": ["litert"]},
        }
        text = yaml.safe_dump({**recipe, **common, "training": training})
        (work / f"{name}.yaml").write_text(text)


def freeze_and_copy(
    work: Path, name: str, output_dir: str, moments: int, draw: random.Random
) -> list[Path]:
    """Runs a recipe to its end and copies its folder at moments drawn as it trains."""
    command = [sys.executable, "-m", "tltool", "finetune", f"{name}.yaml"]
    command.append(f"output_dir={output_dir}")
    # Exports name the run that they are of: all have the same number.
    run = work / output_dir / name / "1"
    copies: list[Path] = []
    with (work / f"{name}.log").open("a") as log:
        process = subprocess.Popen(command, cwd=work, env=environment(), stderr=log, stdout=log)
        while process.poll() is None:
            time.sleep(draw.uniform(0.02, 0.3))
            if len(copies) == moments or not (run / "checkpoints" / "origin.json").is_file():
                continue
            process.send_signal(signal.SIGSTOP)
            if process.poll() is None:
                copies.append(work / f"stopped-{output_dir}" / str(len(copies)) / "1")
                shutil.copytree(run, copies[-1])
            process.send_signal(signal.SIGCONT)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed; see {work / f'{name}.log'}")
    return copies


def preempt(work: Path, name: str, draw: random.Random) -> Path:
    """Runs one command line three times: it is asked to stop, then killed, then left to its end."""
    command = [sys.executable, "-m", "tltool", "finetune", f"{name}.yaml", "--resume"]
    command.append("output_dir=preempted")
    run = work / "preempted" / name / "1"
    for number, expected in ((signal.SIGTERM, 143), (signal.SIGKILL, -9), (None, 0)):
        before = set((run / "checkpoints").glob("state-*"))
        with (work / f"{name}.log").open("a") as log:
            process = subprocess.Popen(command, cwd=work, env=environment(), stderr=log, stdout=log)
            while number is not None and process.poll() is None:
                time.sleep(draw.uniform(0.02, 0.3))
                if set((run / "checkpoints").glob("state-*")) - before and draw.random() < 0.3:
                    process.send_signal(number)
                    break
            if process.wait() != expected:
                raise SystemExit(f"exit code {process.returncode} in place of {expected}")
        if expected == 143 and '"interrupted"' not in (run / "run.json").read_text():
            raise SystemExit("a run that was asked to stop is not marked as interrupted")
    return run


def environment() -> dict[str, str]:
    """Of child processes: this source, and a cache of their own work."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def resume(copies: list[Path], work: Path) -> None:
    """Goes on with runs, each in a process of its own."""
    for copy in copies:
        command = [sys.executable, "-m", "tltool", "resume", str(copy)]
        with (work / "resumed.log").open("a") as log:
            subprocess.run(command, cwd=work, env=environment(), stderr=log, stdout=log, check=True)


def result(run: Path) -> dict[str, object]:
    """What a run gave, without what is another time each time."""
    import keras

    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    model = keras.models.load_model(run / "model.keras", compile=False)
    return {
        "weights": [value.tobytes() for value in model.get_weights()],
        "history": [{k: v for k, v in row.items() if k not in TIMES} for row in rows],
        "predictions": (run / "predictions.csv").read_bytes(),
        "metrics": (run / "metrics.json").read_bytes(),
        "export": next((run / "exports").rglob("*.tflite")).read_bytes(),
    }


def position(run: Path) -> str:
    """Where a copied run was."""
    from tltool.training.checkpoint import PATTERN, position_in

    files = sorted((run / "checkpoints").glob(PATTERN), key=lambda path: len(path.name))
    return f"phase {position_in(files[-1]).phase}" if files else "before a checkpoint"


def main(words: list[str] | None = None) -> int:
    """Runs all and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    arguments = parser.parse_args(words)
    draw = random.Random(arguments.seed)
    table: dict[tuple[str, str], list[bool]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        prepare(work)
        for number, name in enumerate(arguments.recipes):
            wanted = (arguments.moments + number) // len(arguments.recipes)
            copies: list[Path] = []
            runs: list[Path] = []
            while len(copies) < wanted:
                folder = f"{name}-{len(runs)}"
                copies += freeze_and_copy(work, name, folder, min(25, wanted - len(copies)), draw)
                runs.append(work / folder / name / "1")
            places = [position(copy) for copy in copies]
            resume(copies, work)
            expected = result(runs[0])
            for run in runs[1:]:
                table[name, "never stopped"].append(result(run) == expected)
            copies.append(preempt(work, name, draw))
            places.append("SIGTERM, SIGKILL")
            for copy, place in zip(copies, places, strict=True):
                found = result(copy)
                differing = [key for key in expected if found[key] != expected[key]]
                table[name, place].append(not differing)
                if differing:
                    print(f"{copy} ({place}): {', '.join(differing)} differ")
    print(f"{'recipe':8} {'stopped in':20} equal")
    for (name, place), equal in sorted(table.items()):
        print(f"{name:8} {place:20} {sum(equal)} of {len(equal)}")
    every = [one for equal in table.values() for one in equal]
    print(f"equal {sum(every)} of {len(every)}")
    return int(not np.all(every))


if __name__ == "__main__":
    sys.exit(main())
