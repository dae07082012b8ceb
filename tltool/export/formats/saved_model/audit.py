"""Operators that a SavedModel cannot hold: calls back into the Python that made it."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import keras

from tltool.export.formats.places import Place, place_of
from tltool.export.formats.problems import Audit, Problem
from tltool.export.formats.tracing import PYTHON_CALLS, input_specs, trace_untrained
from tltool.tasks.table import Task

FORM = "saved_model"


def audit_saved_model(model: keras.Model, task: Task) -> Audit:
    """Traces a float32 model as the SavedModel is traced, with a free batch size."""
    traced = trace_untrained(model, task, input_specs(model, batch=None))
    places: dict[str, set[Place | None]] = defaultdict(set)
    for node in _nodes(traced.graph.as_graph_def()):
        if node.op in PYTHON_CALLS:
            places[node.op].add(place_of([node.name], model))
    problems = [
        Problem(
            FORM,
            f"{operator} calls Python code, which is not in the file",
            "write the layer with keras.ops or tf operations",
            operator,
            tuple(sorted(place for place in places[operator] if place)),
        )
        for operator in sorted(places)
    ]
    return Audit((FORM,), tuple(problems))


def _nodes(graph: Any) -> list[Any]:
    inner = [node for function in graph.library.function for node in function.node_def]
    return [*graph.node, *inner]
