"""TensorFlow Lite metadata as the FlatBuffer that lies in a .tflite file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from tltool.export.formats.litert.flatbuffer import Schema, Table, read_root, write_root
from tltool.export.formats.litert.metadata_values import (
    AssociatedFile,
    BertTokenizer,
    ColourSpace,
    FileKind,
    ModelMetadata,
    Normalization,
    OtherUnit,
    ProcessUnit,
    ScoreCalibration,
    ScoreTransformation,
    TensorMetadata,
)
from tltool.support.errors import ExportError

# metadata_schema.fbs of TensorFlow Lite Support and MediaPipe Tasks, version 1.5.0:
# https://github.com/google-ai-edge/mediapipe/blob/master/mediapipe/tasks/metadata/
# Every table up to the last field that is read or written here; the order is the numbering.
SCHEMA = Schema(
    tables={
        "ModelMetadata": {
            "name": "string",
            "description": "string",
            "version": "string",
            "subgraph_metadata": "[SubGraphMetadata]",
            "author": "string",
            "license": "string",
            "associated_files": "[AssociatedFile]",
            "min_parser_version": "string",
        },
        "SubGraphMetadata": {
            "name": "string",
            "description": "string",
            "input_tensor_metadata": "[TensorMetadata]",
            "output_tensor_metadata": "[TensorMetadata]",
            "associated_files": "[AssociatedFile]",
            "input_process_units": "[ProcessUnit]",
            "output_process_units": "[ProcessUnit]",
        },
        "TensorMetadata": {
            "name": "string",
            "description": "string",
            "dimension_names": "[string]",
            "content": "Content",
            "process_units": "[ProcessUnit]",
            "stats": "Stats",
            "associated_files": "[AssociatedFile]",
        },
        "AssociatedFile": {"name": "string", "description": "string", "type": "byte"},
        "Content": {"content_properties": "ContentProperties"},
        "FeatureProperties": {},
        "ImageProperties": {"color_space": "byte"},
        "Stats": {"max": "[float]", "min": "[float]"},
        "ProcessUnit": {"options": "ProcessUnitOptions"},
        "NormalizationOptions": {"mean": "[float]", "std": "[float]"},
        "ScoreCalibrationOptions": {"score_transformation": "byte", "default_score": "float"},
        "BertTokenizerOptions": {"vocab_file": "[AssociatedFile]"},
    },
    unions={
        "ContentProperties": (
            "FeatureProperties",
            "ImageProperties",
            "BoundingBoxProperties",
            "AudioProperties",
        ),
        "ProcessUnitOptions": (
            "NormalizationOptions",
            "ScoreCalibrationOptions",
            "ScoreThresholdingOptions",
            "BertTokenizerOptions",
            "SentencePieceTokenizerOptions",
            "RegexTokenizerOptions",
        ),
    },
)
IDENTIFIER = b"M001"

_FILE_KINDS = get_args(FileKind)
_COLOUR_SPACES = get_args(ColourSpace)
_TRANSFORMATIONS = get_args(ScoreTransformation)


def encode_metadata(metadata: ModelMetadata) -> bytes:
    """The FlatBuffer of a model's metadata, without its files' content.

    Raises:
        ExportError: It has a step that was only read, and not understood.
    """
    graph = {
        "input_tensor_metadata": [_tensor_values(tensor) for tensor in metadata.inputs],
        "output_tensor_metadata": [_tensor_values(tensor) for tensor in metadata.outputs],
        "input_process_units": _units_values(metadata.input_process_units),
    }
    values = {
        "name": metadata.name,
        "description": metadata.description or None,
        "version": metadata.version or None,
        "subgraph_metadata": [graph],
        "author": metadata.author or None,
        "license": metadata.licence or None,
        "associated_files": _files_values(metadata.files),
        "min_parser_version": metadata.min_parser_version,
    }
    return write_root(SCHEMA, "ModelMetadata", values, IDENTIFIER)


def _tensor_values(tensor: TensorMetadata) -> dict[str, Any]:
    stats = {"max": tensor.maximum, "min": tensor.minimum}
    return {
        "name": tensor.name,
        "description": tensor.description or None,
        "content": _content_values(tensor),
        "process_units": _units_values(tensor.process_units),
        "stats": stats if tensor.maximum else None,
        "associated_files": _files_values(tensor.files),
    }


def _content_values(tensor: TensorMetadata) -> dict[str, Any] | None:
    if tensor.content == "image":
        space = _COLOUR_SPACES.index(tensor.colour_space)
        return {"content_properties": ("ImageProperties", {"color_space": space})}
    if tensor.content == "feature":
        return {"content_properties": ("FeatureProperties", {})}
    return None


def _units_values(units: tuple[ProcessUnit, ...]) -> list[dict[str, Any]] | None:
    return [{"options": _unit_values(unit)} for unit in units] or None


def _unit_values(unit: ProcessUnit) -> tuple[str, dict[str, Any]]:
    match unit:
        case Normalization():
            return "NormalizationOptions", {"mean": unit.mean, "std": unit.std}
        case ScoreCalibration():
            number = _TRANSFORMATIONS.index(unit.transformation)
            return "ScoreCalibrationOptions", {
                "score_transformation": number,
                "default_score": unit.default_score,
            }
        case BertTokenizer():
            return "BertTokenizerOptions", {"vocab_file": _files_values((unit.vocabulary,))}
        case OtherUnit():
            raise ExportError(f"Metadata with {unit.kind} cannot be written.")


def _files_values(files: tuple[AssociatedFile, ...]) -> list[dict[str, Any]] | None:
    return [
        {
            "name": file.name,
            "description": file.description or None,
            "type": _FILE_KINDS.index(file.kind),
        }
        for file in files
    ] or None


def decode_metadata(encoded: bytes, contents: dict[str, bytes]) -> ModelMetadata:
    """The metadata in a FlatBuffer.

    Args:
        encoded: As `encode_metadata` or another writer gave it.
        contents: The associated files by name; one that is missing here is
            read as empty.

    Raises:
        DamagedError: It is no metadata, or is damaged.
    """
    return _Decoder(contents).model(read_root(encoded, SCHEMA, "ModelMetadata", IDENTIFIER))


@dataclass(frozen=True)
class _Decoder:
    contents: dict[str, bytes]

    def model(self, table: Table) -> ModelMetadata:
        graphs = table["subgraph_metadata"] or []
        graph = graphs[0] if graphs else None
        tensors = {
            way: tuple(map(self.tensor, (graph and graph[f"{way}_tensor_metadata"]) or ()))
            for way in ("input", "output")
        }
        return ModelMetadata(
            name=table["name"] or "",
            inputs=tensors["input"],
            outputs=tensors["output"],
            description=table["description"] or "",
            version=table["version"] or "",
            author=table["author"] or "",
            licence=table["license"] or "",
            input_process_units=self.units(graph and graph["input_process_units"]),
            files=self.files(table["associated_files"])
            + self.files(graph and graph["associated_files"]),
        )

    def tensor(self, table: Table) -> TensorMetadata:
        content, space = _content(table["content"])
        stats = table["stats"]
        return TensorMetadata(
            name=table["name"] or "",
            description=table["description"] or "",
            content=content,
            colour_space=space,
            process_units=self.units(table["process_units"]),
            minimum=_floats(stats and stats["min"]),
            maximum=_floats(stats and stats["max"]),
            files=self.files(table["associated_files"]),
        )

    def units(self, tables: list[Table] | None) -> tuple[ProcessUnit, ...]:
        options = [table["options"] for table in tables or ()]
        return tuple(self.unit(option) for option in options if option is not None)

    def unit(self, table: Table) -> ProcessUnit:
        if table.kind == "NormalizationOptions":
            return Normalization(_floats(table["mean"]), _floats(table["std"]))
        if table.kind == "ScoreCalibrationOptions":
            transformation = _member(_TRANSFORMATIONS, table["score_transformation"])
            return ScoreCalibration(transformation, table["default_score"])
        if table.kind == "BertTokenizerOptions" and table["vocab_file"]:
            return BertTokenizer(self.files(table["vocab_file"])[0])
        return OtherUnit(table.kind)

    def files(self, tables: list[Table] | None) -> tuple[AssociatedFile, ...]:
        return tuple(self.file(table) for table in tables or ())

    def file(self, table: Table) -> AssociatedFile:
        name = table["name"] or ""
        return AssociatedFile(
            name,
            _member(_FILE_KINDS, table["type"]),
            table["description"] or "",
            self.contents.get(name, b""),
        )


def _content(table: Table | None) -> tuple[str | None, Any]:
    """The kind of a tensor's content, and the colour space of an image."""
    properties = table and table["content_properties"]
    if properties is None:
        return None, "unknown"
    if properties.kind == "ImageProperties":
        return "image", _member(_COLOUR_SPACES, properties["color_space"])
    return ("feature" if properties.kind == "FeatureProperties" else properties.kind), "unknown"


def _member(names: tuple[Any, ...], number: int) -> Any:
    """A name in an enumeration; a newer schema may have more of them."""
    return names[number] if 0 <= number < len(names) else names[0]


def _floats(values: Any) -> tuple[float, ...]:
    return () if values is None else tuple(map(float, values))
