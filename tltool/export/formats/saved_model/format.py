"""What the format SavedModel answers; see `Format`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tltool.export.formats.base import Exported, ExportTarget, Format
from tltool.recipe.export_section import ExportSection

if TYPE_CHECKING:
    import keras

    from tltool.export.contract import Contract, Example
    from tltool.export.formats.inspection import Inspection
    from tltool.export.formats.problems import Audit
    from tltool.export.outputs import Call, Run
    from tltool.tasks.table import Task


class SavedModelFormat(Format):
    """A folder that takes raw inputs, and needs TensorFlow alone."""

    name = "saved_model"
    title = "SavedModel"
    file = "model"
    about = "SavedModel"

    def is_at(self, path: Path) -> bool:
        """Whether the folder has a SavedModel's graph."""
        return (path / "saved_model.pb").is_file()

    def audit(
        self, model: keras.Model, task: Task, length: int | None, section: ExportSection
    ) -> Audit:
        """Looks for calls back into Python."""
        from tltool.export.formats.saved_model.audit import audit_saved_model

        return audit_saved_model(model, task)

    def write(self, made: Exported, target: ExportTarget, path: Path) -> None:
        """See `export_saved_model`."""
        from tltool.export.formats.saved_model.export import export_saved_model

        export_saved_model(made.model, made.task, made.preprocessing, path)

    def load(self, path: Path, contract: Contract) -> Run:
        """See `saved_model_runner`."""
        from tltool.export.formats.saved_model.runner import saved_model_runner

        return saved_model_runner(path, contract)

    def load_call(self, path: Path, contract: Contract) -> Call:
        """See `saved_model_call`."""
        from tltool.export.formats.saved_model.runner import saved_model_call

        return saved_model_call(path, contract)

    def inspect(self, path: Path) -> Inspection:
        """See `read_saved_model`."""
        from tltool.support.quiet import load_tensorflow

        load_tensorflow()
        from tltool.export.formats.saved_model.file import read_saved_model

        return read_saved_model(path)

    def usage(self, contract: Contract, example: Example) -> list[str]:
        """With TensorFlow, and with TensorFlow Serving."""
        from tltool.export.formats.saved_model.usage import saved_model_usage

        return saved_model_usage(contract, example)
