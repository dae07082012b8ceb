"""Layers of Keras that change training images: what is allowed, and that seeds decide all."""

from __future__ import annotations

import inspect
import random

import augment_zoo as zoo
import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from cached_fit import ALWAYS, PHASES, fit
from presets import write_image_preset

import tltool
from tltool.data.batches.pipeline import make_dataset
from tltool.data.examples import Examples
from tltool.data.images.seeded_layers import SeededLayer, make_layer
from tltool.recipe.augment_layers import BATCH_LAYERS, IMAGE_LAYERS
from tltool.recipe.layer_faults import REFUSED
from tltool.recipe.recipe import Recipe, recipe_schema
from tltool.recipe.schema import AugmentSection, CacheSection
from tltool.support.errors import RecipeError

CORE_IMAGE = [name for name in zoo.CORE if name in IMAGE_LAYERS]
# Options of Keras that tltool sets or has no use for.
OURS = {"value_range", "seed", "data_format", "kwargs", "self"}


def section(*names: str, **fields) -> AugmentSection:
    return AugmentSection(layers=tuple(zoo.settings(name) for name in names), **fields)


# The list --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", zoo.CORE)
def test_options_are_those_of_the_layer(name):
    """What is new in another version of Keras, or has another default, is seen here."""
    kind = zoo.KINDS[name]
    theirs = inspect.signature(getattr(keras.layers, name).__init__).parameters
    assert set(kind.model_fields) - {"layer"} == set(theirs) - OURS
    for key, field in kind.model_fields.items():
        if key == "layer":
            continue
        required = theirs[key].default is inspect.Parameter.empty
        assert field.is_required() == required, key
        if not required:
            assert_same_default(name, key, field.default, theirs[key].default)


def assert_same_default(name: str, key: str, ours, theirs) -> None:
    """Ranges are two numbers here, and mean what one number means to the layer."""
    if isinstance(ours, tuple) and not isinstance(theirs, tuple):
        layer = getattr(keras.layers, name)
        made = [layer(**{key: value}) for value in (ours, theirs)]
        found = [{k: v for k, v in vars(m).items() if "factor" in k or "scale" in k or "sigma" in k}
                 for m in made]  # fmt: skip
        assert found[0] == found[1]
        return
    assert ours == theirs


@pytest.mark.parametrize("name", CORE_IMAGE)
def test_the_ends_of_every_range_are_taken_and_give_images(name):
    images = zoo.pictures(2)
    for key, schema in zoo.KINDS[name].model_json_schema()["properties"].items():
        branches = [schema, *schema.get("anyOf", ())]
        (items,) = [b["prefixItems"] for b in branches if "prefixItems" in b] or [None]
        if items is None:
            continue
        low = items[0].get("minimum", items[0].get("exclusiveMinimum", 0) + 0.01)
        for end in (low, items[0]["maximum"]):
            out = zoo.changed(zoo.settings(name, **{key: [end, end]}), images)
            assert np.isfinite(out).all(), (key, end)
            assert out.min() >= 0
            assert out.max() <= 255


def test_layers_of_keras_are_in_the_list_or_refused_with_a_reason():
    known = {*zoo.KINDS, *REFUSED, "MaxNumBoundingBoxes"}
    base = keras.layers.RandomFlip.__mro__[1]
    theirs = {
        name
        for name, kind in vars(keras.layers).items()
        if inspect.isclass(kind) and issubclass(kind, base)
    }
    assert theirs - known == set()
    assert set(zoo.KINDS) & set(REFUSED) == set()


FAULTS = [
    ("{layer: RandAugment, num_opz: 2}", "num_opz", "did you mean `num_ops`?"),
    ("{layer: RandAugment, num_ops: 0}", "num_ops", "at least 1"),
    ("{layer: RandomHue}", "factor", "missing"),
    ("{layer: RandomHue, factor: 0.3}", "factor", "two numbers are needed"),
    ("{layer: RandomHue, factor: [0.1, 0.2, 0.3]}", "factor", "two numbers are needed"),
    ("{layer: RandomHue, factor: [0.5, 0.1]}", "factor", "the lowest value must come first"),
    ("{layer: RandomHue, factor: [0.5, 1.5]}", "factor.1", "at most 1"),
    ("{layer: RandomHue, factor: [yes, 1]}", "factor.0", "not true or false"),
    ("{layer: RandomFlip, mode: diagonal}", "mode", "horizontal_and_vertical"),
    ("{layer: RandomHu, factor: [0, 1]}", "layer", "did you mean `RandomHue`?"),
    ("{layer: GridMask}", "layer", "did you mean `keras_cv.GridMask`?"),
    ("{layer: keras_cv.RandomHue, factor: [0, 1]}", "layer", "write `RandomHue`"),
    ("{layer: os.system}", "layer", "unknown layer"),
    ("{layer: AugMix}", "layer", "would not follow from the seed"),
    ("{layer: Equalization}", "layer", "changes every image in the same way"),
    ("{layer: keras_cv.Mosaic}", "layer", "MixUp and CutMix"),
    ("{layer: keras_cv.FourierMix}", "layer", "TensorFlow's own generator"),
    ("{num_ops: 2}", "layer", "missing"),
    ("RandAugment", "", "a mapping"),
]


@pytest.mark.parametrize(("entry", "field", "said"), FAULTS)
def test_a_fault_in_a_layer_is_told_at_its_own_place(entry, field, said, tmp_path):
    file = tmp_path / "recipe.yaml"
    layers = f"augment:\n  layers:\n    - {{layer: RandomGrayscale}}\n    - {entry}\n"
    file.write_text(f"task: image-classification\nbackbone: x\n{layers}")
    with pytest.raises(RecipeError) as caught:
        Recipe.load(file)
    (fault,) = caught.value.faults
    assert fault.path == f"augment.layers.1.{field}".rstrip(".")
    assert fault.line == 6
    assert said in str(fault)


def mixing_recipe(layers, task="image-classification", **augment):
    return Recipe.of(task=task, backbone="x", augment={"layers": layers, **augment})


def test_mixing_comes_last_and_needs_classes_and_images_as_they_come():
    mixup, flip = {"layer": "MixUp"}, {"layer": "RandomFlip"}
    assert mixing_recipe([flip, mixup, {"layer": "CutMix"}]).augment.layers[1].alpha == 0.2
    with pytest.raises(RecipeError, match=r"augment.layers.0: .* must come after"):
        mixing_recipe([mixup, flip])
    with pytest.raises(RecipeError, match=r"augment.layers.1: .* regression"):
        mixing_recipe([flip, mixup], task="image-regression")
    with pytest.raises(RecipeError, match=r"augment.layers.1: .* augment.views"):
        mixing_recipe([flip, mixup], views=4)


def test_a_recipe_with_layers_is_written_and_read_again(tmp_path):
    entries = [{"layer": name, **zoo.OPTIONS.get(name, {})} for name in zoo.KINDS]
    recipe = mixing_recipe(entries)
    assert [entry.layer for entry in recipe.augment.layers] == list(zoo.KINDS)
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.to_yaml())
    assert Recipe.load(file) == recipe
    changed = recipe.with_overrides("augment.layers.0.num_ops=5")
    assert changed.augment.layers[0].num_ops == 5


def test_editors_are_told_of_every_layer_and_option():
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(recipe_schema())
    entries = [{"layer": name, **zoo.OPTIONS.get(name, {})} for name in zoo.KINDS]
    values = {"task": "image-classification", "backbone": "x", "augment": {"layers": entries}}
    assert list(validator.iter_errors(values)) == []
    for wrong in ({"layer": "RandomHue"}, {"layer": "RandomHue", "factor": [0, 2]}):
        assert list(validator.iter_errors({**values, "augment": {"layers": [wrong]}}))


def test_without_keras_cv_its_layers_are_refused_before_anything_is_read(monkeypatch, tmp_path):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "keras_cv" else find(name)
    )
    recipe = mixing_recipe([{"layer": "RandomFlip"}, {"layer": "keras_cv.GridMask"}])
    with pytest.raises(RecipeError, match=r"augment.layers.1: needs the package keras-cv") as error:
        tltool.finetune(recipe)
    assert "tltool[cv]" in error.value.hint


# What they do ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CORE_IMAGE)
def test_a_layer_follows_the_seed_alone(name):
    zoo.check_follows_the_seed(name)


def test_a_layer_s_own_generator_would_be_seen():
    layer = make_layer(zoo.settings("RandomHue"), (32, 32), (0, 255))
    graph = tf.function(layer).get_concrete_function(zoo.pictures(1))
    assert graph.captured_inputs
    drawn = tf.function(lambda: tf.random.uniform([])).get_concrete_function()
    assert zoo.random_operations(drawn.graph) == {"RandomUniform"}


@pytest.mark.parametrize(
    ("name", "neutral"),
    [
        ("RandomBrightness", {"factor": [0, 0]}),
        ("RandomColorDegeneration", {"factor": [0, 0]}),
        ("RandomColorJitter", {"brightness_factor": [0, 0], "contrast_factor": [0, 0],
                               "saturation_factor": [0.5, 0.5], "hue_factor": [0, 0]}),
        ("RandomContrast", {"factor": [0, 0]}),
        ("RandomElasticTransform", {"factor": [0, 0]}),
        ("RandomErasing", {"factor": [0, 0]}),
        ("RandomGaussianBlur", {"factor": [0, 0]}),
        ("RandomGrayscale", {"factor": 0}),
        ("RandomHue", {"factor": [0, 0]}),
        ("RandomInvert", {"factor": [0, 0]}),
        ("RandomPerspective", {"factor": [0, 0]}),
        ("RandomPosterization", {"factor": [8, 8]}),
        ("RandomRotation", {"factor": [0, 0]}),
        ("RandomSaturation", {"factor": [0.5, 0.5]}),
        ("RandomSharpness", {"factor": [0.5, 0.5]}),
        ("RandomShear", {"x_factor": [0, 0], "y_factor": [0, 0]}),
        ("RandomTranslation", {"height_factor": [0, 0], "width_factor": [0, 0]}),
        ("RandomZoom", {"height_factor": [0, 0]}),
    ],
)  # fmt: skip
def test_neutral_options_change_nothing(name, neutral):
    images = zoo.pictures(3)
    np.testing.assert_allclose(zoo.changed(zoo.settings(name, **neutral), images), images, atol=0.1)


def test_saturation_is_cut_at_full_saturation():
    """Given levels 0..255, Keras would let it go to 255 times that: other hues, below black."""
    images = zoo.pictures(3)
    expected = np.asarray(tf.image.adjust_saturation(images / 255.0, 4.0)) * 255.0
    for name, option in (
        ("RandomSaturation", {"factor": [0.8, 0.8]}),
        ("RandomColorJitter", {"brightness_factor": None, "contrast_factor": None,
                               "hue_factor": None, "saturation_factor": [0.8, 0.8]}),
    ):  # fmt: skip
        got = zoo.changed(zoo.settings(name, **option), images)
        np.testing.assert_allclose(got, expected, atol=0.05)


def test_layers_compute_in_float32_and_draw_nothing_that_others_draw():
    state = random.getstate()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        made = [make_layer(zoo.settings(name), (32, 32), (0, 255)) for name in zoo.CORE]
        assert keras.config.dtype_policy().name == "mixed_float16"
    finally:
        keras.config.set_dtype_policy("float32")
    assert {inner.compute_dtype for layer in made for inner in layer._flatten_layers()} == {
        "float32"
    }
    for name in CORE_IMAGE:
        SeededLayer(zoo.settings(name), (32, 32))
    assert random.getstate() == state


# In training -----------------------------------------------------------------------------------


def rows(count: int = 6) -> Examples:
    """The same picture, several times."""
    pixels = zoo.pictures(1, 40)[0].astype("uint8")
    origins = [f"row {i}" for i in range(count)]
    return Examples("image", [pixels] * count, [None] * count, ["train"] * count, origins)


def dataset(augment, **options) -> tf.data.Dataset:
    settings = {"batch_size": 4, "training": True, "targets": np.arange(6), "seed": 3}
    return make_dataset(rows(), tiny.TINY_IMAGE, augment=augment, **{**settings, **options})


def epochs(augment, **options) -> list[dict[int, bytes]]:
    """Two epochs: the bytes of each row's image."""
    data = dataset(augment, **options)
    return [
        {int(y): x.tobytes() for xs, ys, _ in data for x, y in zip(xs.numpy(), ys, strict=True)}
        for _ in range(2)
    ]


def test_images_change_with_row_and_epoch_repeat_with_the_seed_and_not_in_evaluation():
    augment = section("RandomHue", "RandomTranslation", "RandomColorJitter", rotation_degrees=5)
    first, second = epochs(augment)
    assert [first, second] == epochs(augment, cache_bytes=0)
    assert len({*first.values(), *second.values()}) == 12
    assert epochs(augment, seed=4)[0] != first
    plain = epochs(None, training=False)
    assert epochs(augment, training=False) == plain
    assert len({*plain[0].values()}) == 1


def test_another_layer_changes_no_draw_of_the_one_before():
    """Turned and then made grey is what turned is, made grey."""
    turned = section("RandomRotation")
    grey = AugmentSection(layers=(*turned.layers, zoo.settings("RandomGrayscale", factor=1)))
    for one, other in zip(dataset(turned), dataset(grey), strict=True):
        images, greys = (batch[0] * tiny.TINY_IMAGE.std[0] + 127.0 for batch in (one, other))
        np.testing.assert_allclose(tf.image.rgb_to_grayscale(images), greys[..., :1], atol=0.05)


@pytest.mark.slow
def test_stored_views_train_as_views_computed_in_every_epoch(tmp_path):
    augment = section("RandomHue", "RandomErasing", views=2)
    stored, with_cache, said, store = fit("cnn", tmp_path, PHASES[:1], ALWAYS, augment=augment)
    anew, without, _, _ = fit(
        "cnn", tmp_path, PHASES[:1], CacheSection(use="never"), augment=augment
    )
    assert sorted(entry.rows for entry in store.entries()) == [10, 80]
    for path, value in anew.items():
        np.testing.assert_allclose(stored[path], value, atol=2e-5, err_msg=path)
    assert with_cache[-1]["loss"] == pytest.approx(without[-1]["loss"], abs=1e-5)
    other = section("RandomHue", views=2)
    _, _, said, _ = fit("cnn", tmp_path, PHASES[:1], ALWAYS, augment=other)
    assert "computed once" in said[0]


def test_training_repeats_and_learns_from_what_the_layers_made(tmp_path):
    augment = section("RandomHue", "RandomErasing", "MixUp")
    phases = ({"train": "all", "epochs": 1, "learning_rate": 0.003},)
    never = CacheSection(use="never")
    found = [
        fit("cnn", tmp_path / str(i), phases, never, augment=changes)
        for i, changes in enumerate((augment, augment, None))
    ]
    (weights, history, *_), (again, same, *_), (_, plain, *_) = found
    assert [row["loss"] for row in history] == [row["loss"] for row in same]
    for path, value in weights.items():
        np.testing.assert_array_equal(again[path], value, err_msg=path)
    assert history[0]["loss"] != plain[0]["loss"]


@pytest.mark.slow
def test_an_exported_model_has_no_trace_of_the_layers(tmp_path):
    photos = tiny.write_images(tmp_path / "photos", per_class=15)
    layers = [{"layer": name, **zoo.OPTIONS.get(name, {})} for name in ("RandAugment", "CutMix")]
    run = tltool.finetune(
        Recipe.of(
            task="image-classification",
            backbone=str(write_image_preset(tmp_path / "preset")),
            data={"train": str(photos), "validation_fraction": 0.2, "test_fraction": 0.2},
            schedule=[{"train": "all", "epochs": 2, "learning_rate": 0.003}],
            augment={"layers": layers},
            evaluation={"baseline": False},
            export={"formats": ["saved_model"]},
            output_dir=str(tmp_path / "runs"),
        )
    )
    inside = {type(layer).__name__ for layer in run.model._flatten_layers()}
    assert not inside & {"RandAugment", "CutMix", "RandomShear"}
    some = sorted(photos.rglob("*.jpg"))[:4]
    served = tltool.load_artifact(run.folder.exports / "saved_model").predict(some)
    for row, prediction in zip(served, run.predict(some), strict=True):
        np.testing.assert_allclose(row, list(prediction.probabilities.values()), atol=1e-5)


# Mixing ----------------------------------------------------------------------------------------


def mixed(name: str, weights=None, batch_size: int = 6, epochs: int = 1, **options):
    """Batches of six plain images whose level tells the row, mixed; levels again."""
    levels = 40 * np.arange(6)
    pixels = [np.full((40, 40, 3), level, np.uint8) for level in levels]
    data = Examples("image", pixels, [None] * 6, ["train"] * 6, [f"row {i}" for i in range(6)])
    settings = {"training": True, "targets": np.eye(6, dtype="float32"), "seed": 3, **options}
    augment = AugmentSection(layers=(zoo.settings(name),))
    batches = make_dataset(data, tiny.TINY_IMAGE, augment=augment, weights=weights,
                           batch_size=batch_size, **settings)  # fmt: skip
    return [
        (x.numpy() * 128.0 + 127.0, y.numpy(), w.numpy())
        for _ in range(epochs)
        for x, y, w in batches
    ]


def test_nothing_is_stored_of_images_that_are_mixed(tmp_path):
    _, _, said, store = fit("cnn", tmp_path, PHASES[:1], ALWAYS, augment=section("CutMix"))
    assert said[0].endswith("since CutMix mixes the images of each batch")
    assert store.entries() == []


@pytest.mark.parametrize("name", BATCH_LAYERS)
def test_targets_are_mixed_as_the_images_are(name):
    ((images, targets, weights),) = mixed(name)
    np.testing.assert_allclose(targets.sum(1), 1.0, atol=1e-6)
    assert ((targets > 0).sum(1) == 2).any()
    # Each row's mean level is that of its classes; CutMix cuts whole pixels.
    tolerance = 0.01 if name == "MixUp" else 8.0
    np.testing.assert_allclose(
        images.mean((1, 2, 3)), targets @ (40.0 * np.arange(6)), atol=tolerance
    )
    np.testing.assert_allclose(weights, 1.0, atol=1e-6)


@pytest.mark.parametrize("name", BATCH_LAYERS)
def test_mixing_repeats_with_the_seed_and_is_not_done_in_evaluation(name):
    ((images, targets, _),) = mixed(name)
    ((images_2, targets_2, _),) = mixed(name)
    np.testing.assert_array_equal(images, images_2)
    np.testing.assert_array_equal(targets, targets_2)
    ((plain, classes, _),) = mixed(name, training=False)
    np.testing.assert_array_equal(classes, np.eye(6))
    np.testing.assert_allclose(plain[:, 0, 0, 0], 40.0 * np.arange(6), atol=0.01)


def test_shares_are_drawn_anew_for_each_batch_and_epoch_and_follow_the_seed():
    """The largest share of each row, whatever the order of the rows."""

    def shares(**options):
        return [tuple(np.sort(y.max(1))) for _, y, _ in mixed("MixUp", batch_size=3, **options)]

    found = [*shares(epochs=2), *shares(seed=4)]
    assert len(set(found)) == len(found) == 6


def test_a_mixed_row_s_loss_is_that_of_its_rows_with_their_weights():
    weights = np.array([0.5, 3.0, 1.0, 0.0, 2.0, 1.5])
    ((_, targets, mixed_weights),) = mixed("MixUp", weights)
    ((_, plain, _),) = mixed("MixUp")
    # The same draws: the shares of the rows without weights tell what is mixed.
    logits = np.random.default_rng(0).normal(size=(6, 6))
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -(plain * weights * log_p).sum(1)
    np.testing.assert_allclose(-(targets * log_p).sum(1) * mixed_weights, expected, atol=1e-5)


@pytest.mark.parametrize("name", BATCH_LAYERS)
def test_weights_of_single_labels_are_mixed_as_the_labels_are(name):
    rng = np.random.default_rng(1)
    truth = (rng.uniform(size=(6, 3)) < 0.5).astype("float32")
    weights = rng.uniform(0.0, 3.0, (6, 3)).astype("float32")
    ((_, targets, mixed_weights),) = mixed(name, weights, targets=truth)
    ((_, shares, _),) = mixed(name)
    logits = rng.normal(size=(6, 3))

    def losses(wanted):
        return np.logaddexp(0, logits) - wanted * logits

    each = np.stack([losses(truth[row]) * weights[row] for row in range(6)], axis=1)
    expected = (shares[:, :, None] * each).sum(axis=1)
    np.testing.assert_allclose(losses(targets) * mixed_weights, expected, atol=1e-5)
