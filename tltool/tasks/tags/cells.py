"""Rows of tagged texts as they are written: words with tags, or a text with spans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tltool.support.words import count
from tltool.tasks.tags.schemes import Entity, Scheme, tags_of, to_iob2
from tltool.tasks.tags.tagged import Tagged
from tltool.tasks.tags.word_split import words_of
from tltool.tasks.values import BadValueError, as_text, is_missing, label_text

# What a span's fields are called: Prodigy and spaCy, Doccano, Label Studio.
_START, _END = ("start", "start_offset"), ("end", "end_offset")
_TYPE = ("label", "labels", "type", "entity", "entity_type")

# Between the words of a text.
_SPACE = " "


class TaggedCell(NamedTuple):
    """The words of a row and their tags as they are written."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


class SpanCell(NamedTuple):
    """A row's text and its spans."""

    text: str
    spans: tuple[tuple[int, int, str], ...]


def cell_of(value: Any, label: Any) -> tuple[Any, TaggedCell | SpanCell]:
    """The text of a row, and what its two cells say together.

    Args:
        value: A text; or words, as a list.
        label: Spans of the text; or tags of the words, as a list.

    Raises:
        BadValueError: They do not fit each other.
    """
    value, label = _plain(value), _plain(label)
    if is_missing(label):
        raise BadValueError("there are no tags")
    if isinstance(value, list):
        return _of_words(value, label)
    if isinstance(label, Mapping):
        label = next((label[name] for name in ("entities", "spans") if name in label), None)
    if not isinstance(label, list):
        raise BadValueError(
            "a list of spans is needed beside a text, or a list of words beside a list of tags"
            + ("; words with a tag each are read as CoNLL (docs/tags.md)" * isinstance(label, str))
        )
    text = as_text(value)
    return text, SpanCell(text, tuple(span_of(one) for one in label))


def text_of(value: Any) -> Any:
    """The text that a row's words make, as in `cell_of`; another cell as it is.

    Raises:
        BadValueError: One of the words is none.
    """
    value = _plain(value)
    return _SPACE.join(_checked(value)) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """Arrays and tuples as lists."""
    if hasattr(value, "tolist") and getattr(value, "ndim", None):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


def _of_words(words: Sequence[Any], tags: Any) -> tuple[str, TaggedCell]:
    if not isinstance(tags, list):
        raise BadValueError("the tags are no list, as the words are")
    if len(words) != len(tags):
        raise BadValueError(f"there are {count(len(words), 'word')} and {count(len(tags), 'tag')}")
    texts = _checked(words)
    return _SPACE.join(texts), TaggedCell(tuple(texts), tuple(map(label_text, tags)))


def _checked(words: Sequence[Any]) -> list[str]:
    texts = []
    for number, word in enumerate(words, start=1):
        try:
            text = as_text(word)
        except BadValueError as error:
            raise BadValueError(f"word {number} {error}") from None
        if not text.strip():
            raise BadValueError(f"word {number} is empty")
        texts.append(text)
    return texts


def span_of(span: Any) -> tuple[int, int, str]:
    """Start, end and type of a span: `[0, 5, "person"]`, or an object with names for them.

    Raises:
        BadValueError: It is no span.
    """
    if isinstance(span, Mapping):
        found = [_named(span, names) for names in (_START, _END, _TYPE)]
    elif isinstance(span, list | tuple) and len(span) >= 3:
        found = list(span[:3])
    else:
        raise BadValueError(f"{str(span)[:60]!r} is no span: start, end and type are needed")
    start, end, kind = found
    if isinstance(kind, list) and len(kind) == 1:
        kind = kind[0]
    return _place(start, span), _place(end, span), label_text(kind)


def _place(offset: Any, span: Any) -> int:
    # A table with an empty cell in a column of numbers makes 108.0 of 108.
    if isinstance(offset, float) and offset.is_integer():
        return int(offset)
    if isinstance(offset, bool) or not isinstance(offset, int):
        raise BadValueError(f"{str(span)[:60]!r} has an offset that is no whole number: {offset!r}")
    return offset


def _named(span: Mapping[str, Any], names: Sequence[str]) -> Any:
    for name in names:
        if name in span:
            return span[name]
    raise BadValueError(f"a span has no {names[0]!r}; it has {', '.join(span)}")


def tagged_of(cell: TaggedCell | SpanCell, scheme: Scheme) -> Tagged:
    """A row's words with their tags, in IOB2 or as plain classes.

    Raises:
        BadValueError: Spans that overlap, lie outside the text, or cut a word.
    """
    if isinstance(cell, SpanCell):
        return _with_spans(cell)
    starts, ends, place = [], [], 0
    for word in cell.words:
        starts.append(place)
        ends.append(place + len(word))
        place += len(word) + 1
    return Tagged(tuple(starts), tuple(ends), tuple(to_iob2(cell.tags, scheme)))


def _with_spans(cell: SpanCell) -> Tagged:
    words = words_of(cell.text)
    first_at = {start: number for number, (start, _) in enumerate(words)}
    end_at = {end: number + 1 for number, (_, end) in enumerate(words)}
    entities: list[Entity] = []
    last_end, last = 0, ""
    for begin, stop, kind in sorted(cell.spans):
        what = f"the span {begin} to {stop} ({kind})"
        if not 0 <= begin < stop <= len(cell.text):
            raise BadValueError(f"{what} is not in the text, which has {len(cell.text)} characters")
        if begin < last_end:
            raise BadValueError(f"{what} overlaps {last}; a word has one tag")
        last_end, last = stop, what
        start, end = _trimmed(cell.text, begin, stop)
        if start not in first_at or end not in end_at:
            raise BadValueError(f"{what} cuts a word or is blank: {cell.text[start:end][:40]!r}")
        entities.append(Entity(first_at[start], end_at[end], kind))
    starts, ends = zip(*words, strict=True) if words else ((), ())
    return Tagged(starts, ends, tuple(tags_of(len(words), entities)))


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """A span without the white space at its ends, which annotators often take with it."""
    inner = text[start:end]
    return start + len(inner) - len(inner.lstrip()), end - len(inner) + len(inner.rstrip())
