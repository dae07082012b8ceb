"""Examples to batches of model inputs: tokenized or decoded, shuffled, augmented, padded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tltool.data.augment import augment as augment_image
from tltool.data.examples import Examples
from tltool.data.fingerprints import content_keys
from tltool.data.image_store import ImageStore
from tltool.data.images import ImagePreprocessor, normalize
from tltool.data.text import TextPreprocessor
from tltool.errors import DataError
from tltool.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.schema import AugmentSection

CACHE_BYTES = 1 << 30
_TEXT_CHUNK = 4096
_WINDOW_BATCHES = 50
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
        return TextPreprocessor(contract)(_strings(raw_inputs, origins))
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
    )


@dataclass(frozen=True)
class Source:
    """Where the rows of batches come from.

    Attributes:
        count: Number of rows.
        load: Adds to the rows of an epoch what must be loaded one by one.
        finish: From the epoch's key, the row numbers of a batch and what was
            loaded to the model inputs; runs in parallel.
        lengths: Tokens of each row, int64 (count,); None for images.
    """

    count: int
    load: _Load
    finish: _Finish
    lengths: tf.Tensor | None = None


def example_source(
    examples: Examples,
    contract: _Contract,
    *,
    augment: AugmentSection | None = None,
    seed: int = 0,
    cache_bytes: int = CACHE_BYTES,
    view: int | None = None,
) -> Source:
    """The model inputs of examples.

    Texts are tokenized here, once. Images are decoded and resized here, once,
    and kept in memory as uint8 where all of them fit into `cache_bytes`, else
    in every epoch; the batches are the same to the bit. Images are augmented
    anew in every epoch, or in one of `augment.views` ways.

    Args:
        examples: The inputs.
        contract: The preprocessing contract.
        augment: Changes to images.
        seed: Of the augmentation.
        cache_bytes: Most memory for decoded images.
        view: The number of one view, to show no other.

    Raises:
        DataError: A text that is no string, or a broken image, by its path.
            Where images are not kept, a broken one raises while iterating,
            as a `tf.errors.InvalidArgumentError` whose message holds its path.
    """
    if isinstance(contract, TextPreprocessing):
        return _text_source(examples, contract)
    seeds = None if augment is None else _augmentation_seeds(examples, augment, seed, view)
    return _image_source(examples, contract, augment, seeds, cache_bytes)


def make_batches(
    source: Source,
    *,
    targets: np.ndarray | None,
    weights: np.ndarray | None = None,
    batch_size: int,
    training: bool,
    seed: int = 0,
    order: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Batches of a source's rows.

    Every iteration is an epoch: each row once, in the order of the source, or
    when training in a new full shuffle that `seed` and the number of earlier
    iterations decide, in which texts of like length train together, to have
    less padding.

    Args:
        source: The rows.
        targets: Encoded targets (n, ...), or None for inputs alone.
        weights: Weight of each row (n,); None weighs all with 1.
        batch_size: Rows a batch.
        training: Whether to shuffle.
        seed: Of shuffling.
        order: Row numbers in the order wanted where not training; None takes all.

    Returns:
        A dataset of known cardinality: `(inputs, targets, weights)`, or
        `inputs` where `targets` is None. Inputs are as in `model_inputs`.

    Raises:
        ValueError: `targets` or `weights` are not one for each row.
    """
    labels = _labels(targets, weights, source.count)
    fixed = np.arange(source.count) if order is None else np.asarray(order)

    @tf.autograph.experimental.do_not_convert
    def epoch(key: Any) -> tf.data.Dataset:
        rows = tf.constant(fixed, tf.int64)
        if training:
            shuffle = tf.stack([key, seed])
            rows = tf.random.experimental.stateless_shuffle(rows, shuffle)
            if source.lengths is not None:
                lengths = tf.gather(source.lengths, rows)
                rows = _alike_together(rows, lengths, batch_size, shuffle)
        one_by_one = tf.data.Dataset.from_tensor_slices(rows)
        batches = source.load(one_by_one, rows).batch(batch_size)
        return tf.data.Dataset.zip((tf.data.Dataset.from_tensors(key).repeat(), batches))

    @tf.autograph.experimental.do_not_convert
    def complete(key: Any, batch: Any) -> Any:
        rows, *loaded = batch if isinstance(batch, tuple) else (batch,)
        inputs = source.finish(key, rows, *loaded)
        return inputs if labels is None else (inputs, *(tf.gather(x, rows) for x in labels))

    dataset = _epochs(epoch, seed) if training else epoch(tf.constant(0, tf.int64))
    batches = -(-len(fixed) // batch_size)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(batches))
    dataset = dataset.map(complete, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return dataset.prefetch(tf.data.AUTOTUNE)


def _epochs(epoch: Callable[[Any], tf.data.Dataset], seed: int) -> tf.data.Dataset:
    """`epoch(key)` with another key in each iteration: the next of a sequence `seed` decides."""
    keys = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
    return keys.take(1).flat_map(epoch)


def _alike_together(rows: Any, lengths: Any, batch_size: int, seed: Any) -> Any:
    """Reorders shuffled rows so that a batch holds texts of like length: less padding to compute.

    Rows are sorted by length within windows of a quarter of the data, or of
    `_WINDOW_BATCHES` batches if that is less, and the batches shuffled again,
    an incomplete one staying last. With windows filled anew every epoch, the
    company of a text changes from epoch to epoch.
    """
    count = tf.size(rows)
    width = tf.clip_by_value(count // batch_size // 4, 1, _WINDOW_BATCHES) * batch_size
    window = tf.range(count) // width
    longest = tf.reduce_max(lengths) + 1
    key = tf.cast(window, lengths.dtype) * longest + lengths
    rows = tf.gather(rows, tf.argsort(key, stable=True))
    full = count // batch_size * batch_size
    batches = tf.reshape(rows[:full], [-1, batch_size])
    places = tf.random.experimental.stateless_shuffle(tf.range(tf.shape(batches)[0]), seed)
    return tf.concat([tf.reshape(tf.gather(batches, places), [-1]), rows[full:]], axis=0)


def _text_source(examples: Examples, contract: TextPreprocessing) -> Source:
    preprocessor = TextPreprocessor(contract)
    texts = _strings(examples.inputs, examples.origins)
    starts = range(0, max(len(texts), 1), _TEXT_CHUNK)
    chunks = [preprocessor.tokenizer(texts[i : i + _TEXT_CHUNK]) for i in starts]
    tokens = tf.concat(chunks, axis=0)

    def finish(_: Any, rows: Any) -> Any:
        return preprocessor.pad(tf.gather(tokens, rows))

    return Source(len(examples), _load_nothing, finish, tokens.row_lengths())


def _load_nothing(rows: tf.data.Dataset, _: Any) -> tf.data.Dataset:
    return rows


def _strings(texts: Sequence[Any], origins: Sequence[str]) -> Any:
    """Texts as a string tensor (n,); half surrogate pairs go the way of invalid bytes."""
    for text, origin in zip(texts, origins, strict=True):
        if not isinstance(text, str):
            raise DataError(
                f"{origin}: the input is of type {type(text).__name__}, not a text.",
                hint="fill or leave out empty fields, and check data.input_column",
            )
    return tf.constant([text.encode("utf-8", "surrogatepass") for text in texts], tf.string)


def _image_source(
    examples: Examples,
    contract: ImagePreprocessing,
    changes: AugmentSection | None,
    seeds: Callable[[Any, Any], Any] | None,
    cache_bytes: int,
) -> Source:
    store = ImageStore(examples.inputs, examples.origins, contract)

    def complete(key: Any, rows: Any, images: Any) -> Any:
        if changes is not None and seeds is not None:
            images = _augmented(images, changes, seeds(key, rows))
        return normalize(images, contract)

    if store.num_bytes <= cache_bytes:
        kept = tf.constant(store.load_all())

        def finish(key: Any, rows: Any) -> Any:
            return complete(key, rows, tf.gather(kept, rows))

        return Source(len(examples), _load_nothing, finish)

    read = store.reader()

    def load(rows: tf.data.Dataset, order: Any) -> tf.data.Dataset:
        return tf.data.Dataset.zip((rows, read(order)))

    return Source(len(examples), load, complete)


def _augmentation_seeds(
    examples: Examples, changes: AugmentSection, seed: int, view: int | None
) -> Callable[[Any, Any], Any]:
    """From the epoch's key and row numbers (n,) to the seed of each image's change, (n, 2).

    With views, an image has `views` seeds, made of its content, so that a view
    of it is the same wherever the image stands; else a new one in every epoch.
    """
    if changes.views is None:
        return lambda key, rows: _folded(tf.stack([key, seed]), rows)
    numbers = content_numbers(examples)

    def seeds(key: Any, rows: Any) -> Any:
        if view is None:
            views = drawn_views(key, rows, changes.views or 1, seed)
        else:
            views = tf.fill(tf.shape(rows), tf.constant(view, tf.int64))
        return view_seeds(tf.gather(numbers, rows), views, seed)

    return seeds


def content_numbers(examples: Examples) -> tf.Tensor:
    """A number for each input that its content alone decides, int64 (n,)."""
    return tf.constant([int(key[:15], 16) for key in content_keys(examples)], tf.int64)


def drawn_views(key: Any, rows: Any, views: int, seed: int) -> Any:
    """Which view of each row an epoch shows: int64 (n,), 0 … views - 1."""
    seeds = _folded(tf.stack([key, seed]), rows)

    def draw(one: Any) -> Any:
        return tf.random.stateless_uniform([], one, 0, views, tf.int64)

    return tf.map_fn(draw, seeds, fn_output_signature=tf.int64)


def view_seeds(numbers: Any, views: Any, seed: int) -> Any:
    """The seeds of views: of contents (n,) and view numbers (n,), int64 (n, 2)."""

    def one(pair: Any) -> Any:
        number, view = pair
        return tf.random.experimental.stateless_fold_in(tf.stack([view, seed]), number)

    return tf.map_fn(one, (numbers, views), fn_output_signature=tf.int64)


def _folded(seed: Any, rows: Any) -> Any:
    """A seed for each row, int64 (n, 2)."""

    def one(row: Any) -> Any:
        return tf.random.experimental.stateless_fold_in(seed, row)

    return tf.map_fn(one, rows, fn_output_signature=tf.int64)


def _augmented(images: Any, changes: AugmentSection, seeds: Any) -> Any:
    """Each image changed by a seed of its own."""

    def one(image_and_seed: Any) -> Any:
        image, example_seed = image_and_seed
        return augment_image(tf.cast(image, tf.float32), changes, example_seed)

    spec = tf.TensorSpec(images.shape[1:], tf.float32)
    return tf.map_fn(one, (images, seeds), fn_output_signature=spec)


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
