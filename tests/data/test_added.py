"""Rows that come in later: the splits before stay, and nothing leaks from their test rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tltool.data.added import with_added
from tltool.data.checks.fingerprints import content_digests
from tltool.data.decisions import write_decisions
from tltool.data.examples import Examples
from tltool.data.reading.sources import load_parts
from tltool.data.splits import split_examples
from tltool.recipe.recipe import DataSection
from tltool.support.errors import DataError
from tltool.tasks.table import TASKS

FRACTIONS = {"validation_fraction": 0.2, "test_fraction": 0.2, "seed": 0}


def rows(texts, labels, splits=None, groups=(), name="old") -> Examples:
    origins = [f"{name}.csv:{line}" for line in range(2, len(texts) + 2)]
    return Examples("text", texts, labels, splits or [None] * len(texts), origins, groups=groups)


def numbered(name: str, count: int, labels=("a", "b")) -> Examples:
    texts = [f"{name} {number}" for number in range(count)]
    return rows(texts, [labels[number % len(labels)] for number in range(count)], name=name)


@pytest.fixture
def known() -> Examples:
    return split_examples(numbered("old", 40), **FRACTIONS)


def test_the_splits_before_stay_and_new_rows_are_split_by_themselves(known):
    found, told = with_added(known, numbered("new", 20), "new.csv", **FRACTIONS)
    assert found.take(range(40)) == known
    assert told.rows == {"train": 12, "validation": 4, "test": 4}
    assert told.left_out == {}
    assert list(found.inputs[40:]) == [f"new {number}" for number in range(20)]
    again, _ = with_added(found, numbered("later", 20), "later.csv", **FRACTIONS)
    assert again.take(range(60)) == found


def test_inputs_that_are_there_are_left_out_and_told_of(known):
    test = [row for row, split in enumerate(known.splits) if split == "test"][:3]
    train = [row for row, split in enumerate(known.splits) if split == "train"][:2]
    copies = rows(
        [f"  {known.inputs[row]} " for row in (*test, *train)],
        ["other", *(known.targets[row] for row in (*test[1:], *train))],
        name="new",
    )
    new = numbered("new", 20)
    found, told = with_added(known, copies.followed_by(new), "new.csv", **FRACTIONS)
    assert list(found.inputs[40:]) == list(new.inputs)
    assert told.left_out == {"train": 2, "test": 3}
    assert told.relabelled == 1
    assert "left out 5 rows that the data before has too (2 in train, 3 in test)" in str(told)
    assert "1 of them with another label" in str(told)
    trained = {t for t, s in zip(found.inputs, found.splits, strict=True) if s == "train"}
    assert not trained & {known.inputs[row] for row in test}


def test_what_is_too_rare_for_every_split_is_trained_on(known):
    new = numbered("new", 20).followed_by(rows(["rare one"], ["c"], name="rare"))
    found, told = with_added(known, new, "new.csv", **FRACTIONS)
    assert found.splits[-1] == "train"
    assert told.rows == {"train": 13, "validation": 4, "test": 4}
    _, told = with_added(known, numbered("few", 2), "few.csv", **FRACTIONS)
    assert told.rows == {"train": 2}


def test_given_splits_count(known):
    new = replace(numbered("new", 20), splits=[*["test"] * 10, *[None] * 10])
    found, told = with_added(known, new, "new.csv", **FRACTIONS)
    assert found.splits[40:50] == ["test"] * 10
    assert told.rows == {"train": 8, "validation": 2, "test": 10}


def test_rows_of_a_known_group_go_where_it_is():
    texts = [f"old {number}" for number in range(24)]
    groups = [f"patient {number // 2}" for number in range(24)]
    known = split_examples(rows(texts, ["a", "b"] * 12, groups=groups), **FRACTIONS)
    tested = next(g for g, s in zip(groups, known.splits, strict=True) if s == "test")
    trained = next(g for g, s in zip(groups, known.splits, strict=True) if s == "train")
    new = numbered("new", 22)
    new = replace(
        new, groups=[tested, trained, *(f"new {number // 2}" for number in range(20))],
        splits=["train", "test", *[None] * 20],
    )  # fmt: skip
    found, _ = with_added(known, new, "new.csv", **FRACTIONS)
    assert list(found.splits[24:26]) == ["test", "train"]
    assert len(found.groups) == 46
    of = {}
    for group, split in zip(found.groups, found.splits, strict=True):
        assert of.setdefault(group, split) == split


def test_nothing_new_is_an_error(known):
    with pytest.raises(DataError, match=r"data.added: all 2 rows of same.csv are in the data"):
        with_added(known, known.take([0, 1]), "same.csv", **FRACTIONS)
    with pytest.raises(DataError, match=r"none.csv holds no usable row"):
        with_added(known, known.take([]), "none.csv", **FRACTIONS)


def write(file, lines):
    file.write_text("\n".join(["text,label", *lines, ""]), encoding="utf-8")
    return str(file)


def test_decisions_count_for_added_rows_too(tmp_path):
    section = DataSection(
        train=write(tmp_path / "old.csv", ["good film,good", "bad film,bad"]),
        added=(
            write(tmp_path / "may.csv", ["fine food,good", "awful food,good"]),
            write(tmp_path / "june.csv", ["nice,good", "poor,bad"]),
        ),
    )
    spec = TASKS["text-classification"]
    parts = load_parts(section, spec)
    assert [list(part.inputs) for part in parts] == [
        ["good film", "bad film"], ["fine food", "awful food"], ["nice", "poor"],
    ]  # fmt: skip
    decided = []
    for part, row, what, new in ((parts[1], 1, "relabel", "bad"), (parts[2], 0, "drop", "")):
        sha = content_digests(part)[row].tobytes().hex()
        decided.append({"origin": part.origins[row], "sha256": sha, "label": part.targets[row],
                        "decision": what, "new_label": new})  # fmt: skip
    write_decisions(tmp_path / "audit.csv", decided)
    section = section.model_copy(update={"decisions": str(tmp_path / "audit.csv")})
    old, may, june = load_parts(section, spec)
    assert list(may.targets) == ["good", "bad"]
    assert list(june.inputs) == ["poor"]
    assert old.decided.counted()["dropped"] == 1
    assert old == replace(parts[0], decided=old.decided)


def test_what_is_missing_is_named_by_its_field(tmp_path):
    section = DataSection(
        train=write(tmp_path / "old.csv", ["good film,good", "bad film,bad"]),
        added=(str(tmp_path / "may.csv"),),
    )
    with pytest.raises(DataError, match=r"data.added: there is no file or folder"):
        load_parts(section, TASKS["text-classification"])


@pytest.mark.parametrize("field", ["added", "validation", "test"])
def test_columns_of_other_names_are_to_be_those_of_the_data_before(tmp_path, field):
    other = tmp_path / "may.csv"
    other.write_text("Text,Label\nfine food,good\n", encoding="utf-8")
    section = DataSection(
        train=write(tmp_path / "old.csv", ["good film,good", "bad film,bad"]),
        **{field: (str(other),) if field == "added" else str(other)},
    )
    with pytest.raises(DataError, match=r"may\.csv: there is no column 'text'") as error:
        load_parts(section, TASKS["text-classification"])
    assert error.value.hint.endswith("those of data.train count here too, 'text', 'label'")
