"""The layers that `augment.layers` may hold, their options and their limits.

The names and options are those of `keras.layers` and, after `keras_cv.`, of the
package keras-cv. Only what is listed here is ever looked up. Left out are the
options tltool sets itself: the range of values, the size of images, the seed.
Options with a range are written as two numbers, the lowest and the highest
value that is drawn: what Keras makes of a single number x differs between
layers (0 to x, -x to x), and in some is not what their documentation says.
Importing this is cheap: no numerical library is loaded.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field

from tltool.recipe.section import NOT_BOOL, Section

KERAS_CV = "keras_cv."


def _pair(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("two numbers are needed, the lowest and the highest, such as [0.1, 0.3]")
    return value


def _ascending(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("the lowest value must come first")
    return value


_IS_PAIR, _IS_ASCENDING = BeforeValidator(_pair), AfterValidator(_ascending)
_Unit = Annotated[float, Field(ge=0.0, le=1.0), NOT_BOOL]
_Signed = Annotated[float, Field(ge=-1.0, le=1.0), NOT_BOOL]
_Zoom = Annotated[float, Field(gt=-1.0, le=1.0), NOT_BOOL]
_Positive = Annotated[float, Field(gt=0.0, le=1.0), NOT_BOOL]
_Scale = Annotated[float, Field(ge=0.1, le=10.0), NOT_BOOL]
_Bits = Annotated[int, Field(ge=1, le=8), NOT_BOOL]
_Quality = Annotated[int, Field(ge=1, le=100), NOT_BOOL]
Level = Annotated[float, Field(ge=0.0, le=255.0), NOT_BOOL]
UnitRange = Annotated[tuple[_Unit, _Unit], _IS_ASCENDING, _IS_PAIR]
SignedRange = Annotated[tuple[_Signed, _Signed], _IS_ASCENDING, _IS_PAIR]
ZoomRange = Annotated[tuple[_Zoom, _Zoom], _IS_ASCENDING, _IS_PAIR]
PositiveRange = Annotated[tuple[_Positive, _Positive], _IS_ASCENDING, _IS_PAIR]
ScaleRange = Annotated[tuple[_Scale, _Scale], _IS_ASCENDING, _IS_PAIR]
BitsRange = Annotated[tuple[_Bits, _Bits], _IS_ASCENDING, _IS_PAIR]
QualityRange = Annotated[tuple[_Quality, _Quality], _IS_ASCENDING, _IS_PAIR]
Interpolation = Literal["nearest", "bilinear"]
FillMode = Literal["reflect", "wrap", "constant", "nearest"]


class RandAugment(Section):
    """Some of eleven changes of colour and shape in a row (Cubuk et al. 2019, arXiv:1909.13719)."""

    layer: Literal["RandAugment"]
    num_ops: Annotated[int, Field(ge=1, le=10), NOT_BOOL] = 2
    factor: UnitRange = (0.0, 0.5)
    interpolation: Interpolation = "bilinear"


class RandomBrightness(Section):
    """Adds a share of the value range."""

    layer: Literal["RandomBrightness"]
    factor: SignedRange


class RandomColorDegeneration(Section):
    """Mixes with the grey image; 1 is grey."""

    layer: Literal["RandomColorDegeneration"]
    factor: UnitRange


class RandomColorJitter(Section):
    """Brightness, contrast, saturation and hue, each as the layer of its name; null leaves out."""

    layer: Literal["RandomColorJitter"]
    brightness_factor: SignedRange | None = None
    contrast_factor: UnitRange | None = None
    saturation_factor: UnitRange | None = None
    hue_factor: UnitRange | None = None


class RandomContrast(Section):
    """Scales the distance from the mean by 1 - the first number to 1 + the second."""

    layer: Literal["RandomContrast"]
    factor: UnitRange


class RandomElasticTransform(Section):
    """Bends the image; `factor` is the probability, drawn for each image, `scale` how far."""

    layer: Literal["RandomElasticTransform"]
    factor: UnitRange = (0.0, 1.0)
    scale: UnitRange = (0.0, 1.0)
    interpolation: Interpolation = "bilinear"
    fill_mode: FillMode = "reflect"
    fill_value: Level = 0.0


class RandomErasing(Section):
    """Fills a rectangle (noise, where `fill_value` is null); `factor` is the probability."""

    layer: Literal["RandomErasing"]
    factor: UnitRange = (0.0, 1.0)
    scale: UnitRange = (0.02, 0.33)
    fill_value: Level | None = None


class RandomFlip(Section):
    """Mirrors with probability one half."""

    layer: Literal["RandomFlip"]
    mode: Literal["horizontal", "vertical", "horizontal_and_vertical"] = "horizontal_and_vertical"


class RandomGaussianBlur(Section):
    """Blurs; `factor` is the probability, `sigma` the width in pixels."""

    layer: Literal["RandomGaussianBlur"]
    factor: UnitRange = (0.0, 1.0)
    kernel_size: Literal[3, 5, 7, 9, 11, 13, 15] = 3
    sigma: UnitRange = (0.0, 1.0)


class RandomGrayscale(Section):
    """Makes the image grey with this probability."""

    layer: Literal["RandomGrayscale"]
    factor: _Unit = 0.5


class RandomHue(Section):
    """Turns the hue either way; 1 is half the circle."""

    layer: Literal["RandomHue"]
    factor: UnitRange


class RandomInvert(Section):
    """Inverts the colours; `factor` is the probability, drawn for each image."""

    layer: Literal["RandomInvert"]
    factor: UnitRange = (0.0, 1.0)


class RandomPerspective(Section):
    """Moves the corners; `factor` is the probability, `scale` how far."""

    layer: Literal["RandomPerspective"]
    factor: UnitRange = (0.0, 1.0)
    scale: _Unit = 1.0
    interpolation: Interpolation = "bilinear"
    fill_value: Level = 0.0


class RandomPosterization(Section):
    """Keeps this many bits of each channel, the highest number left out unless both are equal."""

    layer: Literal["RandomPosterization"]
    factor: BitsRange


class RandomRotation(Section):
    """Turns the image; 1 is a full circle."""

    layer: Literal["RandomRotation"]
    factor: SignedRange
    fill_mode: FillMode = "reflect"
    interpolation: Interpolation = "bilinear"
    fill_value: Level = 0.0


class RandomSaturation(Section):
    """0 is grey, 0.5 the image as it is, 1 fully saturated."""

    layer: Literal["RandomSaturation"]
    factor: UnitRange


class RandomSharpness(Section):
    """0 is blurred, 0.5 the image as it is, 1 sharpened."""

    layer: Literal["RandomSharpness"]
    factor: UnitRange


class RandomShear(Section):
    """Shears by shares of the width and the height."""

    layer: Literal["RandomShear"]
    x_factor: UnitRange = (0.0, 0.0)
    y_factor: UnitRange = (0.0, 0.0)
    interpolation: Interpolation = "bilinear"
    fill_mode: FillMode = "reflect"
    fill_value: Level = 0.0


class RandomTranslation(Section):
    """Shifts by shares of the height and the width."""

    layer: Literal["RandomTranslation"]
    height_factor: SignedRange
    width_factor: SignedRange
    fill_mode: FillMode = "reflect"
    interpolation: Interpolation = "bilinear"
    fill_value: Level = 0.0


class RandomZoom(Section):
    """Zooms in (below 0) or out; without a width of its own as the height."""

    layer: Literal["RandomZoom"]
    height_factor: ZoomRange
    width_factor: ZoomRange | None = None
    fill_mode: FillMode = "reflect"
    interpolation: Interpolation = "bilinear"
    fill_value: Level = 0.0


class Solarization(Section):
    """Adds a share of the range, then inverts what is above a share of it."""

    layer: Literal["Solarization"]
    addition_factor: UnitRange = (0.0, 0.0)
    threshold_factor: UnitRange = (0.0, 0.0)


class ChannelShuffle(Section):
    """Puts the three colour channels into another order."""

    layer: Literal["keras_cv.ChannelShuffle"]


class GridMask(Section):
    """Covers the image with a turned grid of squares (Chen et al. 2020, arXiv:2001.04086)."""

    layer: Literal["keras_cv.GridMask"]
    ratio_factor: UnitRange = (0.0, 0.5)
    rotation_factor: _Unit = 0.15
    fill_value: Annotated[int, Field(ge=0, le=255), NOT_BOOL] = 0


class JitteredResize(Section):
    """Scales the image and cuts a part of the same size, or fills up with black."""

    layer: Literal["keras_cv.JitteredResize"]
    scale_factor: ScaleRange


class RandomChannelShift(Section):
    """Adds a share of half the value range to each channel, either way."""

    layer: Literal["keras_cv.RandomChannelShift"]
    factor: UnitRange


class RandomCropAndResize(Section):
    """Cuts a share of the area, with sides of a drawn ratio, and resizes it to the whole size."""

    layer: Literal["keras_cv.RandomCropAndResize"]
    crop_area_factor: PositiveRange
    aspect_ratio_factor: ScaleRange
    interpolation: Interpolation = "bilinear"


class RandomCutout(Section):
    """Fills a rectangle of shares of the height and the width."""

    layer: Literal["keras_cv.RandomCutout"]
    height_factor: UnitRange
    width_factor: UnitRange
    fill_value: Level = 0.0


class RandomJpegQuality(Section):
    """Damages as JPEG of this quality does, the highest number left out unless both are equal."""

    layer: Literal["keras_cv.RandomJpegQuality"]
    factor: QualityRange


class MixUp(Section):
    """Blends each image, and its label, with another of the batch (arXiv:1710.09412)."""

    layer: Literal["MixUp"]
    alpha: _Positive = 0.2


class CutMix(Section):
    """Puts a part of another image of the batch into each, and of its label (arXiv:1905.04899)."""

    layer: Literal["CutMix"]
    factor: UnitRange = (0.0, 1.0)


ImageLayer = (
    RandAugment
    | RandomBrightness
    | RandomColorDegeneration
    | RandomColorJitter
    | RandomContrast
    | RandomElasticTransform
    | RandomErasing
    | RandomFlip
    | RandomGaussianBlur
    | RandomGrayscale
    | RandomHue
    | RandomInvert
    | RandomPerspective
    | RandomPosterization
    | RandomRotation
    | RandomSaturation
    | RandomSharpness
    | RandomShear
    | RandomTranslation
    | RandomZoom
    | Solarization
    | ChannelShuffle
    | GridMask
    | JitteredResize
    | RandomChannelShift
    | RandomCropAndResize
    | RandomCutout
    | RandomJpegQuality
)
"""Layers that change one image."""

BatchLayer = MixUp | CutMix
"""Layers that mix the images of a batch, and their labels."""

AugmentLayer = Annotated[ImageLayer | BatchLayer, Field(discriminator="layer")]


def _names(kinds: Any) -> tuple[str, ...]:
    return tuple(get_args(kind.model_fields["layer"].annotation)[0] for kind in get_args(kinds))


MOVING_LAYERS = (
    "RandomElasticTransform",
    "RandomFlip",
    "RandomPerspective",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
)
"""Layers that move the pixels of an image to other places, each as its draws say."""
UNTRACEABLE_LAYERS = ("RandAugment", "keras_cv.JitteredResize", "keras_cv.RandomCropAndResize")
"""Layers that move pixels too, but not in a way that could be done to something else alike."""
IMAGE_LAYERS, BATCH_LAYERS = _names(ImageLayer), _names(BatchLayer)
