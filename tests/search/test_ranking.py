from __future__ import annotations

import json
from dataclasses import replace

import keras
import numpy as np
import presets
import pytest
import tiny
from shallow_bert import write_first_blocks
from spreads import Pickled

import tltool
from tltool.evaluation.probe import probe
from tltool.features.store import FeatureStore
from tltool.recipe.recipe import Recipe
from tltool.search.ranking import _spread_batches
from tltool.support.errors import BackboneError, EvaluationError
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.table import TASKS, Task


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("rank")
    presets.write_text_preset(root / "bert")
    presets.write_image_preset(root / "resnet")
    presets.write_texts(root / "texts.csv", count=60)
    tiny.write_images(root / "images", per_class=12)
    return root


@pytest.fixture
def recipe(place):
    return Recipe.of(
        task="text-classification",
        backbone=str(place / "bert"),
        data={"train": str(place / "texts.csv"), "test_fraction": 0.2},
    )


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / "features")


def test_a_broken_backbone_is_reported_and_the_others_are_ranked(place, recipe, store):
    names = [str(place / "resnet"), str(place / "bert"), f"untrained:{place / 'bert'}", "berd"]
    results = tltool.rank(recipe, names, store=store)
    assert {r.backbone for r in results[:2]} == set(names[1:3])
    assert results[0].score >= results[1].score
    assert [r.backbone for r in results[2:]] == [names[0], "berd"]
    assert "takes image" in results[2].error
    assert "no backbone named 'berd'" in results[3].error
    one, other = results[:2]
    assert one.parameters == other.parameters > 1000
    assert one.size_mb == pytest.approx(4 * one.parameters / 1e6)
    assert one.channels == 32
    assert all(r.examples_per_second > 0 and r.std >= 0 for r in results[:2])


def test_timed_batches_come_from_all_over_an_order_and_hold_neighbours():
    rows = _spread_batches(range(1000))
    assert len(rows) == 4 * 32
    for quarter in range(4):
        batch = rows[quarter * 32 : quarter * 32 + 32]
        assert batch == list(range(batch[0], batch[0] + 32))
        assert 250 * quarter < batch[0] < 250 * quarter + 218
    assert sorted(_spread_batches(range(10))) == list(range(10))


def test_where_none_can_be_used_that_is_an_error(recipe):
    with pytest.raises(BackboneError, match="None of the backbones") as error:
        tltool.rank(recipe, ["berd", "bart"])
    assert "berd" in error.value.message
    assert "bart" in error.value.message


def test_equal_calls_give_equal_scores_in_any_order_stored_or_not(place, recipe, store):
    names = [str(place / "bert"), f"untrained:{place / 'bert'}"]
    first = tltool.rank(recipe, names, store=store)
    assert len(store.entries()) == 2
    assert {entry.about["backbone"] for entry in store.entries()} == set(names)
    again = tltool.rank(recipe, names[::-1], store=store)
    never = tltool.rank(recipe.with_overrides("cache.use=never"), names, store=store)
    for other in (again, never):
        assert [r.backbone for r in other] == [r.backbone for r in first]
        for old, new in zip(first, other, strict=True):
            assert new.score == pytest.approx(old.score, abs=1e-6)
            assert new.logme == pytest.approx(old.logme, abs=1e-4)
    assert first[0].logme != first[1].logme


def test_backbones_that_others_work_on_are_ranked_the_same(place, recipe, store, tmp_path):
    spread, other = Pickled(), FeatureStore(tmp_path / "other")
    here = tltool.rank(recipe, [str(place / "bert"), "berd"], store=store)
    there = tltool.rank(recipe, [str(place / "bert"), "berd"], store=other, spread=spread)
    assert [replace(r, examples_per_second=None) for r in here] == [
        replace(r, examples_per_second=None) for r in there
    ]
    (one,), (same,) = store.entries(), other.entries()
    assert one.file(0).read_bytes() == same.file(0).read_bytes()
    assert spread.calls == 3


def test_the_test_rows_are_not_touched(place, recipe, store):
    texts, labels = tiny.texts(60)
    data = {"train": (texts[:40], labels[:40]), "validation": (texts[40:50], labels[40:50])}
    data["test"] = (texts[50:], labels[50:])
    (right,) = tltool.rank(recipe, [str(place / "bert")], data=data, store=store)
    wrong = ["negative" if label == "positive" else "positive" for label in labels[50:]]
    data["test"] = (["bad food"] * 10, wrong)
    (other,) = tltool.rank(recipe, [str(place / "bert")], data=data, store=store)
    assert (other.score, other.logme) == (right.score, right.logme)
    assert "5 folds of 50 rows" in other.setting


def test_images_and_numbers_are_ranked_too(place, store):
    files = sorted(map(str, (place / "images").rglob("*.jpg")))
    numbers = [100.0 if "red" in file else 10.0 for file in files]
    recipe = Recipe.of(task="image-regression", backbone=str(place / "resnet"))
    names = [str(place / "resnet"), f"untrained:{place / 'resnet'}"]
    results = tltool.rank(recipe, names, data=(files, numbers), store=store)
    assert results[0].metric == "mae"
    assert results[0].score <= results[1].score < 45.0


def test_the_command_prints_a_table_or_json(place, recipe, tmp_path, monkeypatch):
    from command import cli, succeed

    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path))
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    options = ["rank", tmp_path / "recipe.yaml", "data.max_examples=40"]
    options += ["--backbone", place / "bert"]
    values = succeed(*options, "--json").json()
    assert values[0]["metric"] == "accuracy"
    assert 0 <= values[0]["score"] <= 1
    done = succeed(*options, "--backbone", "berd")
    assert str(place / "bert") in done.out
    assert "berd" not in done.out
    assert "left out: berd: There is no backbone" in done.err
    assert cli(*options[:2], "--backbone", "berd").code == 2
    assert "--backbone" in cli(*options[:2]).err
    json.dumps(values, allow_nan=False)


CLASSES = Task(TASKS["text-classification"], ClassTarget(("a", "b", "c")))


def separable(rows, noise, seed=0):
    rng = np.random.default_rng(seed)
    truth = np.arange(rows) % 3
    return rng.normal(size=(3, 12))[truth] + noise * rng.normal(size=(rows, 12)), truth


def test_the_probe_scores_what_is_separable_high_and_noise_at_chance():
    clear, faint, none = (probe(*separable(150, noise), CLASSES) for noise in (0.3, 2.0, 100.0))
    assert clear.value > 0.98
    assert clear.value > faint.value > none.value
    assert none.value == pytest.approx(1 / 3, abs=0.15)
    assert clear.folds == 5


def test_the_probe_is_not_scored_on_the_rows_it_was_fitted_on():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 200))
    assert probe(features, rng.permutation(np.arange(60) % 3), CLASSES).value < 0.6


def test_rare_classes_are_no_fault_but_one_row_of_each_is():
    features, truth = separable(30, 0.3)
    keep = np.r_[np.flatnonzero(truth < 2), [2]]
    assert probe(features[keep], truth[keep], CLASSES).value > 0.8
    with pytest.raises(EvaluationError, match="two rows of a class"):
        probe(features[:3], truth[:3], CLASSES)


def test_several_labels_are_probed_by_their_mean_average_precision():
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=(150, 3)) < 0.4
    truth[:, 2] = False  # a label that nobody has is left out
    task = Task(TASKS["text-multi-label"], ClassSetTarget(("a", "b", "c")))
    signal = truth @ rng.normal(size=(3, 12))
    clear, none = (probe(signal + s * rng.normal(size=(150, 12)), truth, task) for s in (0.2, 100))
    assert clear.value > 0.95
    assert none.value == pytest.approx(0.4, abs=0.15)


def test_numbers_are_probed_in_their_own_units():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(100, 4))
    truth = 1000 * features[:, :2] + (5.0, 7.0)
    target = NumbersTarget(("a", "b"), (5.0, 7.0), (1000.0, 1000.0))
    found = probe(features, truth, Task(TASKS["text-regression"], target))
    # alpha is 1 / STRENGTHS[-1] at best, a small bias.
    assert found.value < 50
    assert found.setting == "alpha = 1"
    noise = probe(rng.normal(size=(100, 4)), truth, Task(TASKS["text-regression"], target))
    assert noise.value > 500


@pytest.mark.weights
@pytest.mark.slow
def test_pretrained_weights_beat_fewer_of_them_and_those_beat_none(tmp_path):
    keras.utils.set_random_seed(0)
    shallow = write_first_blocks(tmp_path / "two_blocks", blocks=2)
    recipe = Recipe.of(
        task="text-classification",
        backbone={"name": "all-minilm-l6-v2", "max_length": 64},
        data={"train": "sample:airline-tweets", "max_examples": 600, "test_fraction": 0.1},
    )
    names = ["untrained:all-minilm-l6-v2", str(shallow), "all-minilm-l6-v2"]
    results = tltool.rank(recipe, names, store=FeatureStore(tmp_path / "features"))
    assert [r.backbone for r in results] == names[::-1]
    full, two, untrained = results
    assert full.score > two.score > untrained.score
    assert full.parameters == untrained.parameters > two.parameters
    assert full.logme > untrained.logme
