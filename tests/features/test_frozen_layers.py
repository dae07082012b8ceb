"""Stored features are the same bytes, whoever computed them."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np
import pytest
import tiny
from cached_fit import ALWAYS, BACKBONES, Notes, examples_of
from spreads import Pickled

from tltool.data.texts.tokenizing import tokenized
from tltool.features.cache import Boundary, FeatureCache
from tltool.features.frozen_layers import BATCH_SIZE, FrozenLayers, batch_order
from tltool.features.rows import Rows
from tltool.features.store import FeatureStore
from tltool.graph.cut import cut_model
from tltool.recipe.schema import AugmentSection
from tltool.support.errors import DataError
from tltool.support.spread import Processes, Spread

FEW = AugmentSection(views=3, horizontal_flip=True)


def served(folder, backbone, examples, spread, augment=None, group=0):
    """The entry of what is frozen below a layer group, of training rows."""
    learned = {v.path for part in backbone.groups[group:] for v in part.variables}
    cache = FeatureCache(
        ALWAYS,
        examples,
        backbone.preprocessing,
        augment=augment,
        progress=Notes(),
        store=FeatureStore(folder),
        spread=spread,
    )
    cut = cut_model(backbone.model, learned)
    return cache.serve(Boundary(cut, "here", epochs=1)).entries[0]


def contents(entry):
    """An entry's name and the bytes of its files."""
    files = [entry.file(index).read_bytes() for index in range(len(entry.tensors))]
    return entry.path.name, files, entry.lengths().tobytes()


def many(kind, folder):
    """More rows than two batches have, the last batch not full."""
    examples = examples_of(kind, folder)
    if kind == "bert":
        words = ("film", "food", "service", "price", "love", "hate", "fine")
        inputs = [" ".join(words[: 1 + i % 7] * (1 + i // 49)) + f" {'!' * (i % 5)}"
                  for i in range(90)]  # fmt: skip
        examples = replace(
            examples.take([i % 50 for i in range(90)]), inputs=inputs,
            origins=[f"item {i}" for i in range(90)],
        )  # fmt: skip
    return replace(examples, splits=["train"] * len(examples))


@pytest.mark.parametrize(
    ("kind", "group", "augment"),
    [("bert", 2, None), ("cnn", 2, None), ("cnn", 1, FEW)],
)
def test_an_entry_that_others_computed_has_the_bytes_of_one_machine(kind, group, augment, tmp_path):
    keras.utils.set_random_seed(3)
    backbone, examples = BACKBONES[kind](), many(kind, tmp_path / "images")
    if kind == "bert":
        examples = tokenized(examples, backbone.preprocessing)
    spread = Pickled()
    here = served(tmp_path / "a", backbone, examples, Spread(), augment, group)
    there = served(tmp_path / "b", backbone, examples, spread, augment, group)
    assert contents(here) == contents(there)
    assert spread.calls == -(-here.rows // BATCH_SIZE) > 1
    assert here.tensors[0].by_token == (kind == "bert")


@pytest.mark.slow
def test_two_processes_give_the_bytes_of_one(tmp_path):
    keras.utils.set_random_seed(3)
    backbone, examples = tiny.tiny_text_backbone(layers=1), many("bert", tmp_path)
    here = served(tmp_path / "a", backbone, examples, Spread(), group=1)
    there = served(tmp_path / "b", backbone, examples, Processes(2), group=1)
    assert contents(here) == contents(there)


def test_a_picture_that_is_not_there_is_named(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    tiny.write_images(tmp_path / "images", per_class=2)
    backbone = tiny.tiny_image_backbone()
    examples = examples_of("cnn", tmp_path / "images").take([0, 1])
    near = [str(path).removeprefix(f"{tmp_path}/") for path in examples.inputs]
    examples = replace(examples, inputs=near)
    with pytest.raises(DataError, match=r"images/blue/\d+.jpg is not there"):
        served(tmp_path / "a", backbone, examples, Pickled(tmp_path / "elsewhere"), group=2)
    assert FeatureStore(tmp_path / "a").entries() == []


def test_a_row_depends_on_no_other_row_of_its_batch(tmp_path):
    backbone, examples = tiny.tiny_image_backbone(), many("cnn", tmp_path)
    layers, rows = FrozenLayers(backbone.model), Rows.of(examples, backbone.preprocessing)
    first, last = (
        np.concatenate([values[0] for _, values in layers.batches(rows.source, order)])
        for order in (batch_order(None, rows.count), np.arange(rows.count - 1, rows.count))
    )
    np.testing.assert_array_equal(first[-1:], last)
    assert len(first) == rows.count


def test_taken_tokens_are_the_same_alone(tmp_path):
    examples = tokenized(many("bert", tmp_path), tiny.TINY_TEXT)
    tokens = examples.tokens.take([7, 3, 60])
    alone = tokens.alone()
    for length in (16, 5):
        for one, other in zip(tokens.cut(length), alone.cut(length), strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(alone.values) == tokens.cut(16)[1].sum() < len(tokens.values)
