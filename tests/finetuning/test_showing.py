"""What a run's page shows beside the summary, where it can be had."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from tltool.data.decided import Decided
from tltool.finetuning.showing import audit_lines, explained_mistakes
from tltool.recipe.recipe import Recipe
from tltool.runs import explain
from tltool.support.progress import Progress

ABOUT = {"lines": ["12 rows", "1 outlier"], "findings": [{"finding": "outlier"}]}


def decided(folder, findings) -> Decided:
    return Decided(str(folder / "audit.csv"), "0", findings=findings)


def test_the_audit_beside_the_table_is_quoted(tmp_path):
    (tmp_path / "audit.json").write_text(json.dumps(ABOUT))
    assert audit_lines(decided(tmp_path, {("outlier", "drop"): 1})) == ["12 rows", "1 outlier"]


@pytest.mark.parametrize("findings", [{}, {("outlier", ""): 2}, {("label", "keep"): 1}])
def test_an_audit_of_other_findings_is_not(tmp_path, findings):
    (tmp_path / "audit.json").write_text(json.dumps(ABOUT))
    assert audit_lines(decided(tmp_path, findings)) == ()


@pytest.mark.parametrize("content", [None, "{", "[]", '{"lines": []}', '{"findings": [1]}'])
def test_none_or_a_broken_one_is_left_out(tmp_path, content):
    if content is not None:
        (tmp_path / "audit.json").write_text(content)
    assert audit_lines(decided(tmp_path, {})) == ()


def test_a_model_that_cannot_be_explained_ends_no_run(monkeypatch):
    class Notes(Progress):
        lines: list[str] = []  # noqa: RUF012

        def note(self, text):
            self.lines.append(text)

    def fail(run, examples, rows):
        raise TypeError("a head of one's own\nand more")

    monkeypatch.setattr(explain, "explain_rows", fail)
    run = SimpleNamespace(recipe=Recipe.of(task="text-classification", backbone="x"))
    evaluation = SimpleNamespace(mistakes=[SimpleNamespace(row=3)])
    assert explained_mistakes(run, None, evaluation, Notes()) == {}
    assert Notes.lines == ["the page does not show what mistakes rest on: a head of one's own"]
