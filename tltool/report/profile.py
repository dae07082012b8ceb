"""Where a run's time went, and its arithmetic against what the machine can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_STAGES = {
    "imports": "importing TensorFlow and Keras",
    "data": "reading, checking and splitting the data",
    "backbone": "loading the backbone, tokenizing, building the model",
    "audit": "trying whether the model can be exported",
    "frozen layers": "frozen layers: computing, storing and finding their outputs",
    "compiling": "tracing and compiling, with the first steps",
    "training steps": "training steps",
    "validation": "validation after each epoch",
    "saving": "saving the model",
    "evaluation": "evaluation with the whole model",
    "baseline": "baseline",
    "export": "export and its checks",
    "report": "plots and report",
}


@dataclass(frozen=True)
class Arithmetic:
    """What one example costs and what the machine gives.

    Attributes:
        flops: Of the whole model's forward pass for one example.
        tokens: Length of the text they were counted for; None for images.
        rate: Floating-point operations a second of a large matrix product.
    """

    flops: float
    tokens: int | None
    rate: float

    @property
    def seconds(self) -> float:
        """Least time of one example's forward pass at that rate."""
        return self.flops / self.rate


def profile_lines(seconds: Mapping[str, float], arithmetic: Arithmetic) -> list[str]:
    """The profile as lines of text.

    Args:
        seconds: By stage, as `Stopwatch` counts them.
        arithmetic: Of the trained model on this machine.
    """
    total = sum(seconds.values())
    known = [*_STAGES, *(stage for stage in seconds if stage not in _STAGES)]
    lines = ["Where the time went"]
    for stage in known:
        if seconds.get(stage, 0.0) > 0.0:
            value = seconds[stage]
            lines.append(f"  {value:8.1f} s  {value / total:4.0%}  {_STAGES.get(stage, stage)}")
    lines.append(f"  {total:8.1f} s  100%  together")
    per_text = f" of {arithmetic.tokens} tokens" if arithmetic.tokens else ""
    return [
        *lines,
        "Arithmetic",
        f"  one example{per_text} through the whole model: {arithmetic.flops / 1e9:.2f} GFLOP",
        f"  this machine's matrix products: {arithmetic.rate / 1e9:.0f} GFLOP/s, so at best "
        f"{1000 * arithmetic.seconds:.1f} ms an example; training it all takes about three times "
        "that, a frozen layer once and never again",
    ]
