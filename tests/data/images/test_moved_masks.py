"""A mask moves as its picture does."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tltool.data.batches.pipeline import make_batches
from tltool.data.batches.source import example_source, mask_source
from tltool.data.images.augment import make_augmenter, make_mover
from tltool.data.preprocessing import ImagePreprocessing
from tltool.data.reading.in_memory import examples_from_python
from tltool.recipe.schema import AugmentSection
from tltool.tasks.masks.files import IGNORED
from tltool.tasks.table import TASKS

SIZE = (48, 48)
CONTRACT = ImagePreprocessing(
    size_px=SIZE, resize_px=48, interpolation="bilinear", mean=(0.0,) * 3, std=(1.0,) * 3,
    fit="stretch",
)  # fmt: skip
MOVES = {
    "settings": AugmentSection(
        horizontal_flip=True, vertical_flip=True, rotation_degrees=40, zoom=0.3, translation=0.2
    ),
    "layers": AugmentSection(
        layers=[
            {"layer": "RandomRotation", "factor": [-0.2, 0.2]},
            {"layer": "RandomBrightness", "factor": [-0.1, 0.1]},
            {"layer": "RandomFlip"},
            {"layer": "RandomShear", "x_factor": [0.0, 0.2]},
        ]
    ),
}


def blob() -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[10:30, 8:20] = 1
    mask[16:22, 20:40] = 1
    return mask


def as_picture(mask: np.ndarray) -> np.ndarray:
    return np.repeat((60 + 120 * mask)[..., None], 3, -1).astype(np.uint8)


def same_share(picture: np.ndarray, mask: np.ndarray) -> float:
    known = mask != IGNORED
    return float(((picture[..., 0] > 120) == (mask == 1))[known].mean())


@pytest.mark.parametrize("moves", MOVES)
def test_equal_seeds_move_both_alike(moves):
    settings = MOVES[moves]
    change, move = make_augmenter(settings, SIZE), make_mover(settings, SIZE, IGNORED)
    mask = blob()
    changed = 0
    for seed in range(4):
        picture = change(tf.constant(as_picture(mask), tf.float32), tf.constant([seed, 7])).numpy()
        moved = move(tf.constant(mask), tf.constant([seed, 7])).numpy()
        assert set(np.unique(moved)) <= {0, 1, IGNORED}
        assert same_share(picture, moved) > 0.97
        changed += (moved != mask).mean() > 0.05
    assert changed >= 3


@pytest.mark.parametrize(("views", "cache_bytes"), [(None, 0), (2, 1 << 30)])
def test_batches_hold_pictures_with_their_own_masks(views, cache_bytes):
    masks = [np.roll(blob(), shift, 0) for shift in range(0, 12, 2)]
    pictures = [as_picture(mask) for mask in masks]
    examples = examples_from_python((pictures, masks), TASKS["image-segmentation"])
    augment = MOVES["settings"].model_copy(update={"views": views})
    options = {"augment": augment, "seed": 3, "cache_bytes": cache_bytes}
    batches = make_batches(
        example_source(examples, CONTRACT, **options),
        targets=mask_source(examples, CONTRACT, **options),
        weights=np.ones((6, 2)),
        batch_size=4,
        training=True,
        seed=3,
    )
    seen = 0
    for found, moved, weights in batches:
        assert moved.dtype == tf.uint8
        assert weights.shape[1] == 2
        for picture, mask in zip(found.numpy(), moved.numpy(), strict=True):
            assert same_share(picture, mask) > 0.97
            seen += 1
    assert seen == 6
