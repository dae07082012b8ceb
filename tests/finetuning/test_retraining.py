"""Retraining: from the delivered weights, on old rows and new, compared before anything changes."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command import cli
from presets import write_text_preset, write_texts

import tltool
from tltool.evaluation.paired import pair
from tltool.finetuning import retraining
from tltool.finetuning.job import finetune
from tltool.finetuning.retraining import retraining_recipe
from tltool.recipe.recipe import Recipe
from tltool.runs.run import load_run
from tltool.support.errors import DataError, HeadError, RunError
from tltool.training.preparation import prepare

FILLER = ("the", "film", "food", "was", "is", "very", "service", "a")


def write_news(file: Path, old: Path, count: int = 120) -> Path:
    """Rows whose words the old data lacks, after all of the old data's own rows."""
    rng = np.random.default_rng(3)
    lines = old.read_text(encoding="utf-8").splitlines()
    for number in range(count):
        words = [str(rng.choice(FILLER)) for _ in range(6)]
        words.insert(int(rng.integers(0, 7)), ("ugly", "fine")[number % 2])
        lines.append(f'"{" ".join(words)}",{("negative", "positive")[number % 2]}')
    file.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return file


def sums(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retraining")
    recipe = Recipe.of(
        task="text-classification",
        name="reviews",
        data={"train": str(write_texts(folder / "old.csv", 100)), "test_fraction": 0.2},
        backbone={"name": str(write_text_preset(folder / "bert", layers=1)), "dropout": 0.0},
        schedule=[{"train": "all", "epochs": 4, "learning_rate": 0.005, "curve": "constant"}],
        training={"batch_size": 16, "loggers": [], "calibrate": False},
        evaluation={"baseline": False, "report": False},
        export={"formats": []},
        output_dir=str(folder / "runs"),
    )
    return finetune(recipe)


@pytest.fixture(scope="module")
def news(old):
    return write_news(Path(old.recipe.data.train).with_name("new.csv"), Path(old.recipe.data.train))


@pytest.fixture(scope="module")
def done(old, news):
    """The run before, what the command did, and the sums of the run before it and after."""
    before = sums(old.path)
    command = cli("retrain", old.path, "--data", news, "--fail-on", "worse", "--json")
    return command, before, sums(old.path)


def test_it_begins_with_the_delivered_weights(old, news):
    recipe = retraining_recipe(old, [str(news)])
    assert recipe.name == "reviews-retrained"
    start = prepare(recipe).transfer.model
    trained = load_run(old.path).model
    assert len(start.weights) == len(trained.weights)
    names = {layer.name for layer in start.layers if layer.weights}
    assert "head_output" in names
    for name in names:
        ours, theirs = (model.get_layer(name).get_weights() for model in (start, trained))
        np.testing.assert_equal(ours, theirs)


@pytest.mark.slow
def test_the_new_run_is_better_on_new_rows_and_the_old_one_is_as_it_was(old, news, done):
    command, before, after = done
    assert command.code == 0, command
    assert before == after
    told = command.json()
    new = load_run(told["run"])
    assert new.path != old.path
    assert new.recipe.data.added == (str(news),)
    assert new.recipe.head.weights_file == str(old.folder.model)
    rows = told["comparison"]["rows"]
    assert rows["new"]["verdict"] == "better", rows["new"]["comparison"]
    assert rows["old"]["verdict"] in ("not apart", "better")
    assert rows["old"]["rows"] == len(old.examples())
    assert json.loads((new.path / "comparison.json").read_text()) == told["comparison"]
    assert "comparison.json" in new.folder.manifest()["files"]
    added = json.loads(new.folder.data_summary.read_text())["added"]
    assert sum(added[0]["left_out"].values()) == 100
    assert added[0]["left_out"]["test"] == len(old.examples())
    assert rows["new"]["rows"] == added[0]["rows"]["test"]
    assert "left out 100 rows that the data before has too" in command.err
    trained = set(new.examples("train").inputs)
    assert not trained & set(old.examples().inputs)


@pytest.mark.slow
def test_its_recipe_gives_the_same_model(done):
    first = load_run(done[0].json()["run"])
    second = finetune(Recipe.load(first.folder.recipe, ["name=again"]))
    for ours, theirs in zip(first.model.weights, second.model.weights, strict=True):
        np.testing.assert_equal(ours.numpy(), theirs.numpy())


def test_a_worse_model_is_told_of_and_can_fail(old, news, monkeypatch, tmp_path):
    """Planted: what is compared says the opposite of the new model."""
    from tltool.finetuning import retraining

    def swapped(before, new, examples):
        right = np.eye(2)[old.task.target.truth(examples.targets)]
        return pair(examples, old.task.target, right, 1 - right)

    copy = load_run(shutil.copytree(old.path, tmp_path / "copy"))
    copy.summary = old.summary
    monkeypatch.setattr(retraining, "paired", swapped)
    monkeypatch.setattr(retraining, "finetune", lambda recipe, **_: copy)
    command = cli("retrain", old.path, "--data", news, "--fail-on", "worse")
    assert command.code == 1
    assert "old test rows: worse. Accuracy" in command.out
    assert "Nothing is replaced" in command.out
    assert "failed: worse on the old test rows" in command.err
    data = Path(old.recipe.data.train)
    before = data.read_bytes()
    try:  # rows that are no more change which of the others are test rows
        data.write_bytes(b"\n".join(before.splitlines()[:-20]))
        command = cli("retrain", old.path, "--data", news)
    finally:
        data.write_bytes(before)
    assert command.code == 0
    assert f"warning: the data of {old.path} has changed since: 70 train" in command.out


@pytest.mark.parametrize(
    ("head", "linear", "kept"),
    [
        ({}, True, True),
        ({"hidden_units": [4]}, True, False),
        ({"hidden_units": [4]}, False, True),
        ({"name": "multi_level"}, True, False),
    ],
)
def test_a_head_that_a_linear_model_took_the_place_of_begins_anew(old, head, linear, kept):
    given = load_run(old.path)
    given.recipe = Recipe.of(**{**given.recipe.to_values(), "head": head})
    given.folder = SimpleNamespace(
        path=old.path, model=old.folder.model, manifest=lambda: {"kept": {"linear": linear}}
    )
    recipe = retraining_recipe(given, ["new.csv"])
    assert recipe.backbone.weights_file == str(old.folder.model)
    assert recipe.head.weights_file == (str(old.folder.model) if kept else None)


def test_labels_that_the_model_does_not_know_are_refused_before_training(old, tmp_path):
    lines = ["text,label", *(f"the film was a {number},other" for number in range(10))]
    (tmp_path / "odd.csv").write_text("\n".join(lines))
    runs = set(old.path.parent.parent.iterdir())
    with pytest.raises(HeadError, match="the data alone has 'other'") as told:
        tltool.retrain(old, tmp_path / "odd.csv")
    assert "tltool finetune" in told.value.hint
    assert set(old.path.parent.parent.iterdir()) == runs
    command = told.value.hint.partition("tltool finetune ")[2]
    assert "data.added" in command


def test_old_data_that_is_elsewhere_is_told_of_and_can_be_named(old, news, tmp_path, monkeypatch):
    moved = load_run(old.path)
    data = moved.recipe.data.model_copy(update={"train": "old.csv"})
    moved.recipe = moved.recipe.model_copy(update={"data": data})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DataError, match=r"itself was trained on .*data\.train: there is no"
    ) as told:
        tltool.retrain(moved, news)
    assert str(old.path) in told.value.message
    assert "data.train=PATH" in told.value.hint
    begun = []
    monkeypatch.setattr(retraining, "finetune", lambda *given, **_: begun.append(given) or old)
    monkeypatch.setattr(type(old), "status", "interrupted")
    tltool.retrain(moved, news, f"data.train={old.recipe.data.train}")
    assert begun[0][0].data.train == old.recipe.data.train


def test_runs_that_cannot_be_trained_on_are_refused(old, tmp_path):
    given = load_run(old.path)
    given.recipe = given.recipe.model_copy(
        update={"data": given.recipe.data.model_copy(update={"train": None})}
    )
    with pytest.raises(RunError, match="given from Python"):
        retraining_recipe(given, ["new.csv"])
    assert cli("retrain", old.path).code == 2
    with pytest.raises(tltool.TltoolError, match=r"data.added: there is no file"):
        tltool.retrain(old, tmp_path / "none.csv")
