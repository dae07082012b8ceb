"""From an encoded image or an array to the model's input, in core TensorFlow operations.

Training, evaluation, prediction and the exported SavedModel all go through
these functions, so that they cannot differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

import tensorflow as tf

from tltool.data.images.exif import jpeg_orientation, png_orientation, upright, webp_orientation
from tltool.data.images.formats import decode_bmp, decode_webp, first_gif_frame, substring
from tltool.data.images.signatures import SIGNATURES, image_format
from tltool.data.images.sizes import SIZES, within_bounds
from tltool.data.preprocessing import ImagePreprocessing
from tltool.support.errors import DataError
from tltool.support.items import CHANNELS

_KERNELS = {"bilinear": "triangle", "bicubic": "keyscubic"}


def decode_image(data: Any) -> Any:
    """Decodes one JPEG, PNG, GIF, BMP or WebP file to upright RGB.

    Of an animation the first frame is taken; alpha is dropped (transparent
    pixels of a GIF become black); 16-bit levels keep their upper 8 bits; the
    orientation that JPEG, PNG and WebP files name in EXIF or XMP is applied.
    JPEGs are decoded with the accurate inverse transform, so that they equal
    libjpeg's (and Pillow's) output exactly.

    Args:
        data: Scalar string tensor (or bytes) with the file's content.

    Returns:
        uint8 (height, width, 3).

    Raises:
        tf.errors.InvalidArgumentError: Empty, truncated, damaged, no image of
            these formats, or larger than `tltool.data.images.sizes` allows.
            Its message is one line that says what is wrong.
    """
    if not tf.executing_eagerly():
        return _decode(data)
    content = tf.convert_to_tensor(data)
    try:
        return decoder_of(content.numpy())(content)
    except tf.errors.OpError as error:
        raise tf.errors.InvalidArgumentError(None, None, plain_message(error)) from error


def decoder_of(content: bytes) -> Any:
    """The part of `decode_image` that a file with this content needs, as a traced function.

    It is ready in a fifth of the time that all formats together take.
    """
    return decoder_of_format(image_format(content))


def decoder_of_format(name: str | None) -> Any:
    """As `decoder_of`, of a file whose format is known; None is no image."""
    return _DECODERS.get(name or "", _no_image)


def decode_one_of(data: Any, decoders: Collection[Any]) -> Any:
    """As `decode_image`, in a graph, for files that are known to need some decoders only.

    Args:
        data: Scalar string tensor with the file's content.
        decoders: Those of `decoder_of`.
    """
    if len(decoders) == 1:
        (decode,) = decoders
        return decode(data)
    known = {name: decode for name, decode in _DECODERS.items() if decode in decoders}
    found = [
        tf.reduce_all(
            [tf.equal(substring(data, place, len(sign)), sign) for place, sign in SIGNATURES[name]]
        )
        for name in known
    ]
    branches = [*known.values(), _no_image]
    index = tf.argmax(tf.cast([*found, True], tf.int32), output_type=tf.int32)
    return _rgb(tf.switch_case(index, [lambda d=d: d(data) for d in branches]))


def plain_message(error: tf.errors.OpError) -> str:
    """An error's message without TensorFlow's account of where in the graph it was raised."""
    message = str(error.message).split("\n\t [[")[0].split(" [Op:")[0].strip()
    last_line = message.splitlines()[-1] if message else type(error).__name__
    return re.sub(r"^(\{\{.*?\}\} ?)*(StringToNumberOp could not .*? string: )?", "", last_line)


_traced = tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


def _decoder(form: str, decode: Callable[[Any], Any]) -> Any:
    """From a file's content to RGB, refused by its header where it is too large."""

    @_traced
    def bounded(data: Any) -> Any:
        return _rgb(decode(within_bounds(data, SIZES[form](data))))

    return bounded


def _decode_jpeg(data: Any) -> Any:
    image = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
    return upright(image, jpeg_orientation(data))


def _decode_png(data: Any) -> Any:
    return upright(tf.io.decode_png(data, channels=3), png_orientation(data))


def _decode_webp(data: Any) -> Any:
    return upright(decode_webp(data), webp_orientation(data))


def _decode_gif(data: Any) -> Any:
    frame, *size = first_gif_frame(data)
    frame = within_bounds(frame, tuple(size))
    return tf.io.decode_image(frame, channels=3, expand_animations=False)


_DECODERS = {
    "JPEG": _decoder("JPEG", _decode_jpeg),
    "PNG": _decoder("PNG", _decode_png),
    "GIF": _decoder("GIF", _decode_gif),
    "BMP": _decoder("BMP", decode_bmp),
    "WebP": _decoder("WebP", _decode_webp),
}


@_traced
def _no_image(data: Any) -> Any:
    """The error for what is none of the formats."""
    return _rgb(tf.io.decode_image(data, channels=3, expand_animations=False))


@_traced
def _decode(data: Any) -> Any:
    """Any of the formats, in one graph."""
    return decode_one_of(data, [*_DECODERS.values(), _no_image])


def _rgb(image: Any) -> Any:
    return tf.ensure_shape(image, [None, None, 3])


def array_to_rgb(array: Any) -> Any:
    """Makes an RGB image of an array: grey is repeated, a fourth channel (alpha) is dropped.

    Args:
        array: uint8 (height, width), (height, width, 1), (…, 3) or (…, 4).

    Returns:
        uint8 tensor (height, width, 3).

    Raises:
        DataError: Another type or shape, or no pixels.
    """
    image = tf.convert_to_tensor(array)
    shape = image.shape
    known = shape.rank == 2 or (shape.rank == 3 and shape[-1] in CHANNELS)
    if image.dtype != tf.uint8 or not known or 0 in shape:
        raise DataError(
            f"An image array has type {image.dtype.name} and shape {tuple(shape)}; allowed: "
            "uint8 (height, width), (height, width, 1), (height, width, 3) or "
            "(height, width, 4), none of them 0.",
            hint="scale the levels to 0..255 and convert with `.astype('uint8')`",
        )
    if shape.rank == 2:
        image = image[..., None]
    return tf.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image[..., :3]


def resize_and_crop(image: Any, contract: ImagePreprocessing) -> Any:
    """Resizes an image to the model's input size.

    `fit="crop"`: the shorter side becomes `resize_px`, the longer one keeps the
    aspect ratio (rounded down, as in torchvision), then the centre is cropped;
    only the pixels inside the crop are computed. `fit="stretch"`: straight to
    `size_px`. Levels are clipped (bicubic overshoots) and always rounded to
    whole ones, as Pillow does, so that images kept as uint8 are the same images.

    Args:
        image: uint8 or float (height, width, 3), levels 0..255.
        contract: Sizes and filter.

    Returns:
        float32 (*size_px, 3), whole levels 0..255.
    """
    height, width = contract.size_px
    shape = tf.shape(image)[:2]
    if contract.fit == "stretch":
        full = tf.constant(contract.size_px)
    else:
        # int64: the side of a panorama times resize_px may pass 2^31.
        full = tf.cast(shape, tf.int64) * contract.resize_px
        full = tf.cast(full // tf.cast(tf.reduce_min(shape), tf.int64), tf.int32)
    corner = tf.round(tf.cast(full - contract.size_px, tf.float32) / 2)
    if contract.interpolation == "nearest":
        image = _nearest(image, full, tf.cast(corner, tf.int32), contract.size_px)
        image = tf.cast(image, tf.float32)
    else:
        image = tf.raw_ops.ScaleAndTranslate(
            images=image[None],
            size=contract.size_px,
            scale=tf.cast(full, tf.float32) / tf.cast(shape, tf.float32),
            translation=-corner,
            kernel_type=_KERNELS[contract.interpolation],
            antialias=contract.antialias,
        )[0]
    return tf.ensure_shape(tf.round(tf.clip_by_value(image, 0.0, 255.0)), (height, width, 3))


def _nearest(image: Any, full: Any, corner: Any, size: tuple[int, int]) -> Any:
    """Nearest pixel, half-pixel centres, of the crop of `size` at `corner` of the `full` size."""
    shape = tf.shape(image)

    def source(axis: int) -> Any:
        target = tf.range(size[axis]) + corner[axis]
        # Whole numbers: floor((target + 0.5) * side / full) without rounding errors.
        doubled = tf.cast(2 * target + 1, tf.int64) * tf.cast(shape[axis], tf.int64)
        return doubled // (2 * tf.cast(full[axis], tf.int64))

    return tf.gather(tf.gather(image, source(0), axis=0), source(1), axis=1)


def normalize(images: Any, contract: ImagePreprocessing) -> Any:
    """`(images - mean) / std` per channel, then the channel order the model expects.

    Args:
        images: (..., 3), RGB, levels 0..255.
        contract: Mean, standard deviation and channel order.

    Returns:
        float32, same shape.
    """
    images = (tf.cast(images, tf.float32) - contract.mean) / contract.std
    return images[..., ::-1] if contract.channel_order == "bgr" else images


def preprocess_image(data: Any, contract: ImagePreprocessing) -> Any:
    """One encoded image (scalar string) to the model's input, float32 (*size_px, 3).

    Raises:
        tf.errors.InvalidArgumentError: As `decode_image`.
    """
    return normalize(resize_and_crop(decode_image(data), contract), contract)


class ImagePreprocessor(tf.Module):
    """Encoded images to a batch of model inputs; may be saved inside a SavedModel.

    Args:
        contract: The preprocessing contract.
    """

    def __init__(self, contract: ImagePreprocessing) -> None:
        super().__init__()
        self.contract = contract

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def __call__(self, data: Any) -> Any:
        """Strings (n,) to float32 (n, *size_px, 3); raises as `decode_image`."""
        return tf.map_fn(
            lambda one: preprocess_image(one, self.contract),
            data,
            fn_output_signature=tf.TensorSpec((*self.contract.size_px, 3), tf.float32),
        )
