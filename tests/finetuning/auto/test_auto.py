"""From a table and some minutes to a model: the folder, the recipe, the limits, a stop."""

from __future__ import annotations

import json
import signal
from dataclasses import replace

import numpy as np
import pytest
import tiny
from command import cli, succeed
from presets import write_text_preset, write_texts

import tltool
from tltool.finetuning.auto import workshop as workshop_module
from tltool.finetuning.auto.budget import Budget
from tltool.finetuning.auto.candidates import fine_tunings
from tltool.recipe.recipe import Recipe
from tltool.support import progress, stopping
from tltool.support.progress import Progress


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("auto")
    write_text_preset(root / "bert")
    write_texts(root / "texts.csv", 150)
    return root


@pytest.fixture(scope="module")
def told(place):
    """What a search says that has time for nothing but what is always delivered."""
    return succeed(
        "auto", place / "texts.csv", "export.gate.max_difference={float32: 0.01}",
        "--minutes", 0.01, "--backbone", place / "bert",
        "--output", place / "runs", "--seed", 3, "--json",
    ).json()  # fmt: skip


def weights(run) -> list[np.ndarray]:
    """Without the states of random generators, which a file that is loaded does not bring back."""
    variables = run.model.variables
    return [one.numpy() for one in variables if one.name != "seed_generator_state"]


def test_without_time_the_exact_head_is_delivered_exported_and_checked(told, place):
    assert told["winner"] == f"{place / 'bert'}: exact head"
    run = tltool.load_run(told["run"])
    assert run.status == "finished"
    (gate,) = run.path.glob("exports/litert_float32/gate.json")
    assert json.loads(gate.read_text())["passed"]
    assert told["test"][0] == run.metrics["test"]["accuracy"]
    assert told["seconds"] > 0
    assert told["short"]
    assert run.recipe.training.seed == 3
    (line,) = [one for one in told["trail"] if one["verdict"] == "kept"]
    assert 0.5 < line["score"] <= 1
    assert 80 <= line["rows"] < 134  # there was no time for all
    assert run.recipe.data.max_examples < 150
    assert line["interval"][0] <= line["score"] <= line["interval"][1]


def test_the_folder_has_the_trail_and_the_recipe_that_trains_the_same_model(told, place):
    folder = place / "runs" / "texts-auto" / "1"
    assert str(folder) == told["folder"]
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    assert json.loads((folder / "auto.json").read_text())["winner"] == told["winner"]
    page = (folder / "auto.md").read_text()
    assert "exact head" in page
    assert "0.01 minutes" in page
    recipe = Recipe.load(folder / "recipe.yaml", ["export.formats=[]", "name=again"])
    again, first = tltool.finetune(recipe, audit=False), tltool.load_run(told["run"])
    for one, other in zip(weights(again), weights(first), strict=True):
        assert np.array_equal(one, other)
    assert again.metrics["test"]["accuracy"] == told["test"][0]


def test_few_validation_rows_are_trained_on_unless_they_are_asked_for(told, place, tmp_path):
    recipe = tltool.load_run(told["run"]).recipe
    assert recipe.data.validation_fraction == 0
    assert "validation" not in tltool.load_run(told["run"]).metrics
    asked = succeed(
        "auto", place / "texts.csv", "--minutes", 0.01, "--backbone", place / "bert",
        "--output", tmp_path, "data.validation_fraction=0.2", "export.formats=[]", "--json",
    ).json()  # fmt: skip
    run = tltool.load_run(asked["run"])
    assert run.recipe.data.validation_fraction == 0.2
    assert 0 < run.metrics["validation"]["accuracy"] <= 1


class Stopping(Progress):
    """Asks for a stop once the first candidate is kept."""

    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)
        if text.startswith("kept"):
            stopping.ask(signal.SIGINT)
            stopping.check()


def test_a_stop_leaves_the_best_recipe_so_far_and_tells_of_it(place, monkeypatch):
    told = Stopping()
    monkeypatch.setattr(progress, "terminal_progress", lambda: told)
    done = cli(
        "auto", place / "texts.csv", "--minutes", 5, "--backbone", place / "bert",
        "output_dir=" + str(place / "stopped"),
    )  # fmt: skip
    assert (done.code, done.err) == (130, "interrupted\n")
    folder = place / "stopped" / "texts-auto" / "1"
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    recipe = Recipe.load(folder / "recipe.yaml")
    assert recipe.schedule[0].solver == "exact"
    assert recipe.backbone.name == str(place / "bert")
    assert not (place / "stopped" / "texts").exists()
    assert not [*folder.glob(".*")]
    left = f"interrupted; the best so far: tltool finetune {folder}/recipe.yaml"
    assert told.notes[-1] == f"The search {folder} was {left}"
    page = (folder / "auto.md").read_text()
    assert f"it was {left}" in page
    assert "- Best so far: " in page
    assert "Winner" not in page


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["data.train=other.csv"], "DATA: {place}/texts.csv is given, but DATA is other.csv in an"),
        (["data={{train: other.csv}}"], "but DATA is other.csv in an override"),
        (["--task", "text-classification", "task=text-regression"],
         "--task: text-classification is given, but task is text-regression in an override"),
        (["--seed", 1, "training.seed=2"], "--seed: 1 is given, but training.seed is 2 in an"),
        (["--output", "mine", "output_dir=other"],
         "--output: mine is given, but output_dir is other in an override"),
        (["--encoding", "utf-8", "data.encoding=latin-1"],
         "--encoding: utf-8 is given, but --encoding is latin-1 in an override"),
    ],
)  # fmt: skip
def test_an_option_and_an_override_that_say_different_things_are_refused(
    place, tmp_path, monkeypatch, given, told
):
    monkeypatch.chdir(tmp_path)
    given = [str(one).format() for one in given]
    done = cli("auto", place / "texts.csv", "--backbone", place / "bert", *given)
    assert done.code == 2
    assert told.format(place=place) in done.err
    assert "hint: leave one of the two out" in done.err
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("name", "told", "hint"),
    [
        ("all-minilm-l6", "There is no backbone named 'all-minilm-l6'", "`all-minilm-l6-v2`"),
        ("nope", "There is no backbone named 'nope'", "hint: see `tltool models list`"),
        ("efficientnet-lite0", "takes image, but the task takes text", "all-minilm-l6-v2"),
        ("./nothing-here", "There is no folder './nothing-here'", "check the path"),
    ],
)
def test_a_backbone_that_is_none_is_refused_before_anything_is_written(
    place, tmp_path, name, told, hint
):
    done = cli(
        "auto", place / "texts.csv", "--backbone", place / "bert", "--backbone", name,
        "--output", tmp_path / "runs",
    )  # fmt: skip
    assert done.code == 2
    assert told in done.err
    assert hint in done.err
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
def test_limits_that_nothing_keeps_tell_the_smallest_and_the_quickest(place):
    done = cli(
        "auto", place / "texts.csv", "--minutes", 1, "--backbone", place / "bert",
        "--size-mb", 0.01, "--output", place / "limited",
    )  # fmt: skip
    assert done.code == 2
    assert "No backbone is within 0.01 MB: the smallest is" in done.err
    assert "dynamic_int8" in done.err
    assert "hint: allow more" in done.err


@pytest.mark.slow
def test_with_time_a_backbone_is_trained_and_what_wins_is_trained_again(place, monkeypatch):
    """Time stands still, so that all is tried; of the settings one."""

    def one_setting(start, **facts):
        found = fine_tunings(start, **facts)
        (last,) = [one for one in found if one.way == "last layers"]
        return [replace(last.with_epochs(2), usual=2)]

    monkeypatch.setattr(workshop_module, "fine_tunings", one_setting)
    monkeypatch.setattr(workshop_module.Workshop, "search_head", lambda *_: None)
    # A way that trains wins here, whatever it is worth on so easy texts.
    compare = workshop_module.Workshop.compare

    def better(self, one, other):
        found = compare(self, one, other)
        return replace(found, gain=0.1, interval=(0.01, 0.3))

    monkeypatch.setattr(workshop_module.Workshop, "compare", better)
    monkeypatch.setattr("tltool.finetuning.auto.candidates._LONGEST", 1)
    texts, labels = tiny.texts(150)
    found = tltool.auto(
        (texts, labels), minutes=1, task="text-classification", backbones=[str(place / "bert")],
        output=place / "tuned", overrides=["training.batch_size=16", "export.formats=[]"],
        budget=Budget(60.0, lambda: 1.0),
    )  # fmt: skip
    (_, tuned) = found.trail
    assert tuned.name.endswith("last layers, 2 epochs")
    assert tuned.folds == 1  # it was plain at once
    assert 25 <= tuned.rows <= 28  # a fifth of those that are not for tests
    assert tuned.verdict == "kept"
    assert found.recipe.schedule[1].epochs == 2
    assert found.run.recipe == found.recipe
    assert found.recipe.training.keep == "trained"
    assert not json.loads((found.run.path / "run.json").read_text())["kept"]["linear"]
    again = tltool.finetune(
        Recipe.load(found.path / "recipe.yaml", ["name=again"]), data=(texts, labels), audit=False
    )
    for one, other in zip(weights(again), weights(found.run), strict=True):
        assert np.array_equal(one, other)
