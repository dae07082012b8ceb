"""What the format Keras answers; see `Format`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tltool.export.formats.base import Exported, ExportTarget, Format

if TYPE_CHECKING:
    from tltool.export.contract import Contract, Example
    from tltool.export.formats.inspection import Inspection
    from tltool.export.outputs import Call, Run


class KerasFormat(Format):
    """A `.keras` file for other Keras programs: preprocessed examples in."""

    name = "keras"
    title = "Keras"
    file = "model.keras"
    about = "Keras model"

    def write(self, made: Exported, target: ExportTarget, path: Path) -> None:
        """See `export_keras`."""
        from tltool.export.formats.keras.export import export_keras

        export_keras(made.model, made.task, path)

    def modules(self, path: Path) -> tuple[str, ...]:
        """Those that register its layers."""
        from tltool.export.formats.keras.export import modules_of

        return modules_of(path)

    def load(self, path: Path, contract: Contract) -> Run:
        """See `keras_runner`."""
        from tltool.export.formats.keras.runner import keras_runner

        return keras_runner(path, contract)

    def load_call(self, path: Path, contract: Contract) -> Call:
        """See `keras_call`."""
        from tltool.export.formats.keras.runner import keras_call

        return keras_call(path, contract)

    def inspect(self, path: Path) -> Inspection:
        """See `read_keras`."""
        from tltool.export.formats.keras.file import read_keras

        return read_keras(path)

    def usage(self, contract: Contract, example: Example) -> list[str]:
        """With tltool, and with Keras."""
        from tltool.export.formats.keras.usage import keras_usage

        return keras_usage(contract, example)
