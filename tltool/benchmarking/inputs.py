"""What the models are given: the golden examples of an export, made ready once for all."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tltool.benchmarking.subjects import Subject
from tltool.data.preprocessing import TextPreprocessing, preprocessing_from_json
from tltool.export.contract import GOLDEN_FILE
from tltool.export.feeding import prepared_inputs


def golden_inputs(subjects: Iterable[Subject]) -> dict[str, np.ndarray[Any, Any]] | None:
    """The golden examples of the first model that has any, as all of the models take them.

    Texts are as long as the LiteRT models want them, so that all are given the
    same; where there is none, as long as the contract allows.

    Returns:
        Name of an input to the rows of all examples; None where no model has any.
    """
    contracts = {s: s.contract for s in subjects if s.folder and (s.folder / GOLDEN_FILE).is_file()}
    for subject, contract in contracts.items():
        folder = subject.folder or Path()
        golden = json.loads((folder / GOLDEN_FILE).read_text(encoding="utf-8"))
        preprocessing = preprocessing_from_json(json.dumps(contract["preprocessing"]))
        raw = [row["input"] for row in golden["examples"]]
        length = None
        if isinstance(preprocessing, TextPreprocessing):
            fixed = [n for other in contracts.values() if (n := other.get("length"))]
            length = fixed[0] if fixed else preprocessing.max_length
        else:
            raw = [str(folder / name) for name in raw]
        return prepared_inputs(preprocessing, length)(raw)
    return None
