"""Feature pyramids: the last map of each size, as layer groups hand them on."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tiny
from golden_folders import golden

from tltool.backbones.check import write_seeded_folder
from tltool.backbones.load import load_backbone
from tltool.backbones.pyramid import with_pyramid
from tltool.model.heads import register_head
from tltool.model.joining import join
from tltool.recipe.schema import HeadSection
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task

SIZE_PX = 64
# Channels by what the side is divided by. ResNet: He et al. 2016, table 1; the ends of stages.
LEVELS = {
    "efficientnet-lite0": {2: 16, 4: 24, 8: 40, 16: 112, 32: 1280},
    "keras-resnet50": {4: 256, 8: 512, 16: 1024, 32: 2048},
    "keras-mobilenetv2": {2: 16, 4: 24, 8: 32, 16: 96, 32: 1280},
    "keras-vgg16": {2: 64, 4: 128, 8: 256, 16: 512, 32: 512},
    "keras-convnexttiny": {4: 96, 8: 192, 16: 384, 32: 768},
}


@pytest.mark.parametrize("name", LEVELS)
def test_levels_are_the_ends_of_stages(name):
    backbone = load_backbone(name, image_size_px=SIZE_PX, weights="random")
    pyramid = with_pyramid(backbone).pyramid
    found = {SIZE_PX // level.shape[1]: level.shape[3] for level in pyramid}
    assert found == LEVELS[name]
    assert pyramid[-1] is backbone.features.feature_map


def test_transformers_have_none(tmp_path):
    write_seeded_folder(tmp_path, golden("transformers")["vit"])
    assert with_pyramid(load_backbone(str(tmp_path))).pyramid == ()


def test_a_head_of_one_s_own_gets_it_and_uses_the_maps_of_the_backbone():
    @register_head("tests_pyramid_head")
    def of_all_levels(features, task):
        means = [
            keras.layers.GlobalAveragePooling2D(name=f"level{i}")(level)
            for i, level in enumerate(features.pyramid)
        ]
        return keras.layers.Dense(task.num_outputs, name="out")(
            keras.layers.Concatenate(name="levels")(means)
        )

    backbone = tiny.tiny_image_backbone()
    task = Task(TASKS["image-classification"], ClassTarget(("a", "b")))
    model = join(backbone, HeadSection(name="tests_pyramid_head"), task).model
    images = np.random.default_rng(0).normal(size=(2, *model.input.shape[1:])).astype("float32")
    levels = keras.Model(model.input, model.get_layer("levels").output)(images)
    pyramid = with_pyramid(backbone).pyramid
    maps = keras.Model(backbone.model.input, list(pyramid))(images)
    expected = np.concatenate([np.mean(level, axis=(1, 2)) for level in maps], axis=1)
    np.testing.assert_allclose(levels, expected, atol=1e-5)
    assert len(pyramid) > 1
