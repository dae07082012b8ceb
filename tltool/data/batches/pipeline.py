"""Examples to batches of model inputs: tokenized or decoded, shuffled, augmented, padded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tltool.data.batches.mapped import AsWritten
from tltool.data.batches.ordering import Share, make_ordering
from tltool.data.batches.sampling import ClassSampling
from tltool.data.batches.source import CACHE_BYTES, Source, example_source
from tltool.data.examples import Examples
from tltool.data.images.mixing import BatchMixing, make_mixing
from tltool.data.images.preprocessor import ImagePreprocessor, normalize
from tltool.data.images.store import ImageStore
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.data.texts.preprocessor import TextPreprocessor
from tltool.data.texts.tokenizing import strings
from tltool.recipe.schema import AugmentSection

_Contract = ImagePreprocessing | TextPreprocessing


class Epochs:
    """Which epoch a training dataset is read for.

    Keras makes more iterators of a dataset than there are epochs, so counting them does not tell.

    Args:
        count: Epochs in all.
        now: The one that iterations read, counted from 0; `begin` sets it.
    """

    def __init__(self, count: int, now: int = 0) -> None:
        self.count = count
        self.now = now

    def begin(self, epoch: int, logs: Any = None) -> None:
        """For Keras' `on_epoch_begin`."""
        self.now = epoch


def make_preprocessor(contract: _Contract) -> TextPreprocessor | ImagePreprocessor:
    """The module that turns a batch of raw inputs (texts, encoded images) into model inputs."""
    if isinstance(contract, TextPreprocessing):
        return TextPreprocessor(contract)
    return ImagePreprocessor(contract)


def model_inputs(raw_inputs: Sequence[Any], contract: _Contract) -> Any:
    """Model inputs for a handful of raw ones, as one batch.

    Args:
        raw_inputs: Texts; or image files (paths), encoded images (bytes) or
            uint8 arrays (see `array_to_rgb`).
        contract: The preprocessing contract.

    Returns:
        int32 tensors (n, tokens) by name, or a float32 tensor (n, *size_px, 3).

    Raises:
        DataError: An input that cannot be read, by its path or position.
    """
    if isinstance(contract, TextPreprocessing):
        return TextPreprocessor(contract)(strings(raw_inputs, _origins(raw_inputs)))
    return normalize(resized_images(raw_inputs, contract), contract)


def resized_images(raw_inputs: Sequence[Any], contract: ImagePreprocessing) -> np.ndarray:
    """A handful of raw images, decoded, resized and cropped: uint8 (n, *size_px, 3), RGB.

    Args:
        raw_inputs: As in `model_inputs`.
        contract: The preprocessing contract.

    Raises:
        DataError: An image that cannot be read, by its path or position.
    """
    return ImageStore(raw_inputs, _origins(raw_inputs), contract).load_all()


def _origins(raw_inputs: Sequence[Any]) -> list[str]:
    return [f"item {i}" for i in range(len(raw_inputs))]


def make_dataset(
    examples: Examples,
    contract: _Contract,
    *,
    targets: np.ndarray | tf.RaggedTensor | None,
    weights: np.ndarray | tf.RaggedTensor | None = None,
    batch_size: int,
    training: bool,
    seed: int = 0,
    augment: AugmentSection | None = None,
    cache_bytes: int = CACHE_BYTES,
    tokens_per_batch: int | None = None,
) -> tf.data.Dataset:
    """Batches of model inputs, ready for `fit`, `evaluate` and `predict`.

    `make_batches` of `example_source`: see both.
    """
    changes = augment if training else None
    source = example_source(examples, contract, augment=changes, seed=seed, cache_bytes=cache_bytes)
    return make_batches(
        source,
        targets=targets,
        weights=weights,
        batch_size=batch_size,
        training=training,
        seed=seed,
        tokens_per_batch=tokens_per_batch,
        mixing=make_mixing(changes, contract, seed),
    )


def make_batches(
    source: Source,
    *,
    targets: np.ndarray | tf.RaggedTensor | Source | None,
    weights: np.ndarray | tf.RaggedTensor | None = None,
    batch_size: int,
    training: bool,
    seed: int = 0,
    order: np.ndarray | None = None,
    tokens_per_batch: int | None = None,
    mixing: BatchMixing | None = None,
    encode: Callable[[Any], Any] | None = None,
    together: tuple[np.ndarray, int] | None = None,
    complete: bool = False,
    share: Share | None = None,
    epochs: Epochs | None = None,
    skipped: int = 0,
    sampling: ClassSampling | None = None,
) -> tf.data.Dataset:
    """Batches of a source's rows.

    Every iteration is an epoch: each row once, in the order of the source, or
    when training in a new full shuffle that `seed` and the epoch decide (of the
    rows that `sampling` draws), in which texts of like width train together, to
    have less padding (see `tltool.data.batches.ordering`).

    Args:
        source: The rows.
        targets: Encoded targets (n, ...), or what `encode` makes them of, or a source of
            them; None for inputs alone; ragged (n, tokens) where each token has one: -1
            stands for none, also where padding is.
        weights: Of each row (n,), or of its outputs (n, outputs), ragged as targets;
            None weighs all with 1.
        batch_size: Rows a batch.
        training: Whether to shuffle.
        seed: Of shuffling.
        order: Some row numbers in the order wanted, where not training; None takes all.
        tokens_per_batch: Tokens a batch of training texts at most, padding
            included, in place of `batch_size`.
        mixing: Mixes the images of each batch, and their targets and weights.
        encode: Encodes the targets of a batch; see `Target.packed`.
        together: Rows that must meet in a batch, as `Target.together` gives them.
        complete: Whether every batch has `batch_size` rows (more, where `together` brings
            more together): where there are fewer, the same rows again, with weight 0.
            Not with `tokens_per_batch`; of rows with `targets`.
        share: Of each batch only what one of several workers takes, padded as the whole; only
            that is loaded, except where images of a batch are mixed.
        epochs: Which epoch an iteration is, where training; None counts iterations.
        skipped: Batches at the start of every epoch that are left out, unread.
        sampling: Draws the rows of each epoch, where training.

    Returns:
        A dataset of known cardinality: `(inputs, targets, weights)`, or
        `inputs` where `targets` is None. Inputs are as in `model_inputs`.

    Raises:
        ValueError: `targets` or `weights` are not one for each row, or
            `tokens_per_batch` is given for images.
    """
    maps = targets if isinstance(targets, Source) else None
    labels = _labels(targets, weights, source.count)
    if order is not None:
        ordering = make_ordering(len(order), batch_size=batch_size)
    else:
        budget = tokens_per_batch if training else None
        ordering = make_ordering(
            source.count,
            batch_size=batch_size,
            widths=source.widths,
            budget=budget,
            together=together,
            sampling=sampling if training else None,
        )

    early = share if mixing is None else None
    guided = early is not None and ordering.widths is not None
    own = ordering if early is None else ordering.shared(early, guided)

    @tf.autograph.experimental.do_not_convert
    def epoch(key: Any) -> tf.data.Dataset:
        rows, sizes = ordering.shuffled(tf.stack([key, seed])) if training else ordering.in_order()
        if early is not None:
            rows, sizes = ordering.share(rows, sizes, early, guided=guided)
        if order is not None:
            rows = tf.gather(tf.constant(order, tf.int64), rows)
        if skipped:
            rows, sizes = rows[tf.reduce_sum(sizes[:skipped]) :], sizes[skipped:]
        one_by_one = tf.data.Dataset.from_tensor_slices(rows)
        loaded = source.load(one_by_one, rows)
        if maps is not None:
            loaded = tf.data.Dataset.zip((loaded, maps.load(one_by_one, rows)))
        batches = own.batched(loaded, sizes)
        keys = tf.data.Dataset.from_tensors(key).repeat()
        if own.sampling is not None:
            # A row that comes again is changed in another way: each batch has a key of its own.
            keys = tf.data.Dataset.range(skipped, own.num_batches).map(lambda place: key + place)
        return tf.data.Dataset.zip((keys, batches))

    size = max(batch_size, ordering.batch_size or 0) if complete else None

    @tf.autograph.experimental.do_not_convert
    def finish(key: Any, batch: Any) -> Any:
        batch, counted = _completed(batch, size)
        batch, mapped = (batch, ()) if maps is None else batch
        rows, *loaded = _parts(batch)
        inputs = source.finish(key, rows, *loaded)
        if labels is None:
            return inputs
        known, weighting = labels
        weights = _labels_of(weighting, rows, source)
        if maps is None:
            targets = _labels_of(known, rows, source)
        else:
            targets = maps.finish(key, rows, *_parts(mapped)[1:])
        batch = (inputs, targets if encode is None else encode(targets), weights)
        if guided:
            return tf.nest.map_structure(lambda tensor: tensor[:-1], batch)
        if mixing is not None:
            batch = mixing(key, rows, *batch)
        return batch if counted is None else (*batch[:2], _weighted(batch[2], counted))

    dataset = _epochs(epoch, seed, epochs) if training else epoch(tf.constant(0, tf.int64))
    left = own.num_batches - skipped
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(left))
    dataset = dataset.map(finish, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if share is not None and mixing is not None:
        dataset = shared_batches(dataset, ordering.sizes[skipped:], share)
    return AsWritten(dataset.prefetch(tf.data.AUTOTUNE))


def shared_batches(dataset: tf.data.Dataset, sizes: np.ndarray, share: Share) -> tf.data.Dataset:
    """Of each batch what one of several workers takes.

    Args:
        dataset: Batches (nested tensors that share their first dimension).
        sizes: Rows of each, int64 (batches,).
        share: The worker's.
    """

    @tf.autograph.experimental.do_not_convert
    def cut(*batch: Any) -> Any:
        own = share.rows_of(tf.shape(tf.nest.flatten(batch)[0])[0])
        first = share.index * own
        return tf.nest.map_structure(lambda tensor: tensor[first : first + own], batch)

    return dataset.take(int((share.rows_of(sizes) > 0).sum())).map(cut)


def _epochs(
    epoch: Callable[[Any], tf.data.Dataset], seed: int, epochs: Epochs | None
) -> tf.data.Dataset:
    """`epoch(key)` with another key in each epoch: of a sequence that `seed` decides."""
    keys = tf.data.Dataset.random(seed, rerandomize_each_iteration=True).take(1)
    if epochs is None:
        return keys.flat_map(epoch)
    drawn = tf.data.Dataset.range(2 * epochs.count).flat_map(lambda _: keys)
    # Keras 3.15 makes two iterators an epoch: every second key is what counting them would give.
    known = np.fromiter(drawn.as_numpy_iterator(), np.int64)[::2]

    @tf.autograph.experimental.do_not_convert
    def now(_: Any) -> Any:
        key = tf.numpy_function(lambda: known[epochs.now], [], tf.int64)
        return tf.ensure_shape(key, ())

    return tf.data.Dataset.from_tensors(0).map(now).flat_map(epoch)


def _completed(batch: Any, size: int | None) -> tuple[Any, Any]:
    """A batch of `size` rows, its own ones again where they are fewer, and which are its own."""
    if size is None:
        return batch, None
    places, own = tf.range(size), tf.shape(tf.nest.flatten(batch)[0])[0]
    return tf.nest.map_structure(lambda part: tf.gather(part, places % own), batch), places < own


def _weighted(weights: Any, counted: Any) -> Any:
    """Weights of rows (n,) or of what is in them (n, …), 0 where a row does not count."""
    shape = [-1] + [1] * (weights.shape.rank - 1)
    return weights * tf.reshape(tf.cast(counted, weights.dtype), shape)


def _parts(batch: Any) -> tuple[Any, ...]:
    return batch if isinstance(batch, tuple) else (batch,)


def _labels_of(values: Any, rows: Any, source: Source) -> Any:
    """Targets or weights of a batch; those of tokens as wide as its inputs."""
    found = tf.gather(values, rows)
    if not isinstance(values, tf.RaggedTensor):
        return found
    assert source.padded is not None
    shape = tf.stack([-1, source.padded(rows)])
    return found.to_tensor(-1 if found.dtype.is_integer else 0, shape=shape)


def _labels(targets: Any, weights: Any, count: int) -> tuple[Any, Any] | None:
    """Targets, None where they are loaded with their rows, and weights."""
    if targets is None:
        return None
    if isinstance(targets, tf.RaggedTensor):
        return targets, weights
    weighting = np.ones(count) if weights is None else np.asarray(weights)
    if isinstance(targets, Source):
        return None, tf.constant(weighting, tf.float32)
    if len(targets) != count or len(weighting) != count:
        raise ValueError(
            f"There are {count} examples, but targets of shape {targets.shape} "
            f"and weights of shape {weighting.shape}."
        )
    return tf.constant(targets), tf.constant(weighting, tf.float32)
