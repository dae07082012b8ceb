"""Images prepared as apps prepare them, rightly or with known faults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from tltool.data.images.exif import jpeg_orientation, upright
from tltool.data.images.preprocessor import decode_image, resize_and_crop
from tltool.data.images.signatures import image_format
from tltool.data.preprocessing import ImagePreprocessing
from tltool.export.contract import IMAGE_INPUT
from tltool.export.feeding import Arrays

Array = np.ndarray[Any, Any]
Fit = Literal["own", "stretch", "crop", "letterbox", "whole_side", "cut_out"]


@dataclass(frozen=True)
class ImagePreparation:
    """How an app makes a tensor of an image file; the defaults are what the model's contract says.

    Attributes:
        turned: Whether the orientation in EXIF is applied.
        fine: Whether JPEGs are decoded with accurate transform and smooth colours.
        whole: Whether resized levels are rounded to whole ones.
        fit: "own": the contract's. "stretch", "crop": those, whatever the contract has.
            "letterbox": the whole image, with bars around. "whole_side": the largest part of the
            model's shape in the middle. "cut_out": the model's size in the middle, not resized.
        bars: Level of the bars, 0..255; None for 0 in the tensor itself.
        at_corner: Whether a letterboxed image stands at the top left.
        resize: Method of `tf.image.resize`, and whether it antialiases; None: the contract's.
        mean, std: Levels; None: the contract's.
        swapped: Whether R and B change places before or after the levels are scaled.
        layout: "chw": the numbers of each channel together. "transposed": columns as rows.
            "upside_down", "mirrored".
    """

    turned: bool = True
    fine: bool = True
    whole: bool = True
    fit: Fit = "own"
    bars: float | None = 0.0
    at_corner: bool = False
    resize: tuple[str, bool] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    swapped: Literal["before", "after"] | None = None
    layout: Literal["chw", "transposed", "upside_down", "mirrored"] | None = None


def image_tensor(
    data: bytes, how: ImagePreparation, contract: ImagePreprocessing, takes: str
) -> Arrays:
    """What an app feeds of one image file.

    Args:
        data: The file's content.
        how: What the app does.
        contract: What it should do.
        takes: What the model's input means, a key of `tltool.export.contract.CONTENTS`.
    """
    if takes == "image":
        levels = _decoded(data, turned=how.turned, fine=how.fine).astype(np.float32)
        bars = np.zeros(levels.shape[:2], bool)
    else:
        # Of the other fields nothing depends here: images of all scales are resized once.
        before = replace(how, mean=None, std=None, swapped=None, layout=None)
        levels, bars = _resized(data, before, contract)
    if how.swapped == "before":
        levels = levels[..., ::-1]
    values = _scaled(levels, how, contract, takes)
    values[bars & (how.bars is None)] = 0
    if (contract.channel_order == "bgr" and takes == "normalized_image") != (
        how.swapped == "after"
    ):
        values = values[..., ::-1]
    return {IMAGE_INPUT: np.ascontiguousarray(_laid_out(values, how.layout))[None]}


@lru_cache(maxsize=8)
def _decoded(data: bytes, *, turned: bool, fine: bool) -> Array:
    """The pixels of a file, uint8 (height, width, 3)."""
    form = image_format(data)
    if form == "JPEG" and not (turned and fine):
        method = "INTEGER_ACCURATE" if fine else "INTEGER_FAST"
        image = tf.io.decode_jpeg(data, channels=3, dct_method=method, fancy_upscaling=fine)
        image = upright(image, jpeg_orientation(data)) if turned else image
    elif form == "PNG" and not turned:
        image = tf.io.decode_png(data, channels=3)
    else:
        image = decode_image(data)
    pixels: Array = image.numpy()
    return pixels


@lru_cache(maxsize=64)
def _resized(
    data: bytes, how: ImagePreparation, contract: ImagePreprocessing
) -> tuple[Array, Array]:
    """Levels, float32 (*size_px, 3), and where bars are, bool (*size_px)."""
    pixels = _decoded(data, turned=how.turned, fine=how.fine)
    if how.fit == "own" and how.resize is None and how.whole:
        return resize_and_crop(pixels, contract).numpy(), np.zeros(contract.size_px, bool)
    fit = contract.fit if how.fit == "own" else how.fit
    height, width = contract.size_px
    tall, wide = pixels.shape[:2]
    full = contract.size_px
    match fit:
        case "crop":
            shorter = min(tall, wide)
            side = max(contract.resize_px, height, width)
            full = (tall * side // shorter, wide * side // shorter)
        case "letterbox":
            scale = min(height / tall, width / wide)
            full = (max(1, round(tall * scale)), max(1, round(wide * scale)))
        case "whole_side":
            scale = max(height / tall, width / wide)
            part = (min(tall, round(height / scale)), min(wide, round(width / scale)))
            pixels = _middle(pixels, part)
        case "cut_out":
            full = (tall, wide)
    resize = how.resize or (contract.interpolation, contract.antialias)
    levels = _filtered(pixels, full, resize)
    levels = np.round(levels) if how.whole else levels
    if how.at_corner:
        return _padded(levels, contract.size_px, how.bars or 0.0, (0, 0))
    levels = _middle(levels, contract.size_px)
    corner = [(size - got) // 2 for size, got in zip(contract.size_px, levels.shape, strict=False)]
    return _padded(levels, contract.size_px, how.bars or 0.0, (corner[0], corner[1]))


def _filtered(pixels: Array, size: tuple[int, int], resize: tuple[str, bool]) -> Array:
    method, antialias = resize
    if pixels.shape[:2] == size:
        return pixels.astype(np.float32)
    if method == "nearest":
        # Pixels at the centres, in whole numbers: `tf.image.resize` takes some others.
        rows, columns = (
            (2 * np.arange(new) + 1) * old // (2 * new)
            for new, old in zip(size, pixels.shape, strict=False)
        )
        return pixels[rows][:, columns].astype(np.float32)
    levels = tf.image.resize(pixels, size, method, antialias=antialias)
    return np.clip(tf.cast(levels, tf.float32).numpy(), 0, 255)


def _middle(image: Array, size: tuple[int, int]) -> Array:
    """The middle of an image, of that size where it is as large."""
    corner = [max(0, round((got - s) / 2)) for got, s in zip(image.shape, size, strict=False)]
    return image[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]]


def _padded(
    levels: Array, size: tuple[int, int], bars: float, corner: tuple[int, int]
) -> tuple[Array, Array]:
    padded = np.full((*size, 3), bars, np.float32)
    outside = np.ones(size, bool)
    inside = tuple(slice(at, at + got) for at, got in zip(corner, levels.shape, strict=False))
    padded[inside], outside[inside] = levels, False
    return padded, outside


def _scaled(
    levels: Array, how: ImagePreparation, contract: ImagePreprocessing, takes: str
) -> Array:
    """Levels as the app scales them, in the type that the model takes."""
    if takes == "normalized_image":
        mean = np.array(how.mean or contract.mean, np.float32)
        std = np.array(how.std or contract.std, np.float32)
        return (levels - mean) / std
    if how.mean is None or how.std is None:
        return levels.astype(np.uint8)
    # Whole numbers of a byte; those outside of it wrap around, as casts do.
    scaled = (levels - np.array(how.mean, np.float32)) / np.array(how.std, np.float32)
    return scaled.astype(np.int64).astype(np.uint8)


def _laid_out(values: Array, layout: str | None) -> Array:
    match layout:
        case "chw":
            return values.transpose(2, 0, 1).reshape(values.shape)
        case "transposed":
            return values.transpose(1, 0, 2).reshape(values.shape)
        case "upside_down":
            return values[::-1]
        case "mirrored":
            return values[:, ::-1]
    return values
