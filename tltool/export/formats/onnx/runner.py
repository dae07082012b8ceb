"""Runs an ONNX file with onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tltool.export.contract import Contract
from tltool.export.feeding import prepared_inputs
from tltool.export.formats.onnx.extras import import_onnx
from tltool.export.outputs import Run, run_of


def onnx_runner(path: Path, contract: Contract) -> Run:
    """Runs an ONNX file with onnxruntime on preprocessed inputs.

    Raises:
        ExportError: onnxruntime is not installed.
    """
    onnxruntime = import_onnx("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs_of = prepared_inputs(contract.preprocessing, contract.length)
    names, target = [output.name for output in session.get_outputs()], contract.task.target

    def values(batch: Sequence[Any]) -> Any:
        return target.combined(dict(zip(names, session.run(names, inputs_of(batch)), strict=True)))

    return run_of(path, contract, values)
