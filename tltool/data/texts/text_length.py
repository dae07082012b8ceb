"""How many tokens of a text a model reads: chosen from the training texts, and told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tltool.data.batches.buckets import round_up
from tltool.data.checks.summary import quantiles
from tltool.data.examples import SPLITS, Examples
from tltool.data.preprocessing import TextPreprocessing
from tltool.data.texts.tokenizing import tokens_of
from tltool.data.texts.tokens import Integers

SHARE = 0.99
"""Share of the training texts that are left whole where the recipe names no length."""
_CALLED = {None: "texts", "joined": "joined pairs", "apart": "texts of pairs"}


@dataclass(frozen=True)
class TextLength:
    """At which length texts are cut, and how many are.

    Attributes:
        max_length: In tokens, special tokens included.
        reason: Where it comes from, in words.
        texts: Number of texts of each split that has any.
        longer: How many of them are longer, so that their end is lost if they are cut.
        tokens: Quantiles of the lengths of all texts, uncut.
        windows: Whether longer texts are read in windows of this length, and not cut.
        called: What such a text is: of pairs both joined, or the longer of the two.
    """

    max_length: int
    reason: str
    texts: Mapping[str, int]
    longer: Mapping[str, int]
    tokens: Mapping[str, float]
    windows: bool = False
    called: str = "texts"

    @property
    def cuts(self) -> bool:
        """Whether any text is longer."""
        return any(self.longer.values())

    def __str__(self) -> str:
        names = {"train": "training"}
        counts = ", ".join(
            f"{self.longer[split]:,} of {count:,} {names.get(split, split)}"
            for split, count in self.texts.items()
        )
        end = f"{counts} {self.called} are longer" if self.cuts else "none is longer"
        how = "read in windows of" if self.windows else "cut at"
        return f"{self.called} are {how} {self.max_length} tokens ({self.reason}): {end}"

    def to_json(self) -> dict[str, Any]:
        """Plain values for data.json."""
        return asdict(self)


def choose_length(lengths: Integers, limit: int) -> tuple[int, str]:
    """The length that leaves 99 % of texts whole, rounded up to a bucket size, and why.

    Args:
        lengths: Of the training texts, in tokens, uncut, int64 (n,).
        limit: The backbone's own length, which is never exceeded.
    """
    if not len(lengths):
        return limit, "the backbone's length"
    # The smallest length that at least this share of the texts do not exceed.
    enough = int(np.quantile(lengths, SHARE, method="inverted_cdf"))
    if round_up(enough) <= limit:
        return round_up(enough), "99th percentile of the training texts"
    return limit, f"the backbone's length; the training texts' 99th percentile is {enough}"


def fit_length(
    examples: Examples, contract: TextPreprocessing, wanted: int | None
) -> tuple[TextPreprocessing, TextLength]:
    """The contract with the length that fits the texts, and what that does to them.

    Args:
        examples: Split, and best with their tokens.
        contract: The backbone's, with its own length or the one that is wanted.
        wanted: What the recipe asks for; None chooses from the training texts.
    """
    lengths = tokens_of(examples, contract).lengths
    splits = np.array(examples.splits, object)
    by_split = {name: lengths[splits == name] for name in SPLITS}
    if wanted is None:
        chosen, reason = choose_length(by_split["train"], contract.max_length)
    else:
        chosen, reason = contract.max_length, "backbone.max_length"
    found = TextLength(
        max_length=chosen,
        reason=reason,
        texts={name: len(values) for name, values in by_split.items() if len(values)},
        longer={name: int((v > chosen).sum()) for name, v in by_split.items() if len(v)},
        tokens=quantiles(lengths),
        windows=contract.by_words,
        called=_CALLED[contract.pair],
    )
    return contract.model_copy(update={"max_length": chosen}), found
