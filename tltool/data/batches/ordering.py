"""Which rows make which batch of an epoch, whatever it is that they load.

Texts cost what their width costs, padding included. So rows of equal width
come together, by chance within the width, and the batches in any order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from tltool.data.batches.sampling import ClassSampling


@dataclass(frozen=True)
class Share:
    """What one of several workers takes of each batch: as many rows as every other.

    Attributes:
        index: Of the worker.
        workers: How many there are.
        devices: Of each worker; all devices of all workers get equally many rows.
    """

    index: int
    workers: int
    devices: int = 1

    def rows_of(self, size: Any) -> Any:
        """Rows of this worker in batches of `size` rows; what is left over is left out."""
        return size // (self.workers * self.devices) * self.devices


@dataclass(frozen=True)
class Ordering:
    """A way to divide rows into batches, anew in each epoch; made by `make_ordering`.

    Attributes:
        sizes: Rows of each batch, int64 (batches,), before the batches are shuffled.
        batch_size: Rows of every batch but the last, or None where they differ.
        widths: What a row costs, int64 (n,), or None where all cost the same.
        classes: Of each row, int64 (n,), where `together` of one class meet in a batch.
        together: How many of them, where there are so many left.
        sampling: What draws the rows of an epoch; None takes each once.
    """

    sizes: Any
    batch_size: int | None
    widths: Any = None
    classes: Any = None
    together: int = 1
    sampling: ClassSampling | None = None

    @property
    def num_batches(self) -> int:
        """Batches of an epoch; the same in every one."""
        return len(self.sizes)

    def in_order(self) -> tuple[Any, Any]:
        """Every row once, as they are numbered: rows int64 (n,), and the batches' sizes."""
        return tf.range(int(self.sizes.sum()), dtype=tf.int64), tf.constant(self.sizes)

    def shuffled(self, seed: Any) -> tuple[Any, Any]:
        """Every row once, or those that are drawn, in an order that the seed decides.

        May be traced in a graph.

        Args:
            seed: Of TensorFlow's stateless random numbers, int64 (2,).

        Returns:
            Rows int64 (n,), batch after batch, and the batches' sizes int64
            (batches,). With a `batch_size` an incomplete batch is the last.
        """
        rows, sizes = self.in_order()
        if self.sampling is not None:
            rows = self.sampling.rows(seed)
        rows = tf.random.experimental.stateless_shuffle(rows, seed)
        if self.classes is not None:
            return self._by_class(rows, seed), sizes
        if self.widths is None:
            return rows, sizes
        rows = tf.gather(rows, tf.argsort(tf.gather(self.widths, rows), stable=True))
        seeds = tf.random.experimental.stateless_split(seed, 2)
        rows = self._incomplete_last(rows, seeds[0])
        full = self.num_batches - self._incomplete
        places = tf.random.experimental.stateless_shuffle(tf.range(full), seeds[1])
        places = tf.concat([places, tf.range(full, self.num_batches)], axis=0)
        batches = tf.gather(tf.RaggedTensor.from_row_lengths(rows, sizes), places)
        return batches.values, batches.row_lengths()

    def batched(self, elements: tf.data.Dataset, sizes: Any) -> tf.data.Dataset:
        """Batches of elements that come one by one, in the order of the rows.

        Args:
            elements: One for each row.
            sizes: As `in_order`, `shuffled` or `shared` gave them.
        """
        if self.batch_size is not None:
            return elements.batch(self.batch_size)
        return elements.batch(int(self.sizes.max())).rebatch(sizes)

    def shared(self, share: Share, guided: bool) -> Ordering:
        """The ordering of what a worker takes of each batch, for `num_batches` and `batched`.

        Args:
            share: The worker's.
            guided: Whether each of its batches has one row more, as `share` gives it.
        """
        own = share.rows_of(self.sizes)
        own = own[own > 0] + guided
        size = None if self.batch_size is None else share.rows_of(self.batch_size) + guided
        return replace(self, sizes=own, batch_size=size)

    def share(self, rows: Any, sizes: Any, share: Share, *, guided: bool) -> tuple[Any, Any]:
        """A worker's rows of an epoch.

        Args:
            rows, sizes: As `in_order` or `shuffled` gave them; may be traced in a graph.
            share: The worker's.
            guided: Whether the widest row of the whole batch follows in each, so that all workers
                pad to the same width.

        Returns:
            Its rows, batch after batch, and the batches' sizes; batches of none are left out.
        """
        own = share.rows_of(sizes)
        batches = tf.RaggedTensor.from_row_lengths(rows, sizes)
        places = tf.RaggedTensor.from_row_lengths(tf.ragged.range(sizes).values, sizes)
        first = tf.gather(share.index * own, batches.value_rowids())
        last = first + tf.gather(own, batches.value_rowids())
        mine = (places.values >= first) & (places.values < last)
        taken = tf.ragged.boolean_mask(batches, places.with_values(mine))
        if guided:
            # The widest row's number, from its width and its place.
            count = tf.size(rows, tf.int64)
            width = tf.gather(tf.cast(self.widths, tf.int64), rows)
            rank = batches.with_values(width * count + tf.range(count))
            widest = tf.gather(rows, tf.reduce_max(rank, axis=1) % count)
            taken = tf.concat([taken, widest[:, None]], axis=1)
        taken = tf.ragged.boolean_mask(taken, own > 0)
        return taken.values, taken.row_lengths()

    def _by_class(self, rows: Any, seed: Any) -> Any:
        """Shuffled rows, in each class `together` by `together`, these in any order."""
        classes = tf.gather(tf.constant(self.classes, tf.int64), rows)
        order = tf.argsort(classes, stable=True)
        rows, classes = tf.gather(rows, order), tf.gather(classes, order)
        places = tf.range(tf.size(rows))
        starts = tf.searchsorted(classes, classes)
        parts = (places - starts) // self.together
        # What is drawn for the first row of a part decides where all of it comes.
        first = starts + parts * self.together
        draws = tf.random.experimental.stateless_shuffle(places, seed + 1)
        return tf.gather(rows, tf.argsort(tf.gather(draws, first), stable=True))

    @property
    def _incomplete(self) -> int:
        """1 if the last batch has to stay the last, being smaller than the others, else 0."""
        return int(self.batch_size is not None and self.sizes[-1:].sum() % self.batch_size > 0)

    def _incomplete_last(self, rows: Any, seed: Any) -> Any:
        """Moves the rows of an incomplete batch to the end, from any place among the sorted.

        Else it would hold the longest texts of all in every epoch.
        """
        if not self._incomplete:
            return rows
        place = tf.random.stateless_uniform([], seed, 0, self.num_batches, tf.int32)
        start, size = place * self.batch_size, int(self.sizes[-1])
        taken = rows[start : start + size]
        return tf.concat([rows[:start], rows[start + size :], taken], axis=0)


def make_ordering(
    count: int,
    *,
    batch_size: int,
    widths: Any = None,
    budget: int | None = None,
    together: tuple[Any, int] | None = None,
    sampling: ClassSampling | None = None,
) -> Ordering:
    """Divides rows into batches of equally many, or of what a budget holds.

    Args:
        count: Rows in all.
        batch_size: Rows a batch, the last one holding what is left.
        widths: What each row costs, int64 (count,): rows of equal width then
            come together. None shuffles without regard to it.
        budget: What a batch may cost, in place of `batch_size`. A batch then
            has rows of one width only, and at least one. There are
            `ceil(n / rows)` batches of a width that n rows have, so equally
            many in every epoch.
        together: The class of each row, and how many of one meet in a batch, which then
            holds whole parts of so many; see `Target.together`. Widths don't count.
        sampling: Draws the rows of an epoch.

    Raises:
        ValueError: A budget without widths, with `together` or with `sampling`, which draws
            other numbers of rows of a width in each epoch; or both of these.
    """
    if sampling is not None:
        if budget is not None or together is not None:
            raise ValueError("Rows that are drawn can't be ordered by a budget, or by class.")
        return Ordering(_sizes(count, batch_size), batch_size, widths, sampling=sampling)
    if together is not None:
        if budget is not None:
            raise ValueError("A budget of tokens can't bring rows of a class together.")
        classes, number = together
        whole = max(number, batch_size - batch_size % number)
        return Ordering(_sizes(count, whole), whole, None, classes, number)
    if budget is None:
        return Ordering(_sizes(count, batch_size), batch_size, widths)
    if widths is None:
        raise ValueError("A budget of tokens needs texts.")
    different, counts = np.unique(np.asarray(widths), return_counts=True)
    per_batch = np.maximum(1, budget // different)
    sizes = [_sizes(*pair) for pair in zip(counts.tolist(), per_batch.tolist(), strict=True)]
    return Ordering(np.concatenate([*sizes, np.zeros(0, np.int64)]), None, widths)


def _sizes(count: int, batch_size: int) -> Any:
    full, rest = divmod(count, batch_size)
    return np.array([batch_size] * full + [rest] * (rest > 0), np.int64)
