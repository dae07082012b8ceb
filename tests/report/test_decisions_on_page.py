"""What decisions changed of the data, on the page of a run."""

from __future__ import annotations

import re

import numpy as np

from tltool.data.decided import Decided
from tltool.report.decisions import SHOWN, decisions_section
from tltool.report.thumbnails import Thumbnails

DROPPED = tuple(f"rows.csv:{line}" for line in range(2, 12))
DECIDED = Decided(
    "audit/audit.csv",
    "0",
    dropped=DROPPED,
    relabelled=(("rows.csv:20", "bad", "<b>good</b>"),),
    findings={
        ("label", "relabel"): 1,
        ("label", "keep"): 2,
        ("duplicate", "drop"): 10,
        ("", ""): 4,
    },
    shown={"rows.csv:2": "a row that was left out", "rows.csv:20": "<i>fine</i> food"},
)


def test_it_counts_findings_and_what_was_decided():
    text = str(decisions_section(DECIDED, Thumbnails(), ["leak: <size>"]).body)
    assert "10 rows left out and 1 label changed" in text
    cells = re.findall(r"<tr><th[^>]*>([^<]*)</th>(.*?)</tr>", text)
    found = {name: re.findall(r">(\d+)</td>", rest) for name, rest in cells}
    assert found == {
        "A label that is probably wrong": ["3", "0", "1", "2", "0"],
        "A near duplicate": ["10", "10", "0", "0", "0"],
        "Named by hand": ["4", "0", "0", "0", "4"],
    }
    assert "leak: &lt;size&gt;" in text


def test_it_shows_some_rows_and_counts_the_others():
    text = str(decisions_section(DECIDED, Thumbnails()).body)
    assert "Was: bad" in text
    assert "Is: &lt;b&gt;good&lt;/b&gt;" in text
    assert "“&lt;i&gt;fine&lt;/i&gt; food”" in text
    assert "“a row that was left out”" in text
    assert text.count("Left out: rows.csv") == SHOWN
    assert "4 more rows: data.json names all of them." in text
    assert "What the audit said" not in text


def test_pictures_are_shown_and_nothing_is_without_decisions():
    pixels = np.full((9, 9, 3), 120, np.uint8)
    decided = Decided("a.csv", "0", ("x.png",), shown={"x.png": pixels}, pictures=True)
    assert 'alt="Picture of x.png"' in str(decisions_section(decided, Thumbnails()).body)
    assert not decisions_section(None, Thumbnails()).body
