"""Finds an exported model, and reads what is in it and beside it without running it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tltool.export.contract import CONTRACT_FILE, ContractFields, check_files, read_fields
from tltool.export.formats.inspection import Inspection
from tltool.export.formats.table import FORMATS, format_of
from tltool.export.gate.report import GATE_FILE
from tltool.recipe.export_section import ExportFormat
from tltool.support.errors import DamagedError, ExportError, first_line
from tltool.support.files import read_json

# What is shown of the files beside a model; `None` where an older version did not write it.
_CONTRACT_KEYS = (
    "tltool",
    "precision",
    "length",
    "runtime",
    "signatures",
    "task",
    "preprocessing_digest",
)


class _GateFields(BaseModel):
    passed: bool | None = None
    rows: int | None = None
    max_difference: float | None = None
    agreement: float | None = None
    breaches: tuple[str, ...] | None = None


def inspect_artifact(path: Path) -> Inspection:
    """Reads an export folder, the SavedModel folder in it, or a model file.

    Raises:
        ExportError: There is no model that can be read here, or it is damaged.
    """
    model, form = _model_and_format(path)
    if (model.parent / CONTRACT_FILE).is_file():
        check_files(model.parent)
    try:
        found = FORMATS[form].inspect(model)
    except DamagedError as error:
        raise ExportError(
            f"{model} is damaged: {error.message}.", hint="copy it again, or export again"
        ) from error
    except OSError as error:
        raise ExportError(
            f"{model} cannot be read: {error.strerror}.", hint="see who may read it"
        ) from error
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ExportError(
            f"{model} is damaged: {first_line(error)}", hint="copy it again, or export again"
        ) from error
    return replace(
        found,
        contract=_beside(model, CONTRACT_FILE, ContractFields, _CONTRACT_KEYS),
        gate=_beside(model, GATE_FILE, _GateFields, tuple(_GateFields.model_fields)),
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
        model = path / read_fields(path / CONTRACT_FILE, ContractFields).file
        if not model.exists():
            raise ExportError(f"{path / CONTRACT_FILE} names no model that is there.", hint=_HINT)
        path = model
    if (form := format_of(path)) is not None:
        return path, form
    exports = [str(found.parent) for place in _EXPORTS for found in sorted(path.glob(place))]
    hint = f"there are exports in {', '.join(exports)}" if exports else _HINT
    raise ExportError(f"{path} is not an exported model.", hint=hint)


def _beside(
    model: Path, name: str, shape: type[BaseModel], keys: tuple[str, ...]
) -> dict[str, Any] | None:
    file = model.parent / name
    if not file.is_file():
        return None
    read_fields(file, shape)
    values = read_json(file)
    return {key: values.get(key) for key in keys}
