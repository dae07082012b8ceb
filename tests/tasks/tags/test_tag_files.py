from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tltool.data.checks.inspection import inspect_data
from tltool.data.reading.sources import examples_from_python, load_examples
from tltool.recipe.recipe import DataSection
from tltool.runs.predict import collect_inputs
from tltool.support.errors import DataError
from tltool.tasks.table import TASKS

SPEC = TASKS["token-classification"]
CONLL = """# id = 1
-DOCSTART- -X- O

Ada NNP B-person
Lovelace NNP I-person
# NN O
wrote VBD O

Rome NNP B-place
"""
LABEL_STUDIO = [
    {
        "data": {"text": "Ada saw Rome"},
        "annotations": [
            {"was_cancelled": True, "result": []},
            {
                "result": [
                    {"type": "labels", "value": {"start": 0, "end": 3, "labels": ["person"]}},
                    {"type": "labels", "value": {"start": 8, "end": 12, "labels": ["place"]}},
                ]
            },
        ],
    }
]
WORDS = ["Ada", "saw", "Rome"]
TRIPLES = [[0, 3, "person"], [8, 12, "place"]]
SPANS = {
    "text": "Ada saw Rome",
    "spans": [{"start": 0, "end": 3, "label": "person"}, [8, 12, "place"]],
}


def read(path: Path, text: str, **section):
    path.write_text(text, encoding="utf-8")
    return load_examples(DataSection(train=str(path), **section), SPEC)


def test_conll_has_sentences_comments_and_marks(tmp_path):
    found = read(tmp_path / "train.conll", CONLL)
    assert found.inputs == ["Ada Lovelace # wrote", "Rome"]
    assert found.targets[0].tags == ("B-person", "I-person", "O", "O")
    assert [origin.rpartition(":")[2] for origin in found.origins] == ["4", "9"]
    assert found.note == "the tags are in the scheme IOB2"


def test_columns_of_conll_are_numbers_or_names(tmp_path):
    tabs = "# global.columns = ID FORM TAG\n" + "1\tAda\tN\n2\twrote\tV\n"
    assert read(tmp_path / "a.conllu", tabs).inputs == ["Ada wrote"]
    found = read(tmp_path / "b.conll", CONLL, label_column="2")
    assert found.targets[0].tags == ("NNP", "NNP", "NN", "VBD")
    assert found.note == "the tags are taken for plain classes"
    with pytest.raises(DataError, match="no column '7'; it has 3 columns") as caught:
        read(tmp_path / "c.conll", CONLL, label_column="7")
    assert "a number from 1 to 3" in str(caught.value.hint)


def conllu(number, form, tag):
    return f"{number}\t{form}\t_\t{tag}\t_\t_\t_\t_\t_\t_\n"


def test_ranges_and_empty_nodes_of_conllu_are_no_words(tmp_path):
    sentence = "".join(
        conllu(*line)
        for line in (("1", "vamo", "VERB"), ("2-3", "al", "_"), ("2", "a", "ADP"),
                     ("3", "el", "DET"), ("3.1", "va", "VERB"), ("4", "mar", "NOUN"))
    )  # fmt: skip
    (row, other) = read(
        tmp_path / "a.conllu", f"# text = vamo al mar\n{sentence}\n{sentence}"
    ).targets
    assert row.tags == other.tags == ("VERB", "ADP", "DET", "NOUN")
    (named, _) = read(
        tmp_path / "b.conll", f"{sentence}\n{sentence}", input_column="2", label_column="4"
    ).targets
    assert named.tags == row.tags
    scores = read(tmp_path / "c.conll", "1\tA\n2-3\tB\n\n4-1\tB\n2\tA\n")
    assert scores.inputs == ["1 2-3", "4-1 2"]


def test_a_data_frame_has_the_columns_of_files():
    frame = pd.DataFrame({"id": [1, 2], "tokens": [["Ada", "saw"], ["Rome"]],
                          "ner_tags": [["B-a", "O"], ["B-b"]]})  # fmt: skip
    examples = examples_from_python(frame, SPEC)
    assert list(examples.inputs) == ["Ada saw", "Rome"]
    assert [target.tags for target in examples.targets] == [("B-a", "O"), ("B-b",)]


def test_a_line_with_other_columns_is_named(tmp_path):
    with pytest.raises(DataError, match="line 6 has 1 columns, most have 2"):
        read(tmp_path / "a.bio", "Ada B-a\n\nsaw O\nthe O\n\nRome\nis O\n")
    with pytest.raises(DataError, match="most lines have 1 column"):
        read(tmp_path / "b.txt", "Ada\n\nsaw\n")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", json.dumps(SPANS)),
        ("b.jsonl", json.dumps({"text": "Ada saw Rome", "label": TRIPLES})),
        ("c.jsonl", json.dumps(["Ada saw Rome", {"entities": TRIPLES}])),
        ("d.json", json.dumps([SPANS])),
        ("e.json", json.dumps(LABEL_STUDIO)),
        ("f.jsonl", json.dumps({"words": WORDS, "ner": ["U-person", "O", "U-place"]})),
    ],
)  # fmt: skip
def test_what_tools_export_is_read_without_naming_columns(tmp_path, name, text):
    found = read(tmp_path / name, text)
    assert found.inputs == ["Ada saw Rome"]
    assert found.targets[0].tags == ("B-person", "O", "B-place")
    assert found.targets[0].starts == (0, 4, 8)


def test_faults_name_their_rows(tmp_path):
    broken = {"text": "Ada", "spans": [[0, 9, "person"]]}
    with pytest.raises(DataError, match=r"a\.jsonl:2: the span 0 to 9 \(person\) is not in the"):
        read(tmp_path / "a.jsonl", f"{json.dumps(SPANS)}\n{json.dumps(broken)}\n")
    with pytest.raises(DataError, match="item 1: the task has no annotation"):
        read(tmp_path / "b.json", json.dumps([{"data": {"text": "Ada"}, "annotations": []}]))
    with pytest.raises(DataError, match="is not JSON"):
        read(tmp_path / "c.json", "[")


def test_splits_are_files_and_unknown_types_are_told(tmp_path):
    other = tmp_path / "test.conll"
    other.write_text("Oslo NNP B-town\n", encoding="utf-8")
    with pytest.raises(DataError, match="the label 'town' is in test but not in train"):
        read(tmp_path / "train.conll", CONLL, test=str(other))


def test_types_are_shared_among_the_splits():
    from tltool.tasks.tags.tagged import Tagged

    rows = [Tagged((0,), (3,), (f"B-{kind}",)) for kind in "abcd" for _ in range(10)]
    parts = SPEC.target.divide(rows, [1] * 40, {"test": 0.2})
    assert sorted(row.tags[0] for row, part in zip(rows, parts, strict=True) if part) == [
        f"B-{kind}" for kind in "abcd" for _ in range(2)
    ]


def test_other_white_space_than_blanks_is_part_of_a_word(tmp_path):
    found = read(tmp_path / "a.conll", "10\u00a0000 B-number\npaid O\n\nAda B-person\n")
    assert found.inputs[0] == "10\u00a0000 paid"


@pytest.mark.parametrize("annotations", [[None], {"a": 1}, [{"result": 3}], [{"results": []}]])
def test_what_is_no_annotation_of_label_studio_is_told(tmp_path, annotations):
    tasks = [{"data": {"text": "Ada"}, "annotations": annotations}]
    with pytest.raises(DataError, match="item 1: is no task of Label Studio"):
        read(tmp_path / "a.json", json.dumps(tasks))


def inputs_in(path: Path, text: str, **section):
    """The inputs to predict of a file, or what is wrong with them."""
    path.write_text(text, encoding="utf-8")
    rows = collect_inputs([str(path)], SPEC, DataSection(**section))
    return [getattr(row, "input", None) or row.reason for row in rows]


def lines(*rows) -> str:
    return "\n".join(map(json.dumps, rows))


TEXT = "Ada saw Rome"
TAGGED = {"tokens": WORDS, "tags": ["B-person", "O", "B-place"]}
DOCCANO = {"id": 1, "text": TEXT, "label": TRIPLES}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", lines(TAGGED)),
        ("a.jsonl", lines({"words": WORDS})),
        ("a.jsonl", lines(SPANS)),
        ("a.jsonl", lines(DOCCANO)),
        ("a.jsonl", lines({"text": TEXT})),
        ("a.jsonl", lines([TEXT, {"entities": TRIPLES}])),
        ("a.json", json.dumps([TAGGED])),
        ("a.json", json.dumps([{"tokens": WORDS}])),
        ("a.json", json.dumps([[TEXT, {"entities": TRIPLES}]])),
        ("a.json", json.dumps([{"text": TEXT}])),
        ("a.json", json.dumps(LABEL_STUDIO)),
        ("a.json", json.dumps([{"id": 1, "data": {"text": TEXT}}])),
        ("a.conll", "Ada B-person\nsaw O\nRome B-place\n"),
        ("a.conll", "Ada\nsaw\nRome\n"),
        ("a.txt", "Ada\tB-person\nsaw\tO\nRome\tB-place\n"),
        ("a.txt", TEXT),
        ("a.csv", f"text\n{TEXT}\n"),
    ],
)
def test_predict_reads_what_training_reads_labelled_or_not(tmp_path, name, text):
    assert inputs_in(tmp_path / name, text) == [TEXT]


def test_predict_reads_inputs_from_the_columns_of_training(tmp_path):
    rows = lines({"form": WORDS, "text": "other"}, {"form": ["Ada", ""], "text": "other"})
    assert inputs_in(tmp_path / "a.jsonl", rows, input_column="form", label_column="ner") == [
        TEXT,
        "word 2 is empty",
    ]
    conll = "1\tAda\tN\n2\tsaw\tV\n3\tRome\tN\n"
    assert inputs_in(tmp_path / "a.conll", conll, input_column="2", label_column="3") == [TEXT]


def test_a_text_file_of_sentences_is_a_text_a_line(tmp_path):
    text = "I like it.\nYou hate it.\n\nNobody said why.\n"
    assert inputs_in(tmp_path / "a.txt", text) == ["I like it.", "You hate it.", "Nobody said why."]


def test_a_broken_sentence_keeps_its_place(tmp_path):
    text = "Ada B-person\n\nsaw\n\nRome B-place\n"
    first, broken, last = inputs_in(tmp_path / "a.conll", text)
    assert (first, last) == ("Ada", "Rome")
    assert broken == "line 3 has 1 columns, most have 2"


def test_what_is_no_text_is_no_file_of_tags(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"\0\1\2")
    (row,) = collect_inputs([str(tmp_path / "a.bin")], SPEC)
    assert "not a format tltool reads texts from" in row.reason


def test_a_missing_file_of_the_suffix_of_training_is_no_text(tmp_path):
    section = DataSection(train=str(tmp_path / "train.conll"))
    with pytest.raises(DataError, match="does not exist"):
        collect_inputs([str(tmp_path / "test.conll")], SPEC, section)


SENTENCES = "Ada N B-person\nsaw V O\nRome N B-place\n\nShe P O\nlived V O\nin A O\n\nNo D O\n"


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt"])
@pytest.mark.parametrize("mark", [" ", "\t"])
@pytest.mark.parametrize("header", ["", "word pos tag\n", "-DOCSTART- -X- O\n\n"])
def test_sentences_in_a_file_named_as_a_table_are_read(tmp_path, suffix, mark, header):
    file = tmp_path / f"a{suffix}"
    text = (header + SENTENCES).replace(" ", mark)
    found = read(file, text)
    assert found.inputs == ["Ada saw Rome", "She lived in", "No"]
    assert found.targets[0].tags == ("B-person", "O", "B-place")
    assert inputs_in(file, text) == list(found.inputs)
    assert inspect_data(str(file))["recipe"]["task"] == SPEC.name
    assert read(file, text, label_column="2").targets[0].tags == ("N", "V", "N")
    if "word" in header:
        named = read(file, text, input_column="word", label_column="pos")
        assert named.targets[0].tags == ("N", "V", "N")


def test_paragraphs_in_the_cells_of_a_table_are_no_sentences(tmp_path):
    cells = "Ada lived\n\nin London\n\nand wrote"
    table = pd.DataFrame({"text": [cells] * 4, "spans": [[]] * 4})
    for suffix, mark in ((".csv", ","), (".tsv", "\t")):
        file = tmp_path / f"a{suffix}"
        table.to_csv(file, sep=mark, index=False)
        assert inputs_in(file, file.read_text()) == [cells] * 4


@pytest.mark.parametrize("header", ["word,tag", "Sentence,Word,Tag"])
def test_a_row_for_each_word_is_no_table_of_classes(tmp_path, header):
    file = tmp_path / "a.csv"
    first = "1," * header.count("S")
    words = (f"{first}Ada{n},B-person\n{first}saw{n},O\n" for n in range(20))
    file.write_text(f"{header}\n" + "".join(words))
    with pytest.raises(DataError, match="look like tags of words") as told:
        inspect_data(str(file))
    assert "CoNLL" in told.value.hint
    assert inspect_data(str(file), task="text-classification")["recipe"]["task"]
    word, tag = header.split(",")[-2:]
    with pytest.raises(DataError, match="words with a tag each are read as CoNLL"):
        read(file, file.read_text(), input_column=word, label_column=tag)
