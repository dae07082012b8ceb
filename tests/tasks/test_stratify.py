from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tltool.support.errors import DataError
from tltool.tasks.stratify import by_strata, evenly_spaced, group_folds, in_turns, over_label_sets

SHARES = {"test": 0.1, "validation": 0.1}


def random_label_sets(count, labels, seed):
    """Sets whose labels are of all frequencies, and depend on each other."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0.02, 0.6, labels)
    scene = rng.uniform(size=(count, 1))  # what makes several labels likely at once
    has = rng.uniform(size=(count, labels)) < 2 * share * scene
    return [tuple(f"k{i}" for i in np.flatnonzero(row)) for row in has]


def rows_of(label_sets, sizes, parts, part):
    """How many rows of a part have each label."""
    counts = Counter()
    for labels, size, found in zip(label_sets, sizes, parts, strict=True):
        if found == part:
            counts.update(dict.fromkeys(labels, size))
    return counts


def test_each_label_and_each_part_keeps_its_share():
    worst = []
    for seed in range(300):
        count, labels = 100 + seed, 2 + seed % 14
        sets = random_label_sets(count, labels, seed)
        shares = [SHARES, {"test": 0.2}, {"a": 0.25, "b": 0.25, "c": 0.5}][seed % 3]
        parts = over_label_sets(sets, [1] * count, shares)
        assert set(parts) <= {*shares, None}
        total = rows_of(sets, [1] * count, [0] * count, 0)
        off = [
            abs(rows_of(sets, [1] * count, parts, part)[label] - share * total[label])
            for part, share in shares.items()
            for label in total
        ]
        worst.append(max(off))
        # Rows without labels fill the parts up.
        assert all(abs(parts.count(part) - share * count) <= 5 for part, share in shares.items())
    assert max(worst) < 7
    assert np.quantile(worst, 0.9) < 4
    assert np.quantile(worst, 0.5) < 1


def test_it_divides_labels_more_evenly_than_chance():
    def unevenness(parts):
        found = rows_of(sets, sizes, parts, "test")
        return sum((found[label] - 0.1 * total[label]) ** 2 for label in total)

    rng = np.random.default_rng(0)
    ours, chance = [], []
    for seed in range(20):
        sets, sizes = random_label_sets(300, 12, seed), [1] * 300
        total = rows_of(sets, sizes, [0] * 300, 0)
        ours.append(unevenness(over_label_sets(sets, sizes, SHARES)))
        drawn = rng.permutation(["test"] * 30 + ["train"] * 270).tolist()
        chance.append(unevenness(drawn))
    assert np.mean(ours) < 0.2 * np.mean(chance)


def test_rare_labels_stay_in_the_rest():
    sets = [("usual",)] * 60 + [("usual", "once"), ("twice", "usual"), ("twice",), ()]
    for order in range(10):
        rows = np.random.default_rng(order).permutation(len(sets))
        shuffled = [sets[row] for row in rows]
        parts = over_label_sets(shuffled, [1] * len(sets), SHARES)
        trained = rows_of(shuffled, [1] * len(sets), parts, None)
        assert trained["once"] == 1
        assert trained["twice"] >= 1


def test_each_label_is_left_once_even_where_little_is_left():
    sets = [("usual",)] * 60 + [("once", "usual"), ("twice", "usual"), ("twice",), ("thrice",)]
    sets += [("thrice", "twice"), ("thrice",)]
    for order in range(10):
        shuffled = [sets[row] for row in np.random.default_rng(order).permutation(len(sets))]
        parts = over_label_sets(shuffled, [1] * len(sets), {"test": 0.4, "validation": 0.4})
        trained = rows_of(shuffled, [1] * len(sets), parts, None)
        assert set(trained) == {"usual", "once", "twice", "thrice"}
        assert abs(parts.count(None) - 0.2 * len(sets)) <= 3


def test_rows_without_a_label_are_divided_too():
    parts = over_label_sets([()] * 40, [1] * 40, SHARES)
    assert Counter(parts) == {"test": 4, "validation": 4, None: 32}
    mixed = over_label_sets([("a",), ()] * 50, [1] * 100, {"test": 0.2})
    assert mixed[::2].count("test") == mixed[1::2].count("test") == 10
    assert over_label_sets([], [], SHARES) == []


def test_groups_count_as_many_rows_as_they_have():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 6, 150).tolist()
    sets = random_label_sets(150, 5, 1)
    parts = over_label_sets(sets, sizes, {"test": 0.3})
    found, total = (rows_of(sets, sizes, p, "test") for p in (parts, ["test"] * 150))
    assert all(abs(found[label] - 0.3 * total[label]) <= 6 for label in total)


def test_the_order_of_the_draw_decides_and_nothing_else():
    sets = random_label_sets(200, 8, 0)
    once, again = (over_label_sets(sets, [1] * 200, SHARES) for _ in range(2))
    assert once == again
    other = over_label_sets(sets[::-1], [1] * 200, SHARES)[::-1]
    assert other != once
    doubled = [labels + labels[:1] for labels in sets]  # a label twice is one label
    assert over_label_sets(doubled, [1] * 200, SHARES) == once


def test_strata_give_each_part_its_share():
    strata = ["b", "a", "a", "a", "a"] * 40
    parts = by_strata(strata, [1] * 200, SHARES)
    pairs = Counter(zip(strata, parts, strict=True))
    assert pairs["b", "test"] == pairs["b", "validation"] == 4
    assert pairs["a", "test"] == pairs["a", "validation"] == 16
    # What comes first in the order of the draw is taken first.
    assert [i for i, part in enumerate(parts) if part == "test"][:4] == [0, 1, 2, 3]


def test_a_small_stratum_is_in_every_part_and_groups_are_not_torn():
    parts = by_strata(["a"] * 30 + ["b"] * 3, [1] * 33, SHARES)
    assert Counter(parts[30:]) == {"test": 1, "validation": 1, None: 1}
    sizes = [50, *[1] * 50]
    parts = by_strata(["a"] * 51, sizes, {"test": 0.1})
    assert parts[0] is None
    assert sum(size for size, part in zip(sizes, parts, strict=True) if part == "test") == 10


def test_all_strata_that_are_too_small_are_named_at_once():
    strata = ["The class 'c10'", "The class 'c9'", "The class 'c9'", *["The class 'a'"] * 9]
    with pytest.raises(DataError) as caught:
        by_strata(strata, [1, 1, 3, *[1] * 9], SHARES)
    message = caught.value.message
    assert message.startswith("Too few examples to split into train, validation, test, 3 of each")
    first, second = message.splitlines()[1:]
    assert first.strip() == "The class 'c9' has 2 distinct examples (4 with their exact duplicates)"
    assert second.strip() == "The class 'c10' has 1 distinct example"
    assert "data.test_fraction=0 or data.validation_fraction=0" in caught.value.hint
    with pytest.raises(DataError, match=r"^The class 'b' has 1 distinct example, too few to "
                       r"split into train, test: 2 are needed"):  # fmt: skip
        by_strata(["The class 'b'", *["The class 'a'"] * 9], [1] * 10, {"test": 0.1})


def test_many_strata_that_are_too_small_are_named_in_part_and_counted():
    with pytest.raises(DataError) as caught:
        by_strata([f"The class {number}" for number in range(300)], [1] * 300, SHARES)
    lines = caught.value.message.splitlines()
    assert len(lines) == 22
    assert lines[1].strip() == "The class 0 has 1 distinct example"
    assert lines[-1].strip() == "and 280 more"
    with pytest.raises(DataError) as caught:
        by_strata([f"The class {number}" for number in range(20)], [1] * 20, SHARES)
    assert caught.value.message.splitlines()[-1].strip() == "The class 19 has 1 distinct example"


def test_a_stratum_may_have_just_one_group_for_each_part_and_the_rest():
    with pytest.raises(DataError, match="3 are needed"):
        by_strata(["a"] * 2, [1] * 2, SHARES)
    assert sorted(by_strata(["a"] * 3, [1] * 3, SHARES), key=str) == [None, "test", "validation"]
    assert by_strata(["a"] * 2, [1] * 2, {"test": 0.5}).count("test") == 1


def test_a_group_too_large_for_the_quota_is_passed_over_and_the_smallest_is_taken_at_need():
    # 2 of 12 rows are wanted: the first group has 3, the next fill the quota exactly.
    assert by_strata(["a"] * 6, [3, 1, 1, 4, 2, 1], {"test": 1 / 6}) == [
        None, "test", "test", None, None, None,
    ]  # fmt: skip
    # No group fits: the smallest is taken, and no more.
    assert by_strata(["a"] * 3, [5, 4, 6], {"test": 0.1}) == [None, "test", None]
    # A part never takes what the parts after it and the rest need.
    parts = by_strata(["a"] * 4, [1] * 4, {"test": 0.9, "validation": 0.1})
    assert Counter(parts) == {"test": 2, "validation": 1, None: 1}


def test_equally_rare_labels_go_in_natural_order():
    sets = [("k2",), ("k2", "k10"), ("k10",), ()]
    parts = over_label_sets(sets, [1] * 4, {"test": 0.4})
    assert parts == [None, "test", None, "test"]  # k2 first, whose first group is left
    assert over_label_sets([labels[::-1] for labels in sets], [1] * 4, {"test": 0.4}) == parts


def test_shares_that_leave_nothing_need_not_keep_a_label():
    sets = [("once",)] + [("usual",)] * 9
    assert None not in over_label_sets(sets, [1] * 10, {"a": 0.3, "b": 0.7})
    assert None not in over_label_sets(sets, [1] * 10, {"a": 0.1, "b": 0.2, "c": 0.7})
    assert over_label_sets(sets, [1] * 10, {"a": 0.3, "b": 0.6})[0] is None


def test_strata_take_turns_over_all_their_rows():
    strata = ["b", "a", "b", "b", "b", "a", "c"]
    assert in_turns(strata, 3) == [1, 0, 6]
    # Two rows of b, from its beginning and its middle; c has one alone.
    assert in_turns(strata, 5) == [1, 0, 6, 5, 3]
    assert in_turns(strata, 4) == [1, 0, 6, 5]
    assert sorted(in_turns(strata, 99)) == list(range(7))
    assert in_turns(strata, 0) == in_turns([], 5) == []


@pytest.mark.parametrize(
    ("total", "most", "rows"),
    [(10, 5, [0, 2, 4, 6, 8]), (7, 3, [0, 2, 4]), (3, 3, [0, 1, 2]), (2, 9, [0, 1]), (0, 4, [])],
)
def test_rows_are_spread_over_all(total, most, rows):
    assert evenly_spaced(total, most) == rows


def test_folds_of_groups_divide_none_and_are_stratified():
    rng = np.random.default_rng(0)
    groups = [f"p{number}" for number in rng.integers(0, 30, 300)]
    encoded = np.eye(2, dtype="f4")[rng.integers(0, 2, 300)]
    folds = group_folds(encoded, groups, 5, 0)
    assert sorted(row for _, scored in folds for row in scored) == list(range(300))
    for fitted, scored in folds:
        assert not {groups[row] for row in fitted} & {groups[row] for row in scored}
        assert encoded[scored, 0].mean() == pytest.approx(encoded[:, 0].mean(), abs=0.08)
    numbers = group_folds(rng.normal(size=(300, 1)), groups, 5, 0)
    assert all(len(scored) > 40 for _, scored in numbers)
    with pytest.raises(DataError, match="6 folds need 6 groups of rows"):
        group_folds(encoded, ["a", "b", "c"] * 100, 6, 0)
