"""The section `export` of a recipe: formats, precisions, limits of the check."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tltool.recipe.section import NOT_BOOL as _NOT_BOOL
from tltool.recipe.section import Patterns, Section

ExportFormat = Literal["saved_model", "litert", "onnx", "keras"]
LiteRTPrecision = Literal["float32", "float16", "dynamic_int8", "int8"]
LiteRTInput = Literal["float32", "uint8", "uint8_any_size"]
LiteRTLength = Literal["static", "free"]

_Positive = Annotated[float, Field(gt=0), _NOT_BOOL]
_NotNegative = Annotated[float, Field(ge=0), _NOT_BOOL]
_Share = Annotated[float, Field(ge=0, le=1), _NOT_BOOL]


def _version(value: str) -> str:
    if not re.fullmatch(r"[0-9]+\.[0-9]+", value):
        raise ValueError('a version is needed, such as "2.14"')
    return value


_Version = Annotated[str, AfterValidator(_version)]


class GateSection(Section):
    """How far an exported model may be from the trained one.

    Attributes:
        examples: Held-out rows compared, at most.
        max_difference: Largest allowed difference of any output (probability,
            or standard deviations of the target for regression), by precision.
        max_logit_difference: Largest allowed difference of any logit, as a
            share of their widest range in a row, by precision. Classification only.
        min_agreement: Smallest allowed share of rows with the same top class,
            by precision. Classification only.
        max_metric_drop: How much lower the accuracy may be, or how much higher
            the mean absolute error in standard deviations of the target, by precision.
        max_class_drop: How much lower the recall of any class may be, by
            precision. Classification only.
    """

    examples: Annotated[int, Field(ge=1), _NOT_BOOL] = 256
    max_difference: dict[LiteRTPrecision, _Positive] = Field(default_factory=dict)
    max_logit_difference: dict[LiteRTPrecision, _Positive] = Field(default_factory=dict)
    min_agreement: dict[LiteRTPrecision, _Share] = Field(default_factory=dict)
    max_metric_drop: dict[LiteRTPrecision, _NotNegative] = Field(default_factory=dict)
    max_class_drop: dict[LiteRTPrecision, _Share] = Field(default_factory=dict)


class Int8Section(Section):
    """What LiteRT files of the precision "int8" keep in float.

    Attributes:
        keep_float: "auto" keeps as little as it takes for the answers to stay
            the same, found by trying on training rows. "none" is for processors
            without floats, and fails where an operator has no 8-bit kernel. A
            list of patterns (`*` and `?`) names kinds of operators (`SOFTMAX`)
            or single ones (`*/attention_output*`).
        max_change: What "auto" lets the answers on training rows change, in the
            mean: of probabilities the share that goes to other classes, of
            numbers standard deviations.
        max_trials: Files that "auto" makes and runs at most.
    """

    keep_float: Literal["auto", "none"] | Patterns = "auto"
    max_change: Annotated[float, Field(gt=0, le=1), _NOT_BOOL] = 0.015
    max_trials: Annotated[int, Field(ge=3, le=1000), _NOT_BOOL] = 32


class ExportSection(Section):
    """Which artifacts are made after training, and how they are checked.

    Attributes:
        formats: "saved_model" (raw texts or image bytes in), "litert" (.tflite),
            "onnx" (needs the extra `[onnx]`) and "keras" (.keras), which take
            preprocessed inputs.
        precisions: One LiteRT file is made for each: "float32", "float16"
            (weights), "dynamic_int8" (weights; activations at run time) and
            "int8" (weights and activations, by ranges measured on training rows).
        calibration_examples: Training rows for those ranges, as many of each class.
        litert_input: What a LiteRT image model takes. "float32": an image with
            all preprocessing done. "uint8": an RGB image of the model's size,
            which it normalises itself. "uint8_any_size": an RGB image of any
            height and width, which it resizes and crops too.
        litert_length: "static": a LiteRT text model takes texts padded to one
            length. "free": texts of any length up to the model's, unpadded.
        litert_runtime: The oldest TensorFlow Lite that LiteRT files must run in. From "2.17"
            on, dense layers of "dynamic_int8" need no second operator for their scales; from
            "2.20" on, divisions of "int8" are in 8 bits. What needs a newer one is refused
            before training.
        int8: What files of the precision "int8" keep in float.
        gate: Tolerances.
    """

    formats: tuple[ExportFormat, ...] = ("saved_model", "litert")
    precisions: tuple[LiteRTPrecision, ...] = ("float32",)
    calibration_examples: Annotated[int, Field(ge=1), _NOT_BOOL] = 128
    litert_input: LiteRTInput = "float32"
    litert_length: LiteRTLength = "static"
    litert_runtime: _Version = "2.14"
    int8: Int8Section = Int8Section()
    gate: GateSection = GateSection()
