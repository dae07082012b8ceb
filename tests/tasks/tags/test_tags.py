from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tltool.support.errors import DataError
from tltool.tasks.metrics.tags import entity_metrics, mistakes, word_metrics
from tltool.tasks.tags.cells import cell_of, tagged_of
from tltool.tasks.tags.decoding import decode, decode_in_graph, transitions
from tltool.tasks.tags.kind import TagsTarget
from tltool.tasks.tags.schemes import Entity, entities_of, found_scheme, to_iob2
from tltool.tasks.tags.tagged import Tagged, WordScores
from tltool.tasks.values import BadValueError

TYPES = ("person", "place")
LABELS = ("O", "B-person", "I-person", "B-place", "I-place")
ENTITIES = [Entity(0, 2, "person"), Entity(2, 3, "person"), Entity(4, 5, "place")]
WRITTEN = {
    "IOB2": ["B-person", "I-person", "B-person", "O", "B-place"],
    "IOB1": ["I-person", "I-person", "B-person", "O", "I-place"],
    "BILOU": ["B-person", "L-person", "U-person", "O", "U-place"],
    "BIOES": ["B-person", "E-person", "S-person", "O", "S-place"],
}


def random_rows(seed, count=40):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, count)
    true = [list(rng.choice(LABELS, size)) for size in sizes]
    # Half of the predictions are right, so that there is something to count.
    given = [[t if rng.random() < 0.7 else str(rng.choice(LABELS)) for t in row] for row in true]
    return [list(map(str, row)) for row in true], given


@pytest.mark.parametrize("scheme", WRITTEN)
def test_every_scheme_is_found_out_and_says_the_same(scheme):
    tags = WRITTEN[scheme]
    assert found_scheme([tags]) == scheme
    assert entities_of(to_iob2(tags, scheme)) == ENTITIES


def test_tags_without_prefixes_are_plain_classes():
    assert found_scheme([["DET", "NOUN", "X-ray"], ["VERB"]]) == "classes"
    assert to_iob2(["DET"], "classes") == ["DET"]


@pytest.mark.parametrize("seed", range(5))
def test_metrics_are_those_of_seqeval(seed):
    seqeval = pytest.importorskip("seqeval.metrics.v1")
    sequences = pytest.importorskip("seqeval.metrics.sequence_labeling")
    from seqeval.scheme import IOB2

    true, given = random_rows(seed)
    found = entity_metrics(true, given, TYPES)
    default = sequences.precision_recall_fscore_support(true, given, average="micro")
    assert (found["precision"], found["recall"], found["f1"]) == default[:3]
    strict = seqeval.precision_recall_fscore_support(true, given, average="micro", scheme=IOB2)
    keys = ("strict_precision", "strict_recall", "strict_f1")
    assert tuple(found[key] for key in keys) == strict[:3]
    by_type = sequences.precision_recall_fscore_support(true, given, average=None)
    for place, row in enumerate(found["per_class"]):
        measured = (row["precision"], row["recall"], row["f1"], row["support"])
        assert measured == tuple(column[place] for column in by_type)
    assert found["macro_f1"] == pytest.approx(float(np.mean(by_type[2])))
    assert found["accuracy"] == sequences.accuracy_score(true, given)


def test_nothing_found_is_0_as_in_seqeval():
    found = entity_metrics([["B-place"], ["O"]], [["O"], ["O"]], TYPES)
    assert (found["f1"], found["precision"], found["recall"]) == (0.0, 0.0, 0.0)
    assert found["errors"]["missed"] == 1


def test_mistakes_are_told_apart():
    true = {Entity(0, 2, "person"), Entity(3, 4, "place"), Entity(6, 7, "place")}
    given = {Entity(0, 2, "place"), Entity(3, 5, "place"), Entity(8, 9, "person")}
    kinds = sorted(kind for kind, _ in mistakes(true, given))
    assert kinds == ["invented", "missed", "wrong_border", "wrong_type"]
    both = mistakes({Entity(0, 2, "person")}, {Entity(1, 3, "place")})
    assert [kind for kind, _ in both] == ["wrong_type_and_border"]


def test_plain_classes_have_the_accuracy_of_words():
    found = word_metrics([["N", "V"], ["N"]], [["N", "N"], ["N"]], ("N", "V"))
    assert found["f1"] == found["accuracy"] == pytest.approx(2 / 3)
    assert found["per_class"][1]["recall"] == 0.0


def test_decoding_finds_the_most_probable_possible_sequence():
    rng = np.random.default_rng(0)
    steps, begin = transitions(LABELS)
    sizes = (4, 1, 0, 3)
    rows = [rng.dirichlet(np.ones(len(LABELS)), size).astype("float32") for size in sizes]

    def value(row, tags):
        moves = begin[tags[0]] + sum(steps[a, b] for a, b in itertools.pairwise(tags))
        return moves + sum(np.log(row[word, tag]) for word, tag in enumerate(tags))

    padded = np.zeros((len(rows), 4, len(LABELS)), "float32")
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row
    graph = decode_in_graph(padded, np.array(sizes, np.int32), steps, begin).numpy()
    for row, found in zip(rows, graph, strict=True):
        tags = decode(row, steps, begin)
        np.testing.assert_array_equal(found[: len(row)], tags)
        if len(row):
            every = itertools.product(range(len(LABELS)), repeat=len(row))
            assert tuple(tags) == max(every, key=lambda one: value(row, one))


@pytest.mark.parametrize("words", [0, 1, 2])
def test_texts_of_a_word_or_of_none_are_decoded_in_a_graph(words):
    steps, begin = transitions(("O", "B-a", "I-a"))

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None, 3), tf.float32),
            tf.TensorSpec((None,), tf.int32),
        ]
    )
    def decoded(probabilities, counts):
        return decode_in_graph(probabilities, counts, steps, begin)

    rows = np.full((2, words, 3), (0.1, 0.8, 0.1), np.float32)
    found = decoded(rows, np.array([words, 0], np.int32)).numpy()
    np.testing.assert_array_equal(found, [[1] * words, [0] * words])


def test_the_training_metric_is_the_f1_of_the_most_probable_tags():
    from tltool.tasks.tags.training_f1 import TagF1

    true, given = random_rows(3)
    metric = TagF1(LABELS, entities=True)
    width = max(map(len, true)) + 2
    for start in (0, 20):
        numbers = np.full((20, width), -1, "int32")
        logits = np.random.default_rng(0).normal(size=(20, width, len(LABELS))).astype("float32")
        for place, (tags, others) in enumerate(
            zip(true[start : start + 20], given[start : start + 20], strict=True)
        ):
            # Words begin at every place but the first and some at the end.
            for word, (tag, other) in enumerate(zip(tags, others, strict=True), start=1):
                numbers[place, word] = LABELS.index(tag)
                logits[place, word, LABELS.index(other)] = 9.0
        metric.update_state(numbers, logits)
    assert float(metric.result()) == pytest.approx(entity_metrics(true, given, TYPES)["f1"])


def test_words_and_tags_become_a_text():
    text, cell = cell_of(["Ada", "Lovelace", "wrote"], ["B-person", "I-person", "O"])
    assert text == "Ada Lovelace wrote"
    assert tagged_of(cell, "IOB2") == Tagged((0, 4, 13), (3, 12, 18), tuple(WRITTEN_TAGS))


WRITTEN_TAGS = ["B-person", "I-person", "O"]


@pytest.mark.parametrize(
    "span",
    [[7, 19, "person"], {"start": 7, "end": 19, "label": "person"},
     {"start": 6, "end": 19, "labels": ["person"]},
     {"start_offset": 7, "end_offset": 19, "label": "person", "id": 3}],
)  # fmt: skip
def test_spans_of_every_tool_become_tags(span):
    text, cell = cell_of("Dearest Ada Lovelace!"[1:], [span])
    found = tagged_of(cell, "classes")
    assert [text[s:e] for s, e in zip(found.starts, found.ends, strict=True)] == [
        "earest", "Ada", "Lovelace", "!"]  # fmt: skip
    assert found.tags == ("O", "B-person", "I-person", "O")


@pytest.mark.parametrize(
    ("value", "label", "said"),
    [
        ("Ada wrote", [[0, 3, "a"], [2, 9, "b"]], "overlaps"),
        ("Ada wrote", [[4, 12, "a"]], "not in the text, which has 9 characters"),
        ("Ada wrote", [[0, 2, "a"]], "cuts a word"),
        ("Ada wrote", [["0", 2, "a"]], "no whole number"),
        ("Ada wrote", [{"begin": 0}], "has no 'start'"),
        ("Ada wrote", "O", "a list of spans is needed"),
        (["Ada", "wrote"], ["O"], "2 words and 1 tag"),
        (["Ada", " "], ["O", "O"], "word 2 is empty"),
        (["Ada"], None, "no tags"),
        ("Ada wrote", [[0.5, 3, "a"]], "no whole number: 0.5"),
    ],
)
def test_rows_that_make_no_sense_are_told(value, label, said):
    with pytest.raises(BadValueError, match=said):
        tagged_of(cell_of(value, label)[1], "IOB2")


def test_offsets_may_be_whole_numbers_with_a_point():
    assert cell_of("Ada wrote", [[0.0, 3.0, "a"]]) == cell_of("Ada wrote", [[0, 3, "a"]])


def target_of():
    rows = [Tagged((0, 4), (3, 8), ("B-person", "O")), Tagged((0,), (3,), ("B-place",))]
    return TagsTarget.fit(rows)


def test_fitting_orders_the_tags_and_keeps_them():
    target = target_of()
    assert target.labels == LABELS
    assert TagsTarget.from_json(target.to_json()).labels == LABELS
    assert target.initial_bias() == pytest.approx(np.log(np.array([2, 2, 1, 2, 1]) / 8))
    with pytest.raises(DataError, match="No training example has an entity"):
        TagsTarget.fit([Tagged((0,), (3,), ("O",))])


def test_tags_that_are_numbers_are_told():
    numbers = [Tagged((0, 4), (3, 8), ("0", "11")), Tagged((0,), (3,), ("0",))]
    (remark,) = TagsTarget.remarks_on(numbers, "token-classification")
    assert "The tags are numbers" in remark
    assert "such as B-person and O" in remark
    mixed = [*numbers, Tagged((0,), (3,), ("NOUN",))]
    assert TagsTarget.remarks_on(mixed, "token-classification") == []


def test_entities_are_counted_by_their_types_and_plain_classes_by_themselves():
    entities = [Tagged((0, 4), (3, 8), ("B-person", "I-person")), Tagged((0,), (3,), ("O",))]
    assert TagsTarget.noun_of(entities) == "entity type"
    assert TagsTarget.fit(entities).extent == "1 entity type"
    classes = [Tagged((0, 4), (3, 8), ("NOUN", "O"))]
    assert TagsTarget.noun_of(classes) == "tag"
    assert TagsTarget.fit(classes).extent == "1 tag"


def scores(text, words, tags):
    values = np.full((len(words), len(LABELS)), 0.05, "float32")
    values[np.arange(len(tags)), [LABELS.index(tag) for tag in tags]] = 0.8
    starts, ends = np.array(words, np.int32).T
    return WordScores(text, starts, ends, values)


def test_a_row_names_entities_with_their_characters():
    target = target_of()
    row = scores("Ada B met", [(0, 3), (4, 5), (6, 9)], ["B-person", "I-person", "O"])
    (entity,) = target.row(row)["prediction"]
    assert entity == {"text": "Ada B", "start": 0, "end": 5, "type": "person", "score": 0.8}
    assert target.prediction(row).value == [entity]
    outputs = np.empty(1, object)
    outputs[0] = row
    truth = tagged_of(cell_of("Ada B met", [[0, 3, "person"], [6, 9, "person"]])[1], "IOB2")
    assert target.words(target.meant(0, outputs, [truth])) == "Ada (person), met (person)"


def test_words_of_labelled_rows_take_the_tag_of_their_first_part():
    target = target_of()
    row = scores("O'B met", [(0, 1), (1, 2), (2, 3), (4, 7)], ["B-person", "I-person", "O", "O"])
    truth = Tagged((0, 4), (3, 7), ("B-person", "O"))
    rows = np.empty(1, object)
    rows[0] = row
    kept = target.kept(rows, [truth])
    metrics = target.metrics(kept, target.truth([truth]))
    assert metrics["f1"] == 1.0
    assert metrics == target.metrics(rows, target.truth([truth]))
    assert len(target.worst(kept, target.truth([truth]))) == 0


def test_rows_survive_the_way_to_another_process():
    target = target_of()
    rows = np.empty(2, object)
    rows[:] = [scores("Ada é", [(0, 3), (4, 5)], ["O", "B-place"]), target.blank[()]]
    back, answers = target.received(*target.sent(rows, [["a"], []]))
    assert answers == [["a"], []]
    assert [row.text for row in back] == ["Ada é", ""]
    np.testing.assert_array_equal(target.differences(rows, back), [[0.0], [0.0]])
    assert target.agrees(rows, target.answers(back, LABELS)).all()


def test_weights_are_those_of_the_tags():
    target = target_of()
    rows = [Tagged((0, 4, 8), (3, 7, 9), ("O", "O", "B-place"))]
    assert target.weights(rows, None)[0].tolist() == [1, 1, 1]
    assert target.weights(rows, "balanced")[0].tolist() == [0.75, 0.75, 1.5]
    assert target.weights(rows, {"O": 0.5})[0].tolist() == [0.5, 0.5, 1]
    with pytest.raises(DataError, match="there is no tag"):
        target.weights(rows, {"B-plase": 2})


def test_the_baseline_learns_what_words_look_like():
    target = target_of()
    texts = ["ada saw Rome", "bo saw Oslo"] * 20
    rows = [Tagged((0, 4, 8), (3, 7, 12), ("B-person", "O", "B-place")),
            Tagged((0, 3, 7), (2, 6, 11), ("B-person", "O", "B-place"))] * 20  # fmt: skip
    _, outputs, _ = target.baseline((texts, rows), (texts[:2], rows[:2]), list)
    assert target.metrics(outputs, target.truth(rows[:2]))["f1"] == 1.0


def test_tags_with_and_without_prefixes_are_not_taken_for_either():
    with pytest.raises(DataError, match=r"such as 'B-person', and others have none: 'MISC'"):
        TagsTarget.fit([Tagged((0, 4, 9), (3, 8, 11), ("B-person", "MISC", "O"))])


def test_a_letter_and_a_hyphen_in_the_name_of_a_class_are_no_prefix():
    target = TagsTarget.fit([Tagged((0, 4), (3, 8), ("V-inf", "N-sg"))])
    assert target.labels == ("N-sg", "V-inf")
    assert not target.entities
    assert target.names_in(Tagged((0,), (3,), ("V-inf",))) == ("V-inf",)
