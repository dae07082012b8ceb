"""What a run's page shows of its mistakes: the same as `tltool explain`, within a bound."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tiny

from tltool.data.examples import Examples
from tltool.runs import explain as explaining
from tltool.runs.explain import explain, explain_rows
from tltool.runs.run import Run
from tltool.tasks.classes import ClassTarget
from tltool.tasks.embeddings.kind import EmbeddingTarget
from tltool.tasks.table import TASKS, Task


def run_of(backbone, task, target=None) -> Run:
    """A run whose model has the weights that it was made with."""
    target = target or ClassTarget(("blue", "red"))
    outputs = keras.layers.Dense(2)(backbone.features.pooled)
    model = keras.Model(backbone.model.input, outputs)
    return Run(None, None, Task(TASKS[task], target), backbone.preprocessing, model)


def rows_of(modality, inputs) -> Examples:
    count = len(inputs)
    return Examples(modality, inputs, [None] * count, ["test"] * count, list(map(str, inputs)))


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Examples:
    folder = tiny.write_images(tmp_path_factory.mktemp("colours"), per_class=10)
    return rows_of("image", sorted(map(str, folder.rglob("*.jpg"))))


@pytest.fixture(scope="module")
def colours() -> Run:
    keras.utils.set_random_seed(0)
    return run_of(tiny.tiny_image_backbone(), "image-classification")


def test_pictures_are_explained_as_one_by_one(colours, photos):
    run, rows, examples = colours, [5, 0, 7, 11, 2], photos
    found = explain_rows(run, examples, rows)
    assert list(found) == rows
    assert max(one.map.max() for one in found.values()) == 1
    for row, one in found.items():
        (alone,) = explain(run, [examples.inputs[row]], [examples.origins[row]])
        assert (one.origin, one.label, one.method) == (alone.origin, alone.label, "LayerCAM")
        assert one.value == pytest.approx(alone.value, abs=1e-5)
        np.testing.assert_allclose(one.map, alone.map, atol=1e-4)
        assert one.check is None
        assert alone.check is not None


def test_the_work_is_bounded(colours, photos, monkeypatch):
    assert len(explain_rows(colours, photos, range(20))) == explaining.MOST_ROWS
    monkeypatch.setattr(explaining, "MOST_PASSES", 5)
    assert list(explain_rows(colours, photos, [3, 4, 5])) == [3, 4]  # two passes each
    assert explain_rows(colours, photos, []) == {}


def test_words_of_a_long_text_stand_together(monkeypatch):
    examples = rows_of("text", ["good film", " ".join(["film"] * 300)])
    run = run_of(tiny.tiny_text_backbone(layers=1), "text-classification")
    asked = []
    outputs = run.raw_outputs
    monkeypatch.setattr(run, "raw_outputs", lambda some: asked.append(len(some)) or outputs(some))
    found = explain_rows(run, examples, [0, 1])
    assert [word for word, _ in found[0].words()] == ["good", "film"]
    assert len(found[1].parts) <= 32
    assert len(asked) == 1
    assert asked[0] <= (1 + 2) + (1 + 32)


def test_vectors_have_no_single_output_to_explain(photos):
    target = EmbeddingTarget.fit(["a", "b", "a", "b"])
    run = run_of(tiny.tiny_image_backbone(), "image-embedding", target)
    assert explain_rows(run, photos, [0]) == {}
