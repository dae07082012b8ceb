"""The Python API on a tiny preset: data from Python objects, evaluation, prediction, export."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tiny
from presets import write_image_preset, write_text_preset

import tltool
from tltool.data.texts.tokenizers.wordpiece import WordPieceTokenizer
from tltool.support.errors import RecipeError, RunError, TltoolError
from tltool.support.processes import mark
from tltool.support.progress import Progress
from tltool.training.preparation import prepare


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    root = tmp_path_factory.mktemp("presets")
    return {"text": write_text_preset(root / "bert"), "image": write_image_preset(root / "resnet")}


def recipe(kind, presets, folder, **sections) -> tltool.Recipe:
    values = {
        "task": f"{kind}-classification",
        "backbone": str(presets[kind]),
        "output_dir": str(folder),
        "data": {"validation_fraction": 0.2, "test_fraction": 0.2},
        "schedule": [{"train": "all", "epochs": 6, "learning_rate": 0.005, "curve": "constant"}],
        "training": {"batch_size": 8},
        "evaluation": {"baseline": False},
        "export": {"formats": []},
        **sections,
    }
    return tltool.Recipe.of(**values)


def as_dataset(texts, labels):
    return tf.data.Dataset.from_tensor_slices((texts, labels))


def as_frame(texts, labels):
    return pd.DataFrame({"text": texts, "label": labels})


@pytest.fixture(scope="module")
def text_run(presets, tmp_path_factory):
    return tltool.finetune(
        recipe("text", presets, tmp_path_factory.mktemp("runs")), data=tiny.texts(120)
    )


@pytest.mark.parametrize("form", [as_frame, as_dataset, lambda *pair: {"train": pair}])
def test_the_form_of_the_data_changes_nothing_that_is_trained_on(form, presets, tmp_path):
    settings = recipe("text", presets, tmp_path)
    found, plain = (
        prepare(settings, data=data).examples for data in (form(*tiny.texts(120)), tiny.texts(120))
    )
    assert list(found.inputs) == list(plain.inputs)
    assert list(found.targets) == list(plain.targets)
    assert list(found.splits) == list(plain.splits)


def test_a_run_learns_evaluates_and_predicts(text_run):
    assert text_run.status == "finished"
    assert text_run.summary.value > 0.8
    texts, labels = tiny.texts(60, seed=1)
    evaluation = text_run.evaluate((texts, labels))
    predictions = text_run.predict(texts)
    share = np.mean([p.value == label for p, label in zip(predictions, labels, strict=True)])
    assert evaluation.metrics["accuracy"] == pytest.approx(share)
    assert share > 0.8
    assert predictions[0].confidence == max(predictions[0].probabilities.values())
    assert text_run.predict([]) == []


def test_a_loaded_run_predicts_the_same(text_run):
    texts, _ = tiny.texts(8, seed=1)
    loaded = tltool.load_run(text_run.path)
    assert loaded.recipe == text_run.recipe
    assert loaded.preprocessing == text_run.preprocessing
    for ours, theirs in zip(loaded.predict(texts), text_run.predict(texts), strict=True):
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-6)


def test_the_length_of_the_training_texts_is_the_runs_contract(text_run):
    """The preset takes 16 tokens; 99 % of these texts have 12 at most."""
    loaded = tltool.load_run(text_run.path)
    assert loaded.preprocessing.max_length == text_run.preprocessing.max_length == 12
    assert loaded.recipe.backbone.max_length is None
    found = json.loads(text_run.folder.data_summary.read_text())["text_length"]
    assert (found["max_length"], found["longer"]["train"]) == (12, 0)
    long = "good film " * 40
    for ours, cut in zip(loaded.predict([long]), loaded.predict(["good film " * 5]), strict=True):
        assert ours.probabilities == cut.probabilities


def test_cut_texts_are_counted_and_told(presets, tmp_path):
    noted = []

    class Notes(Progress):
        def note(self, text):
            noted.append(text)

    settings = {"backbone": {"name": str(presets["text"]), "max_length": 6}}
    changed = recipe("text", presets, tmp_path, **settings)
    run = tltool.finetune(changed, data=tiny.texts(120), progress=Notes())
    assert run.preprocessing.max_length == 6
    (told,) = [note for note in noted if note.startswith("texts are cut at 6 tokens")]
    longer = json.loads(run.folder.data_summary.read_text())["text_length"]["longer"]
    assert sum(longer.values()) > 0
    for split, name in (("train", "training"), ("validation", "validation"), ("test", "test")):
        assert f"{longer[split]} of {len(split_of(run, split))} {name}" in told
    card = run.folder.card.read_text(encoding="utf-8")
    assert told[1:] in card
    assert "the first 6 tokens" in card


def split_of(run, split):
    counts = json.loads(run.folder.data_summary.read_text())["counts"][split]
    return range(sum(counts.values()))


def test_texts_are_tokenized_once(presets, tmp_path, monkeypatch):
    tokenized = []
    whole = WordPieceTokenizer.tokenize

    def counted(self, texts):
        tokenized.append(len(texts))
        return whole(self, texts)

    monkeypatch.setattr(WordPieceTokenizer, "tokenize", counted)
    settings = recipe("text", presets, tmp_path, evaluation={"baseline": False, "explain": False})
    tltool.finetune(settings, data=tiny.texts(120))
    assert tokenized == [120]


def test_a_budget_of_tokens_trains_with_as_many_steps_in_every_epoch(presets, tmp_path):
    steps = []

    class Steps(Progress):
        def step(self, epoch, step, examples, values):
            steps.append((epoch, step))

    budget = {"training": {"tokens_per_batch": 64}}
    run = tltool.finetune(
        recipe("text", presets, tmp_path, **budget), data=tiny.texts(120), progress=Steps()
    )
    last = dict(steps)
    assert len(last) == 6
    assert len(set(last.values())) == 1
    assert last[1] > 120 * 0.6 * 6 / 64
    assert run.summary.value > 0.8


def test_a_budget_smaller_than_the_longest_text_is_refused(presets, tmp_path):
    budget = {"training": {"tokens_per_batch": 8}}
    with pytest.raises(RecipeError, match=r"tokens_per_batch: 8 .* 12 ") as error:
        tltool.finetune(recipe("text", presets, tmp_path, **budget), data=tiny.texts(120))
    assert "12 or more" in str(error.value.hint)


def test_an_export_gives_what_the_run_gives(text_run):
    texts, labels = tiny.texts(16, seed=1)
    artifact = tltool.load_artifact(text_run.export("litert", data=(texts, labels)))
    ours = np.array([list(p.probabilities.values()) for p in text_run.predict(texts)])
    np.testing.assert_allclose(artifact.predict(texts), ours, atol=1e-4)


def test_data_given_from_python_cannot_be_read_again(text_run):
    with pytest.raises(RunError, match="given from Python") as error:
        tltool.load_run(text_run.path).evaluate()
    assert "--data" in str(error.value.hint)


def test_a_changed_model_file_is_refused(presets, tmp_path):
    run = tltool.finetune(recipe("text", presets, tmp_path), data=tiny.texts(60))
    with run.folder.model.open("ab") as file:
        file.write(b"x")
    with pytest.raises(RunError, match=r"model\.keras has changed"):
        _ = tltool.load_run(run.path).model


def died(run, folder) -> Path:
    """A copy of a run as it would be if its process had been killed before the model was saved."""
    path = shutil.copytree(run.path, folder / "1")
    (path / "model.keras").unlink()
    manifest = json.loads((path / "run.json").read_text())
    del manifest["files"]["model.keras"]
    start = f"{os.getpid()}-0-{mark().rpartition('-')[2]}"
    (path / "run.json").write_text(
        json.dumps({**manifest, "status": "running", "process": start, "files": {}})
    )
    return path


def test_a_run_that_died_is_used_with_the_weights_it_kept_and_says_so(text_run, tmp_path):
    class Notes(Progress):
        lines: ClassVar[list[str]] = []

        def note(self, text):
            self.lines.append(text)

    run = tltool.load_run(died(text_run, tmp_path), progress=Notes())
    assert run.status == "died"
    texts, _ = tiny.texts(20, seed=1)
    with keras.name_scope("names_that_keras_gives_are_taken"):
        keras.layers.Dense(1)(keras.Input((1,)))
    for ours, theirs in zip(run.predict(texts), text_run.predict(texts), strict=True):
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-6)
    best = text_run.folder.manifest()["best"]
    assert f"epoch {best['epoch']} of phase 1 (all)" in Notes.lines[-1]
    exported = run.export("keras", data=tiny.texts(20, seed=1))
    assert exported.is_file()


@pytest.mark.parametrize("damage", [b"", b"\x08" + bytes(7) + b"{}      "])
def test_damaged_weights_of_a_run_that_died_are_an_error(damage, text_run, tmp_path):
    path = died(text_run, tmp_path)
    (path / "checkpoints" / "best.safetensors").write_bytes(damage)
    with pytest.raises(RunError, match=r"best\.safetensors"):
        tltool.load_run(path).model  # noqa: B018


def test_images_as_arrays(presets, tmp_path):
    rng = np.random.default_rng(0)
    labels = ["dark", "light"] * 30
    images = np.stack(
        [rng.integers(0, 90, (40, 40, 3)) + (150 if label == "light" else 0) for label in labels]
    ).astype(np.uint8)
    run = tltool.finetune(recipe("image", presets, tmp_path), data=(images, labels))
    assert [p.value for p in run.predict(list(images[:2]))] == ["dark", "light"]


def test_regression_predicts_in_the_units_of_the_target(presets, tmp_path):
    texts, labels = tiny.texts(120)
    numbers = [1000.0 + 50.0 * (label == "positive") for label in labels]
    values = {"task": "text-regression"}
    run = tltool.finetune(recipe("text", presets, tmp_path, **values), data=(texts, numbers))
    predicted = [p.value for p in run.predict(texts)]
    assert all(isinstance(value, float) for value in predicted)
    assert np.mean(np.abs(np.array(predicted) - numbers)) < 15
    assert run.summary.evaluation.metrics["mae"] < 20


def test_faults_are_found_before_anything_is_written(presets, tmp_path):
    for broken in ((["a", "b"], ["x"]), (["a"] * 4, ["x"] * 4), {"test": (["a"], ["b"])}):
        with pytest.raises(TltoolError):
            tltool.finetune(recipe("text", presets, tmp_path / "runs"), data=broken)
    with pytest.raises(RecipeError, match=r"data\.train is missing"):
        tltool.finetune(recipe("text", presets, tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


def test_the_package_offers_its_api_and_nothing_else():
    assert set(tltool.__all__) <= set(dir(tltool))
    for name in tltool.__all__:
        assert getattr(tltool, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tltool.nonsense
