"""Examples to batches of model inputs: tokenized or decoded, shuffled, augmented, padded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tltool.data.augment import augment as augment_image
from tltool.data.examples import Examples
from tltool.data.image_store import ImageStore
from tltool.data.images import ImagePreprocessor, normalize
from tltool.data.text import TextPreprocessor
from tltool.errors import DataError
from tltool.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.schema import AugmentSection

CACHE_BYTES = 1 << 30
_TEXT_CHUNK = 4096
_Contract = ImagePreprocessing | TextPreprocessing
_Batch = Callable[[Any, Any], Any]


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
        return TextPreprocessor(contract)(_strings(raw_inputs, origins))
    store = ImageStore(raw_inputs, origins, contract, cache_bytes=0)
    return normalize(store.load(np.arange(len(raw_inputs))), contract)


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
    drop_remainder: bool = False,
    cache_bytes: int = CACHE_BYTES,
) -> tf.data.Dataset:
    """Batches of model inputs, ready for `fit`, `evaluate` and `predict`.

    Every iteration is an epoch: each example once, in the order of `examples`,
    or when training in a new full shuffle that `seed` and the number of
    earlier iterations decide. Texts are tokenized here, once. Images are
    decoded and resized when first needed and kept in memory as uint8 where
    all of them fit into `cache_bytes`; nothing changes if they don't. Images
    are augmented anew in every epoch.

    Args:
        examples: The inputs.
        contract: The preprocessing contract.
        targets: Encoded targets (n, ...), or None for inputs alone.
        weights: Weight of each example (n,); None weighs all with 1.
        batch_size: Examples a batch.
        training: Whether to shuffle and augment.
        seed: Of shuffling and augmentation.
        augment: Changes to training images; not used unless `training`.
        drop_remainder: Whether an incomplete last batch is left out.
        cache_bytes: Most memory for decoded images.

    Returns:
        A dataset of known cardinality: `(inputs, targets, weights)`, or
        `inputs` where `targets` is None. Inputs are as in `model_inputs`.

    Raises:
        DataError: A text that is no string. A broken image file raises while
            iterating, as a `tf.errors.OpError` whose message holds its path.
        ValueError: `targets` or `weights` are not one for each example.
    """
    if isinstance(contract, TextPreprocessing):
        inputs = _text_batches(examples, contract)
    else:
        changes = augment if training else None
        inputs = _image_batches(examples, contract, changes, seed, cache_bytes)
    labels = _labels(targets, weights, len(examples))

    def batch(rows: Any, epoch: Any) -> Any:
        made = inputs(rows, epoch)
        return made if labels is None else (made, *(tf.gather(x, rows) for x in labels))

    rows = _row_batches(len(examples), batch_size, seed if training else None, drop_remainder)
    dataset = rows.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.prefetch(tf.data.AUTOTUNE)


def _row_batches(
    count: int, batch_size: int, shuffle_seed: int | None, drop_remainder: bool
) -> tf.data.Dataset:
    """Batches of row numbers, int64 (batch,), each with the epoch's key, an int64 scalar."""

    def epoch(key: Any) -> tf.data.Dataset:
        rows = tf.range(count, dtype=tf.int64)
        if shuffle_seed is not None:
            rows = tf.random.experimental.stateless_shuffle(rows, tf.stack([key, shuffle_seed]))
        batches = tf.data.Dataset.from_tensor_slices(rows).batch(batch_size, drop_remainder)
        return batches.map(lambda rows: (rows, key))

    if shuffle_seed is None:
        return epoch(tf.constant(0, tf.int64))
    # One number an iteration, the next of a sequence that the seed decides.
    keys = tf.data.Dataset.random(shuffle_seed, rerandomize_each_iteration=True).take(1)
    batches = count // batch_size if drop_remainder else -(-count // batch_size)
    return keys.flat_map(epoch).apply(tf.data.experimental.assert_cardinality(batches))


def _text_batches(examples: Examples, contract: TextPreprocessing) -> _Batch:
    preprocessor = TextPreprocessor(contract)
    texts = _strings(examples.inputs, examples.origins)
    starts = range(0, max(len(texts), 1), _TEXT_CHUNK)
    chunks = [preprocessor.tokenizer(texts[i : i + _TEXT_CHUNK]) for i in starts]
    tokens = tf.concat(chunks, axis=0)
    return lambda rows, _: preprocessor.pad(tf.gather(tokens, rows))


def _strings(texts: Sequence[Any], origins: Sequence[str]) -> Any:
    """Texts as a string tensor (n,); half surrogate pairs go the way of invalid bytes."""
    for text, origin in zip(texts, origins, strict=True):
        if not isinstance(text, str):
            raise DataError(
                f"{origin}: the input is of type {type(text).__name__}, not a text.",
                hint="fill or leave out empty fields, and check data.input_column",
            )
    return tf.constant([text.encode("utf-8", "surrogatepass") for text in texts], tf.string)


def _image_batches(
    examples: Examples,
    contract: ImagePreprocessing,
    changes: AugmentSection | None,
    seed: int,
    cache_bytes: int,
) -> _Batch:
    store = ImageStore(examples.inputs, examples.origins, contract, cache_bytes=cache_bytes)

    def batch(rows: Any, epoch: Any) -> Any:
        # Not stateful: equal rows give equal images, so tf.data may run several at once.
        images = tf.numpy_function(store.load, [rows], tf.uint8, stateful=False)
        images = tf.reshape(images, [tf.size(rows), *contract.size_px, 3])
        if changes is not None:
            images = _augmented(images, changes, tf.stack([epoch, seed]), rows)
        return normalize(images, contract)

    return batch


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
