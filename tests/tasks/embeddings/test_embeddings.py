from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest

from tltool.support.errors import DataError
from tltool.tasks.embeddings.kind import EmbeddingTarget
from tltool.tasks.metrics import retrieval
from tltool.tasks.metrics.retrieval import nearest_wrong, retrieval_metrics, unit_rows

ANIMALS = EmbeddingTarget(("cat", "dog"), 2)
RNG = np.random.default_rng(0)


def at(*degrees):
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")


def test_classes_that_training_never_saw_come_after_the_known_ones():
    assert EmbeddingTarget.fit(["dog", "cat", "dog"]).classes == ("cat", "dog")
    assert ANIMALS.truth(["emu", "dog", "bee", "emu", "cat"]).tolist() == [3, 1, 2, 3, 0]
    with pytest.raises(DataError, match=r"^b.csv:2: there is no label"):
        ANIMALS.truth(["cat", None], ["b.csv:1", "b.csv:2"])


@pytest.mark.parametrize(
    ("targets", "said"),
    [(["cat", "cat"], "the same label, 'cat'"), (["cat", "dog", "emu"], "one training example")],
)
def test_there_must_be_something_to_come_near_and_something_to_keep_away(targets, said):
    with pytest.raises(DataError, match=said):
        EmbeddingTarget.fit(targets)


def test_classes_with_few_rows_are_held_out_whole():
    targets = [f"pair {number // 2}" for number in range(80)] + ["alone"]
    parts = EmbeddingTarget.divide(targets, [1] * 81, {"test": 0.2, "validation": 0.1})
    assert [parts.count(part) for part in ("test", "validation", None)] == [16, 8, 57]
    assert all(parts[i] == parts[i + 1] for i in range(0, 80, 2))
    assert parts[-1] is None


def test_what_is_held_out_of_a_class_are_two_rows_or_none():
    targets = ["few"] * 5 + ["odd"] * 7 + ["many"] * 40
    parts = EmbeddingTarget.divide(targets, [1] * 52, {"test": 0.1, "validation": 0.1})
    held = {name: [p for t, p in zip(targets, parts, strict=True) if t == name and p]
            for name in ("few", "odd", "many")}  # fmt: skip
    assert held["few"] == []
    assert sorted(held["odd"]) == ["test", "test", "validation", "validation"]
    assert sorted(held["many"]) == ["test"] * 4 + ["validation"] * 4


def test_groups_of_one_class_are_held_out_two_by_two():
    targets = [f"class {number // 20}" for number in range(100)]
    groups = [[number] for number in range(100)]
    parts = EmbeddingTarget.divide_groups(targets, groups, {"test": 0.2})
    held = Counter(t for t, p in zip(targets, parts, strict=True) if p)
    assert set(held.values()) == {4}
    assert len(held) == 5
    both = [[i, i + 1] for i in range(0, 40, 2)]
    parts = EmbeddingTarget.divide_groups(["a", "b"] * 20, both, {"test": 0.2})
    assert parts.count("test") == 4


def test_recall_and_precision_of_rows_in_a_known_order():
    # From 0 degrees: 5 (b), 12 (a), 40 (b), 90 (a); no other row is of c.
    outputs, classes = at(0, 5, 12, 40, 90, 180), np.array([0, 1, 0, 1, 0, 2])
    found = retrieval_metrics(outputs, classes)
    assert (found["n"], found["queries"]) == (6, 5)
    # Nearest: 5 b, 0 a, 5 b, 12 a, 40 b. Nothing is among its own.
    assert found["recall_at_1"] == 0
    assert found["recall_at_5"] == 1
    # Ranks of their own.
    order = [(2, 4), (3,), (2, 4), (2,), (2, 4)]
    precisions = [np.mean([(i + 1) / rank for i, rank in enumerate(ranks)]) for ranks in order]
    assert found["map"] == pytest.approx(np.mean(precisions))


def test_scores_do_not_depend_on_the_size_of_blocks(monkeypatch):
    outputs, classes = RNG.normal(size=(90, 8)), RNG.integers(0, 12, 90)
    whole, wrong = retrieval_metrics(outputs, classes), nearest_wrong(outputs, classes)
    monkeypatch.setattr(retrieval, "_BLOCK", 7 * 90)
    assert retrieval_metrics(outputs, classes) == whole
    np.testing.assert_array_equal(nearest_wrong(outputs, classes)[0], wrong[0])
    cosines = unit_rows(outputs) @ unit_rows(outputs).T
    np.fill_diagonal(cosines, -2)
    hits = classes[cosines.argmax(axis=1)] == classes
    asked = np.bincount(classes)[classes] > 1
    assert whole["recall_at_1"] == pytest.approx(hits[asked].mean())
    assert set(wrong[0].tolist()) == set(np.flatnonzero(asked & ~hits).tolist())


def test_rows_that_cannot_find_anything_have_no_scores():
    found = retrieval_metrics(at(0, 90), np.array([0, 1]))
    assert found["queries"] == 0
    assert found["recall_at_1"] is found["recall_at_1_interval"] is found["map"] is None


def test_a_mistake_is_told_by_its_neighbour():
    outputs, targets = at(0, 2, 90), ["cat", "dog", "cat"]
    truth = ANIMALS.truth(targets)
    assert ANIMALS.worst(outputs, truth).tolist() == [0, 2]
    assert ANIMALS.mistake(0, outputs, targets) == ("near dog (cosine 0.999)", None)


def test_exports_are_compared_by_angle_whatever_8_bits_did_to_the_length():
    expected = at(0, 30)
    assert ANIMALS.differences(expected, 1.1 * expected).max() < 1e-6
    turned = ANIMALS.differences(expected, at(1, 30))
    np.testing.assert_allclose(turned[:, 0], [2 * np.sin(np.deg2rad(0.5)), 0], atol=1e-6)


def test_one_query_more_is_never_a_breach():
    model = {"recall_at_1": 1.0, "queries": 10, "n": 60}
    artifact = {"recall_at_1": 0.9, "queries": 10, "n": 60}
    assert ANIMALS.drop(model, artifact) == pytest.approx(ANIMALS.grace(60))


def test_it_is_restored():
    values = json.loads(json.dumps(ANIMALS.to_json()))
    assert EmbeddingTarget.from_json(values) == ANIMALS
    with pytest.raises(ValueError, match="width is 0"):
        EmbeddingTarget.from_json({**values, "width": 0})


# The loss


def supcon(rows, classes, temperature=0.1):
    """Khosla et al. 2020, equation 2, as it is written; the mean over anchors with positives."""
    z = unit_rows(rows).astype(np.float64)
    losses = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        positives = [p for p in others if classes[p] == classes[i]]
        if positives:
            total = sum(np.exp(z[i] @ z[a] / temperature) for a in others)
            terms = [np.log(np.exp(z[i] @ z[p] / temperature) / total) for p in positives]
            losses.append(-np.mean(terms))
    return np.mean(losses)


def test_the_loss_is_that_of_the_paper_for_numbers_and_for_one_hot_rows():
    from tltool.tasks.classes import ClassTarget

    rows, classes = RNG.normal(size=(9, 5)).astype("float32"), np.array([0, 1, 0, 2, 1, 1, 3, 2, 0])
    expected = supcon(rows, classes)
    assert float(ANIMALS.loss()(ANIMALS.encode(classes), rows)) == pytest.approx(expected, rel=1e-5)
    one_hot = ClassTarget(tuple("abcd"))
    found = one_hot.contrastive_loss()(one_hot.encode(classes), rows)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_two_of_a_class_costs_nothing():
    assert float(ANIMALS.loss()(ANIMALS.encode(np.arange(3)), np.eye(3, dtype="float32"))) == 0


def test_the_metric_while_training_is_recall_within_the_batch():
    (metric,) = ANIMALS.training_metrics()
    metric.update_state(ANIMALS.encode(np.array([0, 0, 1, 1, 2])), at(0, 1, 50, 3, 90))
    assert metric.name == "recall_at_1"
    assert float(metric.result()) == pytest.approx(2 / 4)
