"""Where the rows of batches come from: tokens or images, changed at random where asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tltool.data.batches.buckets import widths_of
from tltool.data.batches.mapped import as_tensor
from tltool.data.checks.fingerprints import content_digests
from tltool.data.examples import Examples
from tltool.data.images.augment import make_augmenter, make_mover
from tltool.data.images.masks import MaskStore
from tltool.data.images.preprocessor import normalize
from tltool.data.images.store import ImageStore
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing, is_apart
from tltool.data.sharing import ALONE, Sharing
from tltool.data.texts.preprocessor import TextPreprocessor, padded_width
from tltool.data.texts.tokenizing import tokens_of
from tltool.data.texts.tokens import PairTokens
from tltool.recipe.schema import AugmentSection
from tltool.tasks.masks.files import IGNORED

CACHE_BYTES = 1 << 30
# Row numbers, one by one and all together -> row, or (row, what was loaded), one by one.
Load = Callable[[tf.data.Dataset, Any], tf.data.Dataset]
# The epoch's key, the batch's row numbers, what was loaded -> model inputs.
Finish = Callable[..., Any]


@dataclass(frozen=True)
class Source:
    """Where the rows of batches come from.

    Attributes:
        count: Number of rows.
        load: Adds to the rows of an epoch what must be loaded one by one.
        finish: From the epoch's key, the row numbers of a batch and what was
            loaded to the model inputs; runs in parallel.
        lengths: Tokens of each row, int64 (count,); None for images.
        widths: What each row costs by itself, padding included, int64
            (count,); None where all cost the same.
        padded: From the row numbers of a batch to the tokens that its rows are
            padded to; None for images, and for pairs of texts that are left apart.
    """

    count: int
    load: Load
    finish: Finish
    lengths: tf.Tensor | None = None
    widths: tf.Tensor | None = None
    padded: Callable[[Any], Any] | None = None


def example_source(
    examples: Examples,
    contract: ImagePreprocessing | TextPreprocessing,
    *,
    augment: AugmentSection | None = None,
    seed: int = 0,
    cache_bytes: int = CACHE_BYTES,
    all_views: bool = False,
    few_widths: bool = False,
    sharing: Sharing = ALONE,
) -> Source:
    """The model inputs of examples.

    Texts are tokenized here, once, unless the examples have their tokens.
    Images are decoded and resized here, once, and kept as uint8 where all of
    them fit into `cache_bytes`, many of them in a mapped file, else in every
    epoch; the batches are the same to the bit. Images are augmented anew in every epoch, or in
    one of `augment.views` ways.

    Args:
        examples: The inputs.
        contract: The preprocessing contract.
        augment: Changes to images.
        seed: Of the augmentation.
        cache_bytes: Most bytes of decoded images that are kept.
        all_views: Whether each view is a row of its own: all images' first
            views, then all second ones, …
        few_widths: Whether batches of texts are padded to few widths; see `bucket_sizes`.
        sharing: Of decoding images that are kept.

    Raises:
        DataError: A text that is no string, or a broken image, by its path.
            Where images are not kept, a broken one raises while iterating,
            as a `tf.errors.InvalidArgumentError` whose message holds its path.
    """
    if is_apart(contract):
        return paired(_text_source(examples.texts(), contract.one_text, few_widths))
    if isinstance(contract, TextPreprocessing):
        return _text_source(examples, contract, few_widths)
    if augment is None:
        return _image_source(examples, contract, None, None, cache_bytes, sharing)
    seeds = _augmentation_seeds(examples, augment, seed, all_views)
    views = augment.views or 1 if all_views else 1
    return _image_source(examples, contract, augment, seeds, cache_bytes, sharing, views)


def mask_source(
    examples: Examples,
    contract: ImagePreprocessing,
    *,
    augment: AugmentSection | None = None,
    seed: int = 0,
    cache_bytes: int = CACHE_BYTES,
    sharing: Sharing = ALONE,
) -> Source:
    """The class numbers of the masks that are the examples' targets, uint8 (n, *size_px).

    They are kept in memory, or read in every epoch, as images are; and moved
    as `example_source` moves the images of the same examples with the same arguments.

    Raises:
        DataError: A mask that cannot be read.
    """
    store = MaskStore(examples.targets, contract)
    move = None if augment is None else make_mover(augment, contract.size_px, IGNORED)
    seeds = None if augment is None else _augmentation_seeds(examples, augment, seed, False)

    def complete(key: Any, rows: Any, masks: Any) -> Any:
        if move is None or seeds is None:
            return masks
        spec = tf.TensorSpec(contract.size_px, tf.uint8)
        return tf.map_fn(lambda pair: move(*pair), (masks, seeds(key, rows)),
                         fn_output_signature=spec)  # fmt: skip

    if store.num_bytes <= cache_bytes:
        kept = as_tensor(store.load_all(sharing))
        return Source(
            len(examples),
            nothing_to_load,
            lambda key, rows: complete(key, rows, tf.gather(kept, rows)),
        )

    def load(rows: tf.data.Dataset, _: Any) -> tf.data.Dataset:
        @tf.autograph.experimental.do_not_convert
        def one(row: Any) -> tuple[Any, Any]:
            mask = tf.numpy_function(store.load, [row], tf.uint8)
            return row, tf.ensure_shape(mask, contract.size_px)

        return rows.map(one, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    return Source(len(examples), load, complete)


def _text_source(examples: Examples, contract: TextPreprocessing, few_widths: bool) -> Source:
    preprocessor = TextPreprocessor(contract)
    tokens, longest = tokens_of(examples, contract), contract.max_length
    pairs = isinstance(tokens, PairTokens)
    lengths = tf.constant(tokens.kept(longest))

    def read(rows: Any) -> tuple[Any, ...]:
        some = tokens.take(rows)
        return some.joined(longest) if isinstance(some, PairTokens) else some.cut(longest)

    def padded(rows: Any) -> Any:
        return padded_width(tf.gather(lengths, rows), contract.max_length, few=few_widths)

    def finish(_: Any, rows: Any) -> Any:
        kinds = [tf.int32, tf.int64, *([tf.int64] if pairs else [])]
        ids, kept, *first = tf.numpy_function(read, [rows], kinds)
        ids.set_shape([None, *shape])
        kept.set_shape([None])
        for part in first:
            part.set_shape([None])
        ragged = tf.RaggedTensor.from_row_lengths(ids, kept, validate=False)
        return preprocessor.pad(ragged, length=padded(rows), first=first[0] if first else None)

    shape = (tokens.texts if isinstance(tokens, PairTokens) else tokens).values.shape[1:]
    widths = widths_of(lengths, contract.max_length)
    return Source(len(examples), nothing_to_load, finish, lengths, widths, padded)


def paired(texts: Source) -> Source:
    """Pairs of neighbouring rows, which come one after the other in twice as long batches.

    Args:
        texts: Rows that have nothing to load, both texts of the first pair, then of the next.
    """

    def finish(key: Any, rows: Any) -> Any:
        return texts.finish(key, tf.reshape(2 * rows[:, None] + [0, 1], [-1]))

    def longer(values: Any) -> Any:
        return tf.reduce_max(tf.reshape(values, [-1, 2]), axis=1)

    # Both are padded to one width.
    lengths = None if texts.lengths is None else longer(texts.lengths)
    widths = None if texts.widths is None else 2 * longer(texts.widths)
    return Source(texts.count // 2, nothing_to_load, finish, lengths, widths)


def nothing_to_load(rows: tf.data.Dataset, _: Any) -> tf.data.Dataset:
    """The rows alone: all that a batch needs is at hand."""
    return rows


def _image_source(
    examples: Examples,
    contract: ImagePreprocessing,
    changes: AugmentSection | None,
    seeds: Callable[[Any, Any], Any] | None,
    cache_bytes: int,
    sharing: Sharing,
    views: int = 1,
) -> Source:
    """Rows are images, or `views` times all images."""
    count = len(examples)
    store = ImageStore(examples.inputs, examples.origins, contract)
    change = None if changes is None else make_augmenter(changes, contract.size_px)

    def complete(key: Any, rows: Any, images: Any) -> Any:
        if change is not None and seeds is not None:
            images = _augmented(images, change, seeds(key, rows))
        return normalize(images, contract)

    if store.num_bytes <= cache_bytes:
        kept = as_tensor(store.load_all(sharing))

        def finish(key: Any, rows: Any) -> Any:
            return complete(key, rows, tf.gather(kept, rows % count))

        return Source(views * count, nothing_to_load, finish)

    read = store.reader(sharing)

    def load(rows: tf.data.Dataset, order: Any) -> tf.data.Dataset:
        return tf.data.Dataset.zip((rows, read(order % count)))

    return Source(views * count, load, complete)


def _augmentation_seeds(
    examples: Examples, changes: AugmentSection, seed: int, all_views: bool
) -> Callable[[Any, Any], Any]:
    """From the epoch's key and row numbers (n,) to the seed of each image's change, (n, 2).

    With views, an image has `views` seeds, made of its content, so that a view
    of it is the same wherever the image stands; else a new one in every epoch.
    """
    if changes.views is None:
        return lambda key, rows: _folded(tf.stack([key, seed]), rows)
    numbers = content_numbers(examples)

    def seeds(key: Any, rows: Any) -> Any:
        if all_views:
            return view_seeds(tf.gather(numbers, rows % len(examples)), rows // len(examples), seed)
        views = drawn_views(key, rows, changes.views or 1, seed)
        return view_seeds(tf.gather(numbers, rows), views, seed)

    return seeds


def content_numbers(examples: Examples) -> tf.Tensor:
    """A number for each input that its content alone decides, int64 (n,)."""
    first = np.ascontiguousarray(content_digests(examples)[:, :8]).view(">u8").reshape(-1)
    return tf.constant((first >> 4).astype(np.int64))


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


def _augmented(images: Any, change: Callable[[Any, Any], Any], seeds: Any) -> Any:
    """Each image changed by a seed of its own."""

    def one(image_and_seed: Any) -> Any:
        image, example_seed = image_and_seed
        return change(tf.cast(image, tf.float32), example_seed)

    spec = tf.TensorSpec(images.shape[1:], tf.float32)
    return tf.map_fn(one, (images, seeds), fn_output_signature=spec)
