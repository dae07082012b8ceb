"""A whole recipe cross-validated: each row measured once, by a model that has not seen it."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path

import mask_data
import numpy as np
import pytest
import tiny
import yaml
from command import cli, succeed
from presets import write_image_preset, write_text_preset, write_texts
from together import write_recipe

import tltool
from tltool.finetuning import cross_validation, series
from tltool.finetuning.series import SeriesFolder
from tltool.recipe.recipe import Recipe
from tltool.support import stopping
from tltool.support.errors import DataError, RecipeError, RunError
from tltool.support.progress import Progress

FOLDS = 3


class Notes(Progress):
    """Keeps what it is told, and asks for a stop after some epochs."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []
        self.epochs = 0
        self._stop_after = stop_after

    def stage(self, title):
        self.stages.append(title)

    def note(self, text):
        self.notes.append(text)

    def epoch_end(self, row, best):
        self.epochs += 1
        if self.epochs == self._stop_after:
            stopping.ask(signal.SIGINT)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Recipe:
    short = ["schedule.0.epochs=1", "schedule.1.epochs=1"]
    return Recipe.load(write_recipe(tmp_path_factory.mktemp("folds"), "text"), short)


@pytest.fixture(scope="module")
def done(recipe):
    progress = Notes()
    return tltool.cross_validate(recipe, folds=FOLDS, progress=progress), progress


def predictions(path) -> list[dict[str, str]]:
    with (path / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_row_is_predicted_once_in_the_order_of_the_data(done, recipe):
    found, _ = done
    rows = predictions(found.path)
    with Path(recipe.data.train).open(encoding="utf-8", newline="") as file:
        data = list(csv.DictReader(file))
    assert [(row["input"], row["target"]) for row in rows] == [
        (row["text"], row["label"]) for row in data
    ]
    assert {row["fold"] for row in rows} == {"1", "2", "3"}
    right = np.mean([row["prediction"] == row["target"] for row in rows])
    assert found.metrics["out_of_fold"]["accuracy"] == pytest.approx(right)
    low, high = found.metrics["out_of_fold"]["accuracy_interval"]
    assert low <= right <= high


def test_a_fold_is_the_test_split_of_its_run_and_trains_on_none_of_its_rows(done):
    found, _ = done
    rows = predictions(found.path)
    for number, fold in enumerate(found.metrics["per_fold"], start=1):
        folder = found.path / f"fold-{number}" / "1"
        own = [row for row in rows if row["fold"] == str(number)]
        assert fold["accuracy"] == pytest.approx(
            np.mean([row["prediction"] == row["target"] for row in own])
        )
        assert (
            json.loads((folder / "metrics.json").read_text())["test"]["accuracy"]
            == (fold["accuracy"])
        )
        summary = json.loads((folder / "data.json").read_text())
        assert summary["rows"]["test"] == len(own) == 30
        assert summary["rows"]["train"] + summary["rows"]["validation"] == 60
        assert summary["rows"]["validation"] == 12  # a fifth of the others, as the recipe says


def test_mean_and_spread_are_those_of_the_folds(done):
    found, _ = done
    values = [fold["accuracy"] for fold in found.metrics["per_fold"]]
    assert found.metrics["mean"]["accuracy"] == pytest.approx(np.mean(values))
    assert found.metrics["std"]["accuracy"] == pytest.approx(np.std(values, ddof=1))
    assert json.loads((found.path / "metrics.json").read_text()) == found.metrics


@pytest.mark.parametrize("choosing", ["training.refit=true", "schedule.1.curve=plateau"])
def test_validation_rows_that_choose_something_are_those_of_each_fold(recipe, choosing):
    own = recipe.with_overrides(choosing)
    plan = cross_validation._planned(own, FOLDS, None, Progress())
    assert all("validation" in part.splits for part, _ in plan.parts)
    without = own.with_overrides("data.validation_fraction=0")
    with pytest.raises(RecipeError, match="validation rows"):
        cross_validation._planned(without, FOLDS, None, Progress())


def test_the_one_that_goes_on_is_the_newest_that_has_not_come_to_its_end(recipe, tmp_path):
    own = recipe.with_overrides(f"output_dir={tmp_path}")
    folders = []
    for status in ("interrupted", "finished"):
        folders.append(SeriesFolder.create(tmp_path, f"{own.name}-folds"))
        folders[-1].origin.write_text("{}")
        folders[-1].record(status)
    assert SeriesFolder.newest(own, "folds") == folders[0]
    assert SeriesFolder.newest(own, "folds", ended_too=True) == folders[1]


def test_frozen_features_are_computed_for_all_folds_together(done):
    _, progress = done
    assert sum("computed once" in note for note in progress.notes) == 1
    assert sum("read from disk" in note for note in progress.notes) == FOLDS - 1


@pytest.mark.slow
def test_the_linear_model_of_each_fold_reads_the_features_of_all(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path))
    progress = Notes()
    own = recipe.with_overrides(
        "name=compared", "evaluation.baseline=true", 'schedule=[{"train": "head"}]'
    )
    tltool.cross_validate(own, folds=2, progress=progress)
    assert sum("computed once" in note for note in progress.notes) == 1


def test_no_model_is_kept(done):
    found, _ = done
    kept = [
        file.name for file in found.path.rglob("*") if file.suffix in {".keras", ".safetensors"}
    ]
    assert kept == []
    listed = tltool.load_run(found.path / "fold-1")
    assert listed.status == "finished"
    with pytest.raises(RunError, match="no model"):
        listed.predict(["good film"])


@pytest.mark.slow
def test_a_stopped_one_goes_on_and_ends_as_one_that_never_stopped(recipe, done):
    """The stop comes at the end of the second fold's second phase."""
    own = recipe.model_copy(update={"name": "stopped"})
    first = tltool.cross_validate(own, folds=FOLDS, progress=Notes(stop_after=4))
    assert not first.finished
    with pytest.raises(RunError, match="folds: 3 → 2"):
        tltool.cross_validate(own, folds=2, resume=True)
    progress = Notes()
    second = tltool.cross_validate(own, folds=FOLDS, resume=True, progress=progress)
    assert second.path == first.path
    assert sum("done before" in note for note in progress.notes) == 1
    assert second.metrics == done[0].metrics
    assert predictions(second.path) == predictions(done[0].path)
    assert not [*second.path.glob("fold-*/2")]


@pytest.mark.slow
def test_test_data_is_measured_by_the_model_of_each_fold(recipe, tmp_path):
    other = write_texts(tmp_path / "test.csv", 20)
    own = recipe.with_overrides(f"data.test={other}", "name=tested")
    found = tltool.cross_validate(own, folds=2)
    assert found.metrics["test"]["n"] == 20
    values = [fold["accuracy"] for fold in found.metrics["test"]["per_fold"]]
    assert len(values) == 2
    assert found.metrics["test"]["mean"]["accuracy"] == pytest.approx(np.mean(values))
    assert len(predictions(found.path)) == 90
    assert any("Test data" in line for line in found.lines())


def test_groups_and_equal_texts_are_on_one_side(recipe, tmp_path):
    rows = [
        {"text": "good film" if i % 2 else f"bad food {i}",
         "who": f"p{i % 9}", "label": ("negative", "positive")[i % 2]}
        for i in range(90)
    ]  # fmt: skip
    file = tmp_path / "people.csv"
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, ["text", "who", "label"])
        writer.writeheader()
        writer.writerows(rows)
    own = recipe.with_overrides(f"data.train={file}", "data.group_column=who")
    # A text that all of them wrote ties all people together.
    with pytest.raises(DataError, match="3 folds need 3 groups of rows"):
        cross_validation._planned(own, 3, None, Progress())
    for i, row in enumerate(rows):
        row["text"] += f" {i}"
    with file.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, ["text", "who", "label"])
        writer.writeheader()
        writer.writerows(rows)
    plan = cross_validation._planned(own, 3, None, Progress())
    for part, _ in plan.parts:
        sides = {}
        for group, split in zip(part.groups, part.splits, strict=True):
            sides.setdefault(group, set()).add(split)
        assert all(len(splits) == 1 for splits in sides.values())
        assert set().union(*sides.values()) == {"train", "validation", "test"}


@pytest.mark.slow
def test_images_with_changes_share_their_features_too(tmp_path):
    recipe = Recipe.load(
        write_recipe(tmp_path, "image"), ["augment.views=2", "schedule.1.epochs=1"]
    )
    progress = Notes()
    found = tltool.cross_validate(recipe, folds=2, progress=progress)
    assert found.metrics["out_of_fold"]["n"] == 66
    # The changed pictures and the plain ones.
    assert sum("computed once" in note for note in progress.notes) == 2
    assert sum("read from disk" in note for note in progress.notes) == 2


@pytest.mark.parametrize(
    ("override", "folds", "message"),
    [
        ("name=x", 1, "folds: a cross-validation needs at least 2"),
        ("task=text-embedding", 3, "text-embedding can't be cross-validated"),
        ("training.distribution=multi_worker", 3, "trains in one process"),
    ],
)
def test_what_can_t_be_is_refused_at_once(recipe, override, folds, message):
    with pytest.raises(RecipeError, match=message):
        tltool.cross_validate(recipe.with_overrides(override), folds=folds)


def test_too_few_rows_of_a_class_are_told_before_anything_is_trained(tmp_path):
    file = write_recipe(tmp_path, "text")
    data = yaml.safe_load(file.read_text())["data"]["train"]
    with Path(data).open("a", encoding="utf-8") as opened:
        opened.write("rare film,odd\nrare food,odd\nrare film,odd\n")
    failed = cli("finetune", file, "--folds", "3")
    assert failed.code == 2
    assert "'odd' (2)" in failed.err
    assert "take 2 folds" in failed.err
    assert not (tmp_path / "runs").exists()
    assert cli("finetune", file, "--folds", "1").code == 2
    assert cli("finetune", file, "--folds", "3", "--profile").code == 2


@pytest.mark.slow
def test_the_command_tells_what_it_found(tmp_path):
    file = write_recipe(tmp_path, "text")
    options = (
        "name=told",
        "schedule.0.epochs=1",
        "schedule.1.epochs=1",
        "evaluation.baseline=true",
        "--folds",
        "2",
    )
    told = succeed("finetune", file, *options)
    for shown in ("2-fold cross-validation", "95 % interval", "standard deviation", "Baseline",
                  "predictions.csv", "No model is kept", f"finetune {file} name=told"):  # fmt: skip
        assert shown in told.out
    assert "Fold 2 of 2" in told.err
    found = succeed("finetune", file, *options, "--json").json()
    assert found["folder"].endswith("told-folds/2")
    assert found["mean"].keys() >= {"accuracy", "macro_f1"}
    listed = succeed("runs", "list", "--runs", tmp_path / "runs").out
    assert "told-folds/1" in listed


def write_kind(folder, kind) -> dict[str, object]:
    """Data of a kind of target in a file, and the recipe's fields that read it."""
    texts, sides = tiny.texts(48)
    lines = []
    for text, side in zip(texts, sides, strict=True):
        words = text.split()
        lines.append({
            "tags": {"words": words, "tags": ["B-X" if w in {"film", "food"} else "O"
                                              for w in words]},
            "several": {"text": text, "words": len(words), "mood": float(side == "positive")},
        }[kind])  # fmt: skip
    file = folder / f"{kind}.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    tasks = {"tags": "token-classification", "several": "text-regression"}
    columns = {"label_columns": ["words", "mood"]} if kind == "several" else {}
    return {
        "task": tasks[kind],
        "data": {"train": str(file), "validation_fraction": 0.2, **columns},
        "backbone": str(write_text_preset(folder / "bert")),
    }


def write_masks(folder) -> dict[str, object]:
    classes = {name: number for number, name in enumerate(mask_data.CLASSES)}
    return {
        "task": "image-segmentation",
        "data": {"train": str(mask_data.write_folders(folder / "data")), "mask_classes": classes},
        "backbone": {"name": str(write_image_preset(folder / "resnet")), "image_size_px": 64},
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["tags", "masks", "several"])
def test_every_kind_of_target_but_vectors_has_folds(tmp_path, kind):
    fields = write_masks(tmp_path) if kind == "masks" else write_kind(tmp_path, kind)
    recipe = Recipe.of(
        **fields,
        schedule=[{"train": "head", "epochs": 1, "learning_rate": 0.01}],
        evaluation={"baseline": False},
        output_dir=str(tmp_path / "runs"),
    )
    found = tltool.cross_validate(recipe, folds=2)
    score = recipe.spec.target.headline().key
    assert found.metrics["out_of_fold"][score] is not None
    assert found.metrics["mean"][score] == pytest.approx(
        np.mean([fold[score] for fold in found.metrics["per_fold"]])
    )
    rows = predictions(found.path)
    assert len(rows) == (24 if kind == "masks" else 48)
    assert {row["fold"] for row in rows} == {"1", "2"}
    assert found.lines()


@pytest.mark.slow
def test_adapters_that_a_fold_added_to_the_weights_are_not_in_the_next_ones(recipe):
    lora = ["schedule=[{train: lora, rank: 2, epochs: 1, learning_rate: 0.05}]", "name=lora"]
    own = recipe.with_overrides(*lora)
    found = tltool.cross_validate(own, folds=2)
    plan = cross_validation._planned(own, 2, None, Progress())
    second = cross_validation._trained(
        plan, SeriesFolder(found.path / "alone"), 2, plan.parts[1], Progress(), None, False
    )
    assert second.metrics["test"]["accuracy"] == found.metrics["per_fold"][1]["accuracy"]
    assert second.metrics["test"]["log_loss"] == found.metrics["per_fold"][1]["log_loss"]


def test_folds_that_groups_leave_without_rows_are_refused(monkeypatch):
    monkeypatch.setattr(series, "fold_rows", lambda *_: [(None, [0]), (None, [1])])
    assert series.held_out_rows(None, None, 2, 0) == [[0], [1]]
    with pytest.raises(DataError, match="1 of 3 folds have no rows") as error:
        series.held_out_rows(None, None, 3, 0)
    assert error.value.hint == "take 2 folds or fewer"
