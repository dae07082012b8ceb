"""TensorFlow Lite metadata in .tflite files: put in, and read.

A named buffer of the model holds the description, and a zip archive behind
the model holds the files that it names, stored without compression. An
interpreter passes over both; `unzip` finds the archive.
Source: https://ai.google.dev/edge/litert/conversion/tensorflow/metadata
"""

from __future__ import annotations

import io
import zipfile

import flatbuffers

from tltool.export.formats.litert.file import (
    IDENTIFIER,
    SCHEMA,
    metadata_buffers,
    model_table,
    read_tflite,
)
from tltool.export.formats.litert.flatbuffer import Table, write_offsets
from tltool.export.formats.litert.metadata_codec import decode_metadata, encode_metadata
from tltool.export.formats.litert.metadata_values import AssociatedFile, ModelMetadata
from tltool.support.errors import DamagedError, ExportError

METADATA_NAME = "TFLITE_METADATA"
"""Of the buffer in the model."""
# What the schema of .tflite asks of a buffer's place, and the runtime of weights.
_ALIGNMENT = 16


def with_metadata(content: bytes, metadata: ModelMetadata) -> bytes:
    """A .tflite file with metadata and its associated files put in.

    The model is not written anew: a new beginning points into the old
    content, which stays byte for byte, so a large model costs a copy or two.

    Args:
        content: A .tflite file without metadata.
        metadata: What to say of it.

    Raises:
        DamagedError: `content` is no whole .tflite file.
        ExportError: It has metadata already, or other inputs and outputs than
            the metadata; or two associated files have one name.
    """
    main = read_tflite(content).main
    for way in ("inputs", "outputs"):
        has, said = len(getattr(main, way)), len(getattr(metadata, way))
        if has != said:
            raise ExportError(f"The model has {has} {way}, its metadata {said}.")
    named = metadata_buffers(content, model_table(content))
    if METADATA_NAME in named or associated_files(content):
        raise ExportError("The model has metadata already.")
    files: dict[str, AssociatedFile] = {}
    for file in metadata.all_files():
        if files.setdefault(file.name, file).content != file.content:
            raise ExportError(f"Two files of the metadata are named {file.name!r}.")
    whole = io.BytesIO(_with_buffer(content, encode_metadata(metadata)))
    if files:
        with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
            for file in files.values():
                # One date for all: the same model then gives the same bytes.
                archive.writestr(zipfile.ZipInfo(file.name), file.content)
    return whole.getvalue()


def read_metadata(content: bytes) -> ModelMetadata | None:
    """The metadata in a .tflite file, its associated files included; None where it has none.

    Raises:
        DamagedError: It is no .tflite file, is damaged, or lacks a file that
            its metadata names.
    """
    encoded = metadata_buffers(content, model_table(content)).get(METADATA_NAME)
    if encoded is None:
        return None
    contents = associated_files(content)
    metadata = decode_metadata(bytes(encoded), contents)
    missing = [file.name for file in metadata.all_files() if file.name not in contents]
    if missing:
        raise DamagedError(f"its metadata names {missing[0]}, which is not in it")
    return metadata


def associated_files(content: bytes) -> dict[str, bytes]:
    """The files in the archive behind a model, by name; empty where there is none.

    Raises:
        DamagedError: One of them is not what was put in.
    """
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return {entry.filename: _stored(archive, entry) for entry in archive.infolist()}
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError) as error:
        raise DamagedError(f"the archive behind the model says: {error}") from error


def _stored(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    if entry.compress_type != zipfile.ZIP_STORED:
        raise DamagedError(f"{entry.filename} behind the model is compressed")
    return archive.read(entry)


def _with_buffer(content: bytes, encoded: bytes) -> bytearray:
    """The model with one more named buffer, `encoded`."""
    model = model_table(content)
    _refuse_absolute_places(model)
    # A FlatBuffer is written from its end and points forwards, so the old one,
    # its places kept modulo the alignment, is what "has been written so far".
    size = -(-len(content) // _ALIGNMENT) * _ALIGNMENT
    buffers, entries = model.starts_in("buffers"), model.starts_in("metadata")
    room = len(encoded) + 4 * (len(buffers) + len(entries)) + 1024
    builder = flatbuffers.Builder(size + room)
    builder.head = room
    builder.Bytes[room : room + len(content)] = content
    buffer = _buffer(builder, encoded)
    entry = _entry(builder, len(buffers))
    starts = {
        SCHEMA.slots("Model")["buffers"]: [*(size - start for start in buffers), buffer],
        SCHEMA.slots("Model")["metadata"]: [*(size - start for start in entries), entry],
    }
    vectors = {slot: write_offsets(builder, offsets) for slot, offsets in starts.items()}
    builder.StartObject(SCHEMA.width("Model"))
    builder.PrependUint32Slot(0, model["version"], 0)
    for slot in range(1, SCHEMA.width("Model")):
        if slot in vectors:
            builder.PrependUOffsetTRelativeSlot(slot, vectors[slot], 0)
        elif (start := model.start_of(slot)) is not None:
            builder.PrependUOffsetTRelativeSlot(slot, size - start, 0)
    builder.Finish(builder.EndObject(), IDENTIFIER)
    return builder.Output()


def _buffer(builder: flatbuffers.Builder, encoded: bytes) -> int:
    builder.Prep(_ALIGNMENT, len(encoded))
    data = builder.CreateByteVector(encoded)
    builder.StartObject(SCHEMA.width("Buffer"))
    builder.PrependUOffsetTRelativeSlot(SCHEMA.slots("Buffer")["data"], data, 0)
    return builder.EndObject()


def _entry(builder: flatbuffers.Builder, number: int) -> int:
    name = builder.CreateString(METADATA_NAME)
    slots = SCHEMA.slots("Metadata")
    builder.StartObject(SCHEMA.width("Metadata"))
    builder.PrependUOffsetTRelativeSlot(slots["name"], name, 0)
    builder.PrependUint32Slot(slots["buffer"], number, 0)
    return builder.EndObject()


def _refuse_absolute_places(model: Table) -> None:
    """Raises ExportError where a part of the model is found by its place in the whole file."""
    if model.num_slots > SCHEMA.width("Model"):
        raise ExportError("The model is of a newer schema than metadata can be put into.")
    if any(buffer["offset"] > 1 for buffer in model["buffers"] or []):
        raise ExportError("Metadata cannot be put into a model of more than 2 GB.")
