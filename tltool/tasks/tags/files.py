"""Files of tagged texts that are no tables: CoNLL, and files of JSON as annotation tools export.

CoNLL: a word a line with its columns, an empty line between sentences, as in the
shared tasks from CoNLL-2000 on. JSON: Label Studio's export and its short form,
spaCy's training examples, and lists of the objects that JSON lines have.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tltool.support.errors import DataError
from tltool.support.files import distinct
from tltool.tasks.label_studio import results_of
from tltool.tasks.values import BadValueError

DOCUMENT_MARK = "-DOCSTART-"
# https://universaldependencies.org/format.html; ranges of words and empty nodes are no words.
_CONLLU = ["ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC"]
_NO_WORD = re.compile(r"\d+[-.]\d+")
_MAYBE_TABLES = {".csv", ".tsv", ".tab"}
_ALIKE = 0.75
"""Share of lines with as many columns as most, from which what may be a table is sentences."""
# What a first line calls the columns that other lines have.
_WORD_NAMES = {"word", "words", "token", "tokens", "form"}
_TAG_NAMES = {"tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags", "pos", "upos"}
_JSON_LINES = {".jsonl", ".ndjson"}
_TEXTS = ("text", "data", "content")
_WORDS = ("tokens", "words")
_TAGS = ("tags", "ner_tags", "labels", "ner")
_SPANS = ("spans", "entities", "ents", "label", "labels")
Found = tuple[Any, Any, str]


class _Line(NamedTuple):
    number: int
    fields: list[str]


def rows_of(
    path: Path, text: str, columns: Sequence[str | None], *, labelled: bool = True
) -> list[Found] | None:
    """The rows of a file of tagged texts; None where it is a table.

    Args:
        path: The file; its suffix tells tables and JSON.
        text: Its content.
        columns: Of a CoNLL file the columns of words and tags as numbers from 1, or
            as a line `# global.columns = FORM NER` or a first line `word tag` names them; None
            takes the first and the last, or FORM and UPOS of CoNLL-U. An array of JSON is a table
            where they are named.
        labelled: Whether tags or spans are needed. Where they are not, words may stand
            alone, and JSON none of whose items is known is a table.

    Returns:
        As `Target.file_rows`: words or a text, tags or spans, and `file:line`.

    Raises:
        DataError: The file is none that can be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".json":
        if any(columns) and text.lstrip().startswith("["):
            return None
        rows = _json_rows(path, text, labelled)
        known = labelled or any(not isinstance(label, BadValueError) for _, label, _ in rows)
        return rows if known else None
    if suffix in _JSON_LINES:
        return _spacy_lines(path, text)
    if suffix in _MAYBE_TABLES and not _has_sentences(text, columns):
        return None
    if not text.strip():
        raise DataError(f"{path} is empty.", hint="a word and its tag are needed on each line")
    return list(_conll_rows(path, text, columns, 2 if labelled else 1))


# ---- CoNLL ---------------------------------------------------------------------------------------


def _has_sentences(text: str, columns: Sequence[str | None]) -> bool:
    """Whether lines without the header of a table have columns as CoNLL does, and empty ones
    stand between them."""
    lines = text.replace("\r\n", "\n").strip().split("\n")
    if all(map(str.strip, lines)):
        return False
    split = _split(lines)
    header = {name.strip(' "') for name in re.split("[,;\t]", lines[0])}
    if header & {*_TEXTS, *_WORDS, *columns} and not _is_header(split[0].fields):
        return False
    widths = _widths(split)
    width = _most(widths)
    return width > 1 and widths[width] >= _ALIKE * widths.total()


def _split(lines: Sequence[str]) -> list[_Line]:
    tabs = sum("\t" in line for line in lines) * 2 > sum(bool(line.strip()) for line in lines)
    return [_Line(n, _fields(line, tabs)) for n, line in enumerate(lines, start=1)]


def _widths(lines: Sequence[_Line]) -> Counter[int]:
    """How many lines have so many columns; comments and marks of documents are none."""
    fields = (line.fields for line in lines if line.fields)
    return Counter(len(one) for one in fields if not one[0].startswith(("#", DOCUMENT_MARK)))


def _most(widths: Counter[int]) -> int:
    return widths.most_common(1)[0][0] if widths else 0


def _is_header(fields: Sequence[str]) -> bool:
    """Whether a line says what its columns are, in place of a word and its tag."""
    names = [field.lower() for field in fields]
    return len(names) > 1 and bool(_WORD_NAMES & {*names[:-1]}) and names[-1] in _TAG_NAMES


def _conll_rows(
    path: Path, text: str, columns: Sequence[str | None], least: int
) -> Iterator[Found]:
    lines = text.replace("\r\n", "\n").split("\n")
    split = _split(lines)
    width = _most(_widths(split))
    if width < least:
        raise DataError(
            f"{path}: most lines have {width} column, and a word and its tag are needed.",
            hint="columns are separated by tabs or spaces, sentences by an empty line",
        )
    first = next(line for line in split if line.fields)
    header = first.fields if len(first.fields) == width and _is_header(first.fields) else []
    if header:
        split.remove(first)
    word, tag = _columns(path, lines, width, columns, header)
    if word:  # the first column may number the words
        ids = [line for line in split if line.fields and not _is_comment(line.fields, width)]
        none = {line.number for line in ids if _NO_WORD.fullmatch(line.fields[0])}
        if all(line.fields[0].isdecimal() for line in ids if line.number not in none):
            split = [line for line in split if line.number not in none]
    sentence: list[_Line] = []
    for line in [*split, _Line(len(split) + 1, [])]:
        if not line.fields:
            if sentence:
                yield _sentence(path, sentence, width, word, tag)
            sentence = []
        elif line.fields[0] != DOCUMENT_MARK and not _is_comment(line.fields, width):
            sentence.append(line)


def _fields(line: str, tabs: bool) -> list[str]:
    if not line.strip():
        return []
    # Other white space, such as a narrow one in numbers, can be within a word.
    fields = re.split(r"\t" if tabs else r"[ \t]+", line.strip(" \t\r"))
    return [field.strip(" ") for field in fields]


def _is_comment(fields: Sequence[str], width: int) -> bool:
    """Whether a line is none of the table; a `#` can be a word too."""
    return fields[0].startswith("#") and len(fields) != width


def _columns(
    path: Path,
    lines: Sequence[str],
    width: int,
    columns: Sequence[str | None],
    header: Sequence[str],
) -> tuple[int, int]:
    """The places of the words and of the tags."""
    start = "# global.columns ="
    said = (line.removeprefix(start).split() for line in lines if line.startswith(start))
    named = next(said, list(header))
    if not named and path.suffix.lower() == ".conllu" and width == len(_CONLLU):
        named = _CONLLU
    last = named.index("UPOS") if named == _CONLLU else width - 1
    words = (place for place, name in enumerate(named) if name.lower() in _WORD_NAMES)
    defaults = (next(words, 0), last)
    found = []
    for name, default in zip(columns, defaults, strict=True):
        if name is None:
            found.append(default)
        elif name in named:
            found.append(named.index(name))
        elif name.isascii() and name.isdigit() and 1 <= int(name) <= width:
            found.append(int(name) - 1)
        else:
            names = f", or one of {', '.join(named)}" if named else ""
            raise DataError(
                f"{path}: there is no column {name!r}; it has {width} columns.",
                hint=f"give a number from 1 to {width}{names} as data.input_column and "
                "data.label_column",
            )
    return found[0], found[1]


def _sentence(path: Path, lines: Sequence[_Line], width: int, word: int, tag: int) -> Found:
    origin = f"{path}:{lines[0].number}"
    for line in lines:
        if len(line.fields) != width:
            what = f"line {line.number} has {len(line.fields)} columns, most have {width}"
            return None, BadValueError(what), origin
    return [line.fields[word] for line in lines], [line.fields[tag] for line in lines], origin


# ---- JSON ----------------------------------------------------------------------------------------


def _spacy_lines(path: Path, text: str) -> list[Found] | None:
    """Lines that are `["text", {"entities": […]}]`; None where the first is an object."""
    lines = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines or not lines[0][1].lstrip().startswith("["):
        return None
    rows = []
    for number, line in lines:
        origin = f"{path}:{number}"
        try:
            rows.append((*_json_row(json.loads(line, object_pairs_hook=distinct)), origin))
        except (ValueError, RecursionError) as error:
            rows.append((None, BadValueError(f"not JSON ({error})"), origin))
        except BadValueError as error:
            rows.append((None, error, origin))
    return rows


def _json_rows(path: Path, text: str, labelled: bool) -> list[Found]:
    try:
        values = json.loads(text, object_pairs_hook=distinct)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}.") from error
    if isinstance(values, dict):
        # `{"data": […]}` and the like: the one list in it.
        lists = [value for value in values.values() if isinstance(value, list)]
        values = lists[0] if len(lists) == 1 else values
    if not isinstance(values, list) or not values:
        raise DataError(
            f"{path}: a list of annotated texts is needed.",
            hint="export from Label Studio as JSON or JSON-MIN, or write JSON lines (.jsonl)",
        )
    rows: list[Found] = []
    for number, value in enumerate(values, start=1):
        origin = f"{path}: item {number}"
        try:
            rows.append((*_json_row(value, labelled), origin))
        except BadValueError as error:
            rows.append((None, error, origin))
    return rows


def _json_row(value: Any, labelled: bool = True) -> tuple[Any, Any]:
    """Words and tags, or a text and spans, of one item of a file of JSON.

    Where they need not be labelled, what stands beside words or a text may be None.

    Raises:
        BadValueError: It is none of the forms that are known.
    """
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
        return value[0], value[1]
    if not isinstance(value, dict):
        raise BadValueError("not an annotated text")
    if ("annotations" in value or not labelled) and isinstance(value.get("data"), dict):
        text = _label_studio_text(value["data"])
        return text, _label_studio_spans(value) if labelled else None
    inputs_alone = []
    for inputs, labels in ((_WORDS, _TAGS), (_TEXTS, _SPANS)):
        given = next((name for name in inputs if name in value), None)
        named = next((name for name in labels if name in value and name != given), None)
        if given and named:
            return value[given], value[named]
        inputs_alone += [value[given]] if given else []
    if inputs_alone and not labelled:
        return inputs_alone[-1], None
    raise BadValueError(f"no words and tags, nor a text and spans, in {', '.join(value)}")


def _label_studio_text(data: dict[str, Any]) -> str:
    """The text of a task of Label Studio."""
    texts = [text for text in data.values() if isinstance(text, str)]
    text = data.get("text", texts[0] if len(texts) == 1 else None)
    if not isinstance(text, str):
        raise BadValueError(f"the task has several texts: {', '.join(data)}")
    return text


def _label_studio_spans(task: dict[str, Any]) -> list[Any]:
    """The spans of a task of Label Studio."""
    return [one["value"] for _, one in results_of(task) if one.get("type") == "labels"]
