"""What is in an exported model: read without running it, and without tltool's own classes."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from tltool.export.contract import CONTRACT_FILE, read_fields
from tltool.export.formats.litert.metadata_values import ModelMetadata, ProcessUnit
from tltool.export.formats.table import FORMATS, format_of
from tltool.export.gate.report import GATE_FILE
from tltool.export.signatures import Signature
from tltool.recipe.export_section import ExportFormat
from tltool.support.errors import DamagedError, ExportError

# What is shown of the files beside a model; `None` where an older version did not write it.
_CONTRACT_KEYS = (
    "tltool",
    "precision",
    "length",
    "signatures",
    "task",
    "preprocessing_digest",
)
_GATE_KEYS = ("passed", "rows", "max_difference", "agreement", "breaches")


@dataclass(frozen=True)
class Inspection:
    """What is in a model.

    Attributes:
        path: Of the file, or of a SavedModel's folder.
        form: Title of its format, such as "LiteRT".
        size_bytes: Of the file, or of everything in the folder.
        signatures: Ways to call it by name.
        operators: Name to how often it occurs, most often first.
        not_built_in: Operators that the runtime alone does not have.
        weights: Bytes of the weights by dtype, largest first.
        metadata: That of TensorFlow Lite, or None.
        files: Name to size of the files packed into the model's own.
        contract: From the `contract.json` beside it; None where there is none.
        gate: From the `gate.json` beside it; None where there is none.
    """

    path: Path
    form: str
    size_bytes: int
    signatures: tuple[Signature, ...]
    operators: dict[str, int]
    not_built_in: tuple[str, ...]
    weights: dict[str, int]
    metadata: ModelMetadata | None = None
    files: dict[str, int] = field(default_factory=dict)
    contract: dict[str, Any] | None = None
    gate: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        plain = _plain(replace(self, metadata=None))
        metadata = None if self.metadata is None else _plain(self.metadata)
        return {**plain, "path": str(self.path), "metadata": metadata}


def inspect_artifact(path: Path) -> Inspection:
    """Reads an export folder, the SavedModel folder in it, or a model file.

    Raises:
        ExportError: There is no model that can be read here, or it is damaged.
    """
    model, form = _model_and_format(path)
    try:
        found = FORMATS[form].inspect(model)
    except DamagedError as error:
        raise ExportError(
            f"{model} is damaged: {error.message}.", hint="copy it again, or export again"
        ) from error
    except OSError as error:
        raise ExportError(f"{model} cannot be read: {error.strerror}.") from error
    return replace(
        found,
        contract=_beside(model, CONTRACT_FILE, _CONTRACT_KEYS),
        gate=_beside(model, GATE_FILE, _GATE_KEYS),
    )


_SUFFIXES = tuple(f.suffix for f in FORMATS.values() if f.suffix)
# Where a folder that is none may have exports: `exports`, a run, all runs of a name.
_EXPORTS = tuple(f"{place}*/{CONTRACT_FILE}" for place in ("", "exports/", "*/exports/"))
_HINT = f"give an export folder, a SavedModel folder, or a file ending in {', '.join(_SUFFIXES)}"


def _model_and_format(path: Path) -> tuple[Path, ExportFormat]:
    """The model itself, also where its export folder is given."""
    if not path.exists():
        raise ExportError(f"{path} does not exist.", hint=_HINT)
    if (path / CONTRACT_FILE).is_file():
        contract = read_fields(path / CONTRACT_FILE)
        model = path / str(contract.get("file", ""))
        if "file" not in contract or not model.exists():
            raise ExportError(f"{path / CONTRACT_FILE} names no model that is there.", hint=_HINT)
        path = model
    if (form := format_of(path)) is not None:
        return path, form
    exports = [str(found.parent) for place in _EXPORTS for found in sorted(path.glob(place))]
    hint = f"there are exports in {', '.join(exports)}" if exports else _HINT
    raise ExportError(f"{path} is not an exported model.", hint=hint)


def _beside(model: Path, name: str, keys: tuple[str, ...]) -> dict[str, Any] | None:
    file = model.parent / name
    if not file.is_file():
        return None
    values = read_fields(file)
    return {key: values.get(key) for key in keys}


def _plain(value: Any) -> Any:
    """A value as JSON values, without the content of associated files."""
    if is_dataclass(value):
        pairs = {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.repr}
        return {"step": type(value).__name__, **pairs} if isinstance(value, ProcessUnit) else pairs
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
