"""A recipe and tiny data that several workers can train on, and the processes that do so."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import yaml
from presets import write_image_preset, write_text_preset, write_texts
from tiny import write_images

TLTOOL = (sys.executable, "-m", "tltool")


def write_recipe(folder: Path, modality: str) -> Path:
    """Two phases on tiny data, without dropout: each device draws numbers of its own."""
    if modality == "text":
        backbone = str(write_text_preset(folder / "bert"))
        data = str(write_texts(folder / "texts.csv", 90))
    else:
        backbone = str(write_image_preset(folder / "resnet"))
        data = str(write_images(folder / "photos", per_class=33))
    recipe = {
        "task": f"{modality}-classification",
        "name": modality,
        "data": {"train": data, "validation_fraction": 0.2, "test_fraction": 0.2},
        "backbone": {"name": backbone, **({"dropout": 0.0} if modality == "text" else {})},
        "head": {"dropout": 0.0},
        "schedule": [
            {"train": "head", "epochs": 2, "learning_rate": 0.01},
            {"train": "all", "epochs": 2, "learning_rate": 0.002, "warmup_fraction": 0.2},
        ],
        # Of 54 or 40 rows the last batch is a part, of which two workers take all.
        "training": {"batch_size": 16, "gradient_clip_norm": 0.5},
        "evaluation": {"baseline": False},
        "export": {"formats": ["saved_model"]},
        "output_dir": str(folder / "runs"),
    }
    if modality == "image":
        recipe["augment"] = {"horizontal_flip": True, "brightness": 0.1}
    file = folder / f"{modality}.yaml"
    file.write_text(yaml.safe_dump(recipe))
    return file


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of tltool in a process of its own."""
    return subprocess.run(
        [*TLTOOL, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", **environment},
        check=False,
    )


def history(run_folder: Path) -> list[dict[str, float]]:
    """Loss and metrics of each epoch."""
    rows = csv.DictReader((run_folder / "history.csv").read_text().splitlines())
    left_out = {"training", "phase", "seconds", "examples_per_second"}
    return [{k: float(v) for k, v in row.items() if k not in left_out and v} for row in rows]


def status(run_folder: Path) -> str:
    """As the manifest says it."""
    return json.loads((run_folder / "run.json").read_text())["status"]
