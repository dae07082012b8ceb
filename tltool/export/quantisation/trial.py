"""One way of quantising, tried: the file it gives, and how much its answers change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow.lite.python.convert import mlir_quantize

from tltool.quiet import quiet

Inputs = dict[str, np.ndarray[Any, Any]]
_SIGNATURE = "serving_default"


@dataclass(frozen=True)
class Float:
    """What stays in float.

    Attributes:
        kinds: Of operators, all of each.
        names: Of single operators, by their first output.
    """

    kinds: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()


NOTHING = Float()


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


def answers(content: bytes, rows: Sequence[Inputs]) -> np.ndarray[Any, Any]:
    """A model's outputs for preprocessed rows, (rows, classes) or (rows, 1).

    Raises:
        RuntimeError: The interpreter cannot run it.
    """
    with quiet():
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
        run = interpreter.get_signature_runner(_SIGNATURE)
        outputs = [next(iter(run(**row).values()))[0] for row in rows]
    return np.reshape(np.stack(outputs), (len(rows), -1))


def change_of(expected: np.ndarray[Any, Any], received: np.ndarray[Any, Any]) -> float:
    """How much answers change, mean over the rows; infinite where one is not a number.

    Of probabilities, half the sum of the differences of a row: the share of
    the probability that went to other classes (total variation distance). The
    accuracy that a model expects of itself changes by no more. Of numbers, in
    standard deviations of the expected ones.
    """
    if not np.isfinite(received).all():
        return float("inf")
    differences = np.abs(received - expected).sum(axis=1)
    if expected.shape[1] > 1:
        return float(differences.mean() / 2)
    return float(differences.mean() / (expected.std() or 1.0))


@dataclass
class Trials:
    """Tries ways of quantising on the same rows, each once, and counts them.

    Attributes:
        calibrated: What the converter gives where it only calibrates; it runs
            in float as it is.
        rows: Preprocessed training rows that no ranges were measured on.
        max_trials: After so many, no more are made.
    """

    calibrated: bytes
    rows: Sequence[Inputs]
    max_trials: int
    done: dict[Float, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._expected = answers(self.calibrated, self.rows)

    @property
    def left(self) -> int:
        """How many may still be made."""
        return self.max_trials - len(self.done)

    def change(self, kept: Float) -> float:
        """How much the answers change where this stays in float; see `change_of`."""
        if kept not in self.done:
            try:
                received = answers(quantise(self.calibrated, kept), self.rows)
                self.done[kept] = change_of(self._expected, received)
            except RuntimeError:
                self.done[kept] = float("inf")
        return self.done[kept]
