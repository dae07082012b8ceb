from __future__ import annotations

from dataclasses import replace

import numpy as np
import presets
import pytest
import tiny

from tltool.evaluation.inference import raw_outputs
from tltool.features import frozen_layers
from tltool.features.store import FeatureStore
from tltool.recipe.recipe import Recipe
from tltool.support.progress import Progress
from tltool.training.frozen_features import frozen_features
from tltool.training.preparation import prepare


class Notes(Progress):
    def __init__(self):
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


@pytest.fixture
def texts(tmp_path):
    return Recipe.of(
        task="text-classification",
        backbone=str(presets.write_text_preset(tmp_path / "bert")),
        data={"train": str(presets.write_texts(tmp_path / "texts.csv"))},
        cache={"use": "always"},
    )


@pytest.fixture
def pairs(tmp_path):
    texts, _ = tiny.texts(40)
    rows = [f"{a},{b},{len(a)}" for a, b in zip(texts, texts[3:] + texts[:3], strict=True)]
    file = tmp_path / "pairs.csv"
    file.write_text("\n".join(["text_a,text_b,label", *(r.replace(" ,", " ") for r in rows)]))
    return Recipe.of(
        task="text-pair-regression",
        backbone=str(presets.write_text_preset(tmp_path / "bert")),
        head={"name": "two_towers"},
        data={"train": str(file)},
        cache={"use": "always"},
    )


def test_each_text_of_pairs_is_stored_once(pairs, tmp_path):
    prepared, notes = prepare(pairs), Notes()
    store = FeatureStore(tmp_path / "features")
    found = frozen_features(pairs, prepared, notes, store=store)
    backbone, train = prepared.backbone, prepared.examples.split("train")
    held_out = {*prepared.examples.split("test").inputs}
    used = {text for pair in prepared.examples.inputs if pair not in held_out for text in pair}
    assert f"{len(used)} rows" in notes.lines[0]
    one = backbone.preprocessing.one_text
    vectors = raw_outputs(backbone.model, train.texts(), one)
    u, v = vectors[::2], vectors[1::2]
    expected = np.concatenate([u, v, abs(u - v), u * v], axis=1)
    np.testing.assert_allclose(found.train, expected, atol=1e-5)


@pytest.fixture
def images(tmp_path):
    return Recipe.of(
        task="image-classification",
        backbone=str(presets.write_image_preset(tmp_path / "resnet")),
        data={"train": str(tiny.write_images(tmp_path / "images", per_class=12))},
        cache={"use": "always"},
    )


@pytest.mark.parametrize("kind", ["texts", "images"])
def test_they_are_what_the_backbone_gives_for_each_example_stored_or_not(kind, request, tmp_path):
    recipe = request.getfixturevalue(kind)
    prepared = prepare(recipe)
    store = FeatureStore(tmp_path / "features")
    notes = Notes()
    first = frozen_features(recipe, prepared, notes, store=store)
    again = frozen_features(recipe, prepared, notes, store=store)
    anew = frozen_features(recipe.with_overrides("cache.use=never"), prepared)
    assert "computed once" in notes.lines[0]
    assert "read from disk" in notes.lines[1]
    backbone = prepared.backbone
    for split in ("train", "validation"):
        examples = prepared.examples.split(split)
        expected = raw_outputs(backbone.model, examples, backbone.preprocessing)
        assert len(np.unique(expected.round(4), axis=0)) > len(expected) // 3
        for features in (first, again, anew):
            np.testing.assert_allclose(getattr(features, split), expected, atol=1e-5)


def test_without_validation_rows_its_array_is_empty(texts, tmp_path):
    recipe = texts.with_overrides("data.validation_fraction=0")
    features = frozen_features(recipe, prepare(recipe), store=FeatureStore(tmp_path / "features"))
    assert features.validation.shape == (0, features.train.shape[1])


def test_pooling_above_what_is_stored_is_completed(texts, tmp_path):
    import keras

    prepared = prepare(texts)
    features = prepared.backbone.features
    # Dropout above the last weights stays out of the frozen part.
    dropped = keras.layers.Dropout(0.5)(features.pooled)
    pooled = keras.layers.Rescaling(2.0)(dropped)
    backbone = replace(prepared.backbone, features=replace(features, pooled=pooled))
    store = FeatureStore(tmp_path / "features")
    doubled = frozen_features(texts, replace(prepared, backbone=backbone), store=store)
    plain = frozen_features(texts, prepared, store=store)
    np.testing.assert_allclose(doubled.train, 2 * plain.train, rtol=1e-6)


@pytest.mark.parametrize("kind", ["texts", "images"])
def test_the_frozen_layers_are_traced_once_for_all_rows(kind, request, tmp_path, monkeypatch):
    recipe = request.getfixturevalue(kind)
    traced = []
    fold = frozen_layers.fold_batch_norms
    monkeypatch.setattr(
        frozen_layers, "fold_batch_norms", lambda model: traced.append(model) or fold(model)
    )
    prepared, store = prepare(recipe), FeatureStore(tmp_path / "features")
    found = frozen_features(recipe, prepared, store=store, test=True)
    assert min(len(found.train), len(found.test)) > 0
    assert len(traced) == 1
    again = frozen_features(recipe, prepared, store=store, test=True)
    assert len(traced) == 1  # what is stored needs none
    np.testing.assert_array_equal(again.test, found.test)
