from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from tltool.data.examples import Examples
from tltool.data.splits import fold_rows, limit_examples, split_examples, undivided
from tltool.support.errors import DataError
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.tags.kind import TagsTarget
from tltool.tasks.tags.tagged import Tagged


def table(texts, targets, splits=None, modality="text", kind=ClassTarget) -> Examples:
    origins = [f"item {i}" for i in range(len(texts))]
    return Examples(modality, texts, targets, splits or [None] * len(texts), origins, kind=kind)


def many(count=200, classes=("a", "b")) -> Examples:
    return table(
        [f"text {i}" for i in range(count)], [classes[i % len(classes)] for i in range(count)]
    )


def divide(examples, validation=0.1, test=0.1, seed=0) -> Examples:
    return split_examples(examples, validation_fraction=validation, test_fraction=test, seed=seed)


def members(examples: Examples, name) -> set[str]:
    return set(examples.split(name).inputs)


def test_split_is_stratified_seeded_and_whole():
    targets = ["rare" if i % 10 == 0 else "common" for i in range(300)]
    examples = divide(table([f"t{i}" for i in range(300)], targets))
    for name, rare, common in (("train", 24, 216), ("validation", 3, 27), ("test", 3, 27)):
        assert Counter(examples.split(name).targets) == {"rare": rare, "common": common}
    assert examples.splits == divide(table([f"t{i}" for i in range(300)], targets)).splits
    assert members(examples, "test") != members(divide(examples_like(examples), seed=1), "test")


def examples_like(examples: Examples) -> Examples:
    return table(list(examples.inputs), list(examples.targets))


def grouped(sizes: dict[str, tuple[int, int]]) -> Examples:
    """Groups by their name, with so many rows of "a" and of "b"."""
    rows = [
        (f"{name} {label} {i}", label, name)
        for name, numbers in sizes.items()
        for label, number in zip("ab", numbers, strict=True)
        for i in range(number)
    ]
    texts, targets, groups = zip(*rows, strict=True)
    return replace(table(list(texts), list(targets)), groups=groups)


def test_groups_stay_on_one_side_and_the_classes_are_spread_over_them():
    rng = np.random.default_rng(0)
    sizes = {f"p{i}": (int(rng.integers(0, 9)), int(rng.integers(0, 4))) for i in range(60)}
    examples = divide(grouped({name: both for name, both in sizes.items() if sum(both)}), 0.2, 0.2)
    parts = {name: examples.split(name) for name in ("train", "validation", "test")}
    for one, other in combinations(parts.values(), 2):
        assert not set(one.groups) & set(other.groups)
    share_of_b = list(examples.targets).count("b") / len(examples)
    for name, share in (("train", 0.6), ("validation", 0.2), ("test", 0.2)):
        assert len(parts[name]) / len(examples) == pytest.approx(share, abs=0.03)
        found = list(parts[name].targets).count("b") / len(parts[name])
        assert found == pytest.approx(share_of_b, abs=0.04)
    shuffled = examples_like_groups(examples).take(rng.permutation(len(examples)).tolist())
    assert members(divide(shuffled, 0.2, 0.2), "test") == members(examples, "test")


def examples_like_groups(examples: Examples) -> Examples:
    return replace(examples, splits=[None] * len(examples))


def test_duplicates_join_groups():
    examples = grouped(dict.fromkeys("opqrstuv", (3, 3)))
    texts = list(examples.inputs)
    texts[0], texts[40] = "same", "same"
    split = divide(replace(examples, inputs=texts), 0.2, 0.2)
    joined = {s for s, g in zip(split.splits, split.groups, strict=True) if g in ("o", "u")}
    assert len(joined) == 1


def test_few_groups_give_each_split_one_and_tell_of_missing_classes(caplog):
    examples = divide(grouped({"p": (9, 9), "q": (9, 9), "r": (5, 0), "s": (6, 0)}))
    assert {len(set(examples.split(s).groups)) for s in ("validation", "test")} == {1}
    assert "test has no row of the class 'b'" in caplog.text
    with pytest.raises(DataError, match=r"2 groups of rows cannot be divided: none is left"):
        divide(grouped({"p": (9, 9), "q": (9, 9)}))
    with pytest.raises(DataError, match="none is left for validation"):
        divide(grouped({"p": (3, 0), "q": (0, 3)}), test=0.0)


def test_split_does_not_depend_on_row_order():
    examples = many()
    shuffled = examples.take(np.random.default_rng(1).permutation(len(examples)).tolist())
    for name in ("train", "validation", "test"):
        assert members(divide(examples), name) == members(divide(shuffled), name)


def test_test_split_does_not_depend_on_the_validation_share():
    assert members(divide(many()), "test") == members(divide(many(), validation=0.3), "test")


def test_duplicates_stay_on_one_side():
    texts = [f"text {i // 3}" + " " * (i % 3) for i in range(300)]
    examples = divide(table(texts, [str(i // 3 % 2) for i in range(300)]), 0.2, 0.2)
    parts = [{t.strip() for t in members(examples, s)} for s in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 100
    assert examples.splits.count("test") == pytest.approx(60, abs=6)


def test_duplicate_images_stay_on_one_side(tmp_path):
    paths, targets = [], []
    for i in range(60):
        path = Path(tmp_path / f"{i}.png")
        path.write_bytes(bytes([i // 2]))
        paths.append(str(path))
        targets.append("ab"[i // 2 % 2])
    arrays = [np.full((2, 2), i // 2, "uint8") for i in range(60)]
    for inputs in (paths, arrays):
        examples = divide(table(inputs, targets, modality="image"), 0.2, 0.2)
        assert all(examples.splits[i] == examples.splits[i + 1] for i in range(0, 60, 2))
        assert set(examples.splits) == {"train", "validation", "test"}


def test_a_flood_of_one_text_stays_in_training():
    flood = table(["same"] * 50 + [f"t{i}" for i in range(50)], ["a"] * 100)
    for seed in range(20):
        examples = divide(flood, seed=seed)
        assert "same" in members(examples, "train")
        assert examples.splits.count("test") == 10


def test_given_splits_are_not_touched():
    given = table(["x", "y"], ["a", "b"], ["test", "test"])
    open_rows = many(100)
    both = table(
        [*open_rows.inputs, *given.inputs],
        [*open_rows.targets, *given.targets],
        [*open_rows.splits, *given.splits],
    )
    examples = divide(both)
    assert members(examples, "test") == {"x", "y"}
    assert examples.splits.count("validation") == 10
    assert set(divide(many(), 0.0, 0.0).splits) == {"train"}


def test_small_classes_are_everywhere_or_an_error():
    small = table([f"t{i}" for i in range(33)], ["a"] * 30 + ["b"] * 3)
    examples = divide(small)
    assert all("b" in examples.split(name).targets for name in ("train", "validation", "test"))
    smaller = table(["t", "t ", "u", *map(str, range(20))], ["b"] * 3 + ["a"] * 20)
    with pytest.raises(DataError, match=r"'b' has 2 distinct examples \(3 with") as caught:
        divide(smaller)
    assert "data.validation_fraction=0" in caught.value.hint
    assert len(divide(smaller, validation=0.0).split("test")) > 0


def test_a_class_of_conflicting_duplicates_only_is_not_lost_silently():
    texts = [f"t{i}" for i in range(20)]
    conflicting = table([*texts, *texts[:3]], ["a"] * 20 + ["z"] * 3)

    def outcome(seed: int) -> str:
        try:
            training = divide(conflicting, 0.4, 0.4, seed).split("train")
        except DataError as error:
            return error.message
        return "kept" if "z" in training.targets else "lost"

    outcomes = {outcome(seed) for seed in range(8)}
    assert "lost" not in outcomes
    assert any("classes 'z':" in text for text in outcomes)


def test_regression_is_stratified_by_quantile():
    rng = np.random.default_rng(0)
    targets = [float(t) for t in rng.exponential(size=400)]
    texts = [f"t{i}" for i in range(400)]
    examples = divide(table(texts, targets, kind=NumbersTarget), 0.2, 0.2)
    top = np.quantile(targets, 0.9)
    assert sum(t > top for t in examples.split("test").targets) == 8
    constant = divide(table(texts[:30], [1.0] * 30, kind=NumbersTarget))
    assert constant.splits.count("test") == 3
    with pytest.raises(DataError, match="2 distinct examples"):
        divide(table(["a", "b"], [1.0, 2.0], kind=NumbersTarget))


def test_limit_is_stratified_and_can_still_be_split():
    examples = many(300, classes=("a", "a", "a", "a", "b"))
    limited = limit_examples(examples, 50, seed=0)
    assert Counter(limited.targets) == {"a": 40, "b": 10}
    assert limited.inputs == limit_examples(examples, 50, seed=0).inputs
    assert limited.inputs != limit_examples(examples, 50, seed=1).inputs
    rare = table([f"t{i}" for i in range(1000)], ["a"] * 995 + ["b"] * 5)
    assert Counter(limit_examples(rare, 20, 0).targets)["b"] == 3
    divide(limit_examples(rare, 20, 0))


def test_a_limit_takes_different_texts_before_duplicates():
    examples = table([f"t{i % 40}" for i in range(200)], ["a", "b"] * 100)
    assert len(set(limit_examples(examples, 40, 0).inputs)) == 40
    assert len(set(limit_examples(examples, 100, 0).inputs)) == 40


def test_limit_leaves_given_splits_and_few_rows_alone():
    examples = table([f"t{i}" for i in range(9)], list("abababaab"), ["train"] * 6 + ["test"] * 3)
    limited = limit_examples(examples, 4, 0)
    assert limited.splits.count("train") == 4
    assert limited.splits.count("test") == 3
    assert limit_examples(examples, 6, 0) is limit_examples(examples, 100, 0) is examples
    assert limit_examples(examples, None, 0) is examples
    with pytest.raises(DataError, match="fewer than the 3 classes"):
        limit_examples(many(30, ("a", "b", "c")), 2, 0)
    assert set(limit_examples(many(30, ("a", "b", "c")), 3, 0).targets) == {"a", "b", "c"}


def test_duplicates_that_disagree_count_for_the_first_of_their_targets():
    # Each text stands in a row of "a" and in one of "b": as one stratum it is "a".
    texts, targets = [f"t{i // 2}" for i in range(40)], ["b", "a"] * 20
    limited = limit_examples(table([*texts, "u"], [*targets, "c"]), 2, 0)
    assert "u" in limited.inputs
    parts = divide(table(texts, targets), 0.2, 0.2)
    assert Counter(parts.splits) == {"train": 24, "validation": 8, "test": 8}


def test_an_exact_half_of_each_stratum_is_a_limit_of_half():
    limited = limit_examples(many(20, ("a", "a", "a", "b")), 12, seed=3)
    assert Counter(limited.targets) == {"a": 9, "b": 3}
    two = limit_examples(many(90, ("a", "a", "b")), 31, seed=3)
    assert Counter(two.targets)["b"] in {10, 11}


def test_a_large_set_is_split_in_a_second():
    import time

    examples = many(40_000)
    start = time.process_time()
    divide(examples)
    assert time.process_time() - start < 3


# Folds --------------------------------------------------------------------------------------


def held_out(examples: Examples, count=3, seed=0) -> list[list[int]]:
    target = examples.kind.fit(examples.targets)
    return [held.tolist() for _, held in fold_rows(examples, target, count, seed)]


def test_each_row_is_held_out_by_one_fold_of_every_kind():
    sets = [("a",), ("b",), ("a", "b"), ("c",), ()] * 12
    pairs = [("B-X", "O"), ("O", "O"), ("B-Y", "O")] * 20
    tags = [Tagged((0, 2), (1, 3), pair) for pair in pairs]
    texts = [f"text {i}" for i in range(60)]
    for kind, targets in (
        (ClassTarget, list("abc") * 20),
        (NumbersTarget, [float(i) for i in range(60)]),
        (ClassSetTarget, sets),
        (TagsTarget, tags),
    ):
        folds = held_out(table(texts, targets, kind=kind))
        assert [len(fold) for fold in folds] == [20, 20, 20]
        assert sorted(row for fold in folds for row in fold) == list(range(60))


def test_folds_are_stratified_by_the_rarest_tag_where_rows_have_groups():
    tags = [Tagged((0,), (1,), ("B-X" if i < 6 else "B-Y",)) for i in range(60)]
    rows = table([f"text {i}" for i in range(60)], tags, kind=TagsTarget)
    rows = replace(rows, groups=[f"g{i // 2}" for i in range(60)])
    folds = held_out(rows)
    assert [sum(row < 6 for row in fold) for fold in folds] == [2, 2, 2]
    for fold in folds:
        assert all(row ^ 1 in fold for row in fold)


def test_folds_divide_neither_duplicates_nor_what_groups_tie_to_them():
    rows = table([f"text {i // 3}" for i in range(36)], list("ab") * 18)
    assert undivided(rows)[0] == undivided(rows)[2] != undivided(rows)[3]
    rows = replace(rows, groups=[f"g{i % 12}" for i in range(36)])
    for fold in held_out(rows, 2):
        texts, groups = ({column[row] for row in fold} for column in (rows.inputs, rows.groups))
        others = set(range(36)) - set(fold)
        assert not texts & {rows.inputs[row] for row in others}
        assert not groups & {rows.groups[row] for row in others}


def test_rows_that_all_differ_are_tied_to_nothing():
    assert undivided(many(10)) == ()
