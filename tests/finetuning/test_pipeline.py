from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import image_zoo as zoo
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tiny import TINY_IMAGE, TINY_TEXT, texts, write_images

from tltool.data.batches.pipeline import make_dataset, make_preprocessor, model_inputs
from tltool.data.examples import Examples
from tltool.data.images.augment import augment
from tltool.data.images.preprocessor import preprocess_image
from tltool.data.texts.tokenizers.wordpiece import WordPieceTokenizer
from tltool.data.texts.tokenizing import tokenized
from tltool.recipe.schema import AugmentSection
from tltool.support.errors import DataError

ALL_CHANGES = AugmentSection(
    horizontal_flip=True,
    vertical_flip=True,
    rotation_degrees=20,
    zoom=0.2,
    translation=0.1,
    brightness=0.1,
    contrast=0.2,
)


def examples(modality, inputs) -> Examples:
    count = len(inputs)
    origins = [f"data.csv:{i + 2}" for i in range(count)]
    return Examples(modality, inputs, [None] * count, ["train"] * count, origins)


def image_examples(folder: Path, per_class: int = 6) -> Examples:
    write_images(folder, per_class=per_class)
    return examples("image", [str(path) for path in sorted(folder.rglob("*.jpg"))])


def text_examples(count: int = 23) -> Examples:
    return examples("text", texts(count)[0])


def training_set(data: Examples, contract, **options) -> tf.data.Dataset:
    settings = {"batch_size": 5, "training": True, "targets": np.arange(len(data)), "seed": 7}
    return make_dataset(data, contract, **{**settings, **options})


def epochs(dataset: tf.data.Dataset, count: int) -> list[list[int]]:
    return [np.concatenate([y for _, y, _ in dataset]).tolist() for _ in range(count)]


# Order -------------------------------------------------------------------------------------


def test_every_epoch_is_a_new_permutation_decided_by_the_seed():
    data = text_examples()
    first = epochs(training_set(data, TINY_TEXT), 3)
    assert first == epochs(training_set(data, TINY_TEXT), 3)
    assert all(sorted(epoch) == list(range(23)) for epoch in first)
    assert len({tuple(epoch) for epoch in first}) == 3
    assert first[0] != epochs(training_set(data, TINY_TEXT, seed=8), 1)[0]


def test_the_shuffle_is_full():
    """A small buffer would keep early examples early."""
    order = epochs(training_set(text_examples(200), TINY_TEXT), 1)[0]
    assert np.mean(order[:40]) > 60


def test_without_training_the_order_is_that_of_the_examples():
    dataset = training_set(text_examples(), TINY_TEXT, training=False)
    assert epochs(dataset, 2) == [list(range(23))] * 2


@pytest.mark.parametrize("training", [True, False])
def test_cardinality_is_known(training):
    dataset = training_set(text_examples(), TINY_TEXT, training=training)
    assert dataset.cardinality() == 5
    assert len(list(dataset)) == 5


def test_inputs_targets_and_weights_stay_together(tmp_path):
    data = image_examples(tmp_path)
    targets = np.eye(12, dtype=np.float32)
    weights = np.arange(12) / 4
    plain = make_dataset(data, TINY_IMAGE, targets=None, batch_size=12, training=False)
    images = next(iter(plain)).numpy()
    for x, y, w in training_set(data, TINY_IMAGE, targets=targets, weights=weights):
        rows = y.numpy().argmax(-1)
        np.testing.assert_array_equal(x, images[rows])
        np.testing.assert_array_equal(w, weights[rows].astype(np.float32))


def test_targets_of_another_length_are_refused():
    with pytest.raises(ValueError, match="23 examples"):
        training_set(text_examples(), TINY_TEXT, targets=np.arange(22))


# Texts -------------------------------------------------------------------------------------


def test_text_batches_are_padded_to_a_bucket_size_within_the_limit():
    preprocessor = make_preprocessor(TINY_TEXT)
    short = preprocessor(["good film", "bad"])
    assert {name: tuple(x.shape) for name, x in short.items()} == dict.fromkeys(
        TINY_TEXT.inputs, (2, 8)
    )
    assert all(x.dtype == tf.int32 for x in short.values())
    np.testing.assert_array_equal(short["padding_mask"], [[1] * 4 + [0] * 4, [1] * 3 + [0] * 5])
    np.testing.assert_array_equal(short["token_ids"].numpy() > 0, short["padding_mask"] == 1)
    longer = preprocessor(["good " * 8, "bad"])
    assert longer["token_ids"].shape == (2, 12)
    cut = TINY_TEXT.model_copy(update={"max_length": 13})
    assert make_preprocessor(cut)(["good " * 40])["token_ids"].shape == (1, 13)


@pytest.mark.parametrize("length", [4, 12, 16])
def test_a_fixed_length_cuts_before_the_end_token_and_pads(length):
    ids = make_preprocessor(TINY_TEXT)(["good " * 40, "bad"], length=length)["token_ids"].numpy()
    assert ids.shape == (2, length)
    assert ids[0, -1] == 3
    assert (ids[1, 3:] == 0).all()


def test_dataset_of_texts_equals_the_preprocessor():
    data = text_examples()
    preprocessor = make_preprocessor(TINY_TEXT)
    dataset = make_dataset(data, TINY_TEXT, targets=None, batch_size=5, training=False)
    for i, batch in enumerate(dataset):
        expected = preprocessor(data.inputs[5 * i : 5 * i + 5])
        for name in TINY_TEXT.inputs:
            np.testing.assert_array_equal(batch[name], expected[name])


def test_only_the_contracts_inputs_are_made():
    contract = TINY_TEXT.model_copy(update={"inputs": ("token_ids", "padding_mask")})
    assert list(model_inputs(["good"], contract)) == ["token_ids", "padding_mask"]
    with pytest.raises(ValueError, match="positions"):
        make_preprocessor(TINY_TEXT.model_copy(update={"inputs": ("positions",)}))


def test_half_a_surrogate_pair_is_dropped_and_a_missing_text_is_an_error():
    lone = model_inputs(["good \ud83d film"], TINY_TEXT)["token_ids"]
    np.testing.assert_array_equal(lone, model_inputs(["good film"], TINY_TEXT)["token_ids"])
    with pytest.raises(DataError, match=r"data\.csv:3"):
        training_set(examples("text", ["good", None]), TINY_TEXT)


# Images ------------------------------------------------------------------------------------


def test_dataset_of_images_equals_the_preprocessor_cached_or_not(tmp_path):
    data = image_examples(tmp_path)
    expected = make_preprocessor(TINY_IMAGE)([Path(path).read_bytes() for path in data.inputs])
    for cache_bytes in (0, 1 << 20):
        dataset = make_dataset(
            data, TINY_IMAGE, targets=None, batch_size=5, training=False, cache_bytes=cache_bytes
        )
        for _ in range(2):
            np.testing.assert_array_equal(np.concatenate(list(dataset)), expected)


def test_cached_images_are_read_once(tmp_path):
    data = image_examples(tmp_path)
    dataset = training_set(data, TINY_IMAGE)
    first = {int(y): x for xs, ys, _ in dataset for x, y in zip(xs.numpy(), ys, strict=True)}
    for path in data.inputs:
        Path(path).unlink()
    for xs, ys, _ in dataset:
        for x, y in zip(xs, ys, strict=True):
            np.testing.assert_array_equal(x, first[int(y)])


def test_paths_arrays_and_bytes_of_different_sizes_mix(tmp_path):
    path = tmp_path / "one.png"
    picture = zoo.picture(50, 40)
    picture.save(path)
    array, data = np.asarray(picture), path.read_bytes()
    inputs = [path, str(path), array, data, array[:45, :, 0]]
    batch = model_inputs(inputs, TINY_IMAGE).numpy()
    assert batch.shape == (5, 32, 32, 3)
    expected = preprocess_image(data, TINY_IMAGE).numpy()
    for image in batch[:4]:
        np.testing.assert_array_equal(image, expected)
    mixed = examples("image", inputs)
    uncached = make_dataset(
        mixed, TINY_IMAGE, targets=None, batch_size=5, training=False, cache_bytes=0
    )
    np.testing.assert_array_equal(next(iter(uncached)), batch)
    assert model_inputs([], TINY_IMAGE).shape == (0, 32, 32, 3)


@pytest.mark.parametrize("damage", ["truncated", "missing", "text"])
def test_a_broken_image_is_named(tmp_path, damage):
    data = image_examples(tmp_path)
    row = {"truncated": 4, "missing": 0, "text": 11}[damage]
    path = Path(data.inputs[row])
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:300] if damage == "truncated" else b"hello")
    options = {"targets": None, "batch_size": 5, "training": False}
    with pytest.raises(DataError, match=f"{path.name} .data.csv:{row + 2}.: this image") as caught:
        make_dataset(data, TINY_IMAGE, **options)
    assert "\n" not in caught.value.message
    with pytest.raises(tf.errors.OpError, match=f"{path.name} .data.csv:{row + 2}.: this image"):
        list(make_dataset(data, TINY_IMAGE, **options, cache_bytes=0))
    with pytest.raises(DataError, match=path.name):
        model_inputs([path], TINY_IMAGE)


# Augmentation ------------------------------------------------------------------------------


def noise(size: int = 33) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (size, size + 8, 3)).astype(np.float32)


def test_no_changes_are_no_changes():
    np.testing.assert_array_equal(augment(noise(), AugmentSection(), (1, 2)), noise())


def test_equal_seeds_change_equally_and_others_do_not():
    changed = augment(noise(), ALL_CHANGES, (1, 2)).numpy()
    np.testing.assert_array_equal(changed, augment(noise(), ALL_CHANGES, (1, 2)))
    assert changed.shape == noise().shape
    assert (changed != augment(noise(), ALL_CHANGES, (1, 3)).numpy()).mean() > 0.5
    assert changed.min() >= 0
    assert changed.max() <= 255


@pytest.mark.parametrize(("setting", "axis"), [("horizontal_flip", 1), ("vertical_flip", 0)])
def test_flips_are_exact_and_as_likely_as_not(setting, axis):
    settings = AugmentSection(**{setting: True})
    flipped = 0
    for seed in range(40):
        image = augment(noise(), settings, (0, seed)).numpy()
        turned = (image == np.flip(noise(), axis)).all()
        assert turned or (image == noise()).all()
        flipped += int(turned)
    assert 10 < flipped < 30


@pytest.mark.parametrize(
    "settings",
    [
        {"rotation_degrees": 30},
        {"zoom": 0.3},
        {"translation": 0.2},
        {"brightness": 0.3},
        {"contrast": 0.3},
    ],
)
def test_each_setting_stays_within_its_bounds(settings):
    """On a smooth ramp, compare with the furthest change allowed; nothing is left blank."""
    y, x = np.mgrid[0:41, 0:41].astype(np.float32)
    ramp = np.stack([x, y, x + y], -1) + 80
    for seed in range(20):
        image = augment(ramp, AugmentSection(**settings), (5, seed)).numpy()
        assert (image != ramp).any()
        assert image.min() > 0
        centre_shift = np.abs(image[20, 20, :2] - ramp[20, 20, :2])
        bound = {"translation": 0.2 * 41, "brightness": 0.3 * 255}
        assert (centre_shift <= bound.get(next(iter(settings)), 0.0) + 0.01).all()


def test_training_images_change_with_epoch_and_example_and_repeat_with_the_seed(tmp_path):
    pixels = np.asarray(Image.open(image_examples(tmp_path).inputs[0]))
    data = examples("image", [pixels] * 6)

    def two_epochs(cache_bytes: int, seed: int = 3) -> list[dict[int, bytes]]:
        dataset = training_set(
            data, TINY_IMAGE, augment=ALL_CHANGES, seed=seed, cache_bytes=cache_bytes
        )
        return [
            {
                int(y): x.tobytes()
                for xs, ys, _ in dataset
                for x, y in zip(xs.numpy(), ys, strict=True)
            }
            for _ in range(2)
        ]

    first, second = two_epochs(1 << 20)
    assert [first, second] == two_epochs(0)
    assert len({*first.values(), *second.values()}) == 12
    assert two_epochs(1 << 20, seed=4)[0] != first
    evaluation = training_set(data, TINY_IMAGE, augment=ALL_CHANGES, training=False)
    assert len({x.tobytes() for xs, _, _ in evaluation for x in xs.numpy()}) == 1


# SavedModel --------------------------------------------------------------------------------

SERVE = """
import sys
import numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
given = np.load(sys.argv[2], allow_pickle=True)
outputs = dict(model.texts(tf.constant(list(given["texts"]))))
outputs["image"] = model.images(tf.constant(list(given["images"])))
np.savez(sys.argv[3], **outputs)
assert not any(name.startswith(("tltool", "keras_hub", "tensorflow_text")) for name in sys.modules)
"""


def test_saved_preprocessors_load_with_tensorflow_alone_and_agree(tmp_path):
    module = tf.Module()
    module.text, module.image = make_preprocessor(TINY_TEXT), make_preprocessor(TINY_IMAGE)
    spec = tf.TensorSpec([None], tf.string)
    module.texts = tf.function(module.text.__call__, input_signature=[spec])
    module.images = tf.function(module.image.__call__, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "model"))
    raw_texts = np.array(["Good filming, très bon!", "", "naïve 한국어 漢字", "bad " * 30], object)
    raw_texts = np.array([text.encode() for text in raw_texts], object)
    raw_images = np.array(
        [zoo.files()[k] for k in ("jpeg cmyk", "bmp palette", "webp animated")], object
    )
    np.savez(tmp_path / "given.npz", texts=raw_texts, images=raw_images)
    arguments = [str(tmp_path / name) for name in ("model", "given.npz", "served.npz")]
    subprocess.run([sys.executable, "-c", SERVE, *arguments], check=True, cwd=tmp_path)
    served = np.load(tmp_path / "served.npz")
    for name, value in module.text(list(raw_texts)).items():
        np.testing.assert_array_equal(served[name], value)
    np.testing.assert_array_equal(served["image"], module.image(list(raw_images)))


def padded_and_real_tokens(dataset) -> tuple[int, int, list[int]]:
    masks = [batch["padding_mask"].numpy() for batch in dataset]
    return sum(m.size for m in masks), sum(m.sum() for m in masks), [len(m) for m in masks]


def test_training_batches_hold_texts_of_like_length():
    data = long_texts()
    contract = TINY_TEXT.model_copy(update={"max_length": 64})
    padded, real, sizes = padded_and_real_tokens(
        make_dataset(data, contract, targets=None, batch_size=8, training=True)
    )
    mixed, _, _ = padded_and_real_tokens(
        make_dataset(data, contract, targets=None, batch_size=8, training=False)
    )
    assert real == sum(len(text.split()) + 2 for text in data.inputs)
    assert padded < 1.25 * real < mixed
    assert sizes == [8] * 50 + [5]


def test_the_company_of_a_text_changes_from_epoch_to_epoch():
    texts = [" ".join(["good"] * (1 + i % 14)) for i in range(64)]
    data = Examples("text", texts, [None] * 64, [None] * 64, texts)
    numbers = np.arange(64, dtype="float32")[:, None]
    dataset = make_dataset(data, TINY_TEXT, targets=numbers, batch_size=8, training=True)
    epochs = [[set(batch[1].numpy().ravel()) for batch in dataset] for _ in range(2)]
    assert set.union(*epochs[0]) == set.union(*epochs[1]) == set(range(64))
    assert not any(batch in epochs[1] for batch in epochs[0])


def long_texts(count: int = 405) -> Examples:
    lengths = np.random.default_rng(0).integers(1, 60, count)
    texts = [" ".join(["good"] * int(n)) for n in lengths]
    return Examples("text", texts, [None] * count, [None] * count, texts)


def test_a_budget_of_tokens_makes_batches_of_one_width_that_keep_to_it():
    contract = TINY_TEXT.model_copy(update={"max_length": 48})
    dataset = training_set(long_texts(), contract, tokens_per_batch=200)
    for _ in range(2):
        rows, shapes = [], []
        for inputs, targets, _ in dataset:
            rows.extend(targets.numpy().tolist())
            shapes.append(inputs["token_ids"].shape)
        assert sorted(rows) == list(range(405))
        assert len(shapes) == dataset.cardinality()
        assert all(count * width <= 200 for count, width in shapes)
        assert {width for _, width in shapes} == {8, 12, 16, 20, 24, 32, 40, 48}
        assert len({count for count, _ in shapes}) > 4


def test_a_budget_is_for_training_on_texts():
    plain = training_set(text_examples(), TINY_TEXT, training=False, tokens_per_batch=64)
    assert epochs(plain, 1) == [list(range(23))]
    assert plain.cardinality() == 5
    images = examples("image", [np.zeros((40, 40, 3), np.uint8)] * 4)
    with pytest.raises(ValueError, match="texts"):
        training_set(images, TINY_IMAGE, tokens_per_batch=64)


def test_tokens_handed_on_make_the_same_batches(monkeypatch):
    data = text_examples()
    known = tokenized(data, TINY_TEXT.model_copy(update={"max_length": 100}))
    fresh = [x["token_ids"].numpy() for x, _, _ in training_set(data, TINY_TEXT)]
    monkeypatch.setattr(WordPieceTokenizer, "tokenize", None)
    again = [x["token_ids"].numpy() for x, _, _ in training_set(known, TINY_TEXT)]
    assert all((a == b).all() for a, b in zip(fresh, again, strict=True))
