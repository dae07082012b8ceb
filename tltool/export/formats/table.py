"""The formats of exported models, as one table: how each is written, run and read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tltool.recipe.export_section import ExportFormat, LiteRTPrecision

if TYPE_CHECKING:
    from tltool.export.contract import Contract
    from tltool.export.formats.base import Exported, ExportTarget
    from tltool.export.formats.inspection import Inspection
    from tltool.export.formats.kept_float import KeptFloat
    from tltool.export.outputs import Run


@dataclass(frozen=True)
class Format:
    """A row of `FORMATS`.

    Attributes:
        title: For people.
        file: Name of the model in its export folder; one without a suffix is a folder.
        precisions: Those its weights can have.
        about: What the file is, in a few words.
        write: Makes the model at a path that does not exist yet, and says what it keeps in float
            where that was decided.
        load: Gives a function that runs the model on raw inputs.
        inspect: Reads what is in the model, without running it.
        modules: Python modules to import before a model at a path is loaded.
    """

    title: str
    file: str
    precisions: tuple[LiteRTPrecision, ...]
    about: str
    write: Callable[[Exported, ExportTarget, Path], KeptFloat | None]
    load: Callable[[Path, Contract], Run]
    inspect: Callable[[Path], Inspection]
    modules: Callable[[Path], tuple[str, ...]] = lambda path: ()

    @property
    def suffix(self) -> str:
        """Of the file; empty for a folder."""
        return Path(self.file).suffix


# Each of these imports what it needs when it is called: TensorFlow takes seconds.


def _write_saved_model(made: Exported, target: ExportTarget, path: Path) -> None:
    from tltool.export.formats.saved_model.export import export_saved_model

    export_saved_model(made.model, made.task, made.preprocessing, path)


def _load_saved_model(path: Path, contract: Contract) -> Run:
    from tltool.export.formats.saved_model.runner import saved_model_runner

    return saved_model_runner(path, contract)


def _inspect_saved_model(path: Path) -> Inspection:
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()
    from tltool.export.formats.saved_model.file import read_saved_model

    return read_saved_model(path)


def _write_litert(made: Exported, target: ExportTarget, path: Path) -> KeptFloat | None:
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
        about=made.about,
        options=target.options,
    )


def _load_litert(path: Path, contract: Contract) -> Run:
    from tltool.export.formats.litert.runner import litert_runner

    return litert_runner(path, contract)


def _inspect_litert(path: Path) -> Inspection:
    from tltool.export.formats.litert.inspection import inspect_tflite

    return inspect_tflite(path)


def _write_keras(made: Exported, target: ExportTarget, path: Path) -> None:
    from tltool.export.formats.keras.export import export_keras

    export_keras(made.model, made.task, path)


def _load_keras(path: Path, contract: Contract) -> Run:
    from tltool.export.formats.keras.runner import keras_runner

    return keras_runner(path, contract)


def _inspect_keras(path: Path) -> Inspection:
    from tltool.export.formats.keras.file import read_keras

    return read_keras(path)


def _modules_of_keras(path: Path) -> tuple[str, ...]:
    from tltool.export.formats.keras.export import modules_of

    return modules_of(path)


def _write_onnx(made: Exported, target: ExportTarget, path: Path) -> None:
    from tltool.export.formats.onnx.export import export_onnx

    export_onnx(made.model, made.task, path, about=made.about)


def _load_onnx(path: Path, contract: Contract) -> Run:
    from tltool.export.formats.onnx.runner import onnx_runner

    return onnx_runner(path, contract)


def _inspect_onnx(path: Path) -> Inspection:
    from tltool.export.formats.onnx.file import read_onnx

    return read_onnx(path)


FORMATS: dict[ExportFormat, Format] = {
    "saved_model": Format(
        title="SavedModel",
        file="model",
        precisions=("float32",),
        about="SavedModel",
        write=_write_saved_model,
        load=_load_saved_model,
        inspect=_inspect_saved_model,
    ),
    "litert": Format(
        title="LiteRT",
        file="model.tflite",
        precisions=("float32", "float16", "dynamic_int8", "int8"),
        about="LiteRT model",
        write=_write_litert,
        load=_load_litert,
        inspect=_inspect_litert,
    ),
    "onnx": Format(
        title="ONNX",
        file="model.onnx",
        precisions=("float32",),
        about="ONNX model",
        write=_write_onnx,
        load=_load_onnx,
        inspect=_inspect_onnx,
    ),
    "keras": Format(
        title="Keras",
        file="model.keras",
        precisions=("float32",),
        about="Keras model",
        write=_write_keras,
        load=_load_keras,
        inspect=_inspect_keras,
        modules=_modules_of_keras,
    ),
}
"""By the name in a recipe; a new format is one more row."""


def format_of(path: Path) -> ExportFormat | None:
    """The format of a model's own file or folder, by its name or what is in it."""
    if (path / "saved_model.pb").is_file():
        return "saved_model"
    if path.is_dir():
        return None
    of_suffix = {format_.suffix: name for name, format_ in FORMATS.items() if format_.suffix}
    return of_suffix.get(path.suffix)
