"""Rows of stored features: which examples they stand for, and how batches read them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from tltool.data.batches.buckets import widths_of
from tltool.data.batches.mapped import as_tensor
from tltool.data.batches.source import Source, drawn_views, example_source, nothing_to_load, paired
from tltool.data.checks.fingerprints import Digests, as_items, content_digests
from tltool.data.examples import Examples
from tltool.data.images.seeded_layers import versions
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing, is_apart
from tltool.data.texts.preprocessor import padded_width
from tltool.features.store import Entry
from tltool.recipe.schema import AugmentSection


@dataclass(frozen=True)
class Rows:
    """The distinct contents of some examples, in an order that only the contents decide.

    So the rows are the same whatever the seed of the split or of the training.

    Attributes:
        examples: One of each content.
        keys: The content's sha256 of each row, ascending, uint8 (n, 32).
        contract: The preprocessing contract.
        augment: Changes with views, or None: then each row has one view.
        seed: Of the views.
        apart: Whether an example is a pair of texts, each of them a row by itself.
    """

    examples: Examples
    keys: Digests
    contract: ImagePreprocessing | TextPreprocessing
    augment: AugmentSection | None = None
    seed: int = 0
    apart: bool = False

    @classmethod
    def of(
        cls,
        examples: Examples,
        contract: ImagePreprocessing | TextPreprocessing,
        augment: AugmentSection | None = None,
        seed: int = 0,
    ) -> Rows:
        """The rows of some examples; of pairs that are left apart, of their texts."""
        apart = is_apart(contract)
        if is_apart(contract):
            examples, contract = examples.texts(), contract.one_text
        digests = content_digests(examples)
        first = np.unique(as_items(digests), return_index=True)[1]
        few = examples.take(first)
        return cls(few, digests[first], contract, augment, seed, apart)

    @property
    def views(self) -> int:
        """Stored rows of each content."""
        return 1 if self.augment is None else self.augment.views or 1

    @property
    def count(self) -> int:
        """Stored rows together: all contents' first views, then all second ones, …"""
        return len(self.keys) * self.views

    def digest(self) -> str:
        """sha256 (hex) of contents, changes and preprocessing."""
        changes: tuple[str, ...] = ()
        if self.augment is not None:
            settings = f"{self.augment.model_dump_json()} {self.seed}"
            changes = (settings, versions(self.augment.layers))
        digest = hashlib.sha256()
        for key in self.keys:
            digest.update(key.tobytes().hex().encode() + b"\n")
        digest.update("\n".join((self.contract.digest(), *changes)).encode())
        return digest.hexdigest()

    def positions(self, examples: Examples) -> np.ndarray:
        """The row of each example's content, or of each text of pairs apart, int64 (n,)."""
        examples = examples.texts() if self.apart else examples
        wanted = as_items(content_digests(examples))
        places = np.searchsorted(keys := as_items(self.keys), wanted)
        if not np.array_equal(keys[np.minimum(places, len(keys) - 1)], wanted):
            raise KeyError("Some of the examples are none of these rows.")
        return places

    def part(self, rows: np.ndarray) -> tuple[Rows, np.ndarray]:
        """The contents of some stored rows by themselves, and the numbers of these rows then."""
        count = len(self.keys)
        contents = np.unique(rows % count)
        examples = self.examples.take(contents.tolist())
        tokens = None if examples.tokens is None else examples.tokens.alone()
        examples = replace(examples, tokens=tokens, targets=[None] * len(contents))
        few = replace(self, examples=examples, keys=self.keys[contents])
        return few, rows // count * len(contents) + np.searchsorted(contents, rows % count)

    @cached_property
    def source(self) -> Source:
        """The model inputs of every row; images of one view are not kept in memory."""
        if self.augment is None:
            return example_source(self.examples, self.contract, cache_bytes=0)
        views = self.augment.model_copy(update={"views": self.views})
        return example_source(
            self.examples, self.contract, augment=views, seed=self.seed, all_views=True
        )

    @cached_property
    def lengths(self) -> np.ndarray | None:
        """Tokens of each content, int64 (n,); None for images."""
        return None if self.source.lengths is None else self.source.lengths.numpy()

    @property
    def num_tokens(self) -> int:
        """Tokens of all contents together; 0 for images."""
        return 0 if self.lengths is None else int(self.lengths.sum())


def entry_source(entry: Entry, dtypes: Sequence[str], rows: Rows) -> Source:
    """All rows of an entry as they are stored, views apart; as `stored_source` else."""
    return _source(entry, dtypes, rows, tf.range(rows.count, dtype=tf.int64), None)


def stored_source(
    entry: Entry,
    dtypes: Sequence[str],
    rows: Rows,
    examples: Examples,
    seed: int,
    *,
    few_widths: bool = False,
) -> Source:
    """Batches of an entry's rows in place of the inputs of some of its examples.

    The files are mapped into memory and read where a batch needs them.

    Args:
        entry: Stored features of `rows`.
        dtypes: Of each tensor as the rest of the model takes it.
        rows: What the entry's rows stand for.
        examples: Some of them, in any order.
        seed: Of the choice among views; that of the examples' own source.
        few_widths: Whether batches of texts are padded to few widths; see `bucket_sizes`.

    Returns:
        A source whose inputs are a tuple of tensors; those stored by token are
        padded with zeros as the texts themselves are.
    """
    positions = tf.constant(rows.positions(examples))
    views_seed = None if rows.augment is None else seed
    source = _source(entry, dtypes, rows, positions, views_seed, few_widths)
    return paired(source) if rows.apart else source


def _source(
    entry: Entry,
    dtypes: Sequence[str],
    rows: Rows,
    positions: Any,
    views_seed: int | None,
    few_widths: bool = False,
) -> Source:
    """Batches of the entry's rows at `positions`, or of one of their views."""
    contract = rows.contract
    lengths = tf.constant(entry.lengths()) if entry.tokens else None
    longest = contract.max_length if isinstance(contract, TextPreprocessing) else 0
    read = [_reader(entry, index, lengths) for index in range(len(entry.tensors))]

    def padded(stored: Any) -> Any:
        return padded_width(tf.gather(lengths, stored), longest, few=few_widths)

    def finish(key: Any, chosen: Any) -> Any:
        stored = tf.gather(positions, chosen)
        if views_seed is not None:
            stored += drawn_views(key, chosen, rows.views, views_seed) * len(rows.keys)
        width = None if lengths is None else padded(stored)
        return tuple(
            tf.cast(one(stored, width), dtype) for one, dtype in zip(read, dtypes, strict=True)
        )

    count = int(positions.shape[0])
    if lengths is None or not isinstance(contract, TextPreprocessing):
        return Source(count, nothing_to_load, finish)
    own = tf.gather(lengths, positions)
    return Source(
        count,
        nothing_to_load,
        finish,
        own,
        widths_of(own, longest),
        lambda chosen: padded(tf.gather(positions, chosen)),
    )


def _reader(entry: Entry, index: int, lengths: Any) -> Any:
    """From row numbers and a width to the rows of one tensor."""
    spec = entry.tensors[index]
    mapped = _mapped(entry, index)
    if not spec.by_token:
        return lambda rows, _: tf.gather(mapped, rows)
    ragged = tf.RaggedTensor.from_row_lengths(mapped, lengths, validate=False)

    def padded(rows: Any, width: Any) -> Any:
        shape = tf.stack([-1, width, *spec.shape])
        return tf.gather(ragged, rows).to_tensor(shape=tf.cast(shape, tf.int64))

    return padded


def _mapped(entry: Entry, index: int) -> tf.Tensor:
    """A tensor's file as a tensor, mapped into memory where it is large."""
    spec = entry.tensors[index]
    count = entry.tokens if spec.by_token else entry.rows
    dtype, shape = np.dtype(spec.dtype), (count, *spec.shape)
    if not count:
        return tf.zeros(shape, dtype)
    return as_tensor(np.memmap(entry.file(index), dtype, "c", shape=shape))
