from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tltool.data.checks.fingerprints import content_digests
from tltool.data.checks.summary import describe
from tltool.data.decisions import COLUMNS, apply_decisions, read_decisions, write_decisions
from tltool.data.examples import Examples
from tltool.data.reading.sources import load_examples
from tltool.recipe.recipe import DataSection
from tltool.support.errors import DataError
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.table import TASKS

TEXTS = ("good film", "bad film", "fine food", "awful food")
LABELS = ("good", "bad", "good", "bad")


def write_data(folder: Path, texts=TEXTS, labels=LABELS) -> Path:
    file = folder / "data.csv"
    lines = [f"{text},{label}" for text, label in zip(texts, labels, strict=True)]
    file.write_text("\n".join(["text,label", *lines, ""]), encoding="utf-8")
    return file


def decide(path: Path, examples: Examples, decisions: dict) -> Path:
    """A table with a decision, and maybe a new label, for rows by their number."""
    digests, cell = content_digests(examples), examples.kind.cell
    rows = [
        {
            "origin": examples.origins[row],
            "sha256": digests[row].tobytes().hex(),
            "label": cell(examples.targets[row]),
            "suggested": "good",
            "decision": what,
            "new_label": new,
        }
        for row, (what, new) in decisions.items()
    ]
    write_decisions(path, rows)
    return path


def read(file: Path, decisions: Path | None = None) -> Examples:
    section = DataSection(train=str(file), decisions=decisions and str(decisions))
    return load_examples(section, TASKS["text-classification"])


def test_rows_are_dropped_and_relabelled_and_the_data_stays(tmp_path):
    file = write_data(tmp_path)
    before = file.read_bytes()
    table = decide(
        tmp_path / "audit.csv",
        read(file),
        {0: ("drop", ""), 1: ("relabel", "good"), 2: ("keep", ""), 3: ("", "")},
    )
    found = read(file, table)
    assert list(found.inputs) == list(TEXTS[1:])
    assert list(found.targets) == ["good", "good", "bad"]
    assert file.read_bytes() == before
    told = found.decided.to_json()
    assert told["dropped"] == [f"{file}:2"]
    assert told["relabelled"] == [{"origin": f"{file}:3", "before": "bad", "after": "good"}]
    assert told["kept"] == 1
    assert describe(found)["decisions"] == told
    assert "decisions" not in describe(read(file))
    assert "1 row left out and 1 label changed" in str(found.decided)
    decided = found.decided
    assert decided.findings == {("", what): 1 for what in ("drop", "relabel", "keep", "")}
    assert decided.shown == {f"{file}:2": TEXTS[0], f"{file}:3": TEXTS[1]}


def test_a_row_that_keeps_its_label_is_kept_not_changed(tmp_path):
    file = write_data(tmp_path)
    table = decide(tmp_path / "audit.csv", read(file), {0: ("relabel", "good")})
    told = read(file, table).decided.to_json()
    assert told["relabelled"] == []
    assert told["kept"] == 1


def test_a_table_that_a_spreadsheet_saved_with_semicolons_is_read(tmp_path):
    file = write_data(tmp_path)
    table = decide(tmp_path / "audit.csv", read(file), {1: ("drop", "")})
    table.write_text(table.read_text(encoding="utf-8").replace(",", ";"), encoding="utf-8-sig")
    assert list(read(file, table).inputs) == [TEXTS[0], *TEXTS[2:]]


def test_a_relabelled_row_without_a_new_label_gets_the_suggested_one(tmp_path):
    file = write_data(tmp_path)
    table = decide(tmp_path / "audit.csv", read(file), {1: ("relabel", "")})
    assert list(read(file, table).targets) == ["good", "good", "good", "bad"]


def test_a_decision_follows_its_row_to_another_line(tmp_path):
    file = write_data(tmp_path)
    table = decide(tmp_path / "audit.csv", read(file), {1: ("drop", "")})
    write_data(tmp_path, ("new row", *TEXTS), ("good", *LABELS))
    assert list(read(file, table).inputs) == ["new row", TEXTS[0], *TEXTS[2:]]


def test_one_of_two_equal_rows_is_dropped(tmp_path):
    file = write_data(tmp_path, (*TEXTS, TEXTS[0]), (*LABELS, LABELS[0]))
    table = decide(tmp_path / "audit.csv", read(file), {4: ("drop", "")})
    assert list(read(file, table).origins) == [f"{file}:{line}" for line in range(2, 6)]


@pytest.mark.parametrize(
    ("texts", "labels", "said"),
    [
        (TEXTS, ("bad", *LABELS[1:]), "was labelled 'good' and is 'bad' now"),
        (("better film", *TEXTS[1:]), LABELS, "has another content now"),
        (TEXTS[2:], LABELS[2:], "has another content now"),
    ],
)
def test_a_stale_decision_is_named(tmp_path, texts, labels, said):
    file = write_data(tmp_path)
    table = decide(tmp_path / "audit.csv", read(file), {0: ("drop", ""), 3: ("keep", "")})
    write_data(tmp_path, texts, labels)
    with pytest.raises(DataError, match="1 decision in") as told:
        read(file, table)
    assert f"{table}:2: {file}:2 {said}" in told.value.message


def test_a_row_that_is_gone_is_named(tmp_path):
    file = write_data(tmp_path)
    table = decide(tmp_path / "audit.csv", read(file), {3: ("drop", "")})
    write_data(tmp_path, TEXTS[:3], LABELS[:3])
    with pytest.raises(DataError, match=r"data.csv:5 is not in the data any more"):
        read(file, table)


def test_faults_of_the_table_are_named_together(tmp_path):
    file = write_data(tmp_path)
    rows = read(file)
    table = decide(tmp_path / "a.csv", rows, {0: ("remove", ""), 1: ("relabel", "goood")})
    with pytest.raises(DataError, match="decision='remove'; allowed are keep, drop, relabel"):
        read(file, table)
    decide(table, rows, {1: ("relabel", "goood")})
    with pytest.raises(DataError, match=r"no row has the class 'goood'.*`good`"):
        read(file, table)
    lines = decide(table, rows, {1: ("drop", "")}).read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([*lines, lines[1].replace(",drop,", ",keep,")]), encoding="utf-8")
    with pytest.raises(DataError, match=r"is decided otherwise in .*a\.csv:2"):
        read(file, table)
    table.write_text("origin,label\n", encoding="utf-8")
    with pytest.raises(DataError, match="lacks the columns 'sha256', 'decision'"):
        read(file, table)


def test_a_class_may_not_be_dropped_whole(tmp_path):
    file = write_data(tmp_path)
    table = decide(tmp_path / "audit.csv", read(file), {1: ("drop", ""), 3: ("drop", "")})
    with pytest.raises(DataError, match="same label"):
        read(file, table)


def test_sets_of_labels_are_decided_too(tmp_path):
    targets = [("a", "b"), (), ("b",)]
    examples = Examples(
        "text", TEXTS[:3], targets, [None] * 3, ["1", "2", "3"], kind=ClassSetTarget
    )
    table = decide(tmp_path / "audit.csv", examples, {0: ("relabel", "[]"), 1: ("drop", "")})
    found = apply_decisions(examples, table)
    assert list(found.targets) == [(), ("b",)]


def test_pictures_are_known_by_their_content_where_their_folder_moved(tmp_path):
    import tiny

    def images(folder):
        section = DataSection(train=str(folder))
        return load_examples(section, TASKS["image-classification"])

    first = images(tiny.write_images(tmp_path / "one", per_class=2))
    table = decide(tmp_path / "audit.csv", first, {0: ("drop", "")})
    (tmp_path / "one").rename(tmp_path / "two")
    found = apply_decisions(images(tmp_path / "two"), table)
    assert len(found) == 3
    assert not any("blue/000" in origin for origin in found.origins)


def test_the_table_has_the_columns_that_are_told(tmp_path):
    table = decide(tmp_path / "audit.csv", read(write_data(tmp_path)), {0: ("drop", "")})
    assert table.read_text(encoding="utf-8").splitlines()[0] == ",".join(COLUMNS)
    (one,) = read_decisions(table)
    assert (one.what, one.label) == ("drop", "good")
    assert np.array(bytearray.fromhex(one.content)).size == 32
