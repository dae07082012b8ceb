"""The maps that a CNN makes on its way, one for each size, for heads that need detail."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tltool.backbones.base import Backbone, Features
from tltool.graph.cut import cut_model


def with_pyramid(backbone: Backbone) -> Features:
    """The backbone's features with `pyramid`, which is empty for transformers.

    A level is what the last layer group of its size hands to the next one, as
    in feature pyramids (Lin et al. 2017, arXiv:1612.03144); the smallest is
    `feature_map`.
    """
    features = backbone.features
    if features.feature_map is None:
        return features
    maps = {}
    for first in range(1, len(backbone.groups)):
        later = {v.path for group in backbone.groups[first:] for v in group.variables}
        cut = cut_model(backbone.model, later)
        if cut is not None and len(cut.crossing) == 1 and len(cut.crossing[0].shape) == 4:
            maps[_size(cut.crossing[0])] = cut.crossing[0]
    maps[_size(features.feature_map)] = features.feature_map
    pyramid = tuple(maps[size] for size in sorted(maps, reverse=True))
    return replace(features, pyramid=pyramid, size_px=_size(backbone.model.inputs[0]))


def _size(tensor: Any) -> tuple[int, int]:
    return tuple(tensor.shape[1:3])
