"""Runs an ONNX file with onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tltool.export.contract import Contract
from tltool.export.feeding import prepared_inputs
from tltool.export.formats.onnx.extras import import_onnx
from tltool.export.outputs import Outputs, Run, named_by


def onnx_runner(path: Path, contract: Contract) -> Run:
    """Runs an ONNX file with onnxruntime on preprocessed inputs.

    Raises:
        ExportError: onnxruntime is not installed.
    """
    onnxruntime = import_onnx("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs_of = prepared_inputs(contract.preprocessing, contract.length)
    output, named = contract.task.target.result_name, named_by(path, contract.task)

    def run(batch: Sequence[Any]) -> Outputs:
        (values,) = session.run([output], inputs_of(batch))
        return named(values)

    return run
