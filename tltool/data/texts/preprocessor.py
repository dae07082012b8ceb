"""From raw texts to the model's inputs, in core TensorFlow operations."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tltool.data.batches.buckets import widths_of
from tltool.data.preprocessing import WORD_SHAPES, TextPreprocessing
from tltool.data.texts.tokenizers.choose import tokenizer_for
from tltool.tasks.tags.word_split import NO_WORD

_INPUTS = ("token_ids", "padding_mask", "segment_ids", WORD_SHAPES)


def padded_width(lengths: Any, max_length: int, *, few: bool = False) -> Any:
    """The width to which texts of these lengths are padded together, int64 scalar.

    `few` chooses among the few widths of `bucket_sizes`.
    """
    longest = tf.reduce_max(tf.concat([lengths, [1]], 0))
    return widths_of(longest[None], max_length, few=few)[0]


class TextPreprocessor(tf.Module):
    """Texts to a batch of model inputs; may be saved inside a SavedModel.

    Args:
        contract: The preprocessing contract.

    Raises:
        BackboneError: The vocabulary cannot be used (see `Tokenizer`).
        ValueError: The contract names an input that is not known.
    """

    def __init__(self, contract: TextPreprocessing) -> None:
        super().__init__()
        unknown = [name for name in contract.inputs if name not in _INPUTS]
        if unknown:
            raise ValueError(f"Text inputs {unknown} are not known; allowed: {list(_INPUTS)}.")
        self._inputs, self._pair = tuple(contract.inputs), contract.pair
        self.tokenizer = tokenizer_for(contract)

    def __call__(self, texts: Any, *, length: int | None = None) -> dict[str, Any]:
        """Strings (n,), or pairs of them (n, 2), to the model's inputs.

        Args:
            texts: UTF-8 strings.
            length: Cut and pad every text to this many tokens; by default
                they are padded as `pad` does.

        Returns:
            int32 tensors (n, tokens) by the names in `contract.inputs`; of pairs
            that are left apart (2 n, tokens), the second text after the first.
        """
        tokens, first = self.tokens(texts, length=length)
        return self.pad(tokens, length=length, first=first)

    def tokens(self, texts: Any, *, length: int | None = None) -> tuple[Any, Any]:
        """What `pad` takes of such strings: tokens, and how many are in the first segment."""
        limit = min(length or self.tokenizer.max_length, self.tokenizer.max_length)
        texts = tf.convert_to_tensor(texts, tf.string)
        if self._pair != "joined":
            return self.tokenizer(tf.reshape(texts, [-1]), max_length=limit), None
        both = (self.tokenizer.tokenize(texts[:, place]) for place in (0, 1))
        joined: tuple[Any, Any] = self.tokenizer.join(*both, max_length=limit)
        return joined

    def pad(self, tokens: Any, *, length: Any = None, first: Any = None) -> dict[str, Any]:
        """Makes dense inputs of token ids, RaggedTensor int32 (n, tokens[, 2]).

        Args:
            tokens: As the tokenizer gives them, none longer than `length`.
            first: How many tokens of each row are in the first segment, int64
                (n,); None has all of them there.
            length: Width of the result, also as a tensor; by default the longest row rounded
                up to one of `tltool.data.batches.buckets.bucket_sizes`, the last of
                which is the contract's `max_length`.
        """
        if length is None:
            width = padded_width(tokens.row_lengths(), self.tokenizer.max_length)
        else:
            width = tf.cast(length, tf.int64)
        # As a tensor: in a graph, a list with a tensor in it is not taken as a shape.
        size = [-1, tf.cast(width, tf.int64)]
        mask = tf.sequence_mask(tokens.row_lengths(), width, tf.int32)
        segments = (
            tf.zeros_like(mask)
            if first is None
            else mask - tf.sequence_mask(first, width, tf.int32)
        )
        values = {"padding_mask": mask, "segment_ids": segments}
        padding = self.tokenizer.padding_id
        if WORD_SHAPES in self._inputs:
            both = tokens.to_tensor(tf.constant([padding, NO_WORD]), shape=tf.stack([*size, 2]))
            values |= {"token_ids": both[..., 0], WORD_SHAPES: both[..., 1]}
        else:
            values["token_ids"] = tokens.to_tensor(padding, shape=tf.stack(size))
        return {name: values[name] for name in self._inputs}
