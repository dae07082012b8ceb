"""Runs of several models that answer as one: what is shipped, what is told, and how they go on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from presets import write_image_preset, write_text_preset, write_texts
from same_runs import assert_equal, history
from tiny import write_images

from tltool.finetuning.job import finetune, resume
from tltool.recipe.recipe import Recipe
from tltool.report.summary import to_markdown
from tltool.runs.run import load_run
from tltool.support.errors import RunError
from tltool.support.progress import Progress
from tltool.training.ensemble import member_recipe, rebuilt


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensembles")
    return Recipe.of(
        task="text-classification",
        name="whole",
        data={"train": str(write_texts(folder / "texts.csv", 60)), "validation_fraction": 0.2},
        backbone={"name": str(write_text_preset(folder / "bert")), "dropout": 0.1},
        schedule=[{"train": {"last": 2}, "epochs": 2, "learning_rate": 0.01}],
        training={"batch_size": 16, "seed": 5},
        ensemble={"seeds": 2},
        evaluation={"baseline": False},
        export={"formats": []},
        output_dir=str(folder / "runs"),
    )


@pytest.fixture(scope="module")
def whole(recipe):
    return finetune(recipe)


@pytest.fixture(scope="module")
def second(recipe):
    """A run of one model that has the second member's seed."""
    return finetune(recipe.with_overrides("ensemble.seeds=1", "training.seed=6", "name=second"))


def models_of(run):
    """Each member by itself, from the weights that the run keeps."""
    files = run.folder.kept_weights()
    return [
        rebuilt(member_recipe(run.recipe, number), run.task, run.preprocessing, [file])
        for number, file in enumerate(files, start=1)
    ]


def outputs(run, model, examples):
    from tltool.evaluation.inference import Forward

    return np.asarray(run.task.outputs(Forward(model, run.preprocessing)(examples)))


def test_a_run_answers_with_the_mean_of_trainings_of_their_own_seeds(whole, second):
    members, test = models_of(whole), whole.examples("test")
    for value, one in zip(members[1].get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, one)
    each = [outputs(whole, model, test) for model in members]
    assert np.abs(each[0] - each[1]).max() > 1e-3, "the members are meant to differ"
    np.testing.assert_allclose(whole.outputs(test), np.mean(each, axis=0), atol=1e-6)
    rows = history(whole)
    assert [row["member"] for row in rows] == ["1", "1", "2", "2"]
    assert [row["total_epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert [row["val_loss"] for row in rows[2:]] == [row["val_loss"] for row in history(second)]
    loaded = load_run(whole.path)
    assert loaded.evaluate().metrics["log_loss"] == pytest.approx(
        whole.metrics["test"]["log_loss"], rel=1e-5
    )
    # And again from the weights alone, as a run does whose process died before it was saved.
    np.testing.assert_allclose(
        outputs(whole, loaded.best_model(), test), whole.outputs(test), atol=1e-6
    )


def test_what_it_is_and_what_it_costs_is_told(whole):
    told, card = to_markdown(whole.summary), (whole.path / "README.md").read_text()
    for text in (told, card):
        assert "the mean of 2 models, trained with the seeds 5 to 6" in text
        assert "times the computing of one model" in text
    assert "for 2 epochs" in told
    assert json.loads((whole.path / "run.json").read_text())["best"] == {"members": 2, "seed": 5}
    kept = sorted(path.name for path in (whole.path / "checkpoints").iterdir())
    assert kept == ["best-2.safetensors", "best.safetensors", "members.json"]


class EndedError(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [2, 3])
def test_a_run_that_ends_in_any_member_goes_on_bit_for_bit(epoch, recipe, whole):
    epochs = 0

    def end(folder, row):
        nonlocal epochs
        epochs += 1
        if epochs == epoch:
            raise EndedError

    own = recipe.with_overrides(f"name=ended-{epoch}")
    with pytest.raises(EndedError):
        finetune(own, after_epoch=end)
    assert_equal(finetune(own, resume=True), whole)


@pytest.mark.slow
def test_an_interrupted_member_is_no_part_of_the_model_and_goes_on(recipe, whole):
    class PressCtrlC(Progress):
        second = False

        def stage(self, title):
            self.second = self.second or "Model 2" in title

        def step(self, epoch, step, examples, values):
            if self.second:
                raise KeyboardInterrupt

    run = finetune(recipe.with_overrides("name=interrupted"), progress=PressCtrlC())
    assert run.status == "interrupted"
    first, loaded = models_of(whole)[0], load_run(run.path)
    for value, one in zip(loaded.model.get_weights(), first.get_weights(), strict=True):
        np.testing.assert_array_equal(value, one)
    assert_equal(resume(run.path), whole)


def test_what_members_found_must_be_whole(whole):
    file = whole.folder.members
    before = file.read_text()
    try:
        file.write_text("{")
        with pytest.raises(RunError, match="damaged"):
            whole.folder.kept_weights()
    finally:
        file.write_text(before)


@pytest.mark.slow
def test_heads_on_one_backbone_over_flipped_pictures_are_exported_as_one(tmp_path):
    notes = []

    class Noted(Progress):
        def note(self, text):
            notes.append(text)

    run = finetune(
        Recipe.of(
            task="image-classification",
            data={
                "train": str(write_images(tmp_path / "pictures", per_class=16)),
                "validation_fraction": 0.2,
                "test_fraction": 0.3,
            },
            backbone=str(write_image_preset(tmp_path / "cnn")),
            schedule=[{"train": "head", "epochs": 1, "learning_rate": 0.01}],
            ensemble={"seeds": 3, "test_time_augmentation": ["horizontal_flip"]},
            evaluation={"baseline": False},
            export={"formats": ["saved_model", "litert"]},
            output_dir=str(tmp_path / "runs"),
        ),
        progress=Noted(),
    )
    heads = [layer for layer in run.model.layers if layer.name.endswith("head_output")]
    assert len(heads) == 3
    (one, *_) = models_of(run)
    assert run.model.count_params() == one.count_params() + 2 * heads[0].count_params()
    told = " ".join(notes)
    assert told.count("read from disk") >= 2, "the second model is meant to find the first one's"
    assert all(artifact.passed for artifact in run.summary.artifacts)
    assert len(run.summary.artifacts) == 2
    (note,) = run.summary.training_notes
    assert "3 models" in note
    assert "2 views of each picture (as it is, horizontal flip)" in note
    assert "and 2 times the computing" in note
