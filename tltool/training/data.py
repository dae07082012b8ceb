"""What the trainer reads: a split's batches, made of its inputs or of stored features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
import tensorflow as tf

from tltool.data.batches.ordering import Share
from tltool.data.batches.pipeline import Epochs, make_batches
from tltool.data.batches.sampling import ClassSampling
from tltool.data.batches.source import Source, example_source, mask_source, nothing_to_load
from tltool.data.examples import Examples
from tltool.data.images.mixing import BatchMixing, make_mixing
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.data.sharing import ALONE, Sharing
from tltool.recipe.schema import AugmentSection
from tltool.tasks.losses.taught import Teaching


class TrainingData(Protocol):
    """Data of one split for every phase."""

    @property
    def num_examples(self) -> int:
        """Examples in one pass."""

    @property
    def taught(self) -> Teaching | None:
        """How targets are learnt that a teacher's are joined to; None where none are."""

    def unchanged(self) -> TrainingData:
        """The same with each input as it is, where training changes inputs at random."""

    def batches(
        self,
        phase: int,
        features: Source | None = None,
        *,
        compares_rows: bool = False,
        share: Share | None = None,
        epochs: Epochs | None = None,
        skipped: int = 0,
    ) -> tf.data.Dataset:
        """Batches of known cardinality for a phase: (inputs, targets[, weights]).

        Args:
            phase: Its number; decides the order together with the seed.
            features: Rows to take in place of the model's inputs.
            compares_rows: Whether rows that are alike must meet in a batch.
            share: Of each batch only what one of several workers takes.
            epochs: Which of the phase's epochs an iteration is.
            skipped: Batches at the start of every epoch that are left out.
        """


@dataclass(frozen=True)
class BatchedData:
    """A dataset that is batched already, the same in every phase.

    Attributes:
        dataset: Yields (inputs, targets) or (inputs, targets, weights).
        num_examples: Examples in one pass.
    """

    dataset: tf.data.Dataset
    num_examples: int
    taught: ClassVar[None] = None

    def unchanged(self) -> BatchedData:
        """Itself: its inputs are as they were given."""
        return self

    def batches(
        self,
        phase: int,
        features: Source | None = None,
        *,
        compares_rows: bool = False,
        epochs: Epochs | None = None,
        skipped: int = 0,
        share: Share | None = None,
    ) -> tf.data.Dataset:
        """The dataset; see `TrainingData`."""
        if share is not None:
            raise ValueError("Batches that are made already can't be shared by workers.")
        return self.dataset.skip(skipped) if skipped else self.dataset


@dataclass(frozen=True)
class ExampleData:
    """Labelled examples, batched anew for each phase.

    Attributes:
        examples: The rows.
        contract: The preprocessing contract.
        targets: Encoded, (n, ...), or what `encode` makes that of; masks as an object array (n,).
        weights: Of each example (n,) or of its outputs (n, outputs), or None.
        batch_size: Examples a batch.
        training: Whether to shuffle and augment.
        seed: Of shuffling and augmentation.
        augment: Changes to images; None where not training.
        tokens_per_batch: In place of `batch_size` where training; texts only.
        encode: Encodes the targets of a batch; None where they are encoded.
        together: Rows that must meet in a batch where rows are compared; see `Target.together`.
        static: Whether batches have few shapes; see `tltool.training.static_shapes`.
        sharing: Of decoding images and masks that are kept.
        sampling: Draws the rows of each epoch; None takes each once. Phases that compare rows
            with each other choose their own.
        taught: How targets are learnt that a teacher's are joined to; None where none are.
    """

    examples: Examples
    contract: ImagePreprocessing | TextPreprocessing
    targets: np.ndarray | tf.RaggedTensor
    weights: np.ndarray | tf.RaggedTensor | None
    batch_size: int
    training: bool
    seed: int = 0
    augment: AugmentSection | None = None
    tokens_per_batch: int | None = None
    encode: Callable[[Any], Any] | None = None
    together: tuple[np.ndarray, int] | None = None
    static: bool = False
    sharing: Sharing = ALONE
    sampling: ClassSampling | None = None
    taught: Teaching | None = None

    @property
    def num_examples(self) -> int:
        """Examples in one pass."""
        return len(self.examples)

    def unchanged(self) -> ExampleData:
        """The same without `augment`."""
        return self if self.augment is None else replace(self, augment=None)

    @cached_property
    def inputs(self) -> Source:
        """The model inputs, read when first asked for."""
        return example_source(
            self.examples,
            self.contract,
            augment=self.augment,
            seed=self.seed,
            few_widths=self.static,
            sharing=self.sharing,
        )

    @cached_property
    def labels(self) -> np.ndarray | Source:
        """The encoded targets; of masks what decodes them, and moves them with their images."""
        if self.targets.dtype != object or not isinstance(self.contract, ImagePreprocessing):
            return self.targets
        return mask_source(
            self.examples,
            self.contract,
            augment=self.augment,
            seed=self.seed,
            sharing=self.sharing,
        )

    @cached_property
    def mixing(self) -> BatchMixing | None:
        """What mixes the images of a batch; None where nothing does."""
        return make_mixing(self.augment, self.contract, self.seed)

    def batches(
        self,
        phase: int,
        features: Source | None = None,
        *,
        compares_rows: bool = False,
        share: Share | None = None,
        epochs: Epochs | None = None,
        skipped: int = 0,
    ) -> tf.data.Dataset:
        """Batches for a phase, in the same order whatever they are made of.

        Raises:
            ValueError: Stored features of images that are to be mixed.
        """
        if features is not None and self.mixing is not None:
            raise ValueError("What mixes images has no stored features to mix.")
        return make_batches(
            features or self.inputs,
            targets=self.labels,
            encode=self.encode,
            weights=self.weights,
            batch_size=self.batch_size,
            training=self.training,
            tokens_per_batch=self.tokens_per_batch,
            # Each phase has an order of its own, and none depends on what ran before it.
            seed=int(np.random.SeedSequence([self.seed, phase]).generate_state(1)[0]),
            mixing=self.mixing,
            together=self.together if compares_rows else None,
            complete=self.static,
            share=share,
            epochs=epochs,
            skipped=skipped,
            sampling=None if compares_rows else self.sampling,
        )

    def order(self, phase: int) -> np.ndarray:
        """The numbers of the rows in which `batches` gives them in a phase's first epoch."""
        widths = self.inputs.widths if isinstance(self.contract, TextPreprocessing) else None
        numbers = Source(len(self.examples), nothing_to_load, lambda _, rows: rows, widths=widths)
        plain = replace(
            self, targets=np.arange(len(self.examples)), weights=None, encode=None, augment=None
        )
        batches = plain.batches(phase, numbers, epochs=Epochs(1))
        return np.concatenate([rows.numpy() for rows, *_ in batches])


def at_first_tokens(
    examples: Examples, contract: TextPreprocessing, targets: np.ndarray, weights: np.ndarray
) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
    """The tags and weights of words at their first tokens.

    A word that the tokenizer's own rules split has its tag at each part's first
    token; one that begins an entity goes on with it there.

    Args:
        examples: Windows of texts with targets.
        contract: With `by_words`.
        targets: Of each row's words the number of the tag, and that where the word goes
            on, int32 (words, 2) in an array of objects (n,).
        weights: Of each row's words, likewise.

    Returns:
        Numbers of tags, int32 (n, tokens), -1 where no word begins, and weights
        float32 (n, tokens), 0 there.
    """
    from tltool.data.texts.windows import first_tokens

    places, sizes = first_tokens(examples, contract)
    numbers = np.full(int(sizes.sum()), -1, np.int32)
    weighting = np.zeros(len(numbers), np.float32)
    begin = np.cumsum(sizes) - sizes
    for row, words in enumerate(places):
        target = examples.targets[row]
        # The target's word in which each of the tokenizer's begins.
        starts = np.asarray(target.starts, np.int64)
        word = np.searchsorted(starts, words[:, 0], side="right") - 1
        kept = (word >= 0) & (words[:, 0] < np.append(target.ends, 0)[word])
        word, at = word[kept], begin[row] + words[kept, 1]
        again = np.append(False, word[1:] == word[:-1])[: len(word)]
        tags = targets[row][word]
        numbers[at] = np.where(again, tags[:, 1], tags[:, 0])
        weighting[at] = weights[row][word]
    return tuple(tf.RaggedTensor.from_row_lengths(values, sizes) for values in (numbers, weighting))
