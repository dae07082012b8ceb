"""What the format LiteRT answers; see `Format`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tltool.export.formats.base import Exported, ExportTarget, Format, LiteRTOptions
from tltool.recipe.export_section import ExportSection

if TYPE_CHECKING:
    import keras

    from tltool.export.contract import Contract, Example
    from tltool.export.formats.inspection import Inspection
    from tltool.export.formats.kept_float import KeptFloat
    from tltool.export.formats.problems import Audit
    from tltool.export.outputs import Call, Run
    from tltool.tasks.table import Task


class LiteRTFormat(Format):
    """A .tflite file for phones, browsers and small computers: one example at a time."""

    name = "litert"
    title = "LiteRT"
    file = "model.tflite"
    about = "LiteRT model"
    precisions = ("float32", "float16", "dynamic_int8", "int8")

    def targets(self, section: ExportSection) -> tuple[ExportTarget, ...]:
        """One for each precision."""
        options = LiteRTOptions(section.litert_input, section.litert_length)
        return tuple(ExportTarget(self, precision, options) for precision in section.precisions)

    def audit(
        self, model: keras.Model, task: Task, length: int | None, section: ExportSection
    ) -> Audit:
        """Looks for operators that LiteRT lacks."""
        from tltool.export.formats.litert.audit import audit_litert

        return audit_litert(model, task, length, section)

    def write(self, made: Exported, target: ExportTarget, path: Path) -> KeptFloat | None:
        """See `export_litert`."""
        from tltool.export.formats.litert.export import export_litert

        return export_litert(
            made.model,
            made.task,
            made.preprocessing,
            path,
            precision=target.precision,
            length=made.length,
            calibration=made.calibration,
            int8=made.int8,
            runtime=made.litert_runtime,
            about=made.about,
            options=target.options,
            once=made.once,
        )

    def fixed_length(self, made: Exported, target: ExportTarget) -> int | None:
        """That of every text, unless the options leave it free."""
        return made.length if target.options.length == "static" else None

    def load(self, path: Path, contract: Contract) -> Run:
        """See `litert_runner`."""
        from tltool.export.formats.litert.runner import litert_runner

        return litert_runner(path, contract)

    def load_call(self, path: Path, contract: Contract) -> Call:
        """See `litert_call`."""
        from tltool.export.formats.litert.runner import litert_call

        return litert_call(path, contract)

    def inspect(self, path: Path) -> Inspection:
        """See `inspect_tflite`."""
        from tltool.export.formats.litert.inspection import inspect_tflite

        return inspect_tflite(path)

    def usage(self, contract: Contract, example: Example) -> list[str]:
        """With Python and NumPy, and where the code for apps is."""
        from tltool.export.sidecars.usage import array_usage

        return array_usage(
            contract, example, runtime="ai-edge-litert", snippets=self.snippets(contract)
        )

    def snippets(self, contract: Contract) -> dict[str, str]:
        """For Android, iOS and browsers."""
        from tltool.export.sidecars.facts import facts_of
        from tltool.export.sidecars.snippets import snippets

        return snippets(facts_of(contract))
