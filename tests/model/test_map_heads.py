"""Heads with an output at every pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny

from tltool.graph.cut import cut_model
from tltool.model.freezing import plan_phases
from tltool.model.heads import build_head
from tltool.model.joining import apply_plan, join
from tltool.recipe.schema import HeadSection, PhaseSection
from tltool.support.errors import HeadError
from tltool.tasks.masks.kind import MaskTarget
from tltool.tasks.table import TASKS, Task

TASK = Task(TASKS["image-segmentation"], MaskTarget(("a", "b", "c"), (0, 1, 2)))
HEADS = {
    "default": HeadSection(),
    "fpn": HeadSection(name="fpn", options={"width": 8, "finest_stride": 4}),
    "deeplab": HeadSection(name="deeplab", options={"width": 8, "detail_width": 4}),
}


@pytest.mark.parametrize("name", HEADS)
def test_logits_have_the_size_of_the_input_and_only_the_head_learns(name):
    backbone = tiny.tiny_image_backbone()
    transfer = join(backbone, HEADS[name], TASK)
    assert transfer.model.output_shape == (None, 32, 32, 3)
    head = transfer.groups[-1]
    assert {"weight", "statistic"} == {weight.kind for weight in head.weights}
    (plan,) = plan_phases((PhaseSection(train="head"),), transfer.groups, "image")
    apply_plan(transfer.model, plan)
    assert all(w.path in plan.trainable for w in head.weights if w.kind == "weight")
    images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    cut = cut_model(transfer.model, plan.trainable)
    taps = cut.prefix(images, training=False)
    apart = cut.rest(taps, training=False)
    np.testing.assert_allclose(apart, transfer.model(images, training=False), atol=1e-5)
    assert len(cut.crossing) == {"default": 2, "fpn": 1, "deeplab": 2}[name]


def test_a_backbone_without_maps_is_refused():
    features = replace(tiny.tiny_image_backbone().features, feature_map=None, pyramid=())
    with pytest.raises(HeadError, match="maps of several sizes"):
        build_head(HeadSection(), features, TASK)
