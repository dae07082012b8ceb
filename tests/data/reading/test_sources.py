from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest
from real_data import DATA
from tiny import write_images

from tltool.data.reading.sources import load_examples, reading
from tltool.data.reading.tables import Columns, read_table
from tltool.recipe.recipe import DataSection
from tltool.support.errors import DataError
from tltool.tasks.table import TASKS

TEXT, IMAGE = TASKS["text-classification"], TASKS["image-classification"]
TEXT_NUMBER, IMAGE_NUMBER = TASKS["text-regression"], TASKS["image-regression"]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def load(path: Path, spec=TEXT, **fields):
    return load_examples(DataSection(train=str(path), **fields), spec)


def refused(path: Path, spec=TEXT, **fields) -> DataError:
    with pytest.raises(DataError) as caught:
        load(path, spec, **fields)
    return caught.value


def test_csv_values_stay_as_written(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\nNA,001\nnull,true\n 1.0 ,NA\n")
    examples = load(path)
    assert list(examples.inputs) == ["NA", "null", " 1.0 "]
    assert list(examples.targets) == ["001", "true", "NA"]
    assert list(examples.splits) == [None] * 3


def test_csv_from_excel_bom_semicolons_quoted_newlines_and_true_lines(tmp_path):
    content = '\ufeffText;text;label\r\n1;"a\r\nb; ""c""";x\r\n\r\n2;d, e; y \r\n'
    examples = load(write(tmp_path / "a.csv", content))
    assert list(examples.inputs) == ['a\r\nb; "c"', "d, e"]
    assert list(examples.targets) == ["x", "y"]
    assert [o.rsplit(":", 1)[1] for o in examples.origins] == ["2", "5"]


def test_csv_encodings(tmp_path, caplog):
    rows = "text;label\ncafé “x”;a\nthé;b\n"
    assert load(write(tmp_path / "a.csv", rows.encode("cp1252"))).inputs[0] == "café “x”"
    assert "Windows-1252" in caplog.text
    tabs = rows.replace(";", "\t").encode("utf-16")
    assert load(write(tmp_path / "b.tsv", tabs)).inputs[1] == "thé"
    named = write(tmp_path / "c.csv", "text;label\n日本;a\n語;b\n".encode("shift_jis"))
    assert load(named, encoding="shift_jis").inputs[0] == "日本"
    assert "utf-8 text" in refused(named, encoding="utf-8").message
    assert "no-such" in refused(named, encoding="no-such").message
    undefined = write(tmp_path / "d.csv", b"text,label\n\x81\xff,a\n")
    assert "data.encoding" in str(refused(undefined).hint)
    assert "zero bytes" in refused(write(tmp_path / "e.csv", b"a\0,b\0\n")).message


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"PK\x03\x04\0\0", "Excel workbook"),
        (b"\xd0\xcf\x11\xe0", "old Excel workbook"),
        (b"\x1f\x8b\x08", "compressed with gzip"),
        (b"PAR1\x15", "a Parquet file"),
    ],
)
def test_a_file_of_another_kind_is_told_by_its_name(start, kind, tmp_path):
    error = refused(write(tmp_path / "a.csv", start + b"rest"))
    assert kind in error.message
    assert "CSV" in error.hint


def test_a_stray_byte_does_not_make_a_utf8_file_windows_1252(tmp_path, caplog):
    rows = [f"été {number},{'bon' if number % 2 else 'pauvreté'}".encode() for number in range(9)]
    rows[3] = "été,goodé".encode("cp1252")
    rows[5] = "déjà,bon".encode("cp1252")
    path = write(tmp_path / "a.csv", b"text,label\n" + b"\n".join(rows))
    message = refused(path).message
    assert f"{path}:5: the text holds half a character (\\udce9) or the byte 0xe9" in message
    assert f"{path}:7: the text holds" in message
    examples = load(path, on_error="skip")
    assert set(examples.targets) == {"bon", "pauvreté"}
    assert len(examples.skipped) == 2
    assert not caplog.records
    assert f"{path}:5: not utf-8 text" in refused(path, encoding="utf-8").message
    folder = tmp_path / "texts"
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        (folder / label / "one.txt").write_bytes("été é".encode() + b" \xe9")
    assert "the byte 0xe9" in refused(folder).message


JOINED = '"One\ta\ntwo\tb\nthree"\ta\nfour\tb\nfive"\ta\n'


def test_a_quote_that_joins_rows_is_refused_with_both_ways_out(tmp_path):
    path = write(tmp_path / "a.tsv", f"text\tlabel\nzero\tb\n{JOINED}")
    error = refused(path)
    assert f"{path}:3: the quote that opens here closes in line 5" in error.message
    assert "data.quoting=none" in error.hint
    examples = load(path, quoting="none")
    assert list(examples.inputs) == ["zero", '"One', "two", 'three"', "four", 'five"']
    assert examples.origins[3].endswith(":5")
    assert list(load(path, quoting="minimal").inputs)[1] == "One\ta\ntwo\tb\nthree"
    never_closed = write(tmp_path / "b.tsv", 'text\tlabel\n"One\ta\ntwo\tb\n')
    assert "data.quoting=none" in refused(never_closed).hint
    assert len(load(never_closed, quoting="none")) == 2


@pytest.mark.parametrize(
    "rows",
    [
        'a,"one\ntwo"\nb,"three\n\nfour"\n',  # no line has two fields
        'a,"one\ntwo, three"\nb,"four, five"\n',  # the last line shows that quotes are meant
    ],
)
def test_line_breaks_in_quoted_fields_are_read(rows, tmp_path):
    assert len(load(write(tmp_path / "a.csv", f"label,text\n{rows}"))) == 2
    alone = write(tmp_path / "b.csv", 'text\n"one\ntwo"\n')
    assert len(read_table(alone, Columns("text"))) == 1


def test_spaces_before_quotes_do_not_keep_them(tmp_path, caplog):
    path = write(tmp_path / "a.csv", 'text, "label"\n one, "red, dark"\ntwo,  "blue"\n')
    assert list(load(path).targets) == ["red, dark", "blue"]
    assert f"{path}:1: the spaces before its quotes are left out" in caplog.text
    caplog.clear()
    kept = write(tmp_path / "b.csv", 'text,label\n one,red\n "Hi" he said,blue\n')
    assert list(load(kept).inputs) == [" one", ' "Hi" he said']
    assert not caplog.records


def test_a_cell_without_end_is_a_broken_row(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [("x" * 10_000_001, "a"), ("y", "z" * 1001), ("b", "b"), ("c", "c")]
    path.write_text("\n".join(json.dumps({"text": t, "label": label}) for t, label in rows))
    message = refused(path).message
    assert len(message) < 1000
    assert "the text has 10,000,001 characters" in message
    assert "the label has 1,001 characters" in message


def test_json_that_cannot_be_a_row_is_a_broken_row(tmp_path):
    lines = [
        "[" * 100_000,
        '{"text": "a", "label": ' + "1" * 5000 + "}",
        '{"text": "a", "label": "x", "label": "y"}',
        '{"text": "\\ud83d", "label": "x"}',
        '{"text": "a", "label": "\\ud800"}',
        '{"text": "a", "label": "b\\nc"}',
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    message = refused(path).message
    for line, reason in (
        (1, "nested too deeply"),
        (2, "not JSON"),
        (3, "the key 'label' is given twice"),
        (4, "the text holds half a character"),
        (5, "the label holds half a character"),
        (6, "a label is one line"),
    ):
        assert f"{path}:{line}: " in message
        assert reason in message


def test_class_names_of_hugging_face_are_used(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    label = {"names": ["bad", "good"], "_type": "ClassLabel"}
    features = {"label": label, "labels": {"feature": label, "_type": "Sequence"}}
    info = json.dumps({"info": {"features": features}})
    table = pyarrow.table(
        {"text": ["a", "b", "c"], "label": [1, 0, -1], "labels": [[0, 1], [1], []]}
    ).replace_schema_metadata({"huggingface": info})
    path = tmp_path / "a.parquet"
    parquet.write_table(table, path)
    assert [row.label for row in read_table(path, Columns("text", ("label",)))] == [
        "good", "bad", None,
    ]  # fmt: skip
    assert "row 3: the label is missing" in refused(path).message
    assert read_table(path, Columns("text", ("labels",)))[0].label == ["bad", "good"]
    # As pandas writes whole numbers of which some were missing.
    floats = pyarrow.array([1.0, float("nan"), -1.0])
    parquet.write_table(table.set_column(1, "label", floats), path)
    read = [row.label for row in read_table(path, Columns("text", ("label",)))]
    assert read[0] == "good"
    assert read[1] != read[1]
    assert read[2] is None


def test_decimals_in_parquet_are_numbers_and_labels(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    exact = "12345678901234567890123456789.5"
    cells = [Decimal(text) for text in ("3.50", "100", "-0.25", exact)]
    wide = pa.array([*cells, None], pa.decimal128(38, 4))
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": list("abcde"), "label": wide}), path)
    numbers = load(path, TEXT_NUMBER, on_error="skip")
    assert [*numbers.targets] == [3.5, 100.0, -0.25, float(exact)]
    (skipped,) = numbers.skipped
    assert "row 5" in skipped
    assert "is missing" in skipped
    assert [*load(path, on_error="skip").targets] == ["3.5", "100", "-0.25", exact]


@pytest.mark.parametrize("column", ["text", "label"])
@pytest.mark.parametrize(
    "kind", ["timestamp", "date", "duration", "list<element: duration[s]>", "map", "struct"]
)
def test_columns_of_moments_and_of_records_are_refused_in_words(kind, column, tmp_path):
    """Python's own kinds of moments do not reach as far as Parquet's."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    far = pa.array([2**62] * 2)
    columns = {
        "timestamp": far.view(pa.timestamp("ns")),
        "date": far.view(pa.date64()),
        "duration": far.view(pa.duration("s")),
        "list<element: duration[s]>": pa.ListArray.from_arrays(
            [0, 1, 2], far.view(pa.duration("s"))
        ),
        "map": pa.array([[("a", 1)]] * 2, pa.map_(pa.string(), pa.int64())),
        "struct": pa.array([{"a": 1}] * 2),
    }
    table = {"text": ["a", "b"], "label": ["x", "y"], column: columns[kind]}
    parquet.write_table(pa.table(table), tmp_path / "a.parquet")
    error = refused(tmp_path / "a.parquet", on_error="skip")
    assert f"the column '{column}' holds {kind}" in error.message
    assert "a column of texts or numbers" in error.hint


def test_all_columns_that_are_missing_are_named(tmp_path):
    path = write(tmp_path / "a.csv", "Text,Label\na,x\nb,y\n")
    assert "no column 'text' and no column 'label'; its columns" in refused(path).message


def test_all_labels_that_train_lacks_are_named(tmp_path):
    train = write(tmp_path / "a.csv", "text,label\na,red\nb,blue\n")
    other = write(tmp_path / "b.csv", "text,label\nc,rde\nd,bleu\ne,rde\n")
    error = refused(train, test=str(other))
    assert f"{other}:2: the label 'rde' is in test but not in train" in error.message
    assert "neither can 'bleu'" in error.message
    assert error.hint == "did you mean `red`?"


def test_excel_sep_line_and_given_delimiter(tmp_path):
    for end in ("\n", "\r\n", "\r"):
        lines = ("sep=|", "text|label", "a,b|x", "c|y", "")
        (tmp_path / "a.csv").write_bytes(end.join(lines).encode())
        examples = load(tmp_path / "a.csv")
        assert list(examples.inputs) == ["a,b", "c"]
        assert examples.origins[0].endswith(":3")
    path = write(tmp_path / "b.csv", "text^label\na^x\nb^y\n")
    assert list(load(path, delimiter="^").targets) == ["x", "y"]
    assert "one character" in refused(path, delimiter="^^").message


def test_a_field_longer_than_pythons_limit(tmp_path):
    examples = load(write(tmp_path / "a.csv", f"text,label\n{'x' * 200_000},a\ny,b\n"))
    assert len(examples.inputs[0]) == 200_000


def test_broken_rows_are_listed_together_or_skipped(tmp_path):
    path = write(
        tmp_path / "a.csv",
        'text,label\ngood,x\n,x\n"two\nlines",\nfine, but,y\nok,y\n"a" b,y\n',
    )
    message = refused(path).message
    for line, reason in (
        (3, "text is empty"),
        (4, "label is empty"),
        (6, "3 fields"),
        (8, "quote"),
    ):
        assert f"{path}:{line}: " in message
        assert reason in message
    examples = load(path, on_error="skip")
    assert list(examples.inputs) == ["good", "ok"]
    assert len(examples.skipped) == 4
    assert examples.skipped[0] == f"{path}:3: the text is empty"


def test_many_broken_rows_are_counted(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\n" + ",x\n" * 50)
    message = refused(path).message
    assert message.startswith("50 of the rows")
    assert message.endswith(":4 and 47 more: the text is empty")
    lines = "".join(f"t{',x' * (number + 3)}\n" for number in range(50))
    message = refused(write(tmp_path / "b.csv", f"text,label\n{lines}")).message
    assert message.endswith("and 30 more lines like these")
    numbers = "".join(f"t {number},'{number},5'\n" for number in range(50)).replace("'", '"')
    file = write(tmp_path / "c.csv", f"text,label\n{numbers}")
    with pytest.raises(DataError) as error:
        load_examples(DataSection(train=str(file)), TASKS["text-regression"])
    head, line = str(error.value).split("\n  ")
    assert head.startswith("50 of the rows")
    told = "'0,5' is not a finite number: it has a decimal comma; write '0.5' (the first of them; "
    assert told in line
    assert "c.csv:4 and 47 more: " in line
    assert "no usable" in refused(path, on_error="skip").message


def test_pictures_that_are_all_missing_are_told_once(tmp_path):
    rows = "".join(f"{number}.png,x\n" for number in range(50))
    file = write(tmp_path / "a.csv", f"image,label\n{rows}")
    with pytest.raises(DataError) as error:
        load_examples(DataSection(train=str(file)), TASKS["image-classification"])
    _, line = str(error.value).split("\n  ")
    assert f"a.csv:4 and 47 more: {tmp_path / '0.png'}: there is no such file (the first" in line
    assert line.endswith("from its folder, or from data.image_root")


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_a_quote_never_closed_does_not_swallow_the_file(tmp_path, on_error):
    path = write(tmp_path / "a.csv", 'text,label\na,x\n"b,y\nc,x\nd,y\n')
    assert f"{path}:3: the quote" in refused(path, on_error=on_error).message
    path = write(tmp_path / "b.csv", 'text,label\na,x\n"b,y\nc,x\n"d",y\n')
    assert f"{path}:3: the quote" in refused(path, on_error=on_error).message


def test_missing_columns_name_those_there_are(tmp_path):
    path = write(tmp_path / "a.csv", "review,sentiment\na,x\n")
    error = refused(path, input_column="reviews")
    assert "'review', 'sentiment'" in error.message
    assert "did you mean `review`?" in error.hint
    assert "2 columns" in refused(write(tmp_path / "b.csv", "text,label,text\na,b,c\n")).message
    rows = '{"review": "a", "label": 1}\n'
    assert "'review'" in refused(write(tmp_path / "c.jsonl", rows)).message


def test_empty_files_and_other_formats(tmp_path):
    assert "is empty" in refused(write(tmp_path / "a.csv", "\ufeff \n")).message
    assert "no rows" in refused(write(tmp_path / "b.csv", "text,label\n")).message
    assert "is empty" in refused(write(tmp_path / "c.jsonl", "")).message
    assert "nor a table (.csv" in refused(write(tmp_path / "d.xls", "x")).message
    assert "class folders" in refused(tmp_path / "d.xls", IMAGE).hint


def test_a_path_that_is_not_there_suggests_its_sibling(tmp_path):
    write(tmp_path / "reviews" / "train.csv", "text,label\n")
    assert "reviews/train.csv`" in refused(tmp_path / "revews" / "train.csv").hint
    assert "reviews/train.csv`" in refused(tmp_path / "reviews" / "tran.csv").hint
    assert "looked up from" in refused(tmp_path / "zzz").hint
    with pytest.raises(DataError, match=r"data\.train is not set"):
        load_examples(DataSection(), TEXT)


def test_one_class_and_labels_only_in_test(tmp_path):
    one = write(tmp_path / "one.csv", "text,label\na,x\nb,x\n")
    assert "same label, 'x'" in refused(one).message
    train = write(tmp_path / "train.csv", "text,label\na,positive\nb,negative\n")
    test = write(tmp_path / "test.csv", "text,label\nc,positive\nd,Negative\n")
    error = refused(train, test=str(test))
    assert error.message.startswith(f"{test}:3: the label 'Negative' is in test")
    assert error.hint == "did you mean `negative`?"


def test_separate_files_decide_the_splits(tmp_path):
    rows = "text,label\na,x\nb,y\n"
    train, other = write(tmp_path / "a.csv", rows), write(tmp_path / "b.csv", rows)
    assert list(load(train, test=str(other)).splits) == [None, None, "test", "test"]
    both = load(train, test=str(other), validation=str(other))
    assert list(both.splits) == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2


def test_jsonl(tmp_path):
    rows = [
        {"text": "a\u2028b", "label": True},
        {"text": "c", "label": 2},
        {"text": "d", "label": 2.0},
    ]
    path = write(tmp_path / "a.ndjson", "\n".join(json.dumps(r, ensure_ascii=False) for r in rows))
    examples = load(path)
    assert list(examples.inputs) == ["a\u2028b", "c", "d"]
    assert list(examples.targets) == ["true", "2", "2"]
    broken = (
        '{"text": "a", "label": "x"}\n\n{oops\n[1]\n{"text": "b"}\n{"text": ["b"], "label": 1}\n'
    )
    message = refused(write(tmp_path / "b.jsonl", broken)).message
    for line, reason in ((3, "not JSON"), (4, "JSON object"), (5, "no 'label'"), (6, "list")):
        assert f"b.jsonl:{line}: " in message
        assert reason in message


def test_parquet(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": ["a", "b", None], "label": [1, 2, None]}), path)
    assert f"{path}: row 3: the text is missing" in refused(path).message
    assert list(load(path, on_error="skip").targets) == ["1", "2"]
    assert "'text'" in refused(path, input_column="txt").message
    damaged = write(tmp_path / "b.parquet", path.read_bytes()[:-9])
    assert "not a readable Parquet file" in refused(damaged).message


def test_regression_targets_are_finite_numbers(tmp_path):
    rows = 'text,label\na,1.5\nb,-2\nc,nan\nd,"3,5"\ne,1_0\nf,inf\n'
    path = write(tmp_path / "a.csv", rows)
    message = refused(path, TEXT_NUMBER).message
    assert message.startswith("4 of the rows")
    assert "'3,5' is not a finite number" in message
    assert list(load(path, TEXT_NUMBER, on_error="skip").targets) == [1.5, -2.0]
    write_images(tmp_path / "photos")
    assert "needs a table" in refused(tmp_path / "photos", IMAGE_NUMBER).message


def test_image_folder(tmp_path):
    write_images(tmp_path / "p", classes=("10", "2"), per_class=2)
    (tmp_path / "p" / "2" / "000.jpg").rename(tmp_path / "p" / "2" / "A.JPEG")
    for junk in (".DS_Store", "__MACOSX/x.jpg", "2/Thumbs.db", "2/._A.JPEG", "README.txt"):
        write(tmp_path / "p" / junk, "junk")
    examples = load(tmp_path / "p", IMAGE)
    assert list(examples.targets) == ["2", "2", "10", "10"]
    assert examples.inputs[1] == examples.origins[1] == str(tmp_path / "p" / "2" / "A.JPEG")


def test_image_folder_faults(tmp_path):
    photos = write_images(tmp_path / "p", per_class=1)
    write(photos / "red" / "scan.heic", "x")
    write(photos / "stray.png", "x")
    message = refused(photos, IMAGE).message
    assert "scan.heic: not a format" in message
    assert "stray.png: lies outside any class folder" in message
    assert len(load(photos, IMAGE, on_error="skip")) == 2
    (photos / "green").mkdir()
    assert "class folders 'green'" in refused(photos, IMAGE, on_error="skip").message
    write(tmp_path / "flat" / "a.csv", "image,label\n")
    error = refused(tmp_path / "flat", IMAGE)
    assert "no class folders" in error.message
    assert "a.csv" in error.hint


def test_split_folders(tmp_path):
    write_images(tmp_path / "train", per_class=2)
    write_images(tmp_path / "val", per_class=1)
    write_images(tmp_path / "Test", classes=("blue",), per_class=1)
    (tmp_path / "Test" / "red").mkdir()
    examples = load(tmp_path, IMAGE)
    assert list(examples.splits) == ["train"] * 4 + ["validation"] * 2 + ["test"]
    assert "rows of validation too" in refused(tmp_path, IMAGE, validation=str(tmp_path)).message
    (tmp_path / "valid").mkdir()
    assert "several folders for validation" in refused(tmp_path, IMAGE).message
    (tmp_path / "valid").rename(tmp_path / "more")
    assert "no split: more" in refused(tmp_path, IMAGE).message


def test_a_class_may_be_called_train(tmp_path):
    write_images(tmp_path, classes=("train", "bus"), per_class=1)
    assert set(load(tmp_path, IMAGE).targets) == {"train", "bus"}


def test_image_table_paths_are_relative_to_the_table(tmp_path, monkeypatch):
    write_images(tmp_path / "d" / "images", classes=("a",), per_class=2)
    rows = "image,count\nimages/a/000.jpg,3\nimages/a/001.jpg,4\nimages/a/002.jpg,5\nx.svg,1\n"
    path = write(tmp_path / "d" / "t.csv", rows)
    message = refused(path, IMAGE_NUMBER, label_column="count").message
    assert "t.csv:4: " in message
    assert "there is no such file" in message
    assert "t.csv:5: " in message
    monkeypatch.chdir(tmp_path)
    examples = load(Path("d/t.csv"), IMAGE_NUMBER, label_column="count", on_error="skip")
    assert list(examples.targets) == [3.0, 4.0]
    assert examples.origins[0] == "d/t.csv:2"
    assert Path(examples.inputs[0]).is_file()


def test_text_folder(tmp_path):
    write(tmp_path / "neg" / "1.txt", "bad\n".encode("utf-8-sig"))
    write(tmp_path / "pos" / "1.txt", "good £".encode("cp1252"))
    write(tmp_path / "pos" / "2.txt", "")
    message = refused(tmp_path).message
    assert f"{tmp_path / 'pos' / '2.txt'}: the text is empty" in message
    examples = load(tmp_path, on_error="skip")
    assert list(examples.inputs) == ["bad\n", "good £"]
    assert list(examples.targets) == ["neg", "pos"]


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="real data is not here")
@pytest.mark.parametrize(
    ("name", "spec", "counts"),
    [
        ("banking77", TEXT, (10003, 3080, 77)),
        ("trash6", IMAGE, None),
        ("sign_digits", IMAGE, None),
    ],
)
def test_real_sets_load_as_they_are(name, spec, counts):
    folder = DATA / name
    tables = spec.modality == "text"
    section = (
        DataSection(train=str(folder / "train.csv"), test=str(folder / "test.csv"))
        if tables
        else DataSection(train=str(folder))
    )
    examples = load_examples(section, spec)
    sizes = (examples.splits.count(None), examples.splits.count("test"), len(set(examples.targets)))
    assert counts in {None, sizes}
    assert min(sizes) > 2


def test_a_text_that_is_too_long_is_a_broken_row(tmp_path, monkeypatch):
    from tltool.data.reading import rows

    monkeypatch.setattr(rows, "MAX_CHARACTERS", 1000)
    path = tmp_path / "texts.csv"
    path.write_text(f"text,label\ngood,a\n{'long ' * 300},b\nbad,b\n")
    with pytest.raises(DataError, match=r"csv:3: the text has 1,500 characters; at most 1,000 are"):
        load_examples(DataSection(train=str(path)), TASKS["text-classification"])


def test_half_of_a_character_is_no_text(tmp_path):
    rows = '{"text": "a \\ud83d\\ude00", "label": "x"}\n{"text": "a \\ud83d", "label": "y"}\n'
    path = write(tmp_path / "a.jsonl", rows)
    assert f"{path}:2: the text holds half a character" in refused(path).message


def test_how_other_data_is_read_is_checked_as_a_recipe_is():
    with pytest.raises(DataError, match=r"label_columns: several are asked for.*'stars'"):
        reading(DataSection(), label_columns="stars")
    with pytest.raises(DataError) as caught:
        reading(DataSection(), on_error="ignore", quoting="all")
    for field in ("data.on_error", "data.quoting"):
        assert f"{field}: not an allowed value" in caught.value.message
    section = reading(DataSection(), label_columns=["a"], quoting="none", on_error="skip")
    assert (section.label_column, section.quoting, section.on_error) == ("a", "none", "skip")
    assert reading(DataSection(label_columns=("a",)), encoding="utf-8").label_columns == ("a",)
