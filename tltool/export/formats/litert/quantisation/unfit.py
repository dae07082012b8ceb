"""Which operators 8 bits suit least, told from the numbers that go through them in float."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tltool.export.contract import MAIN_SIGNATURE
from tltool.export.formats.litert.quantisation.graph import Operator
from tltool.export.formats.litert.quantisation.trial import Inputs
from tltool.support.quiet import quiet

_ROWS = 16
_NUMBERS = 2000  # of each tensor and row
# The middle two thirds: one standard deviation to either side, were they normal.
_MIDDLE = (16, 84)


def by_unfitness(
    calibrated: bytes, operators: Sequence[Operator], rows: Sequence[Inputs]
) -> list[Operator]:
    """Operators, those first whose tensors are the worst rounded by 8 bits.

    A tensor is badly rounded where one step, a 255th of its range, is large
    beside how far most of its numbers lie apart: single numbers far out, as
    transformers have them, take the range for themselves.

    Args:
        calibrated: A model that runs in float.
        operators: Of this model.
        rows: Preprocessed inputs; a few are enough.
    """
    numbers = _numbers(calibrated, {t for o in operators for t in o.tensors}, rows[:_ROWS])
    step = {tensor: _step_by_spread(values) for tensor, values in numbers.items()}
    return sorted(operators, key=lambda o: -max([step.get(t, 0.0) for t in o.tensors], default=0.0))


def _numbers(
    content: bytes, tensors: set[int], rows: Sequence[Inputs]
) -> dict[int, np.ndarray[Any, Any]]:
    found: dict[int, list[Any]] = defaultdict(list)
    with quiet():
        interpreter = Interpreter(model_content=content, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
        run = interpreter.get_signature_runner(MAIN_SIGNATURE)
        for row in rows:
            run(**row)
            for tensor in tensors:
                values = interpreter.get_tensor(tensor).ravel()
                found[tensor].append(values[:: max(1, values.size // _NUMBERS)])
    return {tensor: np.concatenate(values) for tensor, values in found.items()}


def _step_by_spread(values: np.ndarray[Any, Any]) -> float:
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    # Zeros are what ReLU and padding leave, and 8 bits have them exactly.
    others = values[values != 0]
    if not len(others):
        return 0.0
    quarter, three_quarters = np.percentile(others, _MIDDLE)
    return (high - low) / 255 / max(float(three_quarters - quarter), 1e-30)
