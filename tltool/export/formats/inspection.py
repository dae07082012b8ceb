"""What is in a model, as each format reads it: without running it or tltool's own classes."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from tltool.export.formats.litert.metadata_values import ModelMetadata, ProcessUnit
from tltool.export.formats.runtime import Runtime
from tltool.export.signatures import Signature


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
        runtime: The oldest that runs it; None where that is not known.
        left_by_gpu: Operators that the GPU delegate of a phone does not take, by how often
            they occur; None where there is no such thing.
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
    runtime: Runtime | None = None
    left_by_gpu: dict[str, int] | None = None
    metadata: ModelMetadata | None = None
    files: dict[str, int] = field(default_factory=dict)
    contract: dict[str, Any] | None = None
    gate: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        plain = _plain(replace(self, metadata=None))
        metadata = None if self.metadata is None else _plain(self.metadata)
        return {**plain, "path": str(self.path), "metadata": metadata}


def _plain(value: Any) -> Any:
    """A value as JSON values, without the content of associated files."""
    if is_dataclass(value):
        pairs = {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.repr}
        return {"step": type(value).__name__, **pairs} if isinstance(value, ProcessUnit) else pairs
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
