"""A run whose confidences are calibrated: what its model, metrics, card and exports say."""

from __future__ import annotations

import numpy as np
import pytest
from presets import write_text_preset, write_texts

from tltool.evaluation.inference import raw_outputs
from tltool.export.artifact import load_artifact
from tltool.finetuning.job import finetune
from tltool.recipe.recipe import Recipe
from tltool.report.summary import to_markdown
from tltool.runs.run import load_run
from tltool.support.errors import RecipeError

# The arithmetic of some processors differs by batch size, and a small temperature shows it.
GATE = {"max_difference": {"float32": 0.01}, "max_logit_difference": {"float32": 0.05}}
TRAINED = "schedule=[{train: all, epochs: 2, learning_rate: 0.01}]"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calibrated")
    return Recipe.of(
        task="text-classification",
        name="calibrated",
        data={"train": str(write_texts(folder / "texts.csv", 260)), "validation_fraction": 0.3},
        backbone=str(write_text_preset(folder / "bert")),
        schedule=[{"train": "head", "solver": "exact"}],
        # Targets that make a model less sure than it is right.
        training={"label_smoothing": 0.5, "keep": "last"},
        evaluation={"baseline": False},
        export={"formats": ["keras"], "gate": GATE},
        output_dir=str(folder / "runs"),
    )


@pytest.fixture(scope="module")
def run(recipe):
    return finetune(recipe)


def test_a_run_is_calibrated_on_its_validation_rows(run):
    found = run.metrics["calibration"]
    assert found["kept"]
    assert found["temperature"] < 0.9
    assert found["rows"] == run.metrics["validation"]["n"]
    assert found["loss_after"] < found["loss_before"]
    assert found["error_after"] == pytest.approx(run.metrics["test"]["calibration_error"], rel=1e-4)
    assert run.folder.manifest()["calibration"]["temperature"] == found["temperature"]


def test_no_answer_changes_and_the_kept_model_has_the_temperature(run):
    loaded, plain = load_run(run.path), run.best_model()
    examples = loaded.examples()
    raw = raw_outputs(plain, examples, run.preprocessing)
    temperature = run.metrics["calibration"]["temperature"]
    np.testing.assert_allclose(
        loaded.raw_outputs(examples), raw / temperature, rtol=1e-2, atol=1e-2
    )
    truth = run.task.target.truth(examples.targets)
    accuracy = (raw.argmax(axis=1) == truth).mean()
    assert run.metrics["test"]["accuracy"] == pytest.approx(accuracy)
    before = run.task.target.calibration_error(np.asarray(run.task.outputs(raw)), truth)
    assert run.metrics["calibration"]["error_before"] == pytest.approx(before, abs=0.02)


def test_exports_say_the_same_confidences(run):
    artifact = load_artifact(run.path / "exports" / "keras")
    examples = run.examples().take(range(8))
    np.testing.assert_allclose(artifact.predict(examples.inputs), run.outputs(examples), atol=2e-2)


def test_card_and_summary_tell_of_it(run):
    words = f"temperature {run.metrics['calibration']['temperature']:.3g}"
    assert words in to_markdown(run.summary)
    card = (run.path / "README.md").read_text()
    assert words in card
    assert "without it" in card


def test_numbers_have_no_confidences_to_calibrate():
    with pytest.raises(RecipeError, match=r"training\.calibrate"):
        Recipe.of(task="text-regression", backbone="all-minilm-l6-v2", training={"calibrate": True})


@pytest.mark.slow
def test_a_refit_takes_the_temperature_of_the_first_training(recipe):
    own = recipe.with_overrides("name=refit", "training.refit=true", "training.keep=best")
    run = finetune(own.with_overrides(TRAINED, "export.formats=[]", "training.calibrate=true"))
    found = run.metrics["calibration"]
    assert found["kept"]
    assert found["rows"] == run.metrics["validation"]["n"]
    again = load_run(run.path).evaluate().metrics
    assert again["log_loss"] == pytest.approx(run.metrics["test"]["log_loss"], rel=1e-3)


@pytest.mark.slow
def test_few_validation_rows_leave_a_linear_model_its_folds(recipe):
    own = recipe.with_overrides(
        "name=linear",
        "data.validation_fraction=0.1",
        "training.keep=best",
        "evaluation.baseline=true",
        "export.formats=[]",
        "training.calibrate=true",
    )
    run = finetune(own)
    kept = run.folder.manifest()["kept"]
    found = run.metrics["calibration"]
    source = "training rows" if kept["linear"] else "validation rows"
    assert found["source"].startswith(source)
    if kept["linear"]:
        assert found["rows"] > run.metrics["validation"]["n"]


@pytest.mark.slow
def test_an_ensemble_has_one_temperature_after_its_mean(recipe):
    run = finetune(
        recipe.with_overrides(
            "name=mean", "training.keep=best", "export.formats=[]",
            "ensemble.seeds=2", "training.calibrate=true",
            TRAINED,
        )
    )  # fmt: skip
    assert run.model.layers[-1].name == "temperature"
    assert run.metrics["calibration"]["kept"]
