"""One way of quantising, tried: the file it gives, and how much its answers change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python.convert import mlir_quantize

from tltool.export.contract import MAIN_SIGNATURE
from tltool.export.formats.litert.quantisation.graph import logits_tensor
from tltool.support.quiet import quiet
from tltool.tasks.target import Target

Inputs = dict[str, np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Float:
    """What stays in float.

    Attributes:
        kinds: Of operators, all of each.
        names: Of single operators, by their first output.
    """

    kinds: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()

    def __or__(self, other: Float) -> Float:
        return Float(self.kinds | other.kinds, self.names | other.names)


def quantise(calibrated: bytes, kept: Float, input_type: Any = tf.float32) -> bytes:
    """A model in 8 bits but for what is kept in float and what has no 8-bit kernel.

    By the function that `tf.lite.experimental.QuantizationDebugger` calls for
    its `denylisted_ops` and `denylisted_nodes`; the debugger would also make
    and load an instrumented model each time.

    Args:
        calibrated: What the converter gives where it only calibrates.
        kept: What is not to be quantised.
        input_type: Of the model's inputs.
    """
    with quiet():
        content: bytes = mlir_quantize(
            calibrated,
            input_data_type=input_type,
            denylisted_ops=set(kept.kinds) or None,
            denylisted_nodes=set(kept.names) or None,
        )
    return content


def answers(content: bytes, rows: Sequence[Inputs], result: str = "") -> np.ndarray[Any, Any]:
    """What a model says of preprocessed rows: logits (rows, classes) or numbers (rows, 1).

    Probabilities of 8 bits are 0 below 1/256, and say nothing of their logits.

    Args:
        content: The .tflite file.
        rows: By name of the input.
        result: Name of the output that holds them; empty takes the first.

    Raises:
        RuntimeError: The interpreter cannot run it.
    """
    logits = logits_tensor(content, result)
    outputs = []
    with quiet():
        interpreter = Interpreter(
            model_content=content, experimental_preserve_all_tensors=logits is not None
        )
        interpreter.allocate_tensors()
        run = interpreter.get_signature_runner(MAIN_SIGNATURE)
        for row in rows:
            found = run(**row)
            output = found[result] if result else next(iter(found.values()))
            outputs.append(output if logits is None else _numbers(interpreter, logits))
    return np.reshape(np.stack(outputs), (len(rows), -1))


def _numbers(interpreter: Interpreter, tensor: int) -> np.ndarray[Any, Any]:
    values: np.ndarray[Any, Any] = interpreter.get_tensor(tensor).astype("float32")
    scale, zero_point = interpreter.get_tensor_details()[tensor]["quantization"]
    return (values - zero_point) * np.float32(scale) if scale else values


def change_of(
    target: Target, expected: np.ndarray[Any, Any], received: np.ndarray[Any, Any], *, raw: bool
) -> float:
    """How much answers change, mean over the rows; infinite where one is not a number.

    Args:
        target: Says how its answers are compared; see `Target.change`.
        expected, received: (rows, outputs).
        raw: Whether they are logits.
    """
    if not np.isfinite(received).all():
        return float("inf")
    return target.change(expected, received, raw=raw)


@dataclass
class Trials:
    """Tries ways of quantising on the same rows, each once, and counts them.

    Attributes:
        calibrated: What the converter gives where it only calibrates; it runs
            in float as it is.
        rows: Preprocessed training rows that no ranges were measured on.
        target: Compares answers.
        max_trials: After so many, no more are made.
        least: What stays in float in any case.
    """

    calibrated: bytes
    rows: Sequence[Inputs]
    target: Target
    max_trials: int
    least: Float = Float()
    done: dict[Float, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._expected = answers(self.calibrated, self.rows, self.target.result_name)
        self._raw = logits_tensor(self.calibrated, self.target.result_name) is not None

    @property
    def left(self) -> int:
        """How many may still be made."""
        return self.max_trials - len(self.done)

    def change(self, kept: Float) -> float:
        """How much the answers change where this stays in float; see `change_of`."""
        if kept not in self.done:
            try:
                content = quantise(self.calibrated, kept)
                received = answers(content, self.rows, self.target.result_name)
                self.done[kept] = change_of(self.target, self._expected, received, raw=self._raw)
            except RuntimeError:
                self.done[kept] = float("inf")
        return self.done[kept]
