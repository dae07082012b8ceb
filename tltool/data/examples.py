"""Examples: the one table every data source becomes."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from tltool.data.packed import CodedColumn, coded, packed, taken
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import Modality
from tltool.tasks.target import Target

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from tltool.data.decided import Decided
    from tltool.data.packed import Numbers
    from tltool.data.texts.tokens import PairTokens, Tokens

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SPLIT_WORDS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""What folders, files and cells call the splits."""
_SPLIT_OF = {word: split for split, words in SPLIT_WORDS.items() for word in words}


def split_named(word: str) -> Split | None:
    """The split that a word of `SPLIT_WORDS` means, in capitals too; None for another word."""
    return _SPLIT_OF.get(word.lower())


@dataclass(frozen=True)
class Examples:
    """Labelled (or unlabelled) inputs, one row each; the columns have equal length.

    Attributes:
        modality: "image", "text", "text_pair" or "text_triplet".
        inputs: Texts (str), several of them (tuples of two or three str), image file paths
            (str), or images as uint8 arrays of shape (height, width),
            (height, width, 3) or (height, width, 4).
        targets: As their kind reads them: class names (str), tuples of labels,
            numbers (float) or tuples of them; None where unknown.
        splits: "train", "validation", "test", or None while undecided.
        origins: Where each row came from, for messages: `reviews.csv:17`
            (line counted from 1, header included), a file path, or `item 4`.
        skipped: What was left out under `data.on_error: skip`, one line each.
        kind: The kind of the targets.
        columns: Names of the columns that the targets come from.
        note: How the labels were taken, where that was found out.
        groups: What each row belongs to that is not divided, such as a patient; empty
            where the data does not say.
        tokens: The token ids of texts, once `tltool.data.texts.tokenizing.tokenized` made them.
        contents: The sha256 of each input, uint8 (n, 32), once
            `tltool.data.checks.fingerprints.with_contents` read them.
        decided: What a table of decisions changed of the data; None without one.
    """

    modality: Modality
    inputs: Sequence[Any]
    targets: Sequence[Any]
    splits: Sequence[Split | None]
    origins: Sequence[str]
    skipped: tuple[str, ...] = field(default=())
    kind: type[Target] = ClassTarget
    columns: tuple[str, ...] = ()
    note: str = ""
    groups: Sequence[str] = ()
    tokens: Tokens | PairTokens | None = field(default=None, repr=False, compare=False)
    contents: npt.NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    decided: Decided | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.inputs), len(self.targets), len(self.splits), len(self.origins)}
        for beside in (self.tokens, self.contents):
            if beside is not None:
                lengths.add(len(beside))
        if self.groups:
            lengths.add(len(self.groups))
        if len(lengths) != 1:
            raise ValueError(f"The columns of Examples differ in length: {sorted(lengths)}.")

    def texts(self) -> Examples:
        """The texts of pairs, each as a row of its own: both of the first row, then the next."""
        rows = [row for row, texts in enumerate(self.inputs) for _ in texts]
        each = replace(self, tokens=None, contents=None).take(rows)
        tokens = None if self.tokens is None else getattr(self.tokens, "texts", None)
        return replace(each, modality="text", inputs=texts_of(self.inputs), tokens=tokens)

    def as_inputs(self) -> Examples:
        """Rows as the model reads them: each text by itself, where their kind is `of_texts`."""
        if not self.kind.of_texts or self.modality == "text":
            return self
        rows = enumerate(zip(self.inputs, self.targets, strict=True))
        targets = [one for row, (texts, target) in rows
                   for one in self.kind.members(row, texts, target)]  # fmt: skip
        return replace(self.texts(), targets=targets)

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, rows: Numbers) -> Examples:
        """The examples at `rows`, in that order."""
        return replace(
            self,
            inputs=taken(self.inputs, rows),
            targets=taken(self.targets, rows),
            splits=taken(self.splits, rows),
            origins=taken(self.origins, rows),
            groups=taken(self.groups, rows) if self.groups else (),
            tokens=None if self.tokens is None else self.tokens.take(rows),
            contents=None if self.contents is None else self.contents[rows],
        )

    def followed_by(self, other: Examples) -> Examples:
        """These rows and then those of another table of the same kind, without their tokens."""
        return replace(
            self,
            inputs=packed(chain(self.inputs, other.inputs)),
            targets=coded(chain(self.targets, other.targets)),
            splits=coded(chain(self.splits, other.splits)),
            origins=packed(chain(self.origins, other.origins)),
            skipped=(*self.skipped, *other.skipped),
            note=self.note or other.note,
            groups=coded(chain(self._all_groups(), other._all_groups()))
            if self.groups or other.groups
            else (),
            tokens=None,
            contents=None
            if self.contents is None or other.contents is None
            else _stacked(self.contents, other.contents),
        )

    def _all_groups(self) -> Sequence[str]:
        """The group of each row; where the data says none, each is by itself."""
        return self.groups or self.origins

    def where(self, keep: Callable[[int], bool]) -> Examples:
        """The examples whose row number satisfies `keep`."""
        return self.take(array("q", (i for i in range(len(self)) if keep(i))))

    def split(self, name: Split) -> Examples:
        """The examples of one split (possibly none)."""
        return self.take(self._rows_of(name))

    def of_splits(self, *names: Split) -> Examples:
        """The examples of some splits, one split after the other."""
        return self.take(array("q", (int(row) for name in names for row in self._rows_of(name))))

    def _rows_of(self, name: Split) -> Numbers:
        if isinstance(self.splits, CodedColumn):
            return self.splits.rows_with(name)
        return array("q", (row for row, split in enumerate(self.splits) if split == name))


def _stacked(*parts: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    import numpy as np

    return np.concatenate(parts)


def texts_of(inputs: Iterable[Any]) -> list[str]:
    """Every text of texts or of pairs of them, in order."""
    return list(each_text(inputs))


def each_text(inputs: Iterable[Any]) -> Iterator[str]:
    """The same one by one."""
    for value in inputs:
        yield from value if isinstance(value, tuple) else (value,)
