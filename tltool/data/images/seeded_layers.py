"""Layers of Keras and keras-cv that change one image as a seed says.

Such a layer draws from a generator of its own, whose numbers depend on what was
drawn before: on the order of the images, and with several threads on chance.
Here each layer draws from `SeedOfImage` instead, so that what happens to an
image is decided by its seed alone.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from importlib.metadata import version
from typing import Any

import keras
import tensorflow as tf

from tltool.recipe.augment_layers import KERAS_CV, AugmentLayer

# RandomSaturation, also the one in RandomColorJitter, cuts saturation, which is at most 1, at the
# upper end of the values; JPEG compression of float images is defined on 0..1.
_ON_UNIT_RANGE = ("RandomColorJitter", "RandomSaturation", "keras_cv.RandomJpegQuality")


class SeedOfImage(keras.random.SeedGenerator):
    """Numbers that a seed decides, in place of a layer's own generator.

    Keras takes seeds from it; keras-cv takes numbers, as from a
    `tf.random.Generator`. The n-th draw is the same for equal seeds. Draws are
    counted while a graph is traced.
    """

    def __init__(self) -> None:
        super().__init__(seed=0)
        self._seed: Any = None
        self._draws = 0

    def start(self, seed: Any) -> None:
        """Draws follow from this seed from now on: an int64 tensor (2,)."""
        self._seed, self._draws = seed, 0

    def next(self, ordered: bool = True) -> Any:
        """The seed of the next draw, int64 (2,)."""
        self._draws += 1
        return tf.random.experimental.stateless_fold_in(self._seed, self._draws)

    def uniform(self, shape: Any, minval: Any = 0, maxval: Any = 1, dtype: Any = tf.float32) -> Any:
        """Numbers in [minval, maxval), which may be tensors that broadcast to the shape."""
        dtype = tf.as_dtype(dtype)
        if dtype.is_integer:
            return tf.random.stateless_uniform(shape, self.next(), minval, maxval, dtype)
        low, high = tf.cast(minval, dtype), tf.cast(maxval, dtype)
        return low + (high - low) * tf.random.stateless_uniform(shape, self.next(), dtype=dtype)


class SeededLayer:
    """A layer that changes one image by a seed.

    Args:
        settings: Which layer, and its options.
        size: Height and width of the images.
    """

    def __init__(self, settings: AugmentLayer, size: tuple[int, int]) -> None:
        unit = settings.layer in _ON_UNIT_RANGE
        self._scale = 255.0 if unit else 1.0
        self._draws = SeedOfImage()
        self._layer = make_layer(settings, size, (0, 1) if unit else (0, 255))
        redirect(self._layer, self._draws)

    def __call__(self, image: Any, seed: Any) -> Any:
        """The changed image.

        Args:
            image: float32 (height, width, 3), levels 0..255.
            seed: Integer tensor (2,).

        Returns:
            float32, same shape, clipped to 0..255.
        """
        self._draws.start(seed)
        changed = self._layer(image[None] / self._scale)[0] * self._scale
        return tf.clip_by_value(tf.ensure_shape(changed, image.shape), 0.0, 255.0)


def make_layer(
    settings: AugmentLayer, size: tuple[int, int], value_range: tuple[int, int]
) -> keras.Layer:
    """The layer with its options and with those that tltool sets.

    Args:
        settings: Which layer, and its options.
        size: Height and width of the images.
        value_range: Of the pixels.
    """
    foreign = settings.layer.startswith(KERAS_CV)
    if foreign:
        _have_global_generator()
    package = importlib.import_module("keras_cv" if foreign else "keras")
    kind = getattr(package.layers, settings.layer.removeprefix(KERAS_CV))
    # The seed is not used, but a layer without one would take it from Python's generator, and
    # other weights would be drawn after it. With 0, keras-cv takes a layer to have none.
    ours = {"value_range": value_range, "target_size": size, "seed": 1}
    taken = inspect.signature(kind).parameters
    options = {key: value for key, value in ours.items() if key in taken}
    return _in_float32(lambda: kind(**settings.model_dump(exclude={"layer"}), **options))


def versions(layers: Iterable[AugmentLayer]) -> str:
    """The version of keras-cv where one of the layers is from it, else nothing."""
    foreign = any(entry.layer.startswith(KERAS_CV) for entry in layers)
    return f"keras-cv {version('keras-cv')}" if foreign else ""


def _have_global_generator() -> None:
    """Some layers of keras-cv take TensorFlow's global generator, whatever their seed.

    In a deterministic run there is none until one is made. Nothing draws from it here.
    """
    try:
        tf.random.get_global_generator()
    except RuntimeError:
        tf.random.set_global_generator(tf.random.Generator.from_seed(0))


def _in_float32(make: Callable[[], keras.Layer]) -> keras.Layer:
    """Makes a layer, and those inside it, compute in float32 whatever the policy is."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        return make()
    finally:
        keras.config.set_dtype_policy(before)


def redirect(layer: keras.Layer, draws: SeedOfImage) -> None:
    """Makes a layer and those inside it draw from `draws`."""
    for inner in layer._flatten_layers():
        for name, value in list(vars(inner).items()):
            if isinstance(value, keras.random.SeedGenerator | tf.random.Generator):
                setattr(inner, name, draws)
            elif type(value).__name__ == "UniformFactorSampler":
                # keras-cv draws strengths by TensorFlow's stateful operations.
                setattr(inner, name, _Strength(draws, value.lower, value.upper))


class _Strength:
    """What keras-cv calls a factor sampler: draws a layer's strength."""

    def __init__(self, draws: SeedOfImage, lower: float, upper: float) -> None:
        self._draws, self._lower, self._upper = draws, lower, upper

    def __call__(self, shape: Any = (), dtype: Any = tf.float32) -> Any:
        return self._draws.uniform(shape, self._lower, self._upper, dtype)
