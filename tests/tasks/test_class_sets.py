from __future__ import annotations

import json
import math

import numpy as np
import pytest
import tensorflow as tf

from tltool.support.errors import DataError, EvaluationError
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.label_cells import found_separator
from tltool.tasks.losses.in_numpy import Sigmoid, mean_loss, sigmoid
from tltool.tasks.metrics.class_sets import FEW_POSITIVES
from tltool.tasks.target import LabelColumns
from tltool.tasks.values import HALF, BadValueError

SEA = ClassSetTarget(("fog", "sea", "sky"), (0.5, 0.25, 0.75), (0.1, 0.5, 0.8))


def read_all(cells, **columns):
    """Targets of cells, as all rows of a table are read."""
    read = ClassSetTarget.reader(LabelColumns(**columns), cells)
    return [read(cell) for cell in cells]


def random_sets(rows, labels, seed, share=0.3):
    """Encoded sets, float32 (rows, labels)."""
    return (np.random.default_rng(seed).uniform(size=(rows, labels)) < share).astype("float32")


# ---- reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "separator"),
    [
        (["sea|sky", "sky", ""], "|"),
        (["sea; sky", "fog"], ";"),
        (["sea, sky", "fog"], ","),
        (["sea", "sky"], None),
        # What stands within labels makes more of them than what stands between them.
        (["big, blue|deep, cold", "deep, cold", "big, blue|warm"], "|"),
        (["a;b|c", "c|a;b", "a;b"], "|"),
        (["a|b;c", "c;a|b", "a|b"], ";"),
        ([b"sea|sky", b"\xff"], "|"),
        (['["sea|sky", "a"]', "fog"], None),
        ([["sea|sky"], 3, None, float("nan")], None),
    ],
)
def test_the_separator_is_found(cells, separator):
    assert found_separator(cells) == separator


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("sky|sea", ("sea", "sky")),
        (" sky | sea |", ("sea", "sky")),
        ("sea|sea", ("sea",)),
        ("", ()),
        ("  ", ()),
        ("|", ()),
        (None, ()),
        (float("nan"), ()),
        (b"sky|sea", ("sea", "sky")),
        (3.0, ("3",)),
        (True, ("true",)),
        ('["sky", "sea"]', ("sea", "sky")),
        (b'["sky"]', ("sky",)),
        ('["a|b", 10, 2]', ("2", "10", "a|b")),
        ("[]", ()),
        (["c10", "c9"], ("c9", "c10")),
        (("sky",), ("sky",)),
        ({"sky", "sea"}, ("sea", "sky")),
        ([], ()),
        (np.array(["sky", "sea"]), ("sea", "sky")),
        (np.array([b"sky", b"sea"], object), ("sea", "sky")),
    ],
)
def test_a_cell_holds_any_number_of_labels(cell, labels):
    assert ClassSetTarget.reader(LabelColumns(separator="|"), [cell])(cell) == labels


def test_labels_of_a_column_are_read_alike():
    assert read_all(["sky; sea", "", "fog"]) == [("sea", "sky"), (), ("fog",)]
    assert read_all(["sky, sea", "fog"], separator="; ") == [("sky, sea",), ("fog",)]
    assert read_all(["sky - sea", "fog"], separator=" - ") == [("sea", "sky"), ("fog",)]
    assert read_all(["big sky", "fog"]) == [("big sky",), ("fog",)]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("[sea, sky]", "are no JSON list"),
        ('["sea", null]', "the label is missing"),
        ('["sea", " "]', "the label is empty"),
        ([["sea"], "sky"], "the label is not a single value but a list"),
        ({"sea": 1}, "is not a single value but a dict"),
        (b"\xff\xfe", "is not UTF-8"),
    ],
)
def test_a_cell_that_holds_no_labels_is_refused(cell, message):
    with pytest.raises(BadValueError, match=message):
        ClassSetTarget.reader(LabelColumns(), [cell])(cell)


def test_columns_of_0_and_1():
    read = ClassSetTarget.reader(LabelColumns(("fog", "sea", "c10", "c9"), several=True), [])
    assert read(("0", "1", "0", "0")) == ("sea",)
    assert read((1, 0, 1.0, True)) == ("c9", "c10", "fog")
    assert read(("yes", "False", " TRUE ", "no")) == ("c10", "fog")
    assert read((0, 0, 0, 0)) == ()
    assert read(np.array([0, 0, 0, 1])) == ("c9",)
    for cell, message in (
        (("0", "2", "0", "0"), "the column 'sea' holds '2', not 0 or 1"),
        (("0", "0", "0", ""), "the column 'c9' holds '', not 0 or 1"),
        (("0", 0.5, "0", "0"), "the column 'sea' holds '0.5'"),
        ((0, 0, None, 0), "the column 'c10' is missing"),
        ((0, 0, float("nan"), 0), "the column 'c10' is missing"),
        ((0, 1), "there are 2 values for 4 labels"),
        ("sea", "not a row of 0 and 1 but 'sea'"),
    ):
        with pytest.raises(BadValueError, match=message):
            read(cell)


def test_one_column_of_0_and_1():
    read = ClassSetTarget.reader(LabelColumns(("sea",), several=True), [])
    assert [read((value,)) for value in ("1", 0)] == [("sea",), ()]


@pytest.mark.parametrize("dtype", ["int64", "float32", "bool", "uint8"])
def test_rows_of_a_multi_hot_array(dtype):
    rows = list(np.array([[1, 0, 1], [0, 0, 0]]).astype(dtype))
    assert read_all(rows) == [("0", "2"), ()]
    assert read_all(rows, names=("a", "b", "c"), several=True) == [("a", "c"), ()]
    with pytest.raises(BadValueError, match="the column '1' holds '3'"):
        read_all(list(np.array([[1, 3]])))


# ---- fitting ---------------------------------------------------------------------------------


def test_labels_and_their_frequencies_come_from_the_rows():
    target = ClassSetTarget.fit([("c9", "c10"), ("c10",), (), ("c2",)])
    assert target.labels == ("c2", "c9", "c10")
    assert target.frequencies == (0.25, 0.25, 0.5)
    assert target.thresholds == (HALF,) * 3
    assert target.num_outputs == 3


def test_labels_in_no_row_or_in_all_are_named_all_at_once():
    with pytest.raises(DataError, match="No training example has a label"):
        ClassSetTarget.fit([(), ()])
    with pytest.raises(DataError, match="has 2 labels: 'b', 'd'") as caught:
        ClassSetTarget.fit([("a", "c"), ("a",)], ("a", "b", "c", "d"))
    assert "data.label_columns" in caught.value.hint
    with pytest.raises(DataError, match="has 2 labels: 'a', 'b'"):
        ClassSetTarget.fit([(), ()], ("a", "b"))
    with pytest.raises(DataError, match=r"All 2 training examples have 2 labels: 'a', 'b'; there"):
        ClassSetTarget.fit([("a", "b"), ("a", "b", "c")])
    # A name of one column is not one of the labels in it.
    assert ClassSetTarget.fit([("a",), ()], ("tags",)).labels == ("a",)


def test_rows_that_all_have_one_label_are_noticed():
    (remark,) = ClassSetTarget.remarks_on([("a",), ("b",)], "image-multi-label")
    assert "task=image-classification" in remark
    assert ClassSetTarget.remarks_on([("a",), ()], "image-multi-label") == []
    assert ClassSetTarget.remarks_on([("a", "b"), ("b",)], "image-multi-label") == []


# ---- encoding --------------------------------------------------------------------------------


def test_sets_become_rows_of_0_and_1():
    truth = SEA.truth([("sky", "fog"), ()])
    assert truth.dtype == bool
    encoded = SEA.encode(truth)
    assert encoded.dtype == np.float32
    assert encoded.tolist() == [[1, 0, 1], [0, 0, 0]]
    assert SEA.truth([]).shape == (0, 3)
    with pytest.raises(DataError, match=r"t\.csv:4: the label 'see' is unknown") as caught:
        SEA.truth([("sky",), ("sky", "see")], ["t.csv:3", "t.csv:4"])
    assert caught.value.hint == "did you mean `sea`?"
    with pytest.raises(DataError, match="item 1: there is no label"):
        SEA.truth([(), None])


def test_smoothing_draws_towards_one_half():
    encoded = np.array([[1, 0]], np.float32)
    assert SEA.smoothed(encoded, 0.0) is encoded
    smoothed = SEA.smoothed(encoded, 0.2)
    assert smoothed.dtype == np.float32
    np.testing.assert_allclose(smoothed, [[0.9, 0.1]], rtol=1e-6)


def test_balanced_weights_give_both_sides_of_a_label_the_same_sum():
    target = ClassSetTarget(("a", "b"))
    targets = [("a",)] * 6 + [("a", "b")] * 2 + [()] * 12
    weights, truth = target.weights(targets, "balanced"), target.truth(targets)
    assert weights.dtype == np.float32
    with_label, without = (weights * truth).sum(axis=0), (weights * ~truth).sum(axis=0)
    np.testing.assert_allclose(with_label, [10, 10], rtol=1e-6)
    np.testing.assert_allclose(without, [10, 10], rtol=1e-6)
    np.testing.assert_allclose(weights[0], [20 / (2 * 8), 20 / (2 * 18)], rtol=1e-6)


def test_a_weight_by_name_is_that_of_rows_that_have_the_label():
    targets = [("fog", "sea"), ("sea",), ()]
    assert SEA.weights(targets, {"sea": 3}).tolist() == [[1, 3, 1], [1, 3, 1], [1, 1, 1]]
    for setting in ("auto", None, {}):
        assert SEA.weights(targets, setting).tolist() == [1.0] * 3
    with pytest.raises(
        DataError, match=r"training\.class_weights\.see: there is no label 'see'; the labels are"
    ):
        SEA.weights(targets, {"see": 2.0})


def test_balanced_weights_of_a_label_without_rows_are_finite():
    weights = SEA.weights([("sea",), ("sea",)], "balanced")
    assert np.isfinite(weights).all()


def test_the_first_bias_is_the_log_odds():
    np.testing.assert_allclose(
        SEA.initial_bias(), [math.log(0.1 / 0.9), 0.0, math.log(4)], rtol=1e-6, atol=1e-7
    )
    np.testing.assert_allclose(sigmoid(np.array(SEA.initial_bias())), SEA.frequencies, rtol=1e-6)
    assert ClassSetTarget(("a", "b")).initial_bias() is None


# ---- thresholds ------------------------------------------------------------------------------


def test_thresholds_as_the_recipe_says():
    def unused():
        raise AssertionError("held-out rows are not needed")

    assert SEA.settled(0.3, unused).thresholds == (0.3,) * 3
    assert SEA.settled({"sea": 0.9}, unused).thresholds == (HALF, 0.9, HALF)
    assert SEA.settled("auto", None) is SEA
    with pytest.raises(
        DataError, match=r"evaluation\.thresholds\.see: there is no label 'see'; the labels are"
    ):
        SEA.settled({"see": 0.5}, unused)
    settled = SEA.settled(0.3, None)
    assert (settled.labels, settled.frequencies) == (SEA.labels, SEA.frequencies)


def test_found_thresholds_have_the_highest_f1():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    truth = rng.uniform(size=(400, 3)) < (0.2, 0.5, 0.8)
    noisy = 0.3 * truth + 0.7 * rng.beta(2, 2, size=truth.shape)
    outputs = (noisy**2).round(2).astype("float32")  # with ties
    settled = ClassSetTarget(("a", "b", "c")).settled("auto", lambda: (outputs, truth))
    assert len(set(settled.thresholds)) == 3
    for i, threshold in enumerate(settled.thresholds):
        reached = f1_score(truth[:, i], outputs[:, i] >= threshold)
        tried = [f1_score(truth[:, i], outputs[:, i] >= cut) for cut in np.unique(outputs[:, i])]
        assert reached == pytest.approx(max(tried))


def test_labels_with_few_rows_share_a_threshold():
    rng = np.random.default_rng(1)
    truth = np.zeros((200, 4), bool)
    for i, count in enumerate((FEW_POSITIVES, FEW_POSITIVES - 1, 3, 0)):
        truth[rng.choice(200, count, replace=False), i] = True
    outputs = (0.2 * truth + 0.8 * rng.uniform(size=truth.shape)).astype("float32")
    target = ClassSetTarget(tuple("abcd"))
    own, *shared = target.settled("auto", lambda: (outputs, truth)).thresholds
    assert len(set(shared)) == 1
    assert own != shared[0]
    nothing = target.settled("auto", lambda: (outputs, np.zeros_like(truth)))
    assert nothing.thresholds == (HALF,) * 4


def test_a_found_threshold_lies_between_two_outputs():
    outputs = np.array([[0.9], [0.7], [0.7], [0.2]] * 5, np.float32)
    truth = outputs > 0.6
    settled = ClassSetTarget(("a",)).settled("auto", lambda: (outputs, truth))
    assert settled.thresholds[0] == pytest.approx(0.45)
    neighbours = np.array([0.3, np.nextafter(np.float32(0.3), np.float32(1))], np.float32)
    outputs = np.repeat(neighbours, 20)[:, None]
    truth = outputs > neighbours[0]
    settled = ClassSetTarget(("a",)).settled("auto", lambda: (outputs, truth))
    assert [settled.given(row) for row in neighbours[:, None]] == [(), ("a",)]


# ---- what a user reads -----------------------------------------------------------------------


def test_a_label_is_given_from_its_threshold_on():
    assert SEA.given(np.array([0.5, 0.2, 0.8], np.float32)) == ("fog", "sky")
    assert SEA.given(np.array([0.4999, 0.25, 0.74], np.float32)) == ("sea",)
    assert SEA.given(np.zeros(3, np.float32)) == ()
    # As in exported models: compared in float32, where 0.1 is more than in float64.
    assert ClassSetTarget(("a",), (0.1,)).given(np.array([0.1], np.float32)) == ("a",)


def test_a_prediction_and_a_row_of_a_table():
    output = np.array([0.9, 0.3, 0.1], np.float32)
    found = SEA.prediction(output)
    assert (found.value, found.confidence) == (("fog", "sea"), None)
    assert found.probabilities == dict(zip(SEA.labels, output.tolist(), strict=True))
    assert SEA.row(output) == {
        "prediction": ["fog", "sea"],
        "probabilities": {"fog": 0.9, "sea": 0.3, "sky": 0.1},
    }
    assert SEA.shown(("fog", "sea")) == ["fog", "sea"]
    assert SEA.words(("fog", "sea")) == "fog, sea"
    assert SEA.words(()) == "no label"
    assert SEA.brief(output) == "fog, sea 0.9000 0.3000"
    assert SEA.brief(np.zeros(3)) == "no label"
    assert SEA.brief(output, ("sky", "unheard of")) == "sky, unheard of 0.1000"


def test_answers_by_labels_in_another_order_than_its_own():
    outputs = np.array([[0.9, 0.3, 0.1], [0, 0, 0.75]], np.float32)
    assert SEA.answers(outputs, SEA.labels) == [("fog", "sea"), ("sky",)]
    # The file beside the model says what each output is, whatever the model calls them.
    assert SEA.answers(outputs, ("x", "y", "z")) == [("x", "y"), ("z",)]
    served = SEA.from_served(
        {"probabilities": outputs, "labels": [[b"sea", b"fog", b""], ["sky", "", ""]]}
    )
    assert served[0].dtype == np.float32
    assert served[1] == [("fog", "sea"), ("sky",)]


def test_answers_at_a_threshold_agree_either_way():
    expected = np.array([[0.9, 0.2501, 0.1], [0.9, 0.26, 0.1]], np.float32)
    with_sea, without = ("fog", "sea"), ("fog",)
    two_thirds = pytest.approx(2 / 3)
    assert SEA.agrees(expected, [with_sea, with_sea]).tolist() == [1, 1]
    assert SEA.agrees(expected, [without, without]).tolist() == [1, two_thirds]
    assert SEA.agrees(expected, [(), ("fog", "sea", "sky")]).tolist() == [two_thirds, two_thirds]
    assert SEA.agrees(expected, [(*with_sea, "unknown")] * 2).tolist() == [0, 0]
    assert SEA.agrees(np.array([[0.0, 0.0, 0.0]], np.float32), [()]).tolist() == [1]


def test_the_worst_rows_have_the_most_wrong_labels_and_were_surest():
    truth = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]], bool)
    outputs = np.array(
        [[0.9, 0.1, 0.1], [0.4, 0.1, 0.1], [0.9, 0.3, 0.1], [0.99, 0.1, 0.8]], np.float32
    )
    # Row 0 is right; row 2 has two wrong labels; rows 1 and 3 one, of which 3 was surer.
    assert SEA.worst(outputs, truth).tolist() == [2, 3, 1]


def test_round_trip():
    values = json.loads(json.dumps(SEA.to_json()))
    assert ClassSetTarget.from_json(values) == SEA
    plain = ClassSetTarget(("a",))
    assert ClassSetTarget.from_json(plain.to_json()) == plain
    for change in ({"labels": ["a", "a", "b"]}, {"labels": []}, {"thresholds": [0.5]}):
        with pytest.raises(ValueError, match="labels"):
            ClassSetTarget.from_json({**values, **change})


# ---- folds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_folds_cover_all_rows_once_and_spread_each_label(count):
    encoded = random_sets(120, 6, count) * (np.arange(6) < 5)  # nobody has the last label
    target = ClassSetTarget(tuple("abcdef"))
    folds = target.folds(encoded, count, seed=0)
    held_out = np.concatenate([rows for _, rows in folds])
    assert sorted(held_out.tolist()) == list(range(120))
    wanted = encoded.sum(axis=0) / count
    for rows, others in folds:
        assert sorted([*rows, *others]) == list(range(120))
        assert np.abs(encoded[others].sum(axis=0) - wanted).max() <= 3
        assert abs(len(others) - 120 / count) <= 6
    again = target.folds(encoded, count, seed=0)
    assert all((a[1] == b[1]).all() for a, b in zip(folds, again, strict=True))
    other = target.folds(encoded, count, seed=1)
    assert any(len(a[1]) != len(b[1]) or (a[1] != b[1]).any()
               for a, b in zip(folds, other, strict=True))  # fmt: skip


def test_folds_of_too_few_rows():
    target, encoded = ClassSetTarget(("a", "b")), random_sets(4, 2, 0)
    assert len(target.folds(encoded, 4, seed=0)) == 4
    assert target.most_folds(encoded) == 4
    for count in (1, 5):
        with pytest.raises(DataError, match=f"{count} folds need {count} rows"):
            target.folds(encoded, count, seed=0)


# ---- losses ----------------------------------------------------------------------------------


def by_hand(logits, truth, smoothing=0.0, gamma=0.0):
    """The loss of each output, of Lin et al. 2017, equation 4, in plain words."""
    p = 1 / (1 + np.exp(-logits.astype("float64")))
    soft = truth * (1 - smoothing) + smoothing / 2
    cross_entropy = -(soft * np.log(p) + (1 - soft) * np.log(1 - p))
    return (1 - np.where(truth == 1, p, 1 - p)) ** gamma * cross_entropy


@pytest.mark.parametrize(("smoothing", "gamma"), [(0, 0), (0.2, 0), (0, 2), (0, 0.5), (0.1, 1.5)])
def test_the_loss_is_the_formula_and_what_keras_gives(smoothing, gamma):
    import keras

    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(7, 4)).astype("float32")
    truth = random_sets(7, 4, 1, 0.5)
    loss = SEA.loss(label_smoothing=smoothing, focal_gamma=gamma)
    np.testing.assert_allclose(
        np.asarray(loss.call(truth, logits)), by_hand(logits, truth, smoothing, gamma), rtol=2e-5
    )
    mean = float(loss(truth, logits))
    assert mean == pytest.approx(by_hand(logits, truth, smoothing, gamma).mean(), rel=1e-5)
    if gamma and smoothing:
        return  # Keras takes the smoothed target for what is true, where we take the target
    own = {"from_logits": True, "label_smoothing": smoothing}
    keras_loss = (
        keras.losses.BinaryFocalCrossentropy(apply_class_balancing=False, gamma=gamma, **own)
        if gamma
        else keras.losses.BinaryCrossentropy(**own)
    )
    assert mean == pytest.approx(float(keras_loss(truth, logits)), rel=1e-4)


def test_large_logits_lose_no_digits():
    loss = SEA.loss(focal_gamma=2.0)
    logits = np.array([[1e4, -1e4, 90.0]], np.float32)
    assert np.asarray(loss.call(np.array([[0, 1, 1]], np.float32), logits)).tolist() == [
        [1e4, 1e4, 0.0]
    ]


def test_weights_of_rows_and_of_their_outputs():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 3)).astype("float32")
    truth, loss = random_sets(5, 3, 1, 0.5), SEA.loss()
    weights = rng.uniform(1, 2, (5, 3))
    expected = (by_hand(logits, truth) * weights).mean()
    assert float(loss(truth, logits, weights)) == pytest.approx(expected, rel=1e-5)
    assert mean_loss(Sigmoid(), logits, truth, weights) == pytest.approx(expected, rel=1e-6)
    rows = weights[:, 0]
    expected = (by_hand(logits, truth) * rows[:, None]).mean()
    assert float(loss(truth, logits, rows)) == pytest.approx(expected, rel=1e-5)
    assert mean_loss(Sigmoid(), logits, truth, rows) == pytest.approx(expected, rel=1e-6)


def test_a_saved_loss_comes_back():
    import keras

    loss = SEA.loss(label_smoothing=0.1, focal_gamma=2.0)
    back = keras.losses.deserialize(keras.losses.serialize(loss))
    assert back.get_config() == loss.get_config()
    logits, truth = np.ones((2, 3), np.float32), np.eye(3, dtype=np.float32)[:2]
    assert float(back(truth, logits)) == float(loss(truth, logits))


@pytest.mark.parametrize("outputs", [1, 4])
def test_the_row_losses_gradient_is_that_of_its_values(outputs):
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(scale=2, size=(6, outputs)), rng.uniform(size=(6, outputs))
    gradient = Sigmoid().gradient(logits, truth)
    step = 1e-6
    for i in range(outputs):
        moved = np.zeros(outputs)
        moved[i] = step
        up, down = (Sigmoid().values(logits + sign * moved, truth) for sign in (1, -1))
        slope = (up - down).mean(axis=1) / (2 * step)
        np.testing.assert_allclose(gradient[:, i], slope, rtol=1e-5, atol=1e-8)


def test_smoothed_targets_have_in_the_row_loss_what_keras_gives():
    rng = np.random.default_rng(0)
    logits, encoded = rng.normal(size=(6, 3)).astype("float32"), random_sets(6, 3, 1)
    ours = Sigmoid().values(logits, SEA.smoothed(encoded, 0.2))
    keras_loss = SEA.loss(label_smoothing=0.2).call(encoded, logits)
    np.testing.assert_allclose(ours, np.asarray(keras_loss), rtol=1e-5)


def test_search_values_are_the_scores_themselves():
    from sklearn.metrics import average_precision_score, log_loss

    rng = np.random.default_rng(0)
    raw, encoded = rng.normal(size=(50, 3)).astype("float32"), random_sets(50, 3, 1)
    found = SEA.search_values(raw, encoded)
    chances = 1 / (1 + np.exp(-raw.astype("float64")))
    expected = np.mean([log_loss(encoded[:, i], chances[:, i]) for i in range(3)])
    assert found["log_loss"] == pytest.approx(expected)
    assert found["mean_average_precision"] == pytest.approx(
        average_precision_score(encoded, raw, average="macro")
    )
    assert list(found) == [score.key for score in SEA.search_scores]


def test_the_exact_head_is_scikit_learns_for_each_label():
    from sklearn.linear_model import LogisticRegression

    from tltool.training.linear_solver import LinearRows, solve_linear

    rng = np.random.default_rng(0)
    features = (3 + 0.5 * rng.normal(size=(300, 6))).astype("float32")
    chances = sigmoid((features - 3) @ rng.normal(scale=4, size=(6, 4)) - 0.5)
    truth = rng.uniform(size=chances.shape) < chances
    target = ClassSetTarget(tuple("abcd"))
    sets = [tuple(np.array(list("abcd"))[row]) for row in truth]
    for weights in (np.ones(300, "float32"), target.weights(sets, "balanced")):
        rows = LinearRows(features, target.encode(truth), weights)
        l2 = 0.01
        solved = solve_linear(rows, None, target.row_loss, l2=l2)
        centred = features.astype("float64") - features.mean(axis=0)
        scale = np.sqrt(np.mean(centred**2))
        for i in range(4):
            # scikit-learn adds up rows' losses; ours is the mean over rows and labels.
            model = LogisticRegression(C=1 / (300 * 4 * l2), tol=1e-10, max_iter=10_000)
            column = weights if weights.ndim == 1 else weights[:, i]
            model.fit(centred / scale, truth[:, i], sample_weight=column)
            np.testing.assert_allclose(
                solved.kernel[:, i], model.coef_[0] / scale, rtol=2e-3, atol=2e-3
            )
            np.testing.assert_allclose(
                sigmoid(solved.outputs(features)[:, i]),
                model.predict_proba(centred / scale)[:, 1],
                atol=1e-3,
            )


def test_a_linear_model_keeps_the_share_of_a_label_that_all_or_none_have():
    truth = np.array([[0, 1, 1], [1, 1, 0], [0, 1, 0], [1, 1, 0]], bool)
    features = np.array([[0.0], [1.0], [0.0], [1.0]])
    predict = SEA.fit_linear(features, truth, 100.0)
    found = predict(np.array([[0.0], [1.0]]))
    assert found[0, 0] < 0.5 < found[1, 0]
    assert found[:, 1].tolist() == [1.0, 1.0]
    with pytest.raises(EvaluationError, match="needs a label that some training rows have"):
        SEA.fit_linear(features, np.zeros((4, 3), bool), 1.0)


def test_training_shows_the_mean_average_precision():
    from sklearn.metrics import average_precision_score

    rng = np.random.default_rng(0)
    truth = random_sets(400, 3, 1)
    logits = (rng.normal(size=truth.shape) + 2 * truth - 1).astype("float32")
    (metric,) = SEA.training_metrics()
    assert metric.name == SEA.headline().key
    for start in range(0, 400, 100):
        metric.update_state(truth[start : start + 100], logits[start : start + 100])
    expected = average_precision_score(truth, logits, average="macro")
    assert float(metric.result()) == pytest.approx(expected, abs=0.01)


def test_outputs_are_sigmoids():
    raw = np.array([[0.0, 2.0, -1e4]], np.float32)
    np.testing.assert_allclose(
        np.asarray(SEA.outputs(raw)), [[0.5, 1 / (1 + math.exp(-2)), 0]], rtol=1e-6
    )


def test_the_change_of_answers_is_the_same_from_raw_outputs_and_results():
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=(2, 9, 3))
    expected = np.abs(sigmoid(after) - sigmoid(before)).sum(axis=1).mean()
    assert SEA.change(before, after, raw=True) == pytest.approx(expected)
    assert SEA.change(sigmoid(before), sigmoid(after), raw=False) == pytest.approx(expected)


@pytest.mark.parametrize("labels", [1, 8, 11])
def test_sets_are_kept_as_bits_and_encoded_a_batch_at_a_time(labels):
    target = ClassSetTarget(tuple(map(str, range(labels))))
    truth = random_sets(20, labels, 0) > 0
    kept, encode = target.packed(truth)
    assert kept.nbytes == 20 * -(-labels // 8)
    found = encode(tf.constant(kept)).numpy()
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, target.encode(truth))


def test_outputs_of_several_models_are_judged_by_the_mean_of_their_thresholds():
    first, second = (ClassSetTarget(("a", "b"), pair) for pair in [(0.2, 0.5), (0.4, 0.9)])
    pooled = first.pooled([first, second])
    assert pooled.thresholds == pytest.approx((0.3, 0.7))
    assert pooled.labels == ("a", "b")
