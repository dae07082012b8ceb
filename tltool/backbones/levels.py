"""Images whose own brightness says nothing: levels are spread before the backbone sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import keras
from keras import ops

from tltool.backbones.base import Backbone
from tltool.data.preprocessing import ImagePreprocessing

_PLACE_PX = 3
_WHITE = 255.0
# Below this range the levels of an image are taken for noise, and are spread less.
_LEAST_RANGE = 8.0


@keras.saving.register_keras_serializable(package="tltool")
class SpreadLevels(keras.layers.Layer):
    """Contrast stretching: the darkest place of each image becomes black, the brightest one white.

    A place is the mean of 3 x 3 pixels and of their channels, so that no single pixel decides.
    All channels are spread alike, which keeps the hue of greys.

    Args:
        mean: Of each channel of the input, in levels 0..255.
        std: What the input's channels were divided by, in levels.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], dtype: Any = "float32", **others: Any
    ) -> None:
        super().__init__(dtype=dtype, **others)
        self.mean, self.std = tuple(mean), tuple(std)

    def call(self, images: Any) -> Any:
        """Images (batch, height, width, 3) scaled as the input is, in the same shape and scale."""
        mean, std = (ops.convert_to_tensor(values, "float32") for values in (self.mean, self.std))
        levels = images * std + mean
        places = ops.average_pool(ops.mean(levels, axis=-1, keepdims=True), _PLACE_PX, strides=1)
        low = ops.min(places, axis=(1, 2), keepdims=True)
        span = ops.max(places, axis=(1, 2), keepdims=True) - low
        spread = (levels - low) * (_WHITE / ops.maximum(span, _LEAST_RANGE))
        return (ops.clip(spread, 0.0, _WHITE) - mean) / std

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """See Keras."""
        return {**super().get_config(), "mean": self.mean, "std": self.std}


def with_spread_levels(backbone: Backbone) -> Backbone:
    """The backbone behind `SpreadLevels`, in one flat graph of the same layers.

    Args:
        backbone: Of images; its preprocessing stays as it is.
    """
    contract = backbone.preprocessing
    assert isinstance(contract, ImagePreprocessing)
    (given,) = backbone.model.inputs
    step = -1 if contract.channel_order == "bgr" else 1
    layer = SpreadLevels(contract.mean[::step], contract.std[::step], name="spread_levels")
    named = {one.name: getattr(backbone.features, one.name) for one in fields(backbone.features)}
    tensors = {name: value for name, value in named.items() if isinstance(value, keras.KerasTensor)}
    image = keras.Input(given.shape[1:], dtype=given.dtype, name=given.name)
    # `call` leads the layers' graph over new tensors, where calling the model would nest it.
    new = keras.Model(given, tensors).call(layer(image))
    features = replace(backbone.features, **new)
    return replace(backbone, model=keras.Model(image, features.pooled), features=features)
