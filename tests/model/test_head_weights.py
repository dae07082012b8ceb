"""A head that starts from a trained one, or says why it can't."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tiny

from tltool.data.labels import save_task
from tltool.model.head_weights import load_head_weights
from tltool.model.joining import join
from tltool.recipe.recipe import Recipe
from tltool.recipe.schema import HeadSection
from tltool.support.errors import HeadError, RecipeError
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task

HEAD = HeadSection(hidden_units=(5,))


def task(*labels) -> Task:
    return Task(TASKS["image-classification"], ClassTarget(labels))


def model_of(head, labels, seed):
    keras.utils.set_random_seed(seed)
    return join(tiny.tiny_image_backbone(), head, task(*labels))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model of the labels a and b, as a run keeps it."""
    folder = tmp_path_factory.mktemp("run")
    model = model_of(HEAD, "ab", seed=1).model
    model.save(folder / "model.keras")
    save_task(task(*"ab"), folder / "labels.json")
    return model, folder / "model.keras"


def test_the_head_is_the_file_s_and_the_backbone_stays(saved):
    trained, path = saved
    fresh = model_of(HEAD, "ab", seed=2)
    before = fresh.model.get_layer("stem_conv").get_weights()
    load_head_weights(fresh, task(*"ab"), path)
    for name in ("head_hidden1", "head_output"):
        ours, theirs = (m.get_layer(name).get_weights() for m in (fresh.model, trained))
        np.testing.assert_equal(ours, theirs)
    np.testing.assert_equal(fresh.model.get_layer("stem_conv").get_weights(), before)


def test_other_labels_are_refused_though_the_shapes_fit(saved):
    _, path = saved
    with pytest.raises(HeadError, match=r"the data alone has 'c'; the model alone has 'b'") as told:
        load_head_weights(model_of(HEAD, "ac", seed=2), task(*"ac"), path)
    assert "head.weights_file" in told.value.hint
    with pytest.raises(HeadError, match="another order"):
        load_head_weights(model_of(HEAD, "ba", seed=2), task(*"ba"), path)


def test_another_head_and_other_files_are_refused(saved, tmp_path):
    _, path = saved
    wide = HeadSection(hidden_units=(7,))
    with pytest.raises(HeadError, match="another shape for the layer 'head_hidden1'"):
        load_head_weights(model_of(wide, "ab", seed=2), task(*"ab"), path)
    deep = HeadSection(hidden_units=(5, 5))
    with pytest.raises(HeadError, match="no layer 'head_hidden2'"):
        load_head_weights(model_of(deep, "ab", seed=2), task(*"ab"), path)
    with pytest.raises(HeadError, match="no file"):
        load_head_weights(model_of(HEAD, "ab", seed=2), task(*"ab"), tmp_path / "none.keras")
    (tmp_path / "bad.keras").write_bytes(b"no model")
    with pytest.raises(HeadError, match=r"bad.keras cannot be loaded"):
        load_head_weights(model_of(HEAD, "ab", seed=2), task(*"ab"), tmp_path / "bad.keras")


def test_a_head_that_is_searched_cannot_have_weights():
    with pytest.raises(RecipeError, match=r"head.weights_file: is of a head"):
        Recipe.of(
            task="image-classification",
            backbone="efficientnet-lite0",
            head={"search": True, "weights_file": "model.keras"},
        )
