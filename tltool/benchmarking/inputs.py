"""What the models are given: the golden examples of an export, made ready once for all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tltool.benchmarking.subjects import Subject
from tltool.data.preprocessing import TextPreprocessing
from tltool.export.contract import GOLDEN_FILE
from tltool.export.feeding import prepared_inputs
from tltool.support.errors import ExportError
from tltool.support.files import read_json

ROWS = "rows_of_an_example"


def golden_inputs(subjects: Iterable[Subject]) -> dict[str, np.ndarray[Any, Any]] | None:
    """The golden examples of the first model that has any, as all of the models take them.

    Texts are as long as the LiteRT models want them, so that all are given the
    same; where there is none, as long as the contract allows.

    Returns:
        Name of an input to the rows of all examples, and under `ROWS` how many rows
        an example has; None where no model has any.
    """
    contracts = {
        s.folder: contract
        for s in subjects
        if s.folder and (s.folder / GOLDEN_FILE).is_file() and (contract := s.contract)
    }
    for folder, contract in contracts.items():
        try:
            golden = read_json(folder / GOLDEN_FILE)
            raw = [row["input"] for row in golden["examples"]]
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ExportError(
                f"The golden examples of {folder} cannot be used: {error}", hint="export again"
            ) from error
        preprocessing, length = contract.preprocessing, None
        if isinstance(preprocessing, TextPreprocessing):
            fixed = [n for other in contracts.values() if (n := other.length)]
            length = fixed[0] if fixed else preprocessing.max_length
        else:
            raw = [str(folder / name) for name in raw]
        inputs = prepared_inputs(preprocessing, length)(raw)
        rows = len(next(iter(inputs.values()))) // len(raw)
        return {**inputs, ROWS: np.array(rows)}
    return None
