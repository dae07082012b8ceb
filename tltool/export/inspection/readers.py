"""What is in a model of each format; what the readers need is imported where it is used."""

from __future__ import annotations

from pathlib import Path

from tltool.export.inspection.inspection import Inspection


def inspect_tflite(path: Path) -> Inspection:
    """Reads a .tflite file; without TensorFlow."""
    from tltool.export.tflite.file import read_tflite
    from tltool.export.tflite.metadata import associated_files, read_metadata

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
        metadata=read_metadata(content),
        files={name: len(file) for name, file in associated_files(content).items()},
    )


def inspect_saved_model(path: Path) -> Inspection:
    """Reads a SavedModel folder."""
    from tltool.quiet import load_tensorflow

    load_tensorflow()
    from tltool.export.inspection.saved_model_file import read_saved_model

    found = read_saved_model(path)
    return Inspection(
        path=path,
        form="SavedModel",
        size_bytes=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        signatures=found.signatures,
        operators=found.operators,
        not_built_in=found.not_registered,
        weights=found.weights,
    )
