"""Examples to batches of model inputs: tokenized or decoded, shuffled, augmented, padded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tltool.data.augment import augment as augment_image
from tltool.data.buckets import widths_of
from tltool.data.examples import Examples
from tltool.data.image_store import ImageStore
from tltool.data.images import ImagePreprocessor, normalize
from tltool.data.ordering import make_ordering
from tltool.data.text import TextPreprocessor
from tltool.data.tokens import strings, tokens_of
from tltool.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.schema import AugmentSection

CACHE_BYTES = 1 << 30
_Contract = ImagePreprocessing | TextPreprocessing
# Row numbers, one by one and all together -> row, or (row, what was loaded), one by one.
_Load = Callable[[tf.data.Dataset, Any], tf.data.Dataset]
# The epoch's key, the batch's row numbers, what was loaded -> model inputs.
_Finish = Callable[..., Any]


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
    origins = [f"item {i}" for i in range(len(raw_inputs))]
    if isinstance(contract, TextPreprocessing):
        return TextPreprocessor(contract)(strings(raw_inputs, origins))
    return normalize(ImageStore(raw_inputs, origins, contract).load_all(), contract)


def make_dataset(
    examples: Examples,
    contract: _Contract,
    *,
    targets: np.ndarray | None,
    weights: np.ndarray | None = None,
    batch_size: int,
    training: bool,
    seed: int = 0,
    augment: AugmentSection | None = None,
    cache_bytes: int = CACHE_BYTES,
    tokens_per_batch: int | None = None,
) -> tf.data.Dataset:
    """Batches of model inputs, ready for `fit`, `evaluate` and `predict`.

    Every iteration is an epoch: each example once, in the order of `examples`,
    or when training in a new full shuffle that `seed` and the number of
    earlier iterations decide. Texts are tokenized here, once, unless the
    examples have their tokens, and those of like length train together, to
    have less padding (see `tltool.data.ordering`). Images are
    decoded and resized here, once, and kept in memory as uint8 where all of
    them fit into `cache_bytes`, else in every epoch; the batches are the same
    to the bit. Images are augmented anew in every epoch.

    Args:
        examples: The inputs.
        contract: The preprocessing contract.
        targets: Encoded targets (n, ...), or None for inputs alone.
        weights: Weight of each example (n,); None weighs all with 1.
        batch_size: Examples a batch.
        training: Whether to shuffle and augment.
        seed: Of shuffling and augmentation.
        augment: Changes to training images; not used unless `training`.
        cache_bytes: Most memory for decoded images.
        tokens_per_batch: Tokens a batch of training texts at most, padding
            included, in place of `batch_size`.

    Returns:
        A dataset of known cardinality: `(inputs, targets, weights)`, or
        `inputs` where `targets` is None. Inputs are as in `model_inputs`.

    Raises:
        DataError: A text that is no string, or a broken image, by its path.
            Where images are not kept, a broken one raises while iterating,
            as a `tf.errors.InvalidArgumentError` whose message holds its path.
        ValueError: `targets` or `weights` are not one for each example, or
            `tokens_per_batch` is given for images.
    """
    labels = _labels(targets, weights, len(examples))
    widths = None
    if isinstance(contract, TextPreprocessing):
        load, finish, widths = _text_batches(examples, contract)
    else:
        changes = augment if training else None
        load, finish = _image_batches(examples, contract, changes, seed, cache_bytes)

    budget = tokens_per_batch if training else None
    ordering = make_ordering(len(examples), batch_size=batch_size, widths=widths, budget=budget)

    @tf.autograph.experimental.do_not_convert
    def epoch(key: Any) -> tf.data.Dataset:
        shuffle = tf.stack([key, seed])
        order, sizes = ordering.shuffled(shuffle) if training else ordering.in_order()
        rows = tf.data.Dataset.from_tensor_slices(order)
        batches = ordering.batched(load(rows, order), sizes)
        return tf.data.Dataset.zip((tf.data.Dataset.from_tensors(key).repeat(), batches))

    @tf.autograph.experimental.do_not_convert
    def complete(key: Any, batch: Any) -> Any:
        rows, *loaded = batch if isinstance(batch, tuple) else (batch,)
        inputs = finish(key, rows, *loaded)
        return inputs if labels is None else (inputs, *(tf.gather(x, rows) for x in labels))

    dataset = _epochs(epoch, seed) if training else epoch(tf.constant(0, tf.int64))
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(ordering.num_batches))
    dataset = dataset.map(complete, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.prefetch(tf.data.AUTOTUNE)


def _epochs(epoch: Callable[[Any], tf.data.Dataset], seed: int) -> tf.data.Dataset:
    """`epoch(key)` with another key in each iteration: the next of a sequence `seed` decides."""
    keys = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    return keys.take(1).flat_map(epoch)


def _text_batches(
    examples: Examples, contract: TextPreprocessing
) -> tuple[_Load, _Finish, tf.Tensor]:
    """How batches are made, and the width that each text needs, in tokens."""
    preprocessor = TextPreprocessor(contract)
    values, lengths = tokens_of(examples, contract).cut(contract.max_length)
    tokens = tf.RaggedTensor.from_row_lengths(values, lengths)
    widths = widths_of(lengths, contract.max_length)
    return _load_nothing, lambda _, rows: preprocessor.pad(tf.gather(tokens, rows)), widths


def _load_nothing(rows: tf.data.Dataset, _: Any) -> tf.data.Dataset:
    return rows


def _image_batches(
    examples: Examples,
    contract: ImagePreprocessing,
    changes: AugmentSection | None,
    seed: int,
    cache_bytes: int,
) -> tuple[_Load, _Finish]:
    store = ImageStore(examples.inputs, examples.origins, contract)

    def complete(key: Any, rows: Any, images: Any) -> Any:
        if changes is not None:
            images = _augmented(images, changes, tf.stack([key, seed]), rows)
        return normalize(images, contract)

    if store.num_bytes <= cache_bytes:
        kept = tf.constant(store.load_all())
        return _load_nothing, lambda key, rows: complete(key, rows, tf.gather(kept, rows))

    read = store.reader()
    return lambda rows, order: tf.data.Dataset.zip((rows, read(order))), complete


def _augmented(images: Any, changes: AugmentSection, seed: Any, rows: Any) -> Any:
    """Each image changed by a seed of its own, made of the epoch's and its row number."""

    def one(image_and_row: Any) -> Any:
        image, row = image_and_row
        example_seed = tf.random.experimental.stateless_fold_in(seed, row)
        return augment_image(tf.cast(image, tf.float32), changes, example_seed)

    spec = tf.TensorSpec(images.shape[1:], tf.float32)
    return tf.map_fn(one, (images, rows), fn_output_signature=spec)


def _labels(
    targets: np.ndarray | None, weights: np.ndarray | None, count: int
) -> tuple[Any, Any] | None:
    if targets is None:
        return None
    weighting = np.ones(count) if weights is None else np.asarray(weights)
    if len(targets) != count or weighting.shape != (count,):
        raise ValueError(
            f"There are {count} examples, but targets of shape {targets.shape} "
            f"and weights of shape {weighting.shape}."
        )
    return tf.constant(targets), tf.constant(weighting, tf.float32)
