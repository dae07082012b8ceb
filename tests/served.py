"""Tiny exported models to serve, without the gate that takes a process of its own."""

from __future__ import annotations

from pathlib import Path

from trained import TinyTrained

from tltool.artifact import load_artifact
from tltool.export.saved_model import export_saved_model
from tltool.export.sidecars.folder import write_contract, write_golden


def export_tiny(made: TinyTrained, folder: Path) -> Path:
    """An export folder of a tiny trained model, as `export_and_check` leaves it."""
    folder.mkdir(parents=True)
    export_saved_model(*made.parts(), folder / "model")
    write_contract(
        folder,
        made.task,
        made.preprocessing,
        form="saved_model",
        precision="float32",
        file="model",
        length=None,
    )
    write_golden(folder, load_artifact(folder), made.held_out, 1e-4)
    return folder
