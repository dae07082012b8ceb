"""Runs an ONNX file with onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tltool.export.contract import Contract
from tltool.export.feeding import prepared_inputs
from tltool.export.formats.onnx.extras import import_onnx
from tltool.export.outputs import Call, Run, run_of


def onnx_runner(path: Path, contract: Contract) -> Run:
    """Runs an ONNX file with onnxruntime on preprocessed inputs.

    Raises:
        ExportError: onnxruntime is not installed.
    """
    run, target = _session(path), contract.task.target
    inputs_of = prepared_inputs(contract.preprocessing, contract.length)
    return run_of(path, contract, lambda batch: target.combined(run(inputs_of(batch))))


def onnx_call(path: Path, contract: Contract) -> Call:
    """As `onnx_runner`, on the preprocessed inputs of one example."""
    run, name = _session(path), contract.task.target.result_name
    return lambda inputs: run(inputs)[name][0]


def _session(path: Path) -> Callable[[Any], dict[str, Any]]:
    """From preprocessed inputs by name to all outputs by name."""
    onnxruntime = import_onnx("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))
