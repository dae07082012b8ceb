"""Whether what a recipe wants to export can be exported; asked of the untrained model."""

from __future__ import annotations

import random

import keras

from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.export.audit.saving import RUN_FILE, audit_saving
from tltool.export.formats.problems import Audit, Problem, joined
from tltool.export.formats.table import FORMATS
from tltool.model.joining import float32_network, is_mixed
from tltool.model.lora import ADAPTER_NAMES
from tltool.recipe.export_section import ExportSection
from tltool.support.errors import first_line
from tltool.support.quiet import quiet
from tltool.tasks.table import Task


def audit_export(
    model: keras.Model,
    task: Task,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    section: ExportSection,
) -> Audit:
    """Looks for what would keep the model from being saved or exported once it is trained.

    Nothing is written, and the model, its weights and the random numbers that
    are drawn next stay as they are.

    Args:
        model: Untrained, functional, from preprocessed inputs to raw outputs.
        task: Labels or target scale.
        preprocessing: Contract from raw input to the model's input.
        section: The formats to try. All precisions of LiteRT have the same operators.
    """
    state = random.getstate()  # layers that are made again draw seeds from it
    try:
        with quiet():
            return _audit(model, task, preprocessing, section)
    finally:
        random.setstate(state)


def _audit(
    model: keras.Model,
    task: Task,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    section: ExportSection,
) -> Audit:
    problems = list(audit_saving(model))
    try:
        model = _as_exported(model)
    except Exception as error:
        return Audit((), tuple(problems) or (_cannot_be_made(RUN_FILE, error),))
    length = preprocessing.max_length if isinstance(preprocessing, TextPreprocessing) else None
    found = [Audit((), tuple(problems))]
    for form in section.formats:
        try:
            found.append(FORMATS[form].audit(model, task, length, section))
        except Exception as error:
            found.append(Audit((form,), (_cannot_be_made(form, error),)))
    return joined(found)


def _as_exported(model: keras.Model) -> keras.Model:
    """The network that is exported: in float32, without adapters. Its weights are not looked at."""
    adapted = any(variable.name in ADAPTER_NAMES for variable in model.variables)
    return float32_network(model) if adapted or is_mixed(model) else model


def _cannot_be_made(form: str, error: Exception) -> Problem:
    return Problem(
        form,
        f"cannot be made: {first_line(error)}",
        f"change the head, or leave {form} out of export.formats"
        if form != RUN_FILE
        else "let every layer of the head take the argument dtype",
    )
