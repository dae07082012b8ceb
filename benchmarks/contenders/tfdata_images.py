"""Decoding with tf.data as one writes it by hand: the shorter side to 256, the centre of 224."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

SIZE_PX, RESIZE_PX = 224, 256


def load(path: Any) -> Any:
    """A JPEG file as uint8 (224, 224, 3), resized with the antialiased bicubic filter."""
    image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
    shape = tf.shape(image)[:2]
    scaled = shape * RESIZE_PX // tf.reduce_min(shape)
    image = tf.image.resize(image, scaled, method="bicubic", antialias=True)
    top, left = (scaled[0] - SIZE_PX) // 2, (scaled[1] - SIZE_PX) // 2
    image = tf.image.crop_to_bounding_box(image, top, left, SIZE_PX, SIZE_PX)
    return tf.cast(tf.round(tf.clip_by_value(image, 0.0, 255.0)), tf.uint8)


def normalized(images: Any) -> Any:
    """uint8 images to the network's input."""
    return (tf.cast(images, tf.float32) - 127.0) / 128.0
