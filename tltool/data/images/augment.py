"""Random changes to training images, decided by a seed alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tltool.data.images.seeded_layers import SeededLayer
from tltool.recipe.augment_layers import IMAGE_LAYERS, MOVING_LAYERS
from tltool.recipe.schema import AugmentSection


def make_augmenter(settings: AugmentSection, size: tuple[int, int]) -> Callable[[Any, Any], Any]:
    """`augment`, then the layers of `settings` that change one image.

    Args:
        settings: What may happen and how far.
        size: Height and width of the images.

    Returns:
        From an image and a seed, as in `augment`, to the changed image.
    """
    layers = [SeededLayer(entry, size) for entry in settings.layers if entry.layer in IMAGE_LAYERS]

    def change(image: Any, seed: Any) -> Any:
        image = augment(image, settings, seed)
        for number, layer in enumerate(layers):
            # Each has a seed of its own: how much one draws changes nothing for the others.
            image = layer(image, tf.random.experimental.stateless_fold_in(seed, number))
        return image

    return change


def make_mover(
    settings: AugmentSection, size: tuple[int, int], outside: int
) -> Callable[[Any, Any], Any]:
    """What `make_augmenter` does to the places of pixels, for class numbers.

    Equal seeds move a mask as they move its image. Each pixel takes the
    nearest one; what layers fill with a colour becomes `outside`.

    Args:
        settings: As for `make_augmenter`.
        size: Height and width of the masks.
        outside: The class number of pixels that come from outside.

    Returns:
        From a mask, uint8 (height, width), and a seed to the moved mask.
    """
    layers = []
    for number, entry in enumerate(e for e in settings.layers if e.layer in IMAGE_LAYERS):
        if entry.layer in MOVING_LAYERS:
            nearest = {"interpolation": "nearest", "fill_value": outside}
            known = type(entry).model_fields
            change = {key: value for key, value in nearest.items() if key in known}
            layers.append((number, SeededLayer(entry.model_copy(update=change), size)))

    def move(mask: Any, seed: Any) -> Any:
        moved = tf.cast(mask[..., None], tf.float32)
        if _moves(settings):
            moved = _move(moved, settings, _choices(seed)[:6], "NEAREST")
        for number, layer in layers:
            moved = layer(moved, tf.random.experimental.stateless_fold_in(seed, number))
        return tf.cast(tf.round(moved[..., 0]), tf.uint8)

    return move


def augment(image: Any, settings: AugmentSection, seed: Any) -> Any:
    """Changes one image at random; equal seeds change it equally.

    Flips, rotation, zoom and translation are one bilinear resampling (pixels
    from outside are reflected at the border), then brightness, then contrast
    around each channel's mean. What is off costs nothing and changes no bit.
    The settings' `layers` are left to `make_augmenter`.

    Args:
        image: float32 (height, width, 3), levels 0..255.
        settings: What may happen and how far.
        seed: Integer tensor (2,).

    Returns:
        float32, same shape, clipped to 0..255.
    """
    choices = _choices(seed)
    if _moves(settings):
        image = _move(image, settings, choices[:6])
    if settings.brightness:
        image += choices[6] * (255.0 * settings.brightness)
    if settings.contrast:
        image = tf.image.adjust_contrast(image, 1.0 + choices[7] * settings.contrast)
    return tf.clip_by_value(image, 0.0, 255.0)


def _choices(seed: Any) -> list[Any]:
    """Eight independent numbers in [-1, 1), one for each choice."""
    return list(tf.unstack(tf.random.stateless_uniform([8], seed, -1.0, 1.0)))


def _moves(settings: AugmentSection) -> bool:
    return bool(
        settings.horizontal_flip
        or settings.vertical_flip
        or settings.rotation_degrees
        or settings.zoom
        or settings.translation
    )


def _move(
    image: Any, settings: AugmentSection, choices: list[Any], interpolation: str = "BILINEAR"
) -> Any:
    """One affine resampling; `choices` are six numbers in [-1, 1)."""
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    flip_x = _mirror(settings.horizontal_flip, choices[0])
    flip_y = _mirror(settings.vertical_flip, choices[1])
    angle = choices[2] * math.radians(settings.rotation_degrees)
    scale = 1.0 + choices[3] * settings.zoom
    shift_x = choices[4] * settings.translation * size[1]
    shift_y = choices[5] * settings.translation * size[0]
    # Output pixel (x, y) is taken from input pixel (a x + b y + c, d x + e y + f),
    # turned and scaled about the centre of the image.
    a, b = flip_x * tf.cos(angle) / scale, flip_x * tf.sin(angle) / scale
    d, e = -flip_y * tf.sin(angle) / scale, flip_y * tf.cos(angle) / scale
    middle_x, middle_y = (size[1] - 1.0) / 2.0, (size[0] - 1.0) / 2.0
    c = middle_x - a * (middle_x + shift_x) - b * (middle_y + shift_y)
    f = middle_y - d * (middle_x + shift_x) - e * (middle_y + shift_y)
    zero = tf.zeros_like(a)
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=tf.stack([a, b, c, d, e, f, zero, zero])[None],
        output_shape=tf.shape(image)[:2],
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode="REFLECT",
    )[0]
    return tf.ensure_shape(moved, image.shape)


def _mirror(allowed: bool, choice: Any) -> Any:
    """-1 with probability one half where allowed, else 1."""
    return tf.where(choice < 0.0, -1.0, 1.0) if allowed else tf.ones_like(choice)
