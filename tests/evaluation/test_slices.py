"""Slices: planted weaknesses are found, noise is not told of, and figures are those of the rows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tltool.data.examples import Examples
from tltool.data.facts import name_facts, number_facts
from tltool.data.reading.beside import column_values
from tltool.evaluation.facts import as_numbers, facts_of
from tltool.evaluation.slices import FEWEST, slices_of
from tltool.recipe.schema import DataSection
from tltool.report.slices import slice_rows, slices_section
from tltool.support.errors import DataError
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.embeddings.pairs import ScoredPairTarget
from tltool.tasks.masks.kind import MaskTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.tags.kind import TagsTarget
from tltool.tasks.tags.tagged import Tagged, WordScores

TWO = ClassTarget(("a", "b"))


def answers(right):
    """Outputs that have these rows right, all of which are of class 0."""
    return np.where(np.asarray(right, bool)[:, None], [0.9, 0.1], [0.2, 0.8])


def sliced(right, numbers=None, names=None, **more):
    truth = np.zeros(len(right), int)
    return slices_of(answers(right), truth, TWO, numbers or {}, names or {}, **more)


@pytest.fixture
def facts():
    rng = np.random.default_rng(0)
    source = rng.choice(["phone", "scan", "web"], 600)
    return SimpleNamespace(rng=rng, source=source, dark=rng.uniform(0, 1, 600))


def test_a_planted_weakness_is_told_first_with_its_figures(facts):
    wrong = facts.rng.uniform(size=600) < np.where(facts.source == "phone", 0.4, 0.05)
    found = sliced(~wrong, {"brightness": facts.dark}, {"source": facts.source})
    first = found.told[0]
    assert first.name == "source is phone"
    assert first.stands_out
    phone = facts.source == "phone"
    assert first.value == pytest.approx(wrong[phone].mean())
    assert first.rest == pytest.approx(wrong[~phone].mean())
    assert first.interval[0] < first.value < first.interval[1]
    assert len(first.rows) == phone.sum()
    assert not [one for one in found.told[1:] if one.stands_out]
    assert found.found == ()  # the tree finds the same


def test_a_slice_of_two_facts_is_found_on_rows_that_did_not_choose_it(facts):
    weak = (facts.source == "scan") & (facts.dark < 0.4)
    wrong = facts.rng.uniform(size=600) < np.where(weak, 0.7, 0.05)
    found = sliced(~wrong, {"brightness": facts.dark}, {"source": facts.source}).found
    assert len(found) == 1
    assert "source is scan" in found[0].name
    assert "brightness below 0." in found[0].name
    assert found[0].found
    assert len(found[0].rows) <= 300
    assert found[0].value > 0.5
    assert weak[found[0].rows].mean() > 0.9


def test_noise_is_seldom_told_of():
    """At most about 5 in 100 by either way; 60 trials leave room for luck."""
    rng = np.random.default_rng(1)
    told = found = 0
    for _ in range(60):
        wrong = rng.uniform(size=200) < 0.3
        numbers = {name: rng.uniform(size=200) for name in "abc"}
        names = {"source": rng.choice(list("xyz"), 200)}
        result = sliced(~wrong, numbers, names)
        told += any(one.stands_out for one in result.told)
        found += bool(result.found)
    assert told <= 7
    assert found <= 7


def test_small_slices_and_unknown_numbers_are_left_out_but_not_empty_cells():
    source = ["rare"] * (FEWEST - 1) + ["common"] * 40 + [""] * 20
    length = np.full(len(source), np.nan)
    found = sliced([True] * len(source), {"words": length}, {"source": source})
    assert {one.name for one in found.told} == {"source is common", "source is empty"}


def test_of_an_export_the_change_against_the_model_is_told(facts):
    before = facts.rng.uniform(size=600) < 0.9
    hurt = (facts.dark < 0.25) & (facts.rng.uniform(size=600) < 0.3)
    found = sliced(before & ~hurt, {"brightness": facts.dark}, others=answers(before))
    first = found.told[0]
    assert first.name.startswith("brightness below")
    assert first.stands_out
    own = facts.dark < np.quantile(facts.dark, 0.25)
    assert first.value == pytest.approx((before & hurt & own).sum() / own.sum())
    assert first.interval[0] > 0
    assert all(not one.stands_out and one.value <= 0.02 for one in found.told[1:])


def test_numbers_and_several_labels_have_errors_of_their_own():
    length = np.arange(100.0)
    target = NumbersTarget(mean=(0.0,), std=(1.0,), names=("price",))
    errors = np.where(length >= 75, 5.0, 1.0) + 0.001 * length
    found = slices_of(errors, np.zeros(100), target, {"words": length}, {})
    assert found.score.key == "mae"
    assert found.told[0].name == "words from 74.25"
    assert found.told[0].stands_out
    assert found.told[0].value == pytest.approx(errors[75:].mean())
    sets = ClassSetTarget(("x", "y"))
    outputs = np.full((40, 2), 0.9)
    truth = np.ones((40, 2), bool)
    truth[:20, 0] = False
    halves = ["bad"] * 20 + ["good"] * 20
    found = slices_of(outputs, truth, sets, {}, {"half": halves})
    assert (found.told[0].name, found.told[0].value, found.told[0].rest) == ("half is bad", 0.5, 0)


def test_tags_are_wrong_by_words_and_masks_by_what_their_iou_misses():
    tags = TagsTarget(("O", "B-x", "I-x"))
    tagged = [Tagged((0, 2), (1, 3), ("O", "B-x"))] * 30
    sure = np.float32([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0]])
    said = [WordScores("a b", np.int32([0, 2]), np.int32([1, 3]), sure if row < 20 else sure[::-1])
            for row in range(30)]  # fmt: skip
    empty = np.empty(30, object)
    empty[:] = said
    kinds = {"who": ["right"] * 20 + ["wrong"] * 10}
    found = slices_of(empty, tags.truth(tagged), tags, {}, kinds)
    worst = found.told[0]
    assert (found.score.key, worst.name, worst.value) == ("wrong_words", "who is wrong", 1.0)
    counts = np.zeros(30, [("true", "i8", 2), ("predicted", "i8", 2), ("hits", "i8", 2)])
    counts["true"] = counts["predicted"] = counts["hits"] = 8
    counts["hits"][20:, 1] = 4
    found = slices_of(counts, np.zeros(30), MaskTarget(("no", "yes")), {}, kinds)
    assert found.score.key == "iou_missed"
    assert found.told[0].value == pytest.approx((0 + (1 - 4 / 12)) / 2)
    assert found.told[0].rest == 0


def test_a_kind_whose_rows_are_not_judged_alone_has_no_slices():
    target = ScoredPairTarget()
    assert slices_of(np.ones((4, 2)), np.zeros((4, 3)), target, {}, {}) is None


# Facts -------------------------------------------------------------------------------------


def test_facts_of_pictures_are_those_of_the_files(tmp_path):
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (80, 40), (255, 255, 255)).save(tmp_path / "cat" / "white.png")
    Image.new("RGB", (30, 60), (0, 0, 0)).save(tmp_path / "cat" / "black.jpg")
    files = [str(tmp_path / "cat" / name) for name in ("white.png", "black.jpg")]
    examples = Examples("image", files, ["cat"] * 2, ["test"] * 2, files)
    numbers = number_facts(examples)
    assert numbers["width_px"].tolist() == [80, 30]
    assert numbers["aspect"].tolist() == [2.0, 0.5]
    assert numbers["brightness"].tolist() == [1.0, 0.0]
    names = name_facts(examples, ["cat"])
    assert names["file_type"] == [".png", ".jpg"]
    assert not any("cat" in folder for folder in names["folder"])


def table(tmp_path, content) -> Examples:
    path = tmp_path / "rows.csv"
    path.write_text(content)
    lines = content.splitlines()[1:]
    count = len(lines)
    origins = [f"{path}:{i + 2}" for i in range(count)]
    return Examples("text", [line.split(",")[0] for line in lines], ["a"] * count,
                    ["test"] * count, origins)  # fmt: skip


def test_columns_of_the_table_are_matched_by_line(tmp_path):
    examples = table(tmp_path, "text,label,source,price\na b,x,web,1.5\nc,x,,2\nd,x,phone,3\n")
    some = examples.take([2, 0])
    found = column_values(some, ["source", "price"], DataSection())
    assert found == {"source": ["phone", "web"], "price": ["3", "1.5"]}
    numbers, names = facts_of(examples, (), ["source"], DataSection())
    assert numbers["words"].tolist() == [2, 1, 1]
    assert names["source"] == ["web", "", "phone"]


def test_a_column_of_many_numbers_is_one_of_numbers():
    assert as_numbers([str(i / 2) for i in range(20)]).tolist() == [i / 2 for i in range(20)]
    assert as_numbers(["1", "2"] * 10) is None
    assert as_numbers(["1.5", "x"] * 10) is None


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path):
    examples = table(tmp_path, "text,label,source\na,x,web\n")
    with pytest.raises(
        DataError, match="no column 'sourse'; it has 'text', 'label', 'source'"
    ) as e:
        column_values(examples, ["sourse"], DataSection())
    assert "source" in e.value.hint
    alone = Examples("text", ["a"], ["x"], ["test"], ["item 0"])
    with pytest.raises(DataError, match="of no table"):
        column_values(alone, ["source"], DataSection())


# Reports -----------------------------------------------------------------------------------


def test_a_page_tells_the_worst_slices_first(facts):
    weak = (facts.source == "phone") & (facts.dark < 0.5)
    wrong = facts.rng.uniform(size=600) < np.where(weak, 0.7, 0.05)
    found = sliced(~wrong, {"brightness": facts.dark}, {"source": facts.source})
    header, first, *_ = slice_rows(found)
    assert header == ("Slice", "Rows", "Errors", "95 % interval", "Other rows", "Worse")
    assert first[0].startswith("found: brightness below 0.")
    assert first[0].endswith(" and source is phone")
    assert first[-1] == "yes"
    body = slices_section(found).body
    assert body.index("found: brightness") < body.index("source is web")
    assert not slices_section(None).body
