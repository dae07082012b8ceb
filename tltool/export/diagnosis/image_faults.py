"""The known faults of apps that feed images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tltool.data.preprocessing import ImagePreprocessing
from tltool.export.diagnosis.faults import Fault

_FILTERS = {
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "nearest": "nearest pixel",
    "lanczos3": "Lanczos",
    "area": "area means",
}
# Means and deviations that are in use, in levels: those of torchvision and timm, of the examples of
# TensorFlow and MediaPipe, and of Caffe.
_SCALES = {
    "0..255": ((0.0,) * 3, (1.0,) * 3),
    "0..1": ((0.0,) * 3, (255.0,) * 3),
    "-1..1": ((127.5,) * 3, (127.5,) * 3),
    "-128..127": ((128.0,) * 3, (1.0,) * 3),
}
_STATISTICS = {
    "ImageNet's mean and deviation": (
        (0.485 * 255, 0.456 * 255, 0.406 * 255),
        (0.229 * 255, 0.224 * 255, 0.225 * 255),
    ),
    "mean 127 and deviation 128": ((127.0,) * 3, (128.0,) * 3),
    "mean 128 and deviation 128": ((128.0,) * 3, (128.0,) * 3),
    "ImageNet's mean alone": ((123.68, 116.779, 103.939), (1.0,) * 3),
}
_BARS = {0.0: "black", 114.0: "grey (114)", 128.0: "grey (128)", 255.0: "white"}


def image_faults(contract: ImagePreprocessing, takes: str) -> Iterator[Fault]:
    """Every known fault, with its cure in the values of a model.

    Args:
        contract: How images should be prepared.
        takes: What the model's input means, a key of `tltool.export.contract.CONTENTS`.
    """
    yield from _pixels(contract, takes)
    yield from _scales(contract, takes)
    if takes != "image":
        yield from _fits(contract)
        yield from _filters(contract)


def _pixels(contract: ImagePreprocessing, takes: str) -> Iterator[Fault]:
    scales = takes == "normalized_image"
    order = contract.channel_order.upper() if scales else "RGB"
    other = order[::-1]
    for when in ("before", "after") if scales else ("before",):
        yield Fault(
            "bgr",
            f"the channels are {other}, the model takes {order}"
            + (" (changed after the scaling)" if when == "after" else ""),
            f"give the model {order}: for pixels from OpenCV "
            + ("`cv2.cvtColor(image, cv2.COLOR_BGR2RGB)`" if order == "RGB" else "leave them as")
            + (" they are" if order == "BGR" else "; of Android's `0xAARRGGBB`, R is `>> 16`"),
            {"swapped": when},
            likely=when == "before",
        )
    yield Fault(
        "exif",
        "the orientation in EXIF is not applied",
        "turn photographs upright when reading them: `ImageDecoder` (Android; `BitmapFactory` "
        'does not), `applyOrientationProperty` (iOS), `imageOrientation: "from-image"` '
        "(browsers), `ImageOps.exif_transpose` (Pillow)",
        {"turned": False},
        likely=True,
    )
    layouts: dict[Any, tuple[str, str]] = {
        "chw": ("channels_first", "the numbers are in the order channel, row, column"),
        "transposed": ("transposed", "rows and columns are exchanged"),
        "upside_down": ("upside_down", "the image is upside down"),
        "mirrored": ("mirrored", "the image is mirrored"),
    }
    cures = {
        "chw": "fill the tensor row by row, pixel by pixel, with the channels of a pixel together: "
        "place `(y * width + x) * 3 + channel`",
        "transposed": "the tensor's first axis is the row: place `(y * width + x) * 3 + channel`",
        "upside_down": "begin with the top row; textures and some bitmaps begin with the lowest",
        "mirrored": "undo the mirroring, such as that of a front camera's preview",
    }
    for layout, (key, title) in layouts.items():
        yield Fault(key, title, cures[layout], {"layout": layout}, likely=layout == "chw")


def _scales(contract: ImagePreprocessing, takes: str) -> Iterator[Fault]:
    """Ranges of levels other than the model's, and other means and deviations."""
    scales = takes == "normalized_image"
    own: Any = (contract.mean, contract.std) if scales else ((0.0,) * 3, (1.0,) * 3)
    cure = (
        f"scale each level of 0..255 as `(level - {_three(own[0])}) / {_three(own[1])}`, "
        "for R, G, B"
        if scales
        else "put the levels 0..255 in as they are, as unsigned bytes: the model scales them"
    )
    for name, (mean, std) in _SCALES.items():
        yield from _scale("scale", f"the pixels are {name}", cure, mean, std, own, likely=True)
    for name, (mean, std) in _STATISTICS.items():
        yield from _scale("scale", f"the pixels have {name}", cure, mean, std, own)
    if not scales:
        return
    tenths = tuple(255 * value for value in own[0])
    wholes = tuple(255 * value for value in own[1])
    less = tuple(value / 255 for value in own[0])
    small = tuple(value / 255 for value in own[1])
    odd = {
        "are divided by 255, and then the model's mean and deviation are applied": (tenths, wholes),
        "of 0..255 are given the mean and deviation of pixels of 0..1": (less, small),
        "are not divided by the deviation": (own[0], (1.0,) * 3),
        "are not shifted by the mean": ((0.0,) * 3, own[1]),
    }
    for name, (mean, std) in odd.items():
        yield from _scale("scale", f"the pixels {name}", cure, mean, std, own)


def _scale(
    key: str, title: str, cure: str, mean: Any, std: Any, own: Any, *, likely: bool = False
) -> Iterator[Fault]:
    # A byte of which nothing is left tells no two scales apart, but is a fault all the same.
    if (mean, std) != own:
        yield Fault(key, title, cure, {"mean": mean, "std": std}, likely)


def _fits(contract: ImagePreprocessing) -> Iterator[Fault]:
    height, width = contract.size_px
    if contract.fit == "crop":
        cure = (
            f"resize the shorter side to {contract.resize_px} px, then crop {width} × {height} "
            "from the middle"
        )
        yield Fault(
            "stretched", "the whole image is stretched", cure, {"fit": "stretch"}, likely=True
        )
    else:
        cure = f"stretch the whole image to {width} × {height} px"
        yield Fault("cropped", "the image is cropped", cure, {"fit": "crop"}, likely=True)
    yield Fault(
        "crop_before_resize",
        "the largest part of the model's shape is cropped, then resized",
        cure,
        {"fit": "whole_side"},
        likely=True,
    )
    yield Fault(
        "crop_before_resize",
        f"{width} × {height} px are cropped from the image, which is not resized",
        cure,
        {"fit": "cut_out"},
    )
    for bars, name in (*_BARS.items(), (None, "0 in the tensor")):
        changes = {"fit": "letterbox", "bars": bars}
        title = f"the image is letterboxed, with bars that are {name}"
        yield Fault("letterbox", title, cure, changes, likely=bars == 0)
        title += ", at the top left"
        yield Fault("letterbox", title, cure, {**changes, "at_corner": True})


def _filters(contract: ImagePreprocessing) -> Iterator[Fault]:
    own = (contract.interpolation, contract.antialias)
    widened = "with" if own[1] else "without"
    cure = (
        f"resize with {_FILTERS[own[0]]}{'' if own[0] == 'nearest' else f' {widened} antialiasing'}"
        ", as `resize` in the export's programs does; the resize functions of platforms differ"
    )
    for method, name in _FILTERS.items():
        for antialias in (True, False):
            same = method == own[0] and (antialias == own[1] or method == "nearest")
            single = method in ("nearest", "area", "lanczos3")
            if same or (single and not antialias):
                continue
            how = "" if single else f", {'with' if antialias else 'without'} antialiasing"
            key = "no_antialias" if method == own[0] else "filter"
            if method == own[0] and antialias:
                key = "antialias"
            yield Fault(
                key,
                f"the image is resized with another filter: {name}{how}"
                if method != own[0]
                else f"the image is resized {how.removeprefix(', ')}",
                cure,
                {"resize": (method, antialias)},
                likely=method in ("bilinear", own[0]),
            )


def _three(values: tuple[float, ...]) -> str:
    different = list(dict.fromkeys(values))
    spelt = [f"{value:.6g}" for value in (different if len(different) == 1 else values)]
    return spelt[0] if len(spelt) == 1 else f"[{', '.join(spelt)}]"
