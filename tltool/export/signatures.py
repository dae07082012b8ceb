"""What goes into a model and what comes out, whatever its format."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quantisation:
    """A tensor's numbers are `scale · (stored - zero_point)`, of one or for each channel."""

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]

    def __str__(self) -> str:
        if len(self.scale) > 1:
            return f"{len(self.scale)} scales, one a channel"
        return f"{self.scale[0]:.6g} · (q - {self.zero_point[0]})"


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file.

    Attributes:
        name: Of the signature, or of the tensor itself where there is none.
        dtype: Such as "float32".
        shape: None in place of a length where any will do; None where nothing is known of it.
        quantisation: How its numbers are stored, or None.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    quantisation: Quantisation | None = None


@dataclass(frozen=True)
class Signature:
    """A way to call a model; `inputs` and `outputs` are in the order of the model's tensors."""

    name: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
