"""The kind of target with a class for each pixel."""

from __future__ import annotations

from dataclasses import replace

import keras
import mask_data
import numpy as np
import pytest
from PIL import Image

from tltool.data.reading.in_memory import examples_from_python
from tltool.recipe.recipe import DataSection, Recipe
from tltool.support.errors import DataError, RecipeError
from tltool.tasks.losses.in_keras import PixelLoss
from tltool.tasks.masks.files import IGNORED, MaskReader
from tltool.tasks.masks.kind import MaskTarget
from tltool.tasks.table import TASKS, Task

SPEC = TASKS["image-segmentation"]


@pytest.fixture(scope="module")
def examples():
    pictures, masks = zip(*map(mask_data.scene, range(6)), strict=True)
    return examples_from_python((list(pictures), list(masks)), SPEC)


@pytest.fixture(scope="module")
def target(examples):
    return MaskTarget.fit(examples.targets)


def test_a_text_that_is_too_long_for_a_path_is_no_mask():
    pictures = [np.zeros((4, 4, 3), np.uint8)] * 2
    with pytest.raises(DataError, match=r"the mask cannot be read: .*File name too long"):
        examples_from_python((pictures, ["word " * 80] * 2), SPEC)


def test_classes_that_no_mask_has_are_told():
    masks = [np.eye(4, dtype=np.uint8) * number for number in (1, 2)]
    section = DataSection(mask_classes={"background": 0, "a": 1, "b": 2, "c": 3})
    pictures = [np.zeros((4, 4, 3), np.uint8)] * 2
    targets = examples_from_python((pictures, masks), SPEC, section).targets
    (remark,) = MaskTarget.remarks_on(targets, SPEC.name)
    assert "No mask to train on has a pixel of 'c'" in remark


def truth_at(numbers: np.ndarray, size: int = 24) -> np.ndarray:
    """One-hot probabilities at the size of a model's input."""
    rows, columns = (np.arange(size) * side // size for side in numbers.shape)
    return np.eye(3, dtype=np.float32)[numbers[rows][:, columns]]


def test_it_is_restored_from_json(target):
    assert Task.from_json(Task(SPEC, target).to_json()) == Task(SPEC, target)
    coloured = MaskTarget(("a", "b"), ((0, 0, 0), (255, 0, 128)), (1, 2, 3))
    assert MaskTarget.from_json(coloured.to_json()) == coloured


def test_predictions_have_the_size_of_the_picture(examples, target, tmp_path):
    picture, numbers = mask_data.scene(1)
    file = tmp_path / "a.png"
    Image.fromarray(picture).save(file)
    found = target.predictions(truth_at(numbers)[None], [str(file)])[0]
    assert found.value.shape == mask_data.SIZE
    assert (found.value == numbers).mean() > 0.9
    assert sum(found.probabilities.values()) == pytest.approx(1)
    kept = target.kept(truth_at(numbers)[None], [None], [str(file)])[0]
    row = target.row(kept)
    assert set(row["prediction"]) == set(target.labels)
    written = MaskReader([target.file_of(kept)], target._table)(target.file_of(kept))
    np.testing.assert_array_equal(written.numbers(), found.value)


def test_metrics_are_taken_at_the_size_of_the_mask(examples, target):
    outputs = np.stack([truth_at(mask.numbers()) for mask in examples.targets])
    truth = target.truth(examples.targets)
    metrics = target.metrics(outputs, truth)
    assert 0.8 < metrics["mean_iou"] < 1
    assert metrics["pixels"] == 6 * 40 * 48
    assert target.metrics(target.kept(outputs, examples.targets), truth) == metrics
    worst = np.zeros_like(outputs)
    worst[..., 0] = 1
    mixed = np.concatenate([outputs[:5], worst[5:]])
    assert target.worst(mixed, truth)[0] == 5
    alone = f"with a mean IoU of {target.score(mixed[5:], target.truth(examples.targets[5:])):.3f}"
    for rows in (mixed, target.kept(mixed, examples.targets)):
        said = target.words(target.mistake(5, rows, examples.targets)[0])
        assert said == f"{target.labels[0]} {alone}"
    assert all(len(table.rows) == 3 for table in target.tables(metrics))


def test_masks_of_other_classes_are_refused(examples, target):
    with pytest.raises(DataError, match="unknown"):
        replace(target, codes=(0, 1, 3)).truth(examples.targets)
    with pytest.raises(DataError, match="there is no label"):
        target.truth([None])


def test_weights_balance_pixels(examples, target):
    weights = target.weights(examples.targets, "balanced")
    pixels = np.sum([mask.counts for mask in examples.targets], axis=0)
    assert weights.shape == (6, 3)
    np.testing.assert_allclose(weights[0] * pixels, pixels.sum() / 3, rtol=1e-5)
    assert target.weights(examples.targets, {"bar": 2.0} if "bar" in target.labels else
                          {"class 2": 2.0})[0].tolist() == [1, 1, 2]  # fmt: skip


def test_ignored_pixels_have_no_part_in_the_loss():
    draws = np.random.default_rng(0)
    truth = draws.integers(0, 3, (2, 4, 4)).astype(np.uint8)
    logits = draws.normal(size=(2, 4, 4, 3)).astype(np.float32)
    for dice in (0.0, 0.5, 1.0):
        loss = PixelLoss(dice=dice)
        before = float(loss(truth, logits))
        left_out, changed = truth.copy(), logits.copy()
        left_out[:, 0] = IGNORED
        first = float(loss(left_out, changed))
        changed[:, 0] += draws.normal(size=changed[:, 0].shape)
        assert float(loss(left_out, changed)) == pytest.approx(first, rel=1e-6)
        assert first != pytest.approx(before)


def test_the_loss_is_weighted_cross_entropy_focal_or_dice():
    draws = np.random.default_rng(1)
    truth = draws.integers(0, 3, (2, 4, 4)).astype(np.uint8)
    logits = draws.normal(size=(2, 4, 4, 3)).astype(np.float32)
    plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(truth, logits)
    assert float(PixelLoss()(truth, logits)) == pytest.approx(float(plain), rel=1e-5)
    only = np.zeros((2, 3), np.float32)
    only[:, 1] = 2.0
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    of_one = -np.log(shares[truth == 1][:, 1])
    assert float(PixelLoss()(truth, logits, only)) == pytest.approx(of_one.mean(), rel=1e-5)
    focal = ((1 - shares[truth == 1][:, 1]) ** 2 * of_one).mean()
    found = PixelLoss(focal_gamma=2.0)(truth, logits, only)
    assert float(found) == pytest.approx(focal, rel=1e-5)
    right = 20 * np.eye(3, dtype=np.float32)[truth]
    assert float(PixelLoss(dice=1.0)(truth, right)) == pytest.approx(0, abs=1e-4)
    assert float(PixelLoss(dice=1.0)(truth, 20 - right)) > 0.9


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"head": {"search": True}}, "head.search"),
        ({"head": {"hidden_units": [8]}}, "head.hidden_units"),
        ({"backbone": {"name": "x", "image_fit": "crop"}}, "backbone.image_fit"),
        ({"augment": {"layers": [{"layer": "CutMix"}]}}, "augment.layers.0"),
        (
            {"augment": {"layers": [{"layer": "RandAugment"}]}},
            "augment.layers.0",
        ),
        ({"task": "image-classification", "training": {"dice": 0.5}}, "training.dice"),
        ({"data": {"mask_classes": {"a": 0, "b": "#zz0000"}}}, "data.mask_classes.b"),
    ],
)
def test_fields_that_do_not_apply_are_refused(values, field):
    recipe = {"task": "image-segmentation", "backbone": "efficientnet-lite0"}
    with pytest.raises(RecipeError) as caught:
        Recipe.of(**{**recipe, **values})
    assert [fault.path for fault in caught.value.faults] == [field]
