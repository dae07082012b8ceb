"""A run that can say "unknown": its threshold, files, reports, and what goes on with it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from presets import write_text_preset, write_texts

from tltool.cli.app import run as command
from tltool.finetuning.job import finetune
from tltool.recipe.recipe import Recipe
from tltool.report.summary import to_markdown
from tltool.runs.run import load_run
from tltool.support.words import percent


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("knowing")
    return Recipe.of(
        task="text-classification",
        name="knowing",
        data={"train": str(write_texts(folder / "texts.csv", 260)), "validation_fraction": 0.3},
        backbone=str(write_text_preset(folder / "bert")),
        schedule=[{"train": "all", "epochs": 2, "learning_rate": 0.01}],
        unknown={"method": "knn", "coverage": 0.9},
        export={"formats": []},
        output_dir=str(folder / "runs"),
    )


@pytest.fixture(scope="module")
def run(recipe):
    return finetune(recipe)


def test_the_threshold_accepts_the_stated_share_of_the_validation_rows(run):
    loaded = load_run(run.path)
    known = loaded.task.target.known
    validation = loaded.outputs(loaded.examples("validation"))
    share = loaded.task.target.accepted(validation).mean()
    assert 0.9 <= share < 0.95
    assert (known.rows, known.source) == (len(validation), "validation rows")
    assert known == run.task.target.known
    np.testing.assert_allclose(
        loaded.outputs(loaded.examples()), run.outputs(run.examples()), atol=1e-5
    )


def test_reports_tell_what_is_accepted_and_what_that_is_worth(run):
    test = run.metrics["test"]
    assert test["unknown"]["curve"][0]["accuracy"] == pytest.approx(test["accuracy"])
    card = (run.path / "README.md").read_text()
    for page in (card, to_markdown(run.summary)):
        assert "the best known 95" in page
        assert "of these rows are accepted" in page
    rows = list(csv.DictReader((run.path / "predictions.csv").read_text().splitlines()))
    accepted = [row["accepted"] == "True" for row in rows]
    assert np.mean(accepted) == pytest.approx(test["acceptance_rate"])


def test_evaluate_tells_it_too(run, capsys):
    assert command(["evaluate", str(run.path)]) == 0
    out = capsys.readouterr().out
    assert "\nknown and unknown\n" in out
    assert f"{percent(run.metrics['test']['acceptance_rate'])} of these rows are accepted" in out


def test_predict_shows_it(run, capsys):
    assert command(["predict", str(run.path), "a good film", "--format", "jsonl"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert isinstance(row["accepted"], bool)
    (prediction,) = load_run(run.path).predict(["a good film"])
    assert prediction.accepted == row["accepted"]
    assert prediction.unknown_score == pytest.approx(row["unknown_score"], abs=1e-4)


def test_without_the_score_a_run_is_what_was_trained(run):
    plain = run.without_score()
    examples = run.examples()
    np.testing.assert_allclose(
        plain.raw_outputs(examples), run.raw_outputs(examples)[:, :-1], atol=1e-5
    )
    assert plain.task.target == run.task.target.plain
    assert plain.task.spec.target is type(plain.task.target)
    assert run.best_model().output_shape == (None, 2)


@pytest.mark.slow
def test_few_validation_rows_leave_the_folds_of_the_training_rows(recipe):
    own = recipe.with_overrides(
        "name=folds", "data.validation_fraction=0.1", "unknown.method=mahalanobis"
    )
    known = finetune(own).task.target.known
    assert known.source == "training rows, each held out from its fold"


@pytest.mark.slow
def test_it_teaches_as_any_other(recipe, run):
    student = recipe.with_overrides("name=taught", f"teacher={run.path}", "unknown=null")
    assert finetune(student).metrics["test"]["n"] == run.metrics["test"]["n"]


@pytest.mark.slow
def test_a_head_without_a_dense_layer_is_told_of_before_training(recipe, monkeypatch):
    import keras

    from tltool.model import heads
    from tltool.support.errors import TrainingError

    def mean_of_two(features, task):
        first, second = (keras.layers.Dense(task.num_outputs)(features.pooled) for _ in range(2))
        return keras.layers.Average()([first, second])

    monkeypatch.setitem(heads.HEADS, "mean_of_two", mean_of_two)
    with pytest.raises(TrainingError, match="mean_of_two") as error:
        finetune(recipe.with_overrides("name=odd", "head=mean_of_two"))
    assert "energy" in error.value.hint
