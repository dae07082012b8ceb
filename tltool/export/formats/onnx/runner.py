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
    output = contract.task.target.result_name

    def values(batch: Sequence[Any]) -> Any:
        return session.run([output], inputs_of(batch))[0]

    return run_of(path, contract, values)
