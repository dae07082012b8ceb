"""The linear model on the frozen features, and which model a run keeps."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from presets import write_image_preset, write_text_preset

import tltool
from tltool.data.examples import Examples
from tltool.evaluation.inference import raw_outputs
from tltool.finetuning import linear_model
from tltool.finetuning.keep import FEW_ROWS, choose
from tltool.finetuning.linear_model import LinearModel, fit_linear_model
from tltool.recipe.recipe import Recipe
from tltool.support.progress import Progress
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.training.frozen_features import FrozenFeatures
from tltool.training.linear_solver import LinearLayer
from tltool.training.preparation import backbone_of, prepare

CLASSES = ClassTarget(("a", "b"))
RECIPE = Recipe.of(task="text-classification", backbone="all-minilm-l6-v2")
# Features of a random network are nearly alike, so that a linear model of them enlarges roundings.
GATE = {"max_difference": {"float32": 0.01}}


def rows(count):
    return Examples("text", ["x"] * count, ["a"] * count, ["validation"] * count, ["x"] * count)


def linear(right, score=1.0):
    """A linear model that has these rows right, all of which are of class a."""
    features = np.where(np.asarray(right, bool)[:, None], [2.0, 0.0], [0.0, 2.0])
    layer = LinearLayer(np.eye(2), np.zeros(2), 0.1)
    return LinearModel(layer, score, "", {"validation": features}, 0.0)


def decided(ours, theirs, score=1.0, recipe=RECIPE, solved=False):
    """What is kept of a network and a linear model that have these rows right."""
    outputs = np.where(np.asarray(ours, bool)[:, None], [0.9, 0.1], [0.1, 0.9])
    return choose(recipe, CLASSES, rows(len(ours)), linear(theirs, score), lambda: outputs, solved)


def answers(right, count):
    return [True] * right + [False] * (count - right)


@pytest.mark.parametrize(
    ("ours", "theirs", "kept"), [(31, 30, False), (30, 30, True), (29, 30, True), (40, 40, True)]
)
def test_with_enough_rows_the_network_is_kept_where_it_is_better(ours, theirs, kept):
    found = decided(answers(ours, FEW_ROWS), answers(theirs, FEW_ROWS))
    assert found.linear is kept
    assert found.comparison.gain == pytest.approx((ours - theirs) / FEW_ROWS)


@pytest.mark.parametrize(
    ("ours", "theirs", "score", "kept"),
    [
        (20, 20, 1.0, False),  # no worse
        (18, 20, 1.0, False),  # worse by what may be chance
        (10, 20, 0.5, True),  # surely worse, and no better than the linear model elsewhere
        (10, 20, 0.3, False),  # the linear model's luck on these rows
        (10, 20, None, False),
    ],
)
def test_with_few_rows_only_one_that_is_surely_worse_is_replaced(ours, theirs, score, kept):
    found = decided(answers(ours, 20), answers(theirs, 20), score)
    assert found.linear is kept
    assert "validation rows" in found.reason


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["training.keep=trained"], "training.keep is trained"),
        (["training.keep=last"], "training.keep is last"),
        (["head=multi_level"], "asks for the head multi_level"),
    ],
)
def test_what_the_recipe_asks_for_is_never_replaced(overrides, reason):
    worse = answers(0, 50), answers(50, 50)
    found = decided(*worse, recipe=RECIPE.with_overrides(*overrides))
    assert not found.linear
    assert reason in found.reason
    assert not decided(*worse, solved=True).linear
    assert decided(*worse).linear


def test_without_validation_rows_or_a_linear_model_nothing_is_compared():
    nothing = choose(RECIPE, CLASSES, rows(0), linear([]), lambda: None, False)
    assert (nothing.linear, nothing.comparison) == (False, None)
    assert not choose(RECIPE, CLASSES, rows(50), None, lambda: None, False).linear


def test_errors_are_better_where_they_are_smaller():
    numbers = np.arange(50.0)
    target = NumbersTarget(std=(1.0,))
    examples = Examples("text", ["x"] * 50, numbers.tolist(), [None] * 50, ["x"] * 50)
    layer = LinearLayer(np.ones((1, 1)), np.zeros(1), 0.1)
    model = LinearModel(layer, 1.0, "", {"validation": numbers[:, None] + 1}, 0.0)
    for off, kept in ((0.5, False), (1.5, True)):
        outputs = numbers[:, None] + off
        found = choose(RECIPE, target, examples, model, lambda o=outputs: o, False)
        assert found.linear is kept


@pytest.mark.parametrize(("sampling", "share"), [("natural", 0.25), ("balanced", 0.5)])
def test_rows_count_as_often_as_training_draws_them(sampling, share, monkeypatch):
    """Features that say nothing: what is said of each row is the share of the rare class."""
    noise = np.random.default_rng(0).normal(size=(80, 2)).astype("float32")
    features = FrozenFeatures(noise, noise[:0], noise[:0])
    monkeypatch.setattr(linear_model, "frozen_features", lambda *_, **__: features)
    texts = [f"text {row}" for row in range(80)]
    examples = Examples("text", texts, ["a"] * 60 + ["b"] * 20, ["train"] * 80, texts)
    prepared = SimpleNamespace(examples=examples, task=SimpleNamespace(target=CLASSES))
    chosen = RECIPE.with_overrides(f"training.sampling={sampling}")
    found = fit_linear_model(chosen, prepared, Progress())
    assert found.outputs("train", CLASSES)[:, 1].mean() == pytest.approx(share, abs=0.03)


# ---- with a backbone ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("keep")
    write_text_preset(root / "bert")
    write_image_preset(root / "resnet")
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path_factory.mktemp("cache")))


HARMFUL = [{"train": "all", "epochs": 1, "learning_rate": 1e-7}]
"""Leaves a random head as it is."""


def recipe(place, folder, kind="text", task="classification", **sections):
    values = {
        "task": f"{kind}-{task}",
        "backbone": str(place / ("bert" if kind == "text" else "resnet")),
        "output_dir": str(folder),
        "data": {"validation_fraction": 0.25, "test_fraction": 0.2},
        "schedule": HARMFUL,
        "training": {"batch_size": 16},
        "export": {"formats": []},
        **sections,
    }
    return Recipe.of(**values)


def number_texts(count=160):
    """Texts whose number is how often a word is in them."""
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 6, count)
    filler = ("the", "film", "was", "service")
    texts = [
        " ".join(rng.permutation([*rng.choice(filler, 6 - n), *["good"] * n])) + " !" * (i % 3)
        for i, n in enumerate(numbers)
    ]
    return texts, numbers.astype(float).tolist()


def fitted(chosen, data):
    prepared = prepare(chosen, data=data)
    return prepared, fit_linear_model(chosen, prepared, Progress())


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_linear_model_is_fitted_on_the_frozen_features_of_training_rows(task, place, tmp_path):
    chosen = recipe(place, tmp_path, task=task)
    data = tiny.texts(240) if task == "classification" else number_texts()
    prepared, found = fitted(chosen, data)
    backbone, target = prepared.backbone, prepared.task.target
    for split in ("validation", "test"):
        part = prepared.examples.split(split)
        features = raw_outputs(backbone.model, part, backbone.preprocessing)
        np.testing.assert_allclose(found.features[split], features, atol=1e-5)
    test = prepared.examples.split("test")
    result = found.result(test, "test", prepared.task)
    assert result.name == f"{target.linear_model} on the frozen features"
    guess = target.constant_guess(target.truth(prepared.examples.split("train").targets))[1]
    guessed = target.score(np.tile(guess, (len(test), 1)), target.truth(test.targets))
    better = (guessed - result.value) * (-1 if target.headline().higher_is_better else 1)
    assert better > 0.1 * abs(guessed)
    assert abs(found.score - result.value) < 0.3 * abs(guessed)
    assert "chosen by cross-validation" in found.setting


def test_its_network_is_the_pretrained_backbone_with_one_layer(place, tmp_path):
    chosen = recipe(place, tmp_path, head={"hidden_units": [8]})
    prepared, found = fitted(chosen, tiny.texts(240))
    network = found.network(chosen, prepared)
    test = prepared.examples.split("test")
    raw = raw_outputs(network, test, prepared.backbone.preprocessing)
    expected = found.layer.outputs(found.features["test"])
    # A random backbone tells rows apart by little: the layer magnifies what float32 rounds.
    np.testing.assert_allclose(raw, expected, atol=1e-3 * np.abs(expected).max())
    before, after = (
        {v.path: v.numpy() for v in model.variables if "seed" not in v.path}
        for model in (backbone_of(chosen).model, network)
    )
    assert after.keys() - before.keys() == {"head_output/kernel", "head_output/bias"}
    for path, value in before.items():
        np.testing.assert_array_equal(after[path], value, err_msg=path)


def test_groups_and_duplicates_stay_on_one_side_of_its_folds(place, tmp_path):
    """Labels that follow from a row's group alone: folds that divide groups would say 1.0."""
    texts = [f"{'good ' * (i % 7)}film {'bad ' * (i // 7)}".strip() for i in range(35)]
    labels = [("negative", "positive")[(i * 7919 % 13) % 2] for i in range(35)]
    repeated = [text for text in texts for _ in range(4)], [one for one in labels for _ in range(4)]
    chosen = recipe(place, tmp_path, data={"validation_fraction": 0.0, "test_fraction": 0.2})
    _, found = fitted(chosen, repeated)
    assert found.score < 0.9


def test_kinds_without_a_linear_form_have_none(place, tmp_path):
    chosen = recipe(place, tmp_path, task="embedding")
    _, found = fitted(chosen, tiny.texts(48))
    assert found is None


@pytest.fixture(scope="module")
def runs(place, tmp_path_factory):
    """Runs of an untrained head, by what is kept of them."""
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    for keep in ("best", "trained", "without"):
        chosen = recipe(
            place, folder, name=keep, export={"formats": ["saved_model"], "gate": GATE},
            training={"batch_size": 16, "keep": "best" if keep == "without" else keep},
            evaluation={"baseline": keep != "without"},
        )  # fmt: skip
        found[keep] = tltool.finetune(chosen, data=tiny.texts(240))
    return found


def test_a_network_that_is_no_better_is_replaced_and_exported(runs):
    run = runs["best"]
    manifest, metrics = run.folder.manifest(), run.metrics
    assert manifest["kept"]["linear"]
    assert manifest["best"] is None
    assert metrics["kept"] == manifest["kept"]
    assert metrics["kept"]["comparison"]["gain"] <= 0
    assert metrics["gain"] is None
    assert metrics["test"]["accuracy"] == metrics["baseline"]["accuracy"] > 0.7
    assert metrics["test"]["accuracy"] > runs["trained"].metrics["test"]["accuracy"]
    assert run.summary.linear_kept is not None
    assert [b.title for b in run.summary.baselines] == ["TF-IDF", "Constant guess"]
    card = run.folder.card.read_text(encoding="utf-8")
    assert "no better than the linear model, which is kept" in card
    assert "pretrained backbone with the linear model as its head" in card
    texts, _ = tiny.texts(8, seed=1)
    loaded = tltool.load_run(run.path)
    for ours, theirs in zip(loaded.predict(texts), run.predict(texts), strict=True):
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-6)
    artifact = tltool.load_artifact(run.folder.exports / "saved_model")
    expected = [list(one.probabilities.values()) for one in run.predict(texts)]
    np.testing.assert_allclose(artifact.predict(texts), expected, atol=1e-5)


def test_the_network_is_kept_where_that_is_asked_for_and_compared(runs):
    run = runs["trained"]
    metrics = run.metrics
    assert run.folder.manifest()["best"]["epoch"] == 1
    assert not metrics["kept"]["linear"]
    gain = metrics["gain"]
    assert gain["over"] == metrics["baseline"]["name"]
    assert gain["gain"] == pytest.approx(
        metrics["test"]["accuracy"] - metrics["baseline"]["accuracy"]
    )
    assert gain["interval"][0] <= gain["gain"] <= gain["interval"][1]
    assert {"name", "split", "accuracy"} <= set(metrics["other_baselines"][0])


def test_the_linear_model_changes_nothing_of_the_training(runs):
    assert "baseline" not in runs["without"].metrics
    ours, theirs = (runs[keep].model.get_weights() for keep in ("trained", "without"))
    for first, second in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_last_epoch_is_kept_where_that_is_asked_for(place, tmp_path):
    """At a rate that is far too high, later epochs are worse than the first."""
    schedule = [{"train": "head", "epochs": 4, "learning_rate": 3.0, "curve": "constant"}]
    kept = {}
    for keep in ("trained", "last"):
        chosen = recipe(
            place, tmp_path, name=keep, schedule=schedule, evaluation={"baseline": False},
            training={"batch_size": 16, "keep": keep, "gradient_clip_norm": None},
        )  # fmt: skip
        kept[keep] = tltool.finetune(chosen, data=tiny.texts(120))
    assert kept["last"].folder.manifest()["best"]["epoch"] == 4
    assert kept["trained"].folder.manifest()["best"]["epoch"] < 4
    assert "epoch 4 of phase 1" in kept["last"].folder.card.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_run_that_stopped_goes_on_to_keep_the_same(keep, place, tmp_path):
    """The linear model is fitted anew, on the features that were stored; the last epoch stays."""
    rate = 1e-7 if keep == "best" else 3.0
    data = tiny.texts(240)

    def stop(folder, row):
        raise KeyboardInterrupt

    found = []
    for name in ("whole", "stopped"):
        chosen = recipe(
            place, tmp_path, name=name, training={"batch_size": 16, "keep": keep},
            schedule=[{"train": "head", "epochs": 3, "learning_rate": rate, "curve": "constant"}],
        )  # fmt: skip
        if name == "stopped":
            assert tltool.finetune(chosen, data=data, after_epoch=stop).status == "interrupted"
        found.append(tltool.finetune(chosen, data=data, resume=name == "stopped"))
    whole, stopped = found
    assert stopped.path.name == "1"
    for first, second in zip(whole.model.get_weights(), stopped.model.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)
    assert whole.metrics == stopped.metrics
    kept = [run.folder.manifest()["kept"] for run in found]
    assert kept[0] == kept[1]
    assert kept[0]["linear"] is (keep == "best")
