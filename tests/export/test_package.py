"""Artifacts are run by the gate while the next ones are written; a stop leaves nothing behind."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import nullcontext

import pytest
import trained

from tltool.export import package
from tltool.export.gate.check import run_here
from tltool.export.gate.fresh_process import FreshProcess
from tltool.export.gate.report import GateReport
from tltool.export.package import export_outcomes
from tltool.recipe.export_section import ExportSection
from tltool.support.errors import ExportError

PRECISIONS = ("float32", "float16")
SECTION = ExportSection(formats=("litert",), precisions=PRECISIONS)


def export(made, folder):
    return export_outcomes(*made.parts(), made.held_out, folder, section=SECTION)


class NotedProcess:
    """Runs artifacts here, and notes when each is begun and waited for."""

    def __init__(self, broken=()):
        self.events, self._broken = [], broken

    def start(self, path, inputs):
        events, name = self.events, path.parent.name

        class Noted(Future):
            def result(self):
                events.append(("wait", name))
                return super().result()

        events.append(("start", name))
        outputs = Noted()
        if name in self._broken:
            outputs.set_exception(ExportError("it is broken"))
        else:
            outputs.set_result(run_here(path, inputs))
        return outputs


def test_an_artifact_is_run_while_the_next_one_is_written(tmp_path, monkeypatch):
    process = NotedProcess()
    monkeypatch.setattr(package, "FreshProcess", lambda: nullcontext(process))
    outcomes = export(trained.text_classifier(), tmp_path)
    first, second = (f"litert_{precision}" for precision in PRECISIONS)
    assert process.events == [
        ("start", first), ("start", second), ("wait", first), ("wait", second)
    ]  # fmt: skip
    assert [target.folder for target in outcomes] == [first, second]
    assert [report.precision for report in outcomes.values()] == list(PRECISIONS)
    assert all(report.passed for report in outcomes.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == [second, first]


def test_one_that_cannot_be_run_is_told_in_its_place_and_left_out(tmp_path, monkeypatch):
    process = NotedProcess(broken={"litert_float32"})
    monkeypatch.setattr(package, "FreshProcess", lambda: nullcontext(process))
    first, second = export(trained.text_classifier(), tmp_path).values()
    assert isinstance(first, ExportError)
    assert isinstance(second, GateReport)
    assert [path.name for path in tmp_path.iterdir()] == ["litert_float16"]


def test_a_stop_ends_the_run_that_goes_on_and_leaves_nothing(tmp_path, monkeypatch):
    processes, calls = [], []

    def check():
        calls.append(None)
        if len(calls) == 2:
            raise KeyboardInterrupt

    class Kept(FreshProcess):
        def __init__(self):
            super().__init__()
            processes.append(self)

    made = trained.text_classifier()
    monkeypatch.setattr(package, "FreshProcess", Kept)
    monkeypatch.setattr(package.stopping, "check", check)
    with pytest.raises(KeyboardInterrupt):
        export(made, tmp_path)
    (process,) = processes
    assert process._process.returncode is not None
    assert not process._root.exists()
    assert list(tmp_path.iterdir()) == []
