"""Which errors of an artifact that runs are the file's, the machine's and tltool's own."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace

import keras
import pytest

from tltool.export.artifact import Artifact
from tltool.graph.keras_file import load_keras_file
from tltool.support.errors import ExportError
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task

CONTRACT = SimpleNamespace(task=Task(TASKS["text-classification"], ClassTarget(("a", "b"))))
OF_THE_MACHINE = (
    OSError(errno.EMFILE, "x"),
    MemoryError(),
    RuntimeError("No space left on device"),
)


def failing(error, module):
    """A runner whose error arises in a module."""
    made = {"__name__": module, "error": error}
    exec("def run(*_, **__): raise error", made)
    return made["run"]


def predict(error, module):
    return Artifact(Path("model"), CONTRACT, failing(error, module)).predict(["a text"])


@pytest.mark.parametrize("error", OF_THE_MACHINE, ids=repr)
def test_what_the_machine_refuses_is_no_fault_of_the_file(error, monkeypatch):
    with pytest.raises(type(error)):
        predict(error, "ai_edge_litert.interpreter")
    monkeypatch.setattr(keras.saving, "load_model", failing(error, "keras"))
    with pytest.raises(type(error)):
        load_keras_file(Path("model.keras"), ExportError)


def test_a_mistake_of_tltool_is_no_fault_of_the_file():
    for mistake in (NameError, TypeError):
        with pytest.raises(mistake):
            predict(mistake("x"), "tltool.export.outputs")
        with pytest.raises(ExportError, match="cannot be run"):
            predict(mistake("x"), "keras.layers")


def test_what_a_runtime_says_of_a_file_is_told():
    for error in (ValueError("no flatbuffer"), OSError("truncated file"), KeyError("output")):
        with pytest.raises(ExportError, match="cannot be run"):
            predict(error, "tltool.export.outputs")
