"""How far an exported model may be from the trained one, by the precision of its weights."""

from __future__ import annotations

from dataclasses import dataclass

from tltool.recipe.export_section import GateSection, LiteRTPrecision


@dataclass(frozen=True)
class Tolerance:
    """Limits of one precision.

    A share of few rows moves in large steps, so where a limit allows any
    change at all, one row is never a breach, and two rows of a class are not.
    Nor is a fall of the accuracy that luck explains: rows near a border go
    either way, and of 256 rows three are 1.2 %.

    Attributes:
        max_difference: Of any probability, or of a prediction in standard
            deviations of the training targets.
        max_logit_difference: Of any logit, as a share of the widest range of
            logits in a row; None where it is not limited. Where the model is
            sure of itself, probabilities hide what this shows.
        min_agreement: Share of rows with the same top class.
        max_metric_drop: How much lower the accuracy may be, or how much higher
            the mean absolute error in standard deviations of the training targets.
        max_class_drop: How much lower the recall of any class may be.
    """

    max_difference: float
    max_logit_difference: float | None
    min_agreement: float
    max_metric_drop: float
    max_class_drop: float


# Differences may be nearly twice the worst of what was measured with EfficientNet-Lite0, ResNet-50,
# MobileNetV3, ViT and MiniLM, 90 to 1,000 held-out rows each (docs/precisions.md), and with heads
# alone on Lite0 and MiniLM. Largest difference, of the logits, agreement, fall of a class's recall
# (0.15 was two rows of 13):
#   float32       8.6e-6  1.6e-6  1.0    0     the same arithmetic in another order
#   float16       1.4e-2  5.8e-3  0.995  0     weights rounded to 11 bits
#   dynamic_int8  2.0e-1  4.4e-2  0.965  0.08  weights to 8 bits, activations at run time
#   int8          2.6e-1  3.5     0.945  0.15  activations too, but for what stays in float
# MobileNetV3 with nothing in float is ruined and refused: 0.46, agreement 0.875. In 8 bits single
# probabilities may move far, and those below 1/256 are lost; what counts is the metrics.
TOLERANCES: dict[LiteRTPrecision, Tolerance] = {
    "float32": Tolerance(1e-4, 1e-3, 1.0, 1e-4, 0.0),
    "float16": Tolerance(0.03, 0.02, 0.99, 0.01, 0.1),
    "dynamic_int8": Tolerance(0.4, None, 0.95, 0.01, 0.1),
    "int8": Tolerance(0.5, None, 0.9, 0.01, 0.1),
}


# A model that resizes by itself rounds some levels the other way, since it adds in another order.
# Measured as above with Lite0 in float32, 60 rows: difference 3.0e-4, agreement 1.0.
RESIZED = Tolerance(2e-3, 1e-3, 0.99, 1e-3, 0.02)


def tolerance_for(
    precision: LiteRTPrecision, gate: GateSection, *, resizes: bool = False
) -> Tolerance:
    """The default of a precision, with what the recipe sets instead.

    Args:
        precision: Of the weights.
        gate: What the recipe sets.
        resizes: Whether the model resizes images by itself.
    """
    default = RESIZED if resizes and precision == "float32" else TOLERANCES[precision]
    return Tolerance(
        gate.max_difference.get(precision, default.max_difference),
        gate.max_logit_difference.get(precision, default.max_logit_difference),
        gate.min_agreement.get(precision, default.min_agreement),
        gate.max_metric_drop.get(precision, default.max_metric_drop),
        gate.max_class_drop.get(precision, default.max_class_drop),
    )
