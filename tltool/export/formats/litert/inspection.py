"""What is in a .tflite file: the model, its metadata, and the files packed into it."""

from __future__ import annotations

from pathlib import Path

from tltool.export.formats.inspection import Inspection
from tltool.export.formats.litert.file import read_tflite
from tltool.export.formats.litert.gpu import left_by_gpu
from tltool.export.formats.litert.metadata import associated_files, read_metadata
from tltool.export.formats.litert.runtime import oldest_runtime


def inspect_tflite(path: Path) -> Inspection:
    """Reads a .tflite file; without TensorFlow."""
    content = path.read_bytes()
    found = read_tflite(content)
    return Inspection(
        path=path,
        form="LiteRT",
        size_bytes=len(content),
        signatures=found.signatures,
        operators=found.operators,
        not_built_in=found.not_built_in,
        weights=found.weights,
        runtime=oldest_runtime(content),
        left_by_gpu=left_by_gpu(content),
        metadata=read_metadata(content),
        files={name: len(file) for name, file in associated_files(content).items()},
    )
