"""Pairs of texts: read from tables, Python objects and lines; duplicates in either order."""

from __future__ import annotations

import numpy as np
import pytest

from tltool.data.checks.summary import describe
from tltool.data.reading.in_memory import examples_from_python, inputs_from_python
from tltool.data.reading.sources import load_examples, reading
from tltool.data.splits import split_examples
from tltool.recipe.recipe import DataSection, Recipe
from tltool.runs.predict import collect_inputs
from tltool.support.errors import DataError, RecipeError
from tltool.tasks.table import TASKS

SPEC, CLASSES = TASKS["text-pair-regression"], TASKS["text-pair-classification"]
PAIRS = [("one", "two"), ("three, four", "five\tsix"), ("seven", "eight")]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
def test_tables_hold_both_texts_in_two_columns(tmp_path, name):
    import pandas as pd

    frame = pd.DataFrame(PAIRS, columns=["premise", "other"]).assign(score=[1.0, 2.5, 4.0])
    path = tmp_path / name
    match path.suffix:
        case ".parquet":
            frame.to_parquet(path)
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True)
        case _:
            frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    section = DataSection(train=str(path), input_columns=("premise", "other"), label_column="score")
    found = load_examples(section, SPEC)
    assert (found.modality, found.inputs, found.targets) == ("text_pair", PAIRS, [1.0, 2.5, 4.0])


def test_python_objects_give_pairs():
    import pandas as pd
    import tensorflow as tf

    scores = [1.0, 2.0, 3.0]
    frame = pd.DataFrame(PAIRS, columns=["text_a", "text_b"]).assign(label=scores)
    first, second = zip(*PAIRS, strict=True)
    columns = tf.data.Dataset.from_tensor_slices(((list(first), list(second)), scores))
    for data in (
        (PAIRS, scores),
        (np.array(PAIRS), np.array(scores)),
        frame,
        columns,
        columns.batch(2),
        tf.data.Dataset.from_tensor_slices((np.array(PAIRS, "S"), scores)).batch(3),
    ):
        assert examples_from_python(data, SPEC).inputs == PAIRS
    assert inputs_from_python([["a", "b"], ("c", "")], "text_pair") == [("a", "b"), ("c", "")]


def test_faults_name_both_columns_and_the_text_that_is_broken(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text_a,text,label\nx,y,1\n")
    with pytest.raises(DataError, match="no column 'text_b'") as caught:
        load_examples(DataSection(train=str(path)), SPEC)
    assert "data.input_columns" in caught.value.hint
    path.write_text("first,second,label\nx,y,1\n")
    with pytest.raises(DataError, match="no column 'text_a' and no column 'text_b'"):
        load_examples(DataSection(train=str(path)), SPEC)
    path.write_text("text_a,text_b,label\nx,,1\n ,y,2\nx,y,3\n")
    with pytest.raises(DataError) as caught:
        load_examples(DataSection(train=str(path)), SPEC)
    assert "a.csv:2: the second text is empty" in caught.value.message
    assert "a.csv:3: the first text is empty" in caught.value.message
    with pytest.raises(DataError, match="item 0: the input is not a pair of texts but 'x'"):
        examples_from_python((["x", ("a", "b")], [1, 2]), SPEC)
    with pytest.raises(DataError, match="needs a table"):
        load_examples(DataSection(train=str(tmp_path)), CLASSES)


def test_columns_must_be_as_many_as_texts(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text_a,text_b,label\nx,y,1\n")
    section = DataSection(train=str(path), input_columns=("text_a", "text_b"))
    with pytest.raises(DataError, match="two columns are needed, received 'text_a'"):
        load_examples(reading(section, input_columns=["text_a"]), SPEC)
    with pytest.raises(DataError, match="one column is needed"):
        load_examples(section, TASKS["text-regression"])
    with pytest.raises(RecipeError) as caught:
        Recipe.of(task=SPEC.name, backbone="x", data={"input_column": "text_a"})
    assert "text-pair-regression takes two columns" in caught.value.message
    assert "data.input_columns" in caught.value.message


def test_duplicates_and_leaks_are_found_in_either_order():
    pairs = [("a", "b"), (" b", "a "), ("a", "c"), *((f"p{i}", f"q{i}") for i in range(30))]
    found = examples_from_python({"train": (pairs, [float(i) for i in range(33)])}, SPEC)
    for seed in range(4):
        divided = split_examples(found, validation_fraction=0.3, test_fraction=0.3, seed=seed)
        assert divided.splits[0] == divided.splits[1]
    told = describe(divided, SPEC.name)
    assert told["duplicates"] == 1
    assert len(told["conflicts"]) == 1
    leaked = examples_from_python(
        {"train": (pairs[:1] + pairs[3:], [*map(float, range(31))]), "test": ([("b", "a")], [0.0])},
        SPEC,
    )
    leaked = split_examples(leaked, validation_fraction=0.1, test_fraction=0, seed=0)
    (leak,) = describe(leaked, SPEC.name)["across_splits"]
    assert leak in {"train and test", "validation and test"}


def test_predict_takes_tables_lines_and_two_texts(tmp_path):
    def values(arguments, stdin=None, **columns):
        section = reading(DataSection(), **columns)
        return collect_inputs(list(map(str, arguments)), SPEC, section, stdin=stdin)

    path = tmp_path / "a.csv"
    path.write_text("b,a\nx,y\n")
    (row,) = values([path], input_columns=["a", "b"])
    assert row.input == ("y", "x")
    lines = b'one\ttwo\n\n{"text_b": "d", "text_a": "c"}\n["e", "f"]\nonly one\n{"text_a": "x"}\n'
    *rows, tab, key = values(["-"], lines)
    assert [row.input for row in rows] == [("one", "two"), ("c", "d"), ["e", "f"]]
    assert "0 tabs" in tab.reason
    assert "no 'text_b'" in key.reason
    rows = values(
        ["one text", "its second", path, "another", "and its own"], input_columns=["a", "b"]
    )
    assert [row.input for row in rows] == [
        ("one text", "its second"), ("y", "x"), ("another", "and its own"),
    ]  # fmt: skip
    with pytest.raises(DataError, match="no second follows"):
        values(["one text"])
    with pytest.raises(DataError, match="is a folder"):
        values([tmp_path])


def test_texts_that_the_model_reads_one_by_one_are_rows_each(tmp_path):
    recipe = Recipe.of(task="text-embedding", backbone="tiny", data={"input_columns": ["q", "a"]})
    path = tmp_path / "new.csv"
    path.write_text("id,q,a\n1,x,y\n2,,v\n")

    def rows(*columns):
        section = reading(recipe.data, input_columns=columns)
        found = collect_inputs([str(path)], recipe.spec, section)
        return [(row.input, row.origin) for row in found]

    first, second = f"{path}:2", f"{path}:3"
    assert rows() == [("x", first), ("y", first), ("", second), ("v", second)]
    assert rows("a") == [("y", first), ("v", second)]
    assert rows("a", "q")[:2] == [("y", first), ("x", first)]
    with pytest.raises(DataError, match="no column 'b'"):
        rows("a", "b")
    path.write_text("text\nx\n")
    with pytest.raises(DataError, match="no column 'q' and no column 'a'; its columns are 'text'"):
        rows()
    assert rows("text") == [("x", first)]


def embedding(path, *columns, **more):
    data = {"train": str(path), "input_columns": list(columns), **more}
    recipe = Recipe.of(task="text-embedding", backbone="tiny", data=data)
    return load_examples(recipe.data, recipe.spec.of_rows(recipe.data.input_columns))


def test_rows_for_embeddings_need_no_label(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("q,a,wrong,score\nx,y,z,1\nu,v,w,0.5\n")
    pairs, triplets = embedding(path, "q", "a"), embedding(path, "q", "a", "wrong")
    assert pairs.inputs == [("x", "y"), ("u", "v")]
    assert triplets.as_inputs().inputs == ["x", "y", "z", "u", "v", "w"]
    scored = embedding(path, "q", "a", label_column="score").as_inputs()
    assert [(one.row, one.role, one.number) for one in scored.targets] == [
        (0, 0, 1.0), (0, 1, 1.0), (1, 0, 0.5), (1, 1, 0.5)]  # fmt: skip
    path.write_text("q,a,wrong\nx,y,\nu,v,w\n")
    with pytest.raises(DataError, match=r"a.csv:2: the third text is empty"):
        embedding(path, "q", "a", "wrong")


def test_frames_for_embeddings_need_no_label():
    import pandas as pd

    recipe = Recipe.of(task="text-embedding", backbone="tiny", data={"input_columns": ["q", "a"]})
    frame = pd.DataFrame({"q": ["x", "u"], "a": ["y", "v"]})
    found = examples_from_python(frame, recipe.spec.of_rows(("q", "a")), recipe.data)
    assert found.as_inputs().inputs == ["x", "y", "u", "v"]
