from __future__ import annotations

import csv
import json

import keras
import numpy as np
import presets
import pytest
import tensorflow as tf
import tiny

import tltool
from tltool.model.freezing import plan_phases
from tltool.model.joining import join
from tltool.recipe.recipe import Recipe
from tltool.recipe.schema import HeadSection, Last, PhaseSection, TrainingSection
from tltool.search.lr_finder import range_test
from tltool.support.errors import PlanError, RecipeError, TrainingError
from tltool.support.progress import Progress
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task
from tltool.training.data import BatchedData
from tltool.training.trainer import train

TASK = Task(TASKS["image-classification"], ClassTarget(("a", "b")))


def image_data(rows=64, batch_size=8):
    """Images of two classes; every eighth label is wrong, so that being too sure is costly."""
    rng = np.random.default_rng(0)
    classes = np.arange(rows) % 2
    images = rng.normal(classes[:, None, None, None], 1, (rows, 32, 32, 3)).astype("float32")
    classes = np.where(np.arange(rows) % 8 == 3, 1 - classes, classes)
    dataset = tf.data.Dataset.from_tensor_slices((images, np.eye(2, dtype="float32")[classes]))
    return BatchedData(dataset.batch(batch_size), rows)


def model_and_plans(dropout=0.1, **phase):
    keras.utils.set_random_seed(0)
    transfer = join(tiny.tiny_image_backbone(), HeadSection(dropout=dropout), TASK)
    plans = plan_phases((PhaseSection(**phase),), transfer.groups, "image")
    return transfer, plans


def find(transfer, plans, training, **options):
    return range_test(
        transfer, plans, plans[0], TASK, training, image_data(),
        strategy=tf.distribute.get_strategy(), **options,
    )  # fmt: skip


def last_loss(rate, training, folder, **phase):
    """Training loss after training at a constant rate; infinite where it diverges."""
    transfer, plans = model_and_plans(learning_rate=rate, curve="constant", epochs=4, **phase)
    try:
        result = train(
            transfer, plans, TASK, training, image_data(), None,
            strategy=tf.distribute.get_strategy(), checkpoint=folder / "best.safetensors",
            progress=Progress(),
        )  # fmt: skip
    except tltool.TltoolError:
        return np.inf, np.inf
    return result.history[0]["loss"], result.history[-1]["loss"]


@pytest.mark.parametrize(
    ("optimizer", "train_what"), [("sgd", "head"), ("adamw", Last(last=1)), ("adamw", "all")]
)
def test_the_suggested_rate_trains_well_and_a_hundred_times_it_is_worse(
    optimizer, train_what, tmp_path
):
    training = TrainingSection(optimizer=optimizer, batch_size=8)
    transfer, plans = model_and_plans(train=train_what)
    found = find(transfer, plans, training)
    first, last = last_loss(found.suggestion, training, tmp_path, train=train_what)
    assert last < 0.8 * found.losses[0]
    assert last <= first
    _, too_fast = last_loss(min(10.0, 100 * found.suggestion), training, tmp_path, train=train_what)
    assert too_fast > 1.5 * last


def test_every_weight_is_as_before_bit_by_bit():
    transfer, plans = model_and_plans(train="all", batch_norm="train")
    before = {v.path: v.numpy() for v in transfer.model.variables}
    found = find(transfer, plans, TrainingSection(batch_size=8))
    assert min(found.losses) < found.losses[0], "the test means to have moved the weights"
    for variable in transfer.model.variables:
        np.testing.assert_array_equal(variable.numpy(), before[variable.path])


def test_the_rates_rise_by_a_constant_factor_and_the_test_ends_where_it_diverges():
    training = TrainingSection(optimizer="sgd", batch_size=8, gradient_clip_norm=None)
    transfer, plans = model_and_plans(train="all")
    found = find(transfer, plans, training, steps=60, first_rate=1e-5, last_rate=1e3)
    assert found.diverged
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 60
    factors = np.array(found.rates[1:]) / found.rates[:-1]
    np.testing.assert_allclose(factors, (1e3 / 1e-5) ** (1 / 59))
    assert found.rates[0] == pytest.approx(1e-5)
    assert found.suggestion == pytest.approx(found.lowest / 10)
    assert found.steepest <= found.lowest


def test_each_step_has_the_loss_of_its_own_batch():
    """At rates that change nothing, the losses are those of the batches, again and again."""
    transfer, plans = model_and_plans(dropout=0.0, train="head")
    found = find(transfer, plans, TrainingSection(batch_size=8), steps=16, first_rate=1e-12,
                   last_rate=1e-11)  # fmt: skip
    np.testing.assert_allclose(found.losses[:8], found.losses[8:], rtol=1e-5)
    assert np.std(found.losses[:8]) > 1e-3
    assert found.suggestion is None, "nothing was learnt"


def test_a_loss_that_is_no_number_from_the_first_step_on_is_an_error():
    dataset = tf.data.Dataset.from_tensors((np.full((8, 32, 32, 3), np.nan), np.eye(2)[[0, 1] * 4]))
    transfer, plans = model_and_plans(train="head")
    with pytest.raises(TrainingError, match="not a number at the first step"):
        range_test(transfer, plans, plans[0], TASK, TrainingSection(), BatchedData(dataset, 8),
                   strategy=tf.distribute.get_strategy())  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("lr")
    presets.write_image_preset(root / "resnet")
    tiny.write_images(root / "images", per_class=40)
    return root


@pytest.fixture
def recipe(place, tmp_path, monkeypatch):
    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path / "cache"))
    return Recipe.of(
        task="image-classification",
        backbone=str(place / "resnet"),
        data={"train": str(place / "images")},
        schedule=[
            {"train": "head", "epochs": 8, "learning_rate": 0.02},
            {"train": "all", "learning_rate": 0.001},
        ],
        cache={"use": "always"},
        training={"batch_size": 16},
        output_dir=str(tmp_path / "runs"),
    )


def test_a_later_phase_is_tested_where_the_earlier_ones_end(recipe, tmp_path):
    first = tltool.lr_find(recipe, steps=30)
    second = tltool.lr_find(recipe, phase=2, steps=30)
    assert (first.phase, first.title, second.title) == (1, "head", "all")
    assert np.mean(second.losses[:5]) < 0.9 * np.mean(first.losses[:5])
    assert not (tmp_path / "runs").exists()


def test_earlier_phases_end_with_an_epoch_and_no_mean_of_several(recipe):
    own = recipe.with_overrides("data.validation_fraction=0", "schedule.0.epochs=3")
    plain = tltool.lr_find(own, phase=2, steps=10)
    mean = tltool.lr_find(
        own.with_overrides("training.average_epochs={last: 3}"), phase=2, steps=10
    )
    assert mean.losses == plain.losses


def test_after_a_solved_head_the_rate_is_one_that_leaves_it_where_it_is(recipe, tmp_path):
    """What the solved head has not learnt is noise: the lowest loss is that of a lucky batch."""
    rng = np.random.default_rng(0)
    images = [
        rng.integers(0, 90, (40, 48, 3), dtype=np.uint8) + np.uint8(rng.integers(0, 120))
        for _ in range(120)
    ]
    data = images, [float(image.mean() + 3 * rng.normal()) for image in images]
    values = recipe.with_overrides("schedule.0.solver=exact", "schedule.1.epochs=2").to_values()
    solved = Recipe.of(**values | {"task": "image-regression", "head": {"dropout": 0.0}})
    found = tltool.lr_find(solved, data=data, phase=2, steps=60)
    alone = solved.with_overrides("schedule.1.learning_rate=1e-9", "evaluation.baseline=false",
                                  "export.formats=[]")  # fmt: skip
    run = tltool.finetune(alone, data=data)
    rows = list(csv.DictReader(run.folder.history.read_text().splitlines()))
    assert np.mean(found.losses[:7]) == pytest.approx(float(rows[0]["loss"]), rel=0.3)
    assert found.lowest is None
    assert found.suggestion == pytest.approx(found.rises / 10)
    assert found.rises > 1e-5
    gentle = alone.with_overrides(f"schedule.1.learning_rate={found.suggestion}")
    trained = tltool.finetune(gentle, data=data)
    after = list(csv.DictReader(trained.folder.history.read_text().splitlines()))
    assert float(after[1]["loss"]) < 2 * float(after[0]["loss"])


def test_a_head_is_tested_on_stored_features_and_learns_as_without_them(recipe):
    class Notes(Progress):
        lines: list[str] = []  # noqa: RUF012

        def note(self, text):
            self.lines.append(text)

    stored = tltool.lr_find(recipe, steps=30, progress=Notes())
    assert any("computed" in line and "rows" in line for line in Notes.lines)
    anew = tltool.lr_find(recipe.with_overrides("cache.use=never"), steps=30)
    np.testing.assert_allclose(stored.losses[:20], anew.losses[:20], rtol=1e-3)


def test_a_phase_or_rates_that_are_not_there_are_refused(recipe):
    with pytest.raises(PlanError, match="There is no phase 3: the schedule has 2"):
        tltool.lr_find(recipe, phase=3)
    with pytest.raises(PlanError, match=r"Phase 1 \(head\) is solved exactly"):
        tltool.lr_find(recipe.with_overrides("schedule.0.solver=exact"))
    for first, last in ((1.0, 0.1), (0.0, 1.0), (1e-7, 1000.0)):
        with pytest.raises(PlanError, match="0 < first_rate < last_rate <= 10 is needed"):
            tltool.lr_find(recipe, first_rate=first, last_rate=last)
    with pytest.raises(PlanError, match="at least 10 steps"):
        tltool.lr_find(recipe, steps=1)


def test_a_recipe_that_would_train_something_else_is_refused(recipe):
    with pytest.raises(RecipeError, match=r"head\.search: a run puts"):
        tltool.lr_find(recipe.with_overrides("head.search=true", "schedule=feature_extraction"))
    with pytest.raises(RecipeError, match="schedule: few_examples chooses"):
        tltool.lr_find(recipe.with_overrides("schedule=few_examples"))


def test_the_command_prints_the_suggestion_and_writes_the_curve_where_it_is_told_to(
    recipe, tmp_path, monkeypatch
):
    from command import cli, succeed

    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    done = succeed("lr-find", tmp_path / "recipe.yaml", "--steps", 40)
    assert "suggestion: schedule.0.learning_rate=" in done.out
    assert "a tenth of the rate of the lowest loss" in done.out
    assert not list((tmp_path / "here").iterdir())
    folder = tmp_path / "new" / "rates"
    values = succeed(
        "lr-find", tmp_path / "recipe.yaml", "--steps", 40, "--output", folder, "--json"
    ).json()
    assert {file.name for file in folder.iterdir()} == {"lr_find.png", "lr_find.csv"}
    assert (folder / "lr_find.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((folder / "lr_find.csv").read_text().splitlines()))
    assert [float(row["loss"]) for row in rows] == values["losses"]
    assert values["suggestion"] == pytest.approx(values["lowest"] / 10)
    json.dumps(values, allow_nan=False)
    wrong = cli("lr-find", tmp_path / "recipe.yaml", "--from", 1, "--to", 0.1)
    assert wrong.code == 2
    assert "--from and --to: 0 < --from < --to <= 10 is needed. Received: 1 and 0.1." in wrong.err
    assert "hint: 1e-07 and 10 are usual" in wrong.err
    for name in ("rates.png", str(tmp_path / "recipe.yaml")):
        wrong = cli("lr-find", tmp_path / "recipe.yaml", "--output", name)
        assert wrong.code == 2
        assert "is a file" in wrong.err or "name a folder, such as rates" in wrong.err
