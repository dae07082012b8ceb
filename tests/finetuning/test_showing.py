"""What an audit said is shown beside its decisions only, not beside those of another one."""

from __future__ import annotations

import json

import pytest

from tltool.data.decided import Decided
from tltool.finetuning.showing import audit_lines

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
