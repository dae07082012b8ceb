from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import evidence as made
import pytest
from typer.testing import CliRunner

from tltool.cli.app import app
from tltool.data.checks.fingerprints import content_digests
from tltool.data.decisions import apply_decisions, read_decisions
from tltool.finetuning.audit.findings import Finding, Found
from tltool.finetuning.audit.job import DataAudit
from tltool.finetuning.audit.label_studio import decisions_of, write_tasks
from tltool.support.errors import DataError


def audited(task="text-classification", targets=("a", "b", 'c"<') * 10, suggested="b"):
    features = made.clouds([row % 3 for row in range(30)], 3.0)
    rows = made.evidence_of(features, [*targets], task=task)
    findings = [Finding("label", 0, 0.1, suggested), Finding("duplicate", 2, 0.0, other=1),
                Finding("label", 4, 0.2, suggested), Finding("outlier", 5, -1.0)]  # fmt: skip
    empty = dict.fromkeys(Found.__dataclass_fields__)
    return DataAudit(Found(**{**empty, "findings": findings}), rows)


def answer(task, **said):
    results = [{"from_name": name, "to_name": "input", "type": "choices",
                "value": {"choices": choices}} for name, choices in said.items()]  # fmt: skip
    return {**task, "annotations": [{"result": results, "was_cancelled": False}]}


def tasks_of(audit, folder):
    write_tasks(folder, audit.found, audit.evidence, audit.rows())
    return json.loads((folder / "label_studio.json").read_text(encoding="utf-8"))


def test_answers_come_back_as_decisions_that_a_recipe_can_follow(tmp_path):
    audit = audited()
    first, second, third, _ = tasks_of(audit, tmp_path)
    assert first["predictions"][0]["result"][0]["value"] == {"choices": ["b"]}
    assert "predictions" not in second
    config = ET.parse(tmp_path / "label_studio.xml")
    shown = [one.get("value") for one in config.findall("./Choices[@name='label']/Choice")]
    assert shown == ["a", "b", 'c"<']
    answers = [answer(first, label=['c"<']), answer(second, decision=["drop"]),
               answer(third, label=["b"]), {**third, "annotations": []}]  # fmt: skip
    file = tmp_path / "answers.json"
    file.write_text(json.dumps(answers), encoding="utf-8")
    command = ["data", "decisions", str(file), "--output", str(tmp_path / "audit.csv"), "--json"]
    told = json.loads(CliRunner().invoke(app, command).stdout)
    assert (told["keep"], told["drop"], told["relabel"]) == (1, 1, 1)
    found = apply_decisions(audit.evidence.examples, tmp_path / "audit.csv")
    assert found.targets[0] == 'c"<'
    assert len(found) == 29
    assert found.decided.dropped == ("data.csv:4",)
    again = CliRunner().invoke(app, command)
    assert isinstance(again.exception, DataError)


def test_several_labels_come_back_as_a_list(tmp_path):
    audit = audited("text-multi-label", [("a", "b"), ("b",), ()] * 10, ("b",))
    (first, *_) = tasks_of(audit, tmp_path)
    file = tmp_path / "answers.json"
    file.write_text(json.dumps([answer(first, decision=["relabel"], label=["b", "a"])]))
    (row,) = decisions_of(file)
    assert row["new_label"] == '["b", "a"]'
    assert row["sha256"] == content_digests(audit.evidence.examples)[0].tobytes().hex()


def test_tasks_of_something_else_are_refused(tmp_path):
    file = tmp_path / "answers.json"
    file.write_text(json.dumps([{"data": {"text": "x"}, "annotations": []}]), encoding="utf-8")
    with pytest.raises(DataError, match="task 1 is none of an audit's"):
        decisions_of(file)
    file.write_text("no JSON", encoding="utf-8")
    with pytest.raises(DataError, match="can't be read"):
        decisions_of(file)
    assert not (tmp_path / "audit.csv").exists()
    with pytest.raises(DataError, match="can't be read"):
        read_decisions(tmp_path / "audit.csv")
