"""One text, path or image is not taken apart where several are asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tltool.support.errors import DataError
from tltool.support.items import items_of


@pytest.mark.parametrize(
    "value",
    [
        "text",
        b"text",
        Path("photo.jpg"),
        np.array("text"),
        np.zeros((4, 5)),
        np.zeros((4, 5, 3)),
        pd.DataFrame({"text": ["a"]}),
        {"text": "a"},
        {"a", "b"},
        3,
        None,
    ],
)
def test_what_is_not_several_is_refused(value):
    with pytest.raises(DataError, match="inputs: several are asked for") as caught:
        items_of(value, "inputs", DataError)
    assert "list" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (["a", "b"], 2),
        (("a",), 1),
        (iter("ab"), 2),
        (np.array(["a", "b"]), 2),
        (pd.Series(["a", "b"]), 2),
        (np.zeros((2, 4, 5, 3)), 2),
        (np.zeros((2, 4, 5)), 2),
        ([], 0),
    ],
)
def test_what_has_an_order_is_taken(value, count):
    assert len(items_of(value, "inputs", DataError)) == count


def test_the_hint_can_be_followed():
    with pytest.raises(DataError) as caught:
        items_of("good film", "inputs", DataError)
    assert "['good film']" in (caught.value.hint or "")
