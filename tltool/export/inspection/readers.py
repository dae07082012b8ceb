"""What is in a model of each format; what the readers need is imported where it is used."""

from __future__ import annotations

from pathlib import Path

from tltool.export.inspection.inspection import Inspection
from tltool.support.files import size_of


def inspect_tflite(path: Path) -> Inspection:
    """Reads a .tflite file; without TensorFlow."""
    from tltool.export.formats.litert.file import read_tflite
    from tltool.export.formats.litert.metadata import associated_files, read_metadata

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
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()
    from tltool.export.formats.saved_model.file import read_saved_model

    found = read_saved_model(path)
    return Inspection(
        path=path,
        form="SavedModel",
        size_bytes=size_of(path),
        signatures=found.signatures,
        operators=found.operators,
        not_built_in=found.not_registered,
        weights=found.weights,
    )


def inspect_keras(path: Path) -> Inspection:
    """Reads a `.keras` file; without Keras."""
    from tltool.export.formats.keras.file import read_keras

    found = read_keras(path)
    return Inspection(
        path=path,
        form="Keras",
        size_bytes=size_of(path),
        signatures=(found.signature,),
        operators=found.layers,
        not_built_in=found.not_in_keras,
        weights=found.weights,
    )


def inspect_onnx(path: Path) -> Inspection:
    """Reads an ONNX file; needs the package onnx.

    Raises:
        ExportError: It is not installed.
    """
    from tltool.export.formats.onnx.extras import import_onnx
    from tltool.export.formats.onnx.file import read_onnx

    found = read_onnx(import_onnx("onnx"), path)
    return Inspection(
        path=path,
        form="ONNX",
        size_bytes=size_of(path),
        signatures=(found.signature,),
        operators=found.operators,
        not_built_in=found.not_in_onnx,
        weights=found.weights,
    )
