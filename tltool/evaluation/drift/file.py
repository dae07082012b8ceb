"""A sketch as a file: JSON, arrays in it as base64 of little-endian float32."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np

from tltool._version import __version__
from tltool.evaluation.drift.sketch import Column, Features, Layout, Sketch, Tally
from tltool.support.errors import DamagedError, ExportError
from tltool.support.files import read_json, write_json

Array = np.ndarray[Any, Any]

SKETCH_FILE = "sketch.json"
"""Its name in an export folder."""
_FORMAT = 3


def write_sketch(folder: Path, sketch: Sketch) -> None:
    """Writes `sketch.json` into an export folder: 50 to 200 kB."""
    layout, reference = sketch.layout, sketch.reference
    values = {
        "format": _FORMAT,
        "tltool": __version__,
        "rows": reference.rows,
        "columns": {
            name: {
                **_of_column(column),
                "counts": reference.counts[name].tolist(),
                "sum": reference.sums.get(name),
                "wrong": reference.wrong[name].tolist() if reference.wrong else None,
                "wrong_sums": reference.wrong_sums[name].tolist() if reference.wrong else None,
            }
            for name, column in layout.columns.items()
        },
        "vectors": {
            name: {**_of_features(features), **_of_moments(*reference.moments(name))}
            for name, features in layout.features.items()
        },
        "wrong": None if layout.wrong is None else _of_column(layout.wrong),
    }
    write_json(folder / SKETCH_FILE, values)


def read_sketch(folder: Path) -> Sketch:
    """Reads the sketch in an export folder.

    Raises:
        ExportError: There is none.
        DamagedError: It is damaged, or of another tltool.
    """
    file = folder / SKETCH_FILE
    if not file.is_file():
        raise ExportError(
            f"{folder} has no {SKETCH_FILE}: an older tltool exported it, or there were too few "
            "held-out rows.",
            hint="export again, with at least 20 held-out rows",
        )
    try:
        values = read_json(file)
        if values["format"] != _FORMAT:
            raise ValueError(f"its format is {values['format']}, this tltool reads {_FORMAT}")
        return _sketch(values)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamagedError(f"{file} is damaged: {error}", hint="export again") from error


def _sketch(values: dict[str, Any]) -> Sketch:
    columns, vectors = values["columns"], values["vectors"]
    rows = int(values["rows"])
    wrong = values["wrong"]
    layout = Layout(
        {name: _column(found) for name, found in columns.items()},
        {name: _features(found) for name, found in vectors.items()},
        None if wrong is None else _column(wrong),
    )
    reference = Tally(
        rows,
        {name: np.array(found["counts"], np.int64) for name, found in columns.items()},
        {name: float(found["sum"]) for name, found in columns.items() if found["sum"] is not None},
        {name: _sums(found, rows) for name, found in vectors.items()},
        *(
            {
                name: np.array(found[key], dtype)
                for name, found in columns.items()
                if found[key] is not None
            }
            for key, dtype in (("wrong", np.int64), ("wrong_sums", np.float64))
        ),
    )
    return Sketch(layout, reference)


def _of_column(column: Column) -> dict[str, Any]:
    return {
        "group": column.group,
        "edges": list(column.edges),
        "names": list(column.names),
        "slices": list(column.slices),
    }


def _column(found: dict[str, Any]) -> Column:
    edges = tuple(map(float, found["edges"]))
    return Column(found["group"], edges, tuple(found["names"]), tuple(map(int, found["slices"])))


def _of_features(features: Features) -> dict[str, Any]:
    return {
        "group": features.group,
        "width": features.width,
        "centre": _packed(features.centre),
        "directions": _packed(features.directions),
    }


def _features(found: dict[str, Any]) -> Features:
    centre = _unpacked(found["centre"])
    directions = _unpacked(found["directions"]).reshape(len(centre), -1)
    return Features(found["group"], centre, directions, float(found["width"]))


def _of_moments(mean: Array, scatter: Array) -> dict[str, Any]:
    return {
        "mean": _packed(mean),
        # Symmetric: the upper triangle, row by row.
        "scatter": _packed(scatter[np.triu_indices(len(mean))]),
    }


def _sums(found: dict[str, Any], rows: int) -> tuple[Array, Array]:
    """Sums of features and of their products, of their means and scatter."""
    mean = _unpacked(found["mean"]).astype(np.float64)
    scatter = np.zeros((len(mean), len(mean)))
    scatter[np.triu_indices(len(mean))] = _unpacked(found["scatter"])
    scatter += np.triu(scatter, 1).T
    return mean * rows, scatter + rows * np.outer(mean, mean)


def _packed(values: Array) -> str:
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode("ascii")


def _unpacked(text: str) -> Array:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
