"""VGG (Simonyan and Zisserman 2015, arXiv:1409.1556), with and without BatchNorm."""

from __future__ import annotations

from typing import Any

import keras
from keras import layers

# Convolutions of each block; table 1 of the paper calls these networks A, B, D and E.
VGG_DEPTHS = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
_CHANNELS = (64, 128, 256, 512, 512)


def build_vgg(
    depth: int, size_px: tuple[int, int], name: str, *, batch_norm: bool = False
) -> keras.Model:
    """The network, from images (batch, height, width, 3) to the last map, halved five times.

    Args:
        depth: Key of `VGG_DEPTHS`.
        size_px: Height and width of the images.
        name: Of the model.
        batch_norm: Normalise after each convolution, as PyTorch's variants `_bn` do.
    """
    image = x = keras.Input((*size_px, 3), name="image")
    sizes = zip(VGG_DEPTHS[depth], _CHANNELS, strict=True)
    for block, (convolutions, channels) in enumerate(sizes, start=1):
        for index in range(1, convolutions + 1):
            own = f"block{block}_{{}}{index}"
            x = layers.Conv2D(channels, 3, padding="same", name=own.format("conv"))(x)
            if batch_norm:
                x = _norm(own.format("bn"))(x)
            x = layers.ReLU(name=own.format("relu"))(x)
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
    return keras.Model(image, x, name=name)


def _norm(name: str) -> Any:
    return layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=name)
