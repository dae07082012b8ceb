"""What is told of data before training, and kept in its summary."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial

import pytest
from presets import write_text_preset
from tiny import write_images

from tltool.data.labels import save_task
from tltool.recipe.recipe import Recipe
from tltool.support.errors import DataError, HeadError
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task
from tltool.training import preparation
from tltool.training.inputs import example_data
from tltool.training.preparation import _data_notes, load_data, prepare


@pytest.mark.parametrize(("broken", "told"), [(1, "1 broken input"), (2, "2 broken inputs")])
def test_what_was_left_out_is_counted(broken, told):
    summary = {"rows": {"train": 3}, "skipped": ["x"] * broken, "warnings": []}
    assert _data_notes(summary, "") == ["3 train examples", f"{told} left out"]


def test_what_is_left_out_while_data_is_read_stands_in_the_summary(tmp_path, caplog):
    folder = write_images(tmp_path / "photos", per_class=12)
    shutil.copytree(folder / "red", folder / ".green")
    recipe = Recipe.of(
        task="image-classification",
        data={"train": str(folder)},
        backbone="efficientnet-lite0",
        schedule="feature_extraction",
    )
    _, summary = load_data(recipe)
    (told,) = [line for line in summary["warnings"] if "hidden names" in line]
    assert f"{folder / '.green'} (12 files)" in told
    assert caplog.text.count(told) == 1


def test_tagged_texts_can_all_be_trained_on(tmp_path):
    """None is left to validate."""
    row = {"tokens": ["good", "bad"], "tags": ["B-x", "O"]}
    (tmp_path / "tags.jsonl").write_text("\n".join([json.dumps(row)] * 20))
    recipe = Recipe.of(
        task="token-classification",
        data={"train": str(tmp_path / "tags.jsonl"), "validation_fraction": 0, "test_fraction": 0},
        backbone={"name": str(write_text_preset(tmp_path / "bert"))},
        schedule="feature_extraction",
    )
    prepared = prepare(recipe)
    counts = {split: example_data(recipe, prepared, split).num_examples
              for split in ("train", "validation")}  # fmt: skip
    assert counts == {"train": 20, "validation": 0}


@pytest.mark.parametrize(
    ("override", "field"),
    [
        ("training.class_weights={red: 2.0, nope: 1.0}", "training.class_weights.nope"),
        ("training.class_weights={grene: 2.0}", "training.class_weights.grene"),
    ],
)
def test_weights_of_classes_that_are_none_are_told_before_the_backbone_is_loaded(
    tmp_path, override, field
):
    recipe = Recipe.of(
        task="image-classification",
        data={"train": str(write_images(tmp_path / "photos", per_class=12))},
        backbone="keras.applications.NoneSuch",
        schedule="feature_extraction",
    )
    with pytest.raises(DataError, match=f"^{field}: there is no class") as error:
        prepare(recipe.with_overrides(override))
    assert error.value.hint
    assert error.value.exit_code == 2


def test_what_is_of_other_classes_is_told_before_the_backbone_is_loaded(tmp_path):
    head = tmp_path / "model.keras"
    other = Task(TASKS["image-classification"], ClassTarget(("here", "there")))
    save_task(other, tmp_path / "labels.json")
    recipe = Recipe.of(
        task="image-classification",
        data={"train": str(write_images(tmp_path / "photos", per_class=12))},
        backbone="keras.applications.NoneSuch",
        head={"weights_file": str(head)},
        schedule="feature_extraction",
    )
    with pytest.raises(HeadError, match="no file"):
        prepare(recipe)
    head.write_bytes(b"not read yet")
    with pytest.raises(HeadError, match="tells other labels apart than the data"):
        prepare(recipe)
    with pytest.raises(DataError, match="The teacher tells other classes apart"):
        prepare(recipe.with_overrides("head.weights_file=null"), teacher=other.target)


def test_a_network_of_tltools_own_is_built_without_keras_hub(tmp_path, monkeypatch):
    """Importing it takes a second."""
    monkeypatch.setattr(preparation, "assemble", partial(preparation.assemble, weights="random"))
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    photos = write_images(tmp_path / "photos", per_class=4)
    recipe = Recipe.of(
        task="image-classification", backbone="efficientnet-lite0", data={"train": str(photos)}
    )
    assert prepare(recipe).backbone.name == "efficientnet-lite0"
