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
    run = _session(path, contract)
    inputs_of = prepared_inputs(contract.preprocessing, contract.length)
    return run_of(path, contract, lambda batch: run(inputs_of(batch)))


def onnx_call(path: Path, contract: Contract) -> Call:
    """As `onnx_runner`, on the preprocessed inputs of one example."""
    run = _session(path, contract)
    return lambda inputs: run(inputs)[0]


def _session(path: Path, contract: Contract) -> Callable[[Any], Any]:
    """From preprocessed inputs by name to the result of all of them."""
    onnxruntime = import_onnx("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names, target = [output.name for output in session.get_outputs()], contract.task.target
    return lambda inputs: target.combined(
        dict(zip(names, session.run(names, dict(inputs)), strict=True))
    )
