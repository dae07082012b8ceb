"""A run's folder with its exports, of a tiny model that was never trained: what commands read."""

from __future__ import annotations

from pathlib import Path

import exported
import tiny
from trained import TinyTrained

from tltool.data.labels import save_task
from tltool.export.formats.base import ExportTarget
from tltool.export.formats.table import FORMATS
from tltool.recipe.recipe import Recipe
from tltool.runs.folder import RunFolder
from tltool.support.files import write_json, write_text


def text_model() -> TinyTrained:
    """What the run holds."""
    return exported.text_model(tiny.TINY_TEXT)


def write_run(root: Path, *forms: str, made: TinyTrained | None = None, **values) -> RunFolder:
    """A finished run `root/tiny/1`.

    Args:
        root: Of the runs.
        forms: Formats to export it in, without the gate.
        made: What it holds; None takes `text_model`.
        values: Of its recipe, in place of the usual ones.
    """
    made = made or text_model()
    folder = RunFolder.create(root, "tiny")
    usual = {"task": made.task.spec.name, "backbone": "minilm", "name": "tiny"}
    write_text(folder.recipe, Recipe.of(**{**usual, **values}).to_yaml())
    save_task(made.task, folder.labels)
    write_text(folder.preprocessing, made.preprocessing.model_dump_json() + "\n")
    write_json(folder.metrics, {})
    made.model.save(folder.model)
    folder.exports.mkdir()
    for form in forms:
        exported.export_folder(made, folder.exports / form, ExportTarget(FORMATS[form]))
    folder.record("finished")
    return folder
