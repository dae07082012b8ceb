"""Layers of keras-cv that change training images; run where the extra [cv] is installed."""

from __future__ import annotations

import inspect

import augment_zoo as zoo
import numpy as np
import pytest
import tensorflow as tf
import tiny
from PIL import Image

from tltool.data.batches.pipeline import make_batches, make_dataset
from tltool.data.examples import Examples
from tltool.data.images.seeded_layers import versions
from tltool.features.rows import Rows
from tltool.recipe.layer_faults import REFUSED, check_installed
from tltool.recipe.schema import AugmentSection

keras_cv = pytest.importorskip("keras_cv")

# Options of keras-cv that tltool sets, or leaves out for the reason given.
OURS = {"self", "kwargs", "value_range", "target_size", "seed", "bounding_box_format"}
LEFT_OUT = {
    "keras_cv.ChannelShuffle": {"groups"},  # three channels have one group size that changes them
    "keras_cv.GridMask": {"fill_mode"},  # the other one calls what tf.random.Generator lacks
    "keras_cv.RandomCutout": {"fill_mode"},  # the other one draws from TensorFlow's own state
    "keras_cv.RandomChannelShift": {"channels"},  # images have three
    "keras_cv.JitteredResize": {"crop_size", "interpolation"},  # cuts the size; is not used
}


@pytest.fixture(autouse=True)
def _deterministic():
    """As in training, where keras-cv may not ask for TensorFlow's global generator."""
    tf.config.experimental.enable_op_determinism()


@pytest.mark.parametrize("name", zoo.FOREIGN)
def test_options_are_those_of_the_layer(name):
    kind = zoo.KINDS[name]
    plain = name.removeprefix("keras_cv.")
    theirs = inspect.signature(getattr(keras_cv.layers, plain).__init__).parameters
    options = set(kind.model_fields) - {"layer"}
    assert options == set(theirs) - OURS - LEFT_OUT.get(name, set())
    for key in options:
        field, default = kind.model_fields[key], theirs[key].default
        assert field.is_required() == (default is inspect.Parameter.empty)
        if not field.is_required():
            assert field.default == default


def test_layers_of_keras_cv_are_in_the_list_refused_or_in_keras():
    base = (
        keras_cv.layers.BaseImageAugmentationLayer,
        keras_cv.layers.VectorizedBaseImageAugmentationLayer,
    )
    theirs = {
        name
        for name, kind in vars(keras_cv.layers).items()
        if inspect.isclass(kind) and issubclass(kind, base) and kind not in base
    }
    known = {name.removeprefix("keras_cv.") for name in (*zoo.KINDS, *REFUSED)}
    assert theirs - known == set()
    assert {name.removeprefix("keras_cv.") for name in zoo.FOREIGN} <= theirs


def test_an_installed_package_is_found():
    check_installed([zoo.settings("keras_cv.GridMask")])


@pytest.mark.parametrize("name", zoo.FOREIGN)
def test_a_layer_follows_the_seed_alone(name):
    zoo.check_follows_the_seed(name)


@pytest.mark.parametrize("name", zoo.FOREIGN)
def test_the_ends_of_every_range_are_taken_and_give_images(name):
    images = zoo.pictures(2)
    for key, schema in zoo.KINDS[name].model_json_schema()["properties"].items():
        if "prefixItems" not in schema:
            continue
        item = schema["prefixItems"][0]
        low = item.get("minimum", item.get("exclusiveMinimum", 0) + 0.01)
        for end in (low, item["maximum"]):
            out = zoo.changed(zoo.settings(name, **{key: [end, end]}), images)
            assert np.isfinite(out).all(), (key, end)
            assert out.min() >= 0
            assert out.max() <= 255


@pytest.mark.parametrize(
    ("name", "neutral"),
    [
        ("keras_cv.GridMask", {"ratio_factor": [0, 0]}),
        ("keras_cv.JitteredResize", {"scale_factor": [1, 1]}),
        ("keras_cv.RandomChannelShift", {"factor": [0, 0]}),
        (
            "keras_cv.RandomCropAndResize",
            {"crop_area_factor": [1, 1], "aspect_ratio_factor": [1, 1]},
        ),
        ("keras_cv.RandomCutout", {"height_factor": [0, 0], "width_factor": [0, 0]}),
    ],
)
def test_neutral_options_change_nothing(name, neutral):
    images = zoo.pictures(3)
    np.testing.assert_allclose(zoo.changed(zoo.settings(name, **neutral), images), images, atol=0.1)


def test_jpeg_quality_is_that_of_a_jpeg_file(tmp_path):
    """Given levels 0..255, keras-cv would compress a white image."""
    (image,) = zoo.pictures(1)
    (got,) = zoo.changed(zoo.settings("keras_cv.RandomJpegQuality", factor=[30, 30]), image[None])
    Image.fromarray(image.astype("uint8")).save(tmp_path / "a.jpg", quality=30)
    expected = np.asarray(Image.open(tmp_path / "a.jpg"), np.float32)
    assert np.abs(got - expected).mean() < 2
    assert np.abs(image - expected).mean() > 4


LAYERS = (
    zoo.settings("keras_cv.GridMask"),
    zoo.settings("RandomHue"),
    zoo.settings("keras_cv.RandomJpegQuality"),
    zoo.settings("keras_cv.JitteredResize"),
)


def same_pictures(count: int) -> Examples:
    pixels = zoo.pictures(1, 40)[0].astype("uint8")
    origins = [f"row {i}" for i in range(count)]
    return Examples("image", [pixels] * count, [None] * count, ["train"] * count, origins)


def epochs(augment: AugmentSection, data: Examples, **options) -> list[dict[int, bytes]]:
    """Two epochs: the bytes of each row's image."""
    settings = {"batch_size": 4, "training": True, "targets": np.arange(len(data)), "seed": 3}
    batches = make_dataset(data, tiny.TINY_IMAGE, augment=augment, **{**settings, **options})
    return [
        {int(y): x.tobytes() for xs, ys, _ in batches for x, y in zip(xs.numpy(), ys, strict=True)}
        for _ in range(2)
    ]


def test_images_change_with_row_and_epoch_and_repeat_with_the_seed():
    augment, data = AugmentSection(layers=LAYERS), same_pictures(6)
    first, second = epochs(augment, data)
    assert [first, second] == epochs(augment, data, cache_bytes=0)
    assert len({*first.values(), *second.values()}) == 12
    assert len({*epochs(augment, data, training=False)[0].values()}) == 1


def test_stored_views_are_those_of_training():
    augment, data = AugmentSection(layers=LAYERS, views=3), same_pictures(8)
    shown = {image for epoch in epochs(augment, data) for image in epoch.values()}
    rows = Rows.of(data, tiny.TINY_IMAGE, augment, seed=3)
    stored = make_batches(rows.source, targets=None, batch_size=3, training=False)
    assert {image.tobytes() for batch in stored for image in batch.numpy()} == shown
    assert len(shown) == 3


def test_stored_views_depend_on_the_version_of_keras_cv(monkeypatch):
    data = Examples("image", list(zoo.pictures(2).astype("uint8")), ["a", "b"], ["train"] * 2, "ab")
    augment = AugmentSection(layers=LAYERS, views=2)
    assert versions(LAYERS).startswith("keras-cv 0.9")
    assert versions(LAYERS[1:2]) == ""
    before = Rows.of(data, tiny.TINY_IMAGE, augment).digest()
    assert Rows.of(data, tiny.TINY_IMAGE, augment).digest() == before
    monkeypatch.setattr("tltool.data.images.seeded_layers.version", lambda _: "99")
    assert Rows.of(data, tiny.TINY_IMAGE, augment).digest() != before
