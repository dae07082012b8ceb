"""Tiny exported models to serve, without the gate that takes a process of its own."""

from __future__ import annotations

from pathlib import Path

from trained import TinyTrained

from tltool.export.artifact import load_artifact
from tltool.export.formats.base import Exported, ExportTarget
from tltool.export.formats.table import FORMATS
from tltool.export.package import write_model
from tltool.export.sidecars.folder import write_golden
from tltool.support.sums import write_sums


def export_tiny(made: TinyTrained, folder: Path) -> Path:
    """An export folder of a tiny trained model, as `export_and_check` leaves it."""
    folder.mkdir(parents=True)
    contract, _ = write_model(Exported(*made.parts()), ExportTarget(FORMATS["saved_model"]), folder)
    outputs = load_artifact(folder).predict_with_labels(made.held_out.inputs)
    write_golden(folder, contract, made.held_out, outputs, 1e-4)
    write_sums(folder)
    return folder
