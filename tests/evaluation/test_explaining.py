"""Explanations: they point at what a model by construction looks at, and depend on its weights."""

from __future__ import annotations

import io

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image
from scipy.stats import spearmanr

from tltool.evaluation.explaining import curves, pictures, words
from tltool.evaluation.explaining.explanation import Explanation
from tltool.report.explanations import overlay, write_explanations
from tltool.support.errors import DataError
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.embeddings.kind import EmbeddingTarget
from tltool.tasks.numbers import NumbersTarget

RED, BLUE = 0, 1


def colour_model(*, feature_maps: bool = True) -> keras.Model:
    """Says how much red and how much blue there is: a convolution of which we know the weights."""
    picture = keras.Input((32, 32, 3))
    kernel = np.zeros((1, 1, 3, 2), np.float32)
    kernel[0, 0, :, RED], kernel[0, 0, :, BLUE] = (1, 0, -1), (-1, 0, 1)
    convolution = layers.Conv2D(2, 1, activation="relu", use_bias=False, name="colours")
    dense = layers.Dense(2, use_bias=False, name="head")
    if feature_maps:
        x = layers.AveragePooling2D(4)(convolution(picture))
        x = layers.GlobalAveragePooling2D()(x)
    else:
        convolution = layers.Dense(2, activation="relu", use_bias=False, name="colours")
        kernel = kernel[0, 0]
        x = layers.Reshape((1024, 3))(picture)
        x = layers.GlobalAveragePooling1D()(convolution(x))
    model = keras.Model(picture, dense(x))
    convolution.set_weights([kernel])
    dense.set_weights([100 * np.eye(2, dtype=np.float32)])
    return model


def squares(count=6, seed=0):
    """Grey noise with a red square in the upper half and a blue one in the lower."""
    rng = np.random.default_rng(seed)
    inputs = np.repeat(rng.uniform(0, 0.3, (count, 32, 32, 1)), 3, axis=3).astype(np.float32)
    places = rng.integers(0, 8, (count, 2, 2))
    for picture, ((red_x, red_y), (blue_x, blue_y)) in zip(inputs, places, strict=True):
        picture[red_y : red_y + 8, red_x : red_x + 8, 0] += 1
        picture[16 + blue_y : 24 + blue_y, 8 + blue_x : 16 + blue_x, 2] += 1
    return inputs, places


@pytest.mark.parametrize("feature_maps", [True, False])
def test_a_map_is_where_the_explained_thing_is(feature_maps):
    model = colour_model(feature_maps=feature_maps)
    inputs, places = squares()
    for number in (RED, BLUE):
        maps, method = pictures.picture_maps(model, inputs, np.full(len(inputs), number))
        assert method == ("LayerCAM" if feature_maps else "occlusion")
        assert maps.max() == 1
        assert maps.min() >= 0
        whole = pictures.resized(maps, (32, 32))
        for one, place in zip(whole, places[:, number], strict=True):
            x, y = place + ((8, 16) if number == BLUE else (0, 0))
            marked = one > 0.5
            inside = marked[max(0, y - 5) : y + 13, max(0, x - 5) : x + 13].sum()
            assert inside > 0.9 * marked.sum() > 0


def test_a_network_whose_layers_are_in_another_graph_too_has_its_own_map():
    model, (inputs, _) = colour_model(), squares(1)
    expected, _ = pictures.picture_maps(model, inputs, np.array([RED]))
    model.layers[2](keras.Input((64, 64, 2)))
    found, method = pictures.picture_maps(model, inputs, np.array([RED]))
    assert method == "LayerCAM"
    np.testing.assert_array_equal(found, expected)


def test_the_layers_before_the_map_need_no_gradient(monkeypatch):
    model, (inputs, _) = colour_model(), squares(3)
    numbers = np.array([RED, BLUE, RED])
    features = pictures.feature_map(model)
    assert pictures._after(model, features) is not None
    found, _ = pictures.picture_maps(model, inputs, numbers)
    monkeypatch.setattr(pictures, "_after", lambda *_: None)
    np.testing.assert_allclose(pictures.picture_maps(model, inputs, numbers)[0], found, atol=1e-6)


def test_a_network_that_goes_past_its_map_is_explained_too():
    picture = keras.Input((32, 32, 3))
    convolved = layers.Conv2D(2, 1)(picture)
    past = layers.GlobalAveragePooling2D()(picture)
    pooled = layers.GlobalAveragePooling2D()(convolved)
    model = keras.Model(picture, layers.Dense(2)(layers.Concatenate()([pooled, past])))
    assert pictures._after(model, pictures.feature_map(model)) is None
    assert pictures.picture_maps(model, squares(1)[0], np.array([RED]))[1] == "LayerCAM"


def test_a_map_changes_when_the_weights_are_drawn_anew():
    """The sanity check of Adebayo et al. 2018 (arXiv:1810.03292), section 3."""
    model, (inputs, _) = colour_model(), squares()
    numbers = np.full(len(inputs), RED)
    before, _ = pictures.picture_maps(model, inputs, numbers)
    again, _ = pictures.picture_maps(model, inputs, numbers)
    np.testing.assert_array_equal(before, again)
    rng = np.random.default_rng(0)
    model.get_layer("head").set_weights([rng.normal(size=(2, 2)) @ np.diag([-1.0, 1.0])])
    model.get_layer("colours").set_weights([rng.normal(size=(1, 1, 3, 2))])
    drawn, _ = pictures.picture_maps(model, inputs, numbers)
    alike = [spearmanr(a.ravel(), b.ravel()).statistic
             for a, b in zip(before, drawn, strict=True) if np.ptp(b)]  # fmt: skip
    assert not alike or np.mean(np.abs(alike)) < 0.7


def test_a_network_that_hangs_on_no_map_by_a_gradient_is_occluded():
    picture = keras.Input((32, 32, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.AveragePooling2D(4)(picture))
    steps = layers.Lambda(keras.ops.stop_gradient, output_shape=(3,))
    model = keras.Model(picture, layers.Dense(2)(steps(pooled)))
    maps, method = pictures.picture_maps(model, squares(1)[0], np.array([RED]))
    assert method == "occlusion"
    assert maps.shape == (1, 7, 7)
    assert pictures.passes(colour_model()) == 2
    assert pictures.passes(colour_model(feature_maps=False)) == 50


def test_deletion_and_insertion_tell_a_good_map_from_a_bad_one():
    model, (inputs, places) = colour_model(), squares(1)

    def said(some):
        return np.asarray(model(some))[:, RED]

    x, y = places[0, RED]
    whole = np.zeros((32, 32))
    whole[y : y + 8, x : x + 8] = 1
    good = whole.reshape(8, 4, 8, 4).mean(axis=(1, 3))
    right = curves.of_picture(said, inputs[0], good)
    wrong = curves.of_picture(said, inputs[0], -good)
    assert right.deletion < right.random < right.insertion
    assert wrong.deletion > wrong.random > wrong.insertion


# Texts -------------------------------------------------------------------------------------


def raw_of(values):
    """Counts: a word "good" is worth 2, "bad" is worth -3, in either text."""
    texts = [" ".join((value,) if isinstance(value, str) else value).split() for value in values]
    scores = [2.0 * row.count("good") - 3.0 * row.count("bad") for row in texts]
    return np.stack([np.negative(scores), scores], axis=1)


def weighed(value, number):
    parts = words.parts_of(value)
    return parts, words.word_weights(raw_of(words.variants_of(value, parts)), number)


@pytest.mark.parametrize("value", ["a good  film, bad food", ("a good film,", "bad food")])
def test_a_word_weighs_what_the_answer_loses_without_it(value):
    parts, weights = weighed(value, 1)
    texts = (value,) if isinstance(value, str) else value
    found = {texts[p.text][p.start : p.end]: w for p, w in zip(parts, weights, strict=True)}
    assert found == {"a": 0, "good": 2, "film,": 0, "bad": -3, "food": 0}
    check = curves.of_text(lambda some: raw_of(some)[:, 1], value, parts, weights)
    assert check.deletion < check.random < check.insertion


def test_of_long_texts_several_words_are_one_part():
    value = " ".join(["a"] * 299 + ["good"])
    parts, weights = weighed(value, 1)
    assert len(parts) <= words.MOST_PARTS
    assert parts[0].start == 0
    assert parts[-1].end == len(value)
    assert np.flatnonzero(weights).tolist() == [len(parts) - 1]


def test_the_number_of_parts_can_be_chosen():
    assert len(words.parts_of("a b c d e f g", 3)) == 3
    assert len(words.parts_of("a b", 3)) == 2


def test_a_text_without_words_has_no_weights():
    parts, weights = weighed("", 1)
    assert (parts, len(weights)) == ([], 0)


# What is explained, and how it is shown ----------------------------------------------------


def test_each_kind_says_which_output_is_explained():
    classes = ClassTarget(("cat", "dog"))
    assert classes.explained(np.array([0.2, 0.8])) == ("dog", 1)
    assert classes.explained(np.array([0.2, 0.8]), "cat") == ("cat", 0)
    assert ClassSetTarget(("x", "y")).explained(np.array([0.9, 0.8])) == ("x", 0)
    numbers = NumbersTarget(mean=(0.0, 1.0), std=(1.0, 1.0), names=("width", "price"))
    assert numbers.explained(np.zeros(2), "price") == ("price", 1)
    assert EmbeddingTarget.fit(["a", "b", "a", "b"]).explained(np.zeros(4)) is None
    with pytest.raises(DataError, match="no class 'dgo'") as error:
        classes.explained(np.array([0.2, 0.8]), "dgo")
    assert "dog" in error.value.hint


def test_a_folder_has_a_page_and_a_picture_of_each(tmp_path):
    picture = np.zeros((8, 12, 3), np.uint8)
    heat = np.zeros((8, 12), np.float32)
    heat[2, 3] = 1
    check = curves.Faithfulness(0.1, 0.9, 0.5)
    of_picture = Explanation("p.jpg", "cat", "cat", 0.9, "LayerCAM", check, picture, heat)
    parts = (words.Part(0, 0, 6), words.Part(0, 7, 10))
    of_text = Explanation("x", "cat", "dog", 0.1, "leaving out", check, text="<good> bad",
                          parts=parts, weights=np.array([2.0, -1.0]))  # fmt: skip
    write_explanations([of_picture, of_text], ClassTarget(("cat", "dog")), tmp_path / "why")
    with Image.open(tmp_path / "why" / "1.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (8, 12, 3)
    assert pixels[2, 3].sum() > 300 > pixels.sum() - pixels[2, 3].sum()
    text = (tmp_path / "why" / "index.html").read_text()
    assert '<mark class="for5" title="+2.000">&lt;good&gt;</mark>' in text
    assert 'class="against' in text
    assert "insertion 0.9" in text
    assert of_text.to_json()["words"] == [
        {"word": "<good>", "weight": 2.0},
        {"word": "bad", "weight": -1.0},
    ]
    with Image.open(io.BytesIO(overlay(of_picture, 6))) as small:
        assert small.size == (6, 4)
