"""Vectors learnt from rows of texts that are alike: losses, scores, rows that stay whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tltool.data.batches.ordering import make_ordering
from tltool.data.examples import Examples
from tltool.data.splits import limit_examples, split_examples
from tltool.support.errors import DataError
from tltool.tasks.embeddings.pairs import Member, PairTarget, ScoredPairTarget
from tltool.tasks.metrics import retrieval
from tltool.tasks.metrics.common import rank_correlation_interval
from tltool.tasks.table import TASKS, Task

RNG = np.random.default_rng(0)
ROWS = [
    ("how late", "when", "how far"),
    ("who", "which person", "what"),
    ("how late", "at what time", "who"),  # the first anchor again; its negative is an anchor
    ("whom", "which person", "when"),  # the second positive again; its negative is a positive
    ("why", "what for", "which person"),
]


def examples(rows, kind=PairTarget, targets=None):
    modality = "text_triplet" if len(rows[0]) == 3 else "text_pair"
    found = targets or [True] * len(rows)
    origins = [f"a.csv:{row}" for row in range(len(rows))]
    return Examples(modality, rows, found, [None] * len(rows), origins, kind=kind)


def texts_of(rows, **more):
    return examples(rows, **more).as_inputs()


def unit(values):
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def likely(rows, vectors):
    """The loss as it is written in words, text by text."""
    at = {}
    for place, member in enumerate(texts_of(rows).targets):
        at[member.row, member.role] = place
    losses = []
    for row, (anchor, positive, *_) in enumerate(rows):
        asked = vectors[at[row, 0]]
        fine = {anchor, positive}
        known = fine | {other[1] for other in rows if other[0] == anchor}
        rivals = [vectors[at[n, 1]] for n, other in enumerate(rows) if other[1] not in known]
        rivals += [vectors[at[n, 2]] for n, other in enumerate(rows)
                   if len(other) > 2 and other[2] not in fine]  # fmt: skip
        own = 20 * asked @ vectors[at[row, 1]]
        losses.append(np.log(np.exp([own, *(20 * asked @ one for one in rivals)]).sum()) - own)
    return np.mean(losses)


@pytest.mark.parametrize("rows", [ROWS, [row[:2] for row in ROWS]], ids=["triplets", "pairs"])
def test_the_loss_knows_each_texts_own_and_leaves_equal_ones_out(rows):
    target = PairTarget.fit(texts_of(rows).targets).with_width(6)
    order = RNG.permutation(len(rows) * len(rows[0]))
    truth = target.encode(target.truth(texts_of(rows).targets))
    raw = RNG.normal(size=(len(order), 6)).astype("float32")
    found = float(target.loss()(truth[order], raw[order]))
    assert found == pytest.approx(likely(rows, unit(raw)), rel=1e-4)


def test_a_row_alone_costs_nothing_and_has_a_gradient():
    import tensorflow as tf

    for kind in (PairTarget, ScoredPairTarget):
        truth = kind().encode(kind().truth(texts_of([("a", "b")], kind=kind).targets))
        raw = tf.Variable(tf.ones((2, 3)))
        with tf.GradientTape() as tape:
            loss = kind().loss()(truth, raw)
        assert float(loss) == pytest.approx(0, abs=1e-5)
        assert np.isfinite(tape.gradient(loss, raw)).all()


def test_numbers_are_learnt_by_their_order():
    numbers = [0.0, 5.0, 2.5, 2.5, 1.0]
    rows = [(f"one {n}", f"other {n}") for n in range(5)]
    target = ScoredPairTarget(width=4)
    truth = target.truth(texts_of(rows, kind=ScoredPairTarget, targets=numbers).targets)
    raw = RNG.normal(size=(10, 4)).astype("float32")
    vectors = unit(raw)
    cosines = np.sum(vectors[::2] * vectors[1::2], axis=1)
    terms = [np.exp(20 * (cosines[j] - cosines[i])) for i in range(5) for j in range(5)
             if numbers[i] > numbers[j]]  # fmt: skip
    loss = float(target.loss()(target.encode(truth), raw))
    assert loss == pytest.approx(np.log(1 + sum(terms)), rel=1e-4)
    (metric,) = target.training_metrics()
    metric.update_state(target.encode(truth), raw)
    found = target.metrics(target.outputs(raw), truth)
    assert float(metric.result()) == pytest.approx(found["spearman"], abs=1e-4)
    pearson = np.corrcoef(cosines, numbers)[0, 1]
    assert (found["n"], found["pairs"]) == (10, 5)
    assert found["pearson"] == pytest.approx(pearson, abs=1e-5)
    low, high = found["spearman_interval"]
    assert low < found["spearman"] < high
    # Largest distance between the ranks of cosine and number first.
    ranks = np.argsort(np.argsort(cosines)), np.array([0, 4, 2.5, 2.5, 1])
    worst = target.worst(raw, truth)
    assert abs(np.subtract(*ranks))[worst[0] // 2] == abs(np.subtract(*ranks)).max()
    said, sure = target.mistake(0, raw, texts_of(rows).targets)
    assert (said, sure) == (f"cosine {cosines[0]:.3f} with “other 0”", None)


def test_few_pairs_have_no_interval():
    assert rank_correlation_interval(0.5, 3) is rank_correlation_interval(None, 9) is None


def test_each_anchor_searches_all_positives_for_its_own(monkeypatch):
    target, found = PairTarget(width=2), texts_of(ROWS)
    truth = target.truth(found.targets)
    degrees = {"how late": 0, "when": 20, "at what time": 5, "who": 90, "which person": 60,
               "whom": 58, "why": 30, "what for": 180}  # fmt: skip
    angles = np.deg2rad([degrees.get(text, 270) for text in found.inputs])
    outputs = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")
    # 4 different anchors; of "when", "at what time", "which person", "what for":
    # "how late" has its own at 1 and 2, "who" and "whom" at 1, "why" at 4.
    wanted = {"n": 15, "queries": 4, "candidates": 4, "recall_at_1": 0.75, "recall_at_5": 1.0}
    scores = target.metrics(outputs, truth)
    assert {key: scores[key] for key in wanted} == wanted
    assert scores["mrr"] == scores["map"] == pytest.approx((3 + 1 / 4) / 4)
    (worst,) = target.worst(outputs, truth)
    assert found.inputs[worst] == "why"
    assert target.mistake(worst, outputs, found.targets)[0] == "nearer to “when” (cosine 0.985)"
    assert target.words(found.targets[worst]) == "like “what for”"
    monkeypatch.setattr(retrieval, "_BLOCK", 4)
    assert target.metrics(outputs, truth) == scores


def test_recall_while_training_is_that_of_the_batch():
    target, rows = PairTarget(), [(f"one {n}", f"other {n}") for n in range(12)]
    truth = target.truth(texts_of(rows).targets)
    raw = RNG.normal(size=(24, 3)).astype("float32")
    (metric,) = target.training_metrics()
    metric.update_state(target.encode(truth), raw)
    assert float(metric.result()) == pytest.approx(target.score(target.outputs(raw), truth))


def test_the_texts_of_a_row_stay_together():
    rows = [(f"one {n // 2}", f"other {n}", f"third {n}") for n in range(60)]
    divided = split_examples(examples(rows), validation_fraction=0.1, test_fraction=0.2, seed=0)
    parts = {row[0]: set() for row in rows}
    for row, split in zip(divided.inputs, divided.splits, strict=True):
        parts[row[0]].add(split)
    assert all(len(splits) == 1 for splits in parts.values())
    assert [divided.splits.count(name) for name in ("train", "validation", "test")] == [42, 6, 12]
    assert len(limit_examples(examples(rows), 20, 0)) == 20
    found = divided.as_inputs()
    assert (found.modality, len(found)) == ("text", 180)
    assert found.inputs[:3] == list(rows[0])
    assert found.origins[:4] == ["a.csv:0"] * 3 + ["a.csv:1"]
    assert found.as_inputs() is found
    chosen = PairTarget.some(found.targets, 50)
    assert len(chosen) == 48
    for at in range(0, 48, 3):
        assert len({found.targets[row].row for row in chosen[at : at + 3]}) == 1
    truth = PairTarget().truth(found.targets)
    classes, number = PairTarget().together(truth)
    ordering = make_ordering(180, batch_size=32, together=(classes, number))
    import tensorflow as tf

    order, sizes = ordering.shuffled(tf.constant([1, 2], tf.int64))
    assert sizes[0] == 30
    assert len(set(classes[order.numpy()[:30]])) == 10
    for fitted, scored in PairTarget().folds(truth, 3, 0):
        assert not set(truth[fitted, 0]) & set(truth[scored, 0])


def test_the_rows_of_an_anchor_stay_together_where_rows_have_groups_too():
    rows = [(f"one {n // 2}", f"other {n}") for n in range(60)]
    found = replace(examples(rows), groups=[f"group {(n + 1) // 2}" for n in range(20)]
                    + [f"own {n}" for n in range(20, 60)])  # fmt: skip
    divided = split_examples(found, validation_fraction=0.1, test_fraction=0.2, seed=0)
    for ties in ([row[0] for row in rows], found.groups):
        parts = {(tie, split) for tie, split in zip(ties, divided.splits, strict=True)}
        assert len(parts) == len(set(ties))
    assert {"train", "validation", "test"} == set(divided.splits)


def test_numbers_are_divided_by_their_size_and_rows_may_share_a_text():
    rows = [("one", f"other {n}") for n in range(100)]
    found = examples(rows, ScoredPairTarget, [float(n) for n in range(100)])
    divided = split_examples(found, validation_fraction=0.1, test_fraction=0.1, seed=0)
    held = [t for t, s in zip(divided.targets, divided.splits, strict=True) if s == "test"]
    assert len(held) == 10
    assert len({int(t) // 10 for t in held}) == 10


def test_what_says_nothing_is_refused():
    with pytest.raises(DataError, match="one training row only"):
        PairTarget.fit([True])
    with pytest.raises(DataError, match="the same number, 3"):
        ScoredPairTarget.fit([3.0, 3.0])
    with pytest.raises(DataError, match=r"^b.csv:2: nothing says what the text is like"):
        PairTarget().truth([Member(0, 0, ("a", "b"), 1.0), None], ["b.csv:1", "b.csv:2"])


@pytest.mark.parametrize("kind", [PairTarget, ScoredPairTarget])
def test_it_is_kept_and_the_task_is_still_of_one_text(kind):
    task = Task(replace(TASKS["text-embedding"], target=kind), kind(width=7))
    again = Task.from_json(task.to_json())
    assert again.target == task.target
    assert again.spec.modality == "text"
    assert again.spec.of_rows(("a", "b", "c")).modality == "text_triplet"
