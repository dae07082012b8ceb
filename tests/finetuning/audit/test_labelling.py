from __future__ import annotations

import json

import numpy as np
import pandas as pd
import presets
import tiny
from typer.testing import CliRunner

from tltool.cli.app import app
from tltool.finetuning.audit.labelling import ranked
from tltool.recipe.recipe import Recipe
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget


def test_unsure_rows_come_first_and_a_copy_of_one_last():
    features = np.array([[3, 0], [0.1, 0.4], [0.1, 0.41], [-0.1, -0.5], [-3, 0]], np.float32)
    raw = np.array([[9, -9], [0.1, 0], [0.1, 0], [0, 0.1], [-9, 9]], np.float32)
    known = np.random.default_rng(0).standard_normal((50, 2))
    chosen, lengths = ranked(raw, features, known, ClassTarget(("a", "b")), 4)
    assert set(chosen[:2]) in ({1, 3}, {2, 3})
    assert lengths[0] < 1e-3 < lengths[1]
    assert len(chosen) == len(set(chosen)) == 4


def test_of_numbers_those_far_from_what_is_labelled_come_first():
    known = np.random.default_rng(0).standard_normal((50, 2))
    features = np.array([[0, 0], [8, 8], [8.1, 8], [-8, 8]], np.float32)
    raw = np.zeros((4, 1), np.float32)
    chosen, lengths = ranked(raw, features, known, NumbersTarget(), 10)
    assert {chosen[0], chosen[1]} in ({1, 3}, {2, 3})
    assert len(chosen) == 4
    assert lengths.max() == 0


def test_the_command_ranks_what_is_not_labelled_yet(tmp_path):
    recipe = Recipe.of(
        task="text-classification",
        backbone=str(presets.write_text_preset(tmp_path / "bert")),
        data={"train": str(presets.write_texts(tmp_path / "texts.csv", 40))},
    )
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    known, _ = tiny.texts(40)
    new = [text for text in dict.fromkeys(tiny.texts(12, seed=9)[0]) if text not in known]
    (tmp_path / "new.txt").write_text("\n".join([*new, known[0], new[0], ""]), encoding="utf-8")
    command = ["data", "next", str(tmp_path / "recipe.yaml"), str(tmp_path / "new.txt"), "--json"]
    told = CliRunner().invoke(app, [*command, "--count", "5"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert [one["rank"] for one in found] == [1, 2, 3, 4, 5]
    assert len({one["input"] for one in found}) == 5
    assert {one["input"] for one in found} <= set(new)
    assert {one["prediction"] for one in found} <= {"negative", "positive"}
    (tmp_path / "new.txt").write_text(f"{known[0]}\n", encoding="utf-8")
    refused = CliRunner().invoke(app, command).exception
    assert "UNLABELLED: all 1 input of" in refused.message
    assert refused.hint == "name other inputs"


def test_of_numbers_it_says_the_number_and_nothing_of_how_sure(tmp_path):
    texts, _ = tiny.texts(60)
    table = pd.DataFrame({"text": texts, "score": [len(text) / 7 for text in texts]})
    table.to_csv(tmp_path / "scores.csv", index=False)
    (tmp_path / "new.txt").write_text("good and new\nbad and old\n", encoding="utf-8")
    recipe = Recipe.of(
        task="text-regression",
        backbone=str(presets.write_text_preset(tmp_path / "bert")),
        data={"train": str(tmp_path / "scores.csv"), "label_column": "score"},
    )
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    command = ["data", "next", str(tmp_path / "recipe.yaml"), str(tmp_path / "new.txt")]
    found = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert [one["uncertainty"] for one in found] == [None, None]
    assert all(isinstance(one["prediction"], float) for one in found)
    assert "uncertainty" not in CliRunner().invoke(app, command).stdout
