"""One graph of several models and views: it says their mean, and has what is equal once."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tiny
from keras import layers

import tltool.backbones.networks.registered  # noqa: F401 - what a `.keras` file may name
from tltool.graph.cut import nodes_of
from tltool.graph.means import mean_of_sigmoids, mean_of_softmaxes
from tltool.model.averaging import averaging
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.embeddings.kind import EmbeddingTarget
from tltool.tasks.masks.kind import MaskTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.tags.kind import TagsTarget

FLIPS = ("horizontal_flip", "vertical_flip")
LABELS = ("a", "b", "c")
PICTURES = np.random.default_rng(0).uniform(-1, 1, (5, 32, 32, 3)).astype("float32")


def softmax(raw):
    return np.asarray(keras.ops.softmax(raw))


def sigmoid(raw):
    return np.asarray(keras.ops.sigmoid(raw))


def unit(raw):
    return raw / np.linalg.norm(raw, axis=1, keepdims=True)


KINDS = {
    "classes": (ClassTarget(LABELS), softmax),
    "labels": (ClassSetTarget(LABELS), sigmoid),
    "numbers": (NumbersTarget(mean=(5.0, 0, 1), std=(2.0, 1, 3), names=LABELS), np.asarray),
}


def said(model, inputs):
    return np.asarray(model(inputs, training=False))


def member(seed, backbone):
    """A head of that seed on a backbone."""
    keras.utils.set_random_seed(seed)
    x = layers.Dropout(0.5, name="head_dropout")(backbone.features.pooled)
    output = layers.Dense(3, name="head_output", kernel_initializer="random_normal")(x)
    output = layers.Rescaling(20.0, name="head_scale")(output)
    return keras.Model(backbone.model.input, output)


def of_new_backbones(count=3):
    found = []
    for seed in range(count):
        keras.utils.set_random_seed(seed)
        found.append(member(seed, tiny.tiny_image_backbone()))
    return found


@pytest.mark.parametrize("views", [(), FLIPS], ids=["plain", "flips"])
@pytest.mark.parametrize(("target", "read"), KINDS.values(), ids=KINDS)
def test_what_it_says_is_the_mean_of_what_the_members_say_of_the_views(target, read, views):
    members = of_new_backbones()
    seen = [PICTURES, *([PICTURES[:, :, ::-1], PICTURES[:, ::-1]] if views else [])]
    each = [read(said(one, pictures)) for one in members for pictures in seen]
    assert np.ptp(each, axis=0).max() > 0.1, "the members are meant to differ"
    model = averaging(members, type(target), views)
    expected = np.mean(each, axis=0)
    np.testing.assert_allclose(read(said(model, PICTURES)), expected, atol=1e-6)
    assert model.output_shape == members[0].output_shape


def test_it_is_loaded_again_from_a_file(tmp_path):
    model = averaging(of_new_backbones(2), ClassTarget, FLIPS)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(said(loaded, PICTURES), said(model, PICTURES))


def test_layers_that_are_equal_are_there_once_and_run_once():
    backbone = tiny.tiny_image_backbone()
    members = [member(seed, backbone) for seed in range(4)]
    model = averaging(members, ClassTarget)
    one, head = members[0].count_params(), members[0].get_layer("head_output").count_params()
    assert model.count_params() == one + 3 * head
    convolutions = [name for layer in model.layers if "conv" in (name := layer.name)]
    assert len(convolutions) == len({name.removeprefix("member2_") for name in convolutions}) == 4
    heads = [layer.name for layer in model.layers if layer.name.endswith("head_output")]
    assert heads == ["head_output", *(f"member{n}_head_output" for n in (2, 3, 4))]


def test_from_the_first_layer_on_that_differs_all_run_for_each_member():
    backbone = tiny.tiny_image_backbone()
    first = member(0, backbone)
    before = said(first, PICTURES)

    def members():
        """The second one's backbone is the first one's but for a layer."""
        yield first
        other = tiny.tiny_image_backbone()
        other.model.set_weights(backbone.model.get_weights())
        kernel = other.model.get_layer("stage2_conv").kernel
        kernel.assign(kernel + 0.5)
        yield member(1, other)

    second = list(members())[1]
    model = averaging(members(), ClassTarget)
    expected = (softmax(before) + softmax(said(second, PICTURES))) / 2
    np.testing.assert_allclose(softmax(said(model, PICTURES)), expected, atol=1e-6)
    copied = {layer.name for layer in model.layers if layer.name.startswith("member2_")}
    assert copied == {"member2_stage2_conv", "member2_head_output"}
    # What follows it has no weights of its own, or the same ones, and is called a second time.
    calls = [n for n in nodes_of(model) if n.operation.name in ("stage2_bn", "pooled")]
    assert len(calls) == 4


def test_texts_with_padding_are_averaged_too():
    members = []
    for seed in range(2):
        keras.utils.set_random_seed(seed)
        members.append(member(seed, tiny.tiny_text_backbone(layers=1)))
    inputs = {
        tensor.name: np.ones((3, 6), "int32") * (tensor.name != "segment_ids")
        for tensor in members[0].inputs
    }
    inputs["padding_mask"][1, 4:] = 0
    model = averaging(members, ClassTarget)
    expected = np.mean([softmax(said(one, inputs)) for one in members], axis=0)
    np.testing.assert_allclose(softmax(said(model, inputs)), expected, atol=1e-6)
    assert model.input.keys() == members[0].input.keys()


def test_maps_are_turned_back_before_they_are_averaged():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 6, 3), name="image")
    # One that sees to the left alone, so that it is another one of a mirrored picture.
    kernel = np.zeros((3, 3, 3, 2), "float32")
    kernel[0, 0, :, 0], kernel[1, 1] = 3.0, np.random.default_rng(1).normal(size=(3, 2))
    convolution = layers.Conv2D(2, 3, padding="same")
    model = keras.Model(image, convolution(image))
    convolution.set_weights([kernel, np.zeros(2)])
    pictures = PICTURES[:, :8, :6]
    flipped = softmax(said(model, pictures[:, :, ::-1]))[:, :, ::-1]
    upside_down = softmax(said(model, pictures[:, ::-1]))[:, ::-1]
    plain = softmax(said(model, pictures))
    assert np.abs(plain - flipped).max() > 0.1
    found = softmax(said(averaging([model], MaskTarget, FLIPS), pictures))
    np.testing.assert_allclose(found, (plain + flipped + upside_down) / 3, atol=1e-6)


def test_vectors_count_alike_whatever_their_length():
    backbone = tiny.tiny_image_backbone()
    model = keras.Model(backbone.model.input, layers.Dense(4)(backbone.features.pooled))
    found = said(averaging([model], EmbeddingTarget, FLIPS[:1]), PICTURES)
    both = [unit(said(model, PICTURES)), unit(said(model, PICTURES[:, :, ::-1]))]
    np.testing.assert_allclose(unit(found), unit(sum(both)), atol=1e-5)


def test_one_member_on_the_picture_as_it_is_stays_what_it_was():
    (one,) = of_new_backbones(1)
    assert averaging([one], ClassTarget) is one


@pytest.mark.parametrize("size", [1.0, 80.0, 1e4])
def test_sure_and_contrary_models_leave_finite_numbers(size):
    raws = [np.array([[size, -size]], "float32"), np.array([[-size, size]], "float32")]
    for mean, read in ((mean_of_softmaxes, softmax), (mean_of_sigmoids, sigmoid)):
        found = read(np.asarray(mean([keras.ops.convert_to_tensor(raw) for raw in raws])))
        np.testing.assert_allclose(found, [[0.5, 0.5]], atol=1e-6)
    alike = [keras.ops.convert_to_tensor(raws[0])] * 2
    np.testing.assert_allclose(sigmoid(mean_of_sigmoids(alike)), sigmoid(raws[0]), atol=1e-6)


class OfOwnOutputs(ClassTarget):
    def outputs(self, raw):
        return raw


class OfOwnMean(OfOwnOutputs):
    @classmethod
    def averaged(cls, raws):
        return sum(raws) / len(raws)


def test_only_kinds_whose_mean_is_that_of_their_outputs_can_be_averaged():
    kinds = (ClassTarget, ClassSetTarget, NumbersTarget, TagsTarget, MaskTarget, EmbeddingTarget)
    assert all(kind.can_average() for kind in kinds)
    assert not OfOwnOutputs.can_average()
    assert OfOwnMean.can_average()
