"""Backbones in the formats of timm and transformers: trained, exported, used.

Their weights are random, so they learn little; what is shown is that all of a
recipe works on them and that the exported models are those that were trained.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from golden_folders import golden
from real_data import DATA, need_data, questions

import tltool
from tltool.backbones.check import write_seeded_folder
from tltool.export.artifact import is_artifact
from tltool.recipe.recipe import Recipe

SIZE_PX = 96


def resnet18(folder: Path) -> dict:
    write_seeded_folder(folder, golden("timm")["resnet18"])
    return {"name": str(folder), "image_size_px": SIZE_PX}


def bert(folder: Path) -> dict:
    write_seeded_folder(folder, golden("transformers")["bert"])
    # Words that tell the questions apart, in place of made-up ones.
    vocabulary = (folder / "vocab.txt").read_text().split()
    words = re.findall("[a-z]+", (DATA / "banking77" / "train.csv").read_text().lower())
    frequent = [word for word, _ in Counter(words).most_common(len(vocabulary) - 5)]
    (folder / "vocab.txt").write_text("\n".join([*vocabulary[:5], *frequent]) + "\n")
    return {"name": str(folder)}


def photographs(_: Path) -> dict:
    return {"train": DATA / "trash6" / "train", "test": DATA / "trash6" / "test"}


def few_questions(folder: Path) -> dict:
    return questions(folder, intents=10, rows=8)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "data", "task"),
    [
        (resnet18, photographs, "image-classification"),
        (bert, few_questions, "text-classification"),
    ],
)
def test_trained_on_real_data_exported_and_equal(backbone, data, task, tmp_path):
    need_data()
    (tmp_path / "model").mkdir()
    recipe = Recipe.of(
        name="folder",
        task=task,
        data={key: str(path) for key, path in data(tmp_path).items()},
        backbone={
            key: str(value) if isinstance(value, Path) else value
            for key, value in backbone(tmp_path / "model").items()
        },
        schedule=[
            {"train": "head", "solver": "exact"},
            {"train": {"last": 1}, "epochs": 1, "learning_rate": 1e-5},
        ],
        evaluation={"baseline": False},
        export={"formats": ["saved_model", "litert"], "precisions": ["float32", "float16"]},
        output_dir=str(tmp_path / "runs"),
    )
    run = tltool.finetune(recipe)
    assert run.metrics["test"]["accuracy"] > 1.5 / len(run.task.labels)
    rows = run.examples("test")
    expected = run.outputs(rows)
    artifacts = [path for path in run.folder.exports.iterdir() if is_artifact(path)]
    assert len(artifacts) == 3
    for path in artifacts:
        found = tltool.load_artifact(path).predict(rows.inputs)
        tolerance = 1e-2 if "float16" in path.name else 1e-4
        np.testing.assert_allclose(found, expected, atol=tolerance, err_msg=path.name)
