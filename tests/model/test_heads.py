"""Heads of one's own: by decorator, by module path, by entry point; and what is refused."""

from __future__ import annotations

import sys

import keras
import numpy as np
import pytest
import tiny
from presets import write_text_preset, write_texts

import tltool
from tltool.backbones.pyramid import with_pyramid
from tltool.model.heads import HEADS, find_head, register_head
from tltool.model.joining import join
from tltool.recipe.schema import HeadSection
from tltool.support.errors import HeadError, RunError
from tltool.support.imports import TRUST
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task

TASK = Task(TASKS["text-classification"], ClassTarget(("bad", "fair", "good")))

HEAD_MODULE = """
import keras
from keras import ops


@keras.saving.register_keras_serializable("{module}")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2.0 * x


def wide(features, task, *, units=4):
    x = Doubled(name="head_doubled")(features.pooled)
    x = keras.layers.Dense(units, "relu", name="head_wide")(x)
    return keras.layers.Dense(task.num_outputs, name="head_output")(x)


NOT_A_HEAD = 3
"""


@pytest.fixture
def registered():
    """Forgets what a test registers."""
    before = dict(HEADS)
    yield
    HEADS.clear()
    HEADS.update(before)


@pytest.fixture
def head_module(tmp_path, monkeypatch):
    """Writes a module with a head into the working directory and returns its name."""
    name = f"heads_of_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(HEAD_MODULE.replace("{module}", name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TRUST, "1")
    yield name
    sys.modules.pop(name, None)


def joined(name, **options):
    backbone = tiny.tiny_text_backbone(layers=1)
    return join(backbone, HeadSection(name=name, options=options), TASK)


def outputs(transfer):
    ids = np.array([[2, 5, 6, 3, 0, 0]], "int32")
    mask = (ids > 0).astype("int32")
    inputs = {"token_ids": ids, "padding_mask": mask, "segment_ids": ids * 0}
    return np.asarray(transfer.model(inputs, training=False))


def head_paths(transfer):
    return {weight.path for weight in transfer.groups[-1].weights if weight.kind == "weight"}


def test_a_decorated_function_is_a_head(registered):
    @tltool.register_head("scaled")
    def scaled(features: tltool.Features, task: tltool.Task, *, scale: float = 1.0):
        x = keras.layers.Rescaling(scale, name="head_scale")(features.pooled)
        return keras.layers.Dense(task.num_outputs, use_bias=False, name="head_output")(x)

    assert outputs(joined("scaled", scale=0.0)) == pytest.approx(np.zeros((1, 3)))
    assert np.abs(outputs(joined("scaled", scale=2.0))).max() > 0
    assert head_paths(joined("scaled")) == {"head_output/kernel"}


def test_a_module_path_is_a_head(head_module):
    transfer = joined(f"{head_module}:wide", units=7)
    assert outputs(transfer).shape == (1, 3)
    kernel = next(v for v in transfer.model.variables if v.path == "head_wide/kernel")
    assert tuple(kernel.shape) == (16, 7)


def test_an_entry_point_is_a_head(head_module, tmp_path, monkeypatch):
    installed = tmp_path / "site"
    about = installed / "their_heads-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: their-heads\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[tltool.heads]\ntheirs = {head_module}:wide\n")
    (tmp_path / f"{head_module}.py").rename(installed / f"{head_module}.py")
    monkeypatch.syspath_prepend(str(installed))
    transfer = joined("theirs", units=5)
    assert "head_wide/kernel" in head_paths(transfer)
    with pytest.raises(HeadError) as caught:
        find_head("their")
    assert "`theirs`" in (caught.value.hint or "")


def test_a_head_in_a_recipe_is_trained_saved_and_loaded_again(head_module, tmp_path, monkeypatch):
    preset = write_text_preset(tmp_path / "preset")
    data = write_texts(tmp_path / "texts.csv", count=120)
    recipe = tltool.Recipe.of(
        task="text-classification",
        data={"train": str(data), "test_fraction": 0.2},
        backbone=str(preset),
        head={"name": f"{head_module}:wide", "options": {"units": 32}},
        schedule=[{"train": "all", "epochs": 8, "learning_rate": 0.005, "curve": "constant"}],
        training={"batch_size": 8},
        evaluation={"baseline": False},
        export={"formats": []},
        output_dir=str(tmp_path / "runs"),
    )
    run = tltool.finetune(recipe)
    assert run.metrics["test"]["accuracy"] >= 0.8
    # As another process would: the layer's class is known only once its module is imported.
    sys.modules.pop(head_module)
    assert keras.saving.get_custom_objects().pop(f"{head_module}>Doubled")
    with monkeypatch.context() as patch:
        patch.delenv(TRUST)
        with pytest.raises(RunError, match=head_module) as caught:
            tltool.load_run(run.path).predict(["great film"])
    assert "--trust" in caught.value.hint
    again = tltool.load_run(run.path)
    texts = ["great film", "awful food"]
    first, second = run.predict(texts), again.predict(texts)
    assert [p.value for p in first] == [p.value for p in second]
    assert first[0].confidence == pytest.approx(second[0].confidence, abs=1e-6)


def test_the_default_head_has_hidden_layers_and_a_penalty():
    transfer = join(
        tiny.tiny_text_backbone(layers=1), HeadSection(hidden_units=(8, 4), l2=0.01), TASK
    )
    assert head_paths(transfer) == {
        f"head_{name}/{part}"
        for name in ("hidden1", "hidden2", "output")
        for part in ("kernel", "bias")
    }
    assert len(transfer.model.losses) == 3


def test_an_unknown_name_gets_the_closest_as_a_hint():
    with pytest.raises(HeadError, match="defalt") as caught:
        find_head("defalt")
    assert "`default`" in (caught.value.hint or "")


def test_a_missing_module_and_a_missing_function_are_told_apart(head_module):
    with pytest.raises(HeadError, match="no_such_module"):
        find_head("no_such_module:wide")
    with pytest.raises(HeadError, match="nothing callable named 'wid'") as caught:
        find_head(f"{head_module}:wid")
    assert "`wide`" in (caught.value.hint or "")
    with pytest.raises(HeadError, match="NOT_A_HEAD"):
        find_head(f"{head_module}:NOT_A_HEAD")


def test_an_unknown_option_shows_the_signature(head_module):
    with pytest.raises(HeadError, match="'unit'") as caught:
        joined(f"{head_module}:wide", unit=3)
    assert "units=4" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("head", "shape"),
    [
        (lambda features, task: features.pooled, "(None, 16)"),
        (lambda features, task: features.sequence, "(None, None, 16)"),
        (lambda features, task: None, "()"),
    ],
)
def test_a_wrong_shape_is_refused(registered, head, shape):
    register_head("wrong")(head)
    with pytest.raises(HeadError) as caught:
        joined("wrong")
    assert shape in caught.value.message
    assert "(None, 3)" in caught.value.message


def test_a_name_is_registered_once(registered):
    head = register_head("mine")(lambda features, task: None)
    assert register_head("mine")(head) is head
    with pytest.raises(HeadError, match="already"):
        register_head("mine")(lambda features, task: None)


def picture_task() -> Task:
    return Task(TASKS["image-classification"], ClassTarget(("bad", "fair", "good")))


@pytest.mark.parametrize("levels", [None, 1])
def test_multi_level_reads_the_means_of_the_largest_maps(levels):
    backbone = tiny.tiny_image_backbone()
    maps = with_pyramid(backbone).pyramid
    options = {} if levels is None else {"levels": levels}
    head = HeadSection(name="multi_level", options=options)
    transfer = join(backbone, head, picture_task())
    images = np.random.default_rng(0).uniform(-1, 1, (2, *backbone.model.input.shape[1:]))
    means = [
        np.asarray(level).mean((1, 2)) for level in keras.Model(backbone.model.input, maps)(images)
    ]
    dense = transfer.model.get_layer("head_output")
    assert dense.kernel.shape[0] == sum(mean.shape[-1] for mean in means[:levels])
    expected = np.concatenate(means[:levels], axis=-1) @ dense.kernel.numpy()
    np.testing.assert_allclose(transfer.model(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("levels", [0, 99])
def test_multi_level_refuses_maps_that_are_not_there(levels):
    head = HeadSection(name="multi_level", options={"levels": levels})
    with pytest.raises(HeadError, match=rf"levels: received {levels}; this backbone makes maps of"):
        join(tiny.tiny_image_backbone(), head, picture_task())


def test_multi_level_refuses_a_transformer():
    with pytest.raises(HeadError, match="multi_level needs a CNN"):
        join(tiny.tiny_text_backbone(), HeadSection(name="multi_level"), TASK)
