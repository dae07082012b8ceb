"""How tags say where entities are: BIO as IOB2 and IOB1, BILOU, BIOES, or plain classes.

Everything within tltool is IOB2: `B-` begins an entity, `I-` goes on with it, and
`O` is outside. Ramshaw and Marcus 1995 (IOB1); Tjong Kim Sang and Veenstra 1999
(the others).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

OUTSIDE = "O"
Scheme = Literal["IOB2", "IOB1", "BILOU", "BIOES", "classes"]
_BEGIN_AND_INSIDE = {"B": "B", "I": "I", "L": "I", "E": "I", "U": "B", "S": "B"}
_WRITTEN = "".join(_BEGIN_AND_INSIDE)


class Entity(NamedTuple):
    """Words from `first` to before `end` that are of one type."""

    first: int
    end: int
    type: str


def prefix_of(tag: str, prefixes: str = "BI") -> tuple[str, str]:
    """The prefix of a tag and its type: ("B", "person"); ("", tag) where it has none."""
    prefix, dash, kind = tag.partition("-")
    return (prefix, kind) if dash and kind and prefix in tuple(prefixes) else ("", tag)


def found_scheme(rows: Iterable[Sequence[str]]) -> Scheme:
    """The scheme in which the tags of some rows are written.

    Tags without any prefix but for `O`, or with other prefixes, are plain classes.
    """
    rows = [list(row) for row in rows]
    tags = {tag for row in rows for tag in row} - {OUTSIDE}
    prefixes = {prefix_of(tag, _WRITTEN)[0] for tag in tags}
    if not tags or "" in prefixes:
        return "classes"
    if prefixes & {"L", "U"}:
        return "classes" if prefixes & {"E", "S"} else "BILOU"
    if prefixes & {"E", "S"}:
        return "BIOES"
    # In IOB1 `B-` is needed only where an entity follows another of its type.
    begun = sum(_begins_after_other(row, "B") for row in rows)
    inside = sum(_begins_after_other(row, "I") for row in rows)
    return "IOB1" if inside > begun else "IOB2"


def _begins_after_other(row: Sequence[str], prefix: str) -> int:
    """How many tags with a prefix stand where no entity of their type stands before."""
    pairs = [prefix_of(tag) for tag in row]
    before = [("", ""), *pairs][:-1]
    return sum(
        one[0] == prefix and (last[0] == "" or last[1] != one[1])
        for one, last in zip(pairs, before, strict=True)
    )


def are_likely(rows: Sequence[Sequence[str]]) -> bool:
    """Whether columns of a text, taken for tags, look as if they were: for want of a header.

    They have prefixes (`B-person`); or there are several sentences, and a tag is there
    twice on average.
    """
    tags = [tag for row in rows for tag in row]
    prefixed = found_scheme(rows) != "classes"
    return prefixed or (len(rows) > 1 and len(set(tags)) * 2 <= len(tags))


def to_iob2(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """Tags of one row in IOB2; plain classes as they are.

    What the scheme does not allow stays what it is, such as an `I-` after `O` in IOB2.
    """
    if scheme == "classes":
        return list(tags)
    found: list[str] = []
    last = ("", "")
    for tag in tags:
        prefix, kind = prefix_of(tag, _WRITTEN)
        new = _BEGIN_AND_INSIDE.get(prefix, "")
        if scheme == "IOB1" and (last[0] == "" or last[1] != kind):
            new = "B"
        found.append(f"{new}-{kind}" if prefix else tag)
        last = (prefix, kind)
    return found


def entities_of(tags: Sequence[str], *, strict: bool = False) -> list[Entity]:
    """The entities of IOB2 tags, as seqeval finds them.

    Args:
        tags: Of one row.
        strict: Whether only `B-` begins an entity; else an `I-` that goes on with
            none does too.
    """
    return list(_entities(tags, strict))


def _entities(tags: Sequence[str], strict: bool) -> Iterator[Entity]:
    first, current = 0, ""
    for place, tag in enumerate([*tags, OUTSIDE]):
        prefix, kind = prefix_of(tag)
        if prefix == "I" and kind == current:
            continue
        if current:
            yield Entity(first, place, current)
        begins = prefix == "B" or (prefix == "I" and not strict)
        first, current = place, kind if begins else ""


def tags_of(count: int, entities: Iterable[Entity]) -> list[str]:
    """IOB2 tags of `count` words that have these entities."""
    tags = [OUTSIDE] * count
    for first, end, kind in entities:
        tags[first:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - first - 1)]
    return tags


def misplaced(tags: Sequence[str]) -> int:
    """How many `I-` go on with no entity, which strict reading leaves out."""
    return _begins_after_other(tags, "I")
