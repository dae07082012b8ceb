"""What is told of data before training."""

from __future__ import annotations

import pytest

from tltool.training.preparation import _data_notes


@pytest.mark.parametrize(("broken", "told"), [(1, "1 broken input"), (2, "2 broken inputs")])
def test_what_was_left_out_is_counted(broken, told):
    summary = {"rows": {"train": 3}, "skipped": ["x"] * broken, "warnings": []}
    assert _data_notes(summary, "") == ["3 train examples", f"{told} left out"]
