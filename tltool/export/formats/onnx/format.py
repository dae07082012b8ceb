"""What the format ONNX answers; see `Format`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tltool.export.formats.base import Exported, ExportTarget, Format

if TYPE_CHECKING:
    from tltool.export.contract import Contract, Example
    from tltool.export.formats.inspection import Inspection
    from tltool.export.outputs import Call, Run


class OnnxFormat(Format):
    """An ONNX file for onnxruntime: any number of preprocessed examples at a time."""

    name = "onnx"
    title = "ONNX"
    file = "model.onnx"
    about = "ONNX model"
    extra = "onnx"
    packages = ("onnx", "tf2onnx", "onnxruntime")

    def write(self, made: Exported, target: ExportTarget, path: Path) -> None:
        """See `export_onnx`."""
        from tltool.export.formats.onnx.export import export_onnx

        export_onnx(made.model, made.task, path, about=made.about)

    def load(self, path: Path, contract: Contract) -> Run:
        """See `onnx_runner`."""
        from tltool.export.formats.onnx.runner import onnx_runner

        return onnx_runner(path, contract)

    def load_call(self, path: Path, contract: Contract) -> Call:
        """See `onnx_call`."""
        from tltool.export.formats.onnx.runner import onnx_call

        return onnx_call(path, contract)

    def inspect(self, path: Path) -> Inspection:
        """See `read_onnx`."""
        from tltool.export.formats.onnx.file import read_onnx

        return read_onnx(path)

    def usage(self, contract: Contract, example: Example) -> list[str]:
        """With Python, onnxruntime and NumPy."""
        from tltool.export.sidecars.usage import array_usage

        return array_usage(contract, example, runtime="onnxruntime")
