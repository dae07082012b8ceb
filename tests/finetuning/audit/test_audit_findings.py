"""Planted faults are found in made-up features, and nothing is found where none is planted."""

from __future__ import annotations

import evidence as made
import numpy as np
import pytest
from PIL import Image

from tltool.finetuning.audit.cost import Costs, more_gain, without_near
from tltool.finetuning.audit.leaks import determined, groups, leaks
from tltool.finetuning.audit.neighbours import neighbourhood


def labels_of(count: int) -> list[int]:
    return [row % 3 for row in range(count)]


def test_texts_that_differ_in_a_word_are_near_and_others_are_not():
    texts = made.sentences(60, words=12)
    features = made.clouds(labels_of(60), 0.0, channels=32)
    texts[7] = texts[3].replace(texts[3].split()[0], "Alder", 1)
    features[7] = features[3] + 0.1
    features[9], texts[9] = features[5], "quite another sentence"  # alike in one of two only
    texts[11] = texts[2]
    found = neighbourhood(made.evidence_of(features, ["a", "b", "c"] * 20, texts))
    assert [(pair.one, pair.other) for pair in found.pairs] == [(2, 11), (3, 7)]
    assert found.pairs[0].likeness == 1.0
    assert found.clusters[3] == found.clusters[7] != found.clusters[2] == found.clusters[11]
    assert len(set(found.clusters)) == 58


def test_a_changed_copy_of_a_picture_is_near_and_one_colour_is_like_nothing(tmp_path):
    rng = np.random.default_rng(0)
    files = []
    for number in range(24):
        small = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        files.append(str(tmp_path / f"{number}.png"))
        small.resize((80, 80), Image.Resampling.BICUBIC).save(files[-1])
    with Image.open(files[4]) as first:
        first.crop((1, 1, 79, 79)).resize((70, 70)).save(files[17], "JPEG", quality=75)
    for number in (20, 21):
        Image.new("RGB", (80, 80), (number, 0, 0)).save(files[number])
    features = made.clouds([0] * 24, 0.0, channels=32)
    features[17] = features[4] + rng.standard_normal(32)
    found = neighbourhood(
        made.evidence_of(features, ["a", "b"] * 12, files, task="image-classification")
    )
    assert [(pair.one, pair.other) for pair in found.pairs] == [(4, 17)]


def test_a_row_far_from_all_others_is_an_outlier():
    features = made.clouds(labels_of(90), 3.0, channels=16)
    found = neighbourhood(made.evidence_of(features, [*"abc"] * 30))
    assert 13 not in found.outliers
    noise = np.random.default_rng(5).standard_normal((90, 16))
    tight = np.repeat(features[:9], 10, axis=0) + 0.02 * noise.astype(np.float32)
    tight[13] = 9 * np.eye(16)[15]
    found = neighbourhood(made.evidence_of(tight, [*"abc"] * 30))
    assert found.outliers.tolist() == [13]


def facts(evidence):
    return [leak.fact for leak in leaks(evidence) if leak.named]


def test_a_length_that_tells_the_label_is_named_and_others_are_not():
    features = made.clouds(labels_of(120), 3.0)
    labels = [*"abc"] * 40
    texts = made.sentences(120)
    assert facts(made.evidence_of(features, labels, texts)) == []
    longer = [text + " reed" * 5 * (row % 3) for row, text in enumerate(texts)]
    told = leaks(made.evidence_of(features, labels, longer))
    words = next(leak for leak in told if leak.fact == "words")
    assert words.named
    assert words.score == 1.0
    assert words.shuffled < 0.5


def pictures(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((16, 16), 60).convert("RGB").save(folder / name)
    return [str(folder / name) for name in names]


def test_file_type_and_folder_tell_the_label_but_not_the_folder_that_is_the_label(tmp_path):
    kinds = {"a": ("png", "site1"), "b": ("bmp", "site2")}
    names = [
        f"{label}/{kinds[label][1]}/{number:02d}.{kinds[label][0]}"
        for number in range(30)
        for label in "ab"
    ]
    features = made.clouds([row % 2 for row in range(60)], 3.0)
    evidence = made.evidence_of(
        features, ["a", "b"] * 30, pictures(tmp_path, names), task="image-classification"
    )
    assert {"file_type", "folder"} <= set(facts(evidence))
    plain = [f"{label}/{number:02d}.png" for number in range(30) for label in "ab"]
    evidence = made.evidence_of(
        features, ["a", "b"] * 30, pictures(tmp_path / "2", plain), task="image-classification"
    )
    assert "folder" not in facts(evidence)


def test_pictures_of_one_patient_are_a_missing_group_and_mere_numbers_are_none(tmp_path):
    names = [f"patient{row // 4:02d}_{row % 4}.png" for row in range(80)]
    files = pictures(tmp_path, names)
    labels = [("a", "b")[row // 4 % 2] for row in range(80)]
    rng = np.random.default_rng(0)
    own = np.repeat(rng.standard_normal((20, 8)), 4, axis=0)
    features = (own + 0.1 * rng.standard_normal((80, 8))).astype(np.float32)
    alike = made.evidence_of(features, labels, files, task="image-classification")
    (found,) = groups(alike, neighbourhood(alike).nearest)
    assert (found.source, found.groups) == ("the beginning of file names", 20)
    assert found.share > 0.9
    assert found.chance < 0.3
    noise = rng.standard_normal((80, 8)).astype(np.float32)
    mixed = made.evidence_of(noise, labels, files, task="image-classification")
    assert groups(mixed, neighbourhood(mixed).nearest) == []


def leaky():
    """Test rows, half of which are copies of training rows that say nothing of their label."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 300)
    features = made.clouds(labels.tolist(), 1.0, channels=200)
    texts = made.sentences(300)
    splits = np.array(["train"] * 200 + ["test"] * 100)
    for copy in range(50):
        features[200 + copy] = features[copy] + 0.01
        labels[200 + copy] = labels[copy]
        texts[200 + copy] = f"{texts[copy]} ."
    names = [("a", "b")[label] for label in labels]
    return made.evidence_of(features, names, texts, splits=list(splits)), labels


def test_what_copies_are_worth_is_found_within_the_interval():
    evidence, _ = leaky()
    near = neighbourhood(evidence)
    assert {(pair.one, pair.other) for pair in near.pairs} == {(i, 200 + i) for i in range(50)}
    costs = Costs.of(evidence)
    assert costs.words == "the data's test rows"
    found = costs.score(near.clusters, None)
    # What it would be is known: the same probe on the rows that are no copies.
    target, (rows, raw) = evidence.task.target, evidence.judged(costs.plan)
    right = target.right(evidence.outputs(raw), evidence.truth[rows])
    assert right[:50].mean() - right[50:].mean() > 0.1
    assert found.leak.low > 0
    assert found.without_leaks.low <= right[50:].mean() <= found.without_leaks.high


def test_nothing_that_is_near_a_judged_row_is_fitted_on():
    clusters = np.array([0, 1, 2, 0, 3, 1])
    plan = [(np.array([0, 1, 2]), np.array([3, 4, 5]))]
    ((fitted, held),) = without_near(plan, clusters)
    assert fitted.tolist() == [2]
    assert held.tolist() == [3, 4, 5]


def test_the_score_with_right_labels_is_found_within_the_interval():
    rng = np.random.default_rng(1)
    true = rng.integers(0, 3, 600)
    features = made.clouds(true.tolist(), 2.5, channels=6)
    given = np.where(rng.random(600) < 0.1, (true + rng.integers(1, 3, 600)) % 3, true)
    clean, noisy = (made.evidence_of(features, [*map(str, of)]) for of in (true, given))
    target = noisy.task.target
    doubts = target.doubts(noisy.outputs(noisy.out_of_fold()), noisy.truth)
    found = Costs.of(noisy).score(neighbourhood(noisy).clusters, doubts)
    known = target.score(clean.outputs(clean.out_of_fold()), clean.truth)
    assert known - found.as_it_is.value > 0.04
    assert found.if_right.low <= known <= found.if_right.high
    assert found.wrong_labels.low <= (true != given).mean() <= found.wrong_labels.high


def test_a_power_law_goes_on_as_it_did():
    sizes = np.array([50, 100, 200, 400.0])
    errors = np.stack([0.05 + 2 * sizes**-0.5, 3 * sizes**-0.4, np.full(4, 0.2)], axis=1)
    gains, ratio = more_gain(sizes, errors)
    known = [2 * (400**-0.5 - 800**-0.5), 3 * (400**-0.4 - 800**-0.4), 0]
    np.testing.assert_allclose(gains, known, atol=2e-3)
    assert 0.6 < ratio[0] < 0.8


def test_the_learning_curve_rises_and_says_what_rows_of_each_class_bring():
    labels = [0] * 100 + [1] * 100 + [2] * 24
    features = made.clouds(labels, 2.0, channels=24, seed=3)
    evidence = made.evidence_of(features, ["abc"[label] for label in labels])
    target = evidence.task.target
    doubts = target.doubts(evidence.outputs(evidence.out_of_fold()), evidence.truth)
    found = Costs.of(evidence).curve(doubts)
    scores = [point.score for point in found.points]
    assert scores[0] < scores[-1]
    assert found.points[-1].rows == 179
    assert found.twice == 358
    assert found.gain.low <= found.gain.value <= found.gain.high
    assert {one.name: one.rows for one in found.by_class} == {"a": 100, "b": 100, "c": 24}


def test_a_trait_that_a_third_of_many_classes_share_is_named():
    rng = np.random.default_rng(0)
    numbers = np.repeat(np.arange(60), 12)
    features = made.clouds(numbers.tolist(), 3.0, channels=64)
    labels = [f"class {number}" for number in numbers]
    texts = made.sentences(len(numbers))
    texts = [
        text + " reed" * int(more) for text, more in zip(texts, rng.poisson(3, 720), strict=True)
    ]
    assert facts(made.evidence_of(features, labels, texts)) == []
    longer = [text + " reed" * 9 if number < 20 else text
              for text, number in zip(texts, numbers, strict=True)]  # fmt: skip
    found = facts(made.evidence_of(features, labels, longer))
    assert {"words", "characters"} <= set(found)


def test_how_much_of_a_split_classes_tell():
    classes = np.repeat(np.arange(4), 50)
    exact = (classes < 2).astype(float)[:, None]
    assert determined(exact, classes) == pytest.approx(1)
    rng = np.random.default_rng(0)
    assert determined(rng.random((200, 1)), classes) < 0.15
    half = np.where(rng.random(200) < 0.5, exact[:, 0], rng.random(200) < 0.5)[:, None]
    assert 0.1 < determined(half, classes) < 0.4
