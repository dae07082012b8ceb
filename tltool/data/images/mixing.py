"""MixUp and CutMix: a batch's images mixed with each other, and their labels with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tltool.data.images.seeded_layers import SeedOfImage, make_layer, redirect
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.recipe.augment_layers import BATCH_LAYERS, AugmentLayer
from tltool.recipe.schema import AugmentSection


def make_mixing(
    augment: AugmentSection | None, contract: ImagePreprocessing | TextPreprocessing, seed: int
) -> BatchMixing | None:
    """What mixes the images of training batches; None where nothing does."""
    if augment is None or isinstance(contract, TextPreprocessing):
        return None
    layers = [entry for entry in augment.layers if entry.layer in BATCH_LAYERS]
    return BatchMixing(layers, contract.size_px, seed) if layers else None


class BatchMixing:
    """Mixes a batch as its epoch and its rows decide.

    Args:
        layers: MixUp and CutMix, in their order.
        size: Height and width of the images.
        seed: Of the mixing.
    """

    def __init__(self, layers: Sequence[AugmentLayer], size: tuple[int, int], seed: int) -> None:
        self._seed = seed
        self._draws = SeedOfImage()
        self._layers = [make_layer(entry, size, (0, 255)) for entry in layers]
        for layer in self._layers:
            redirect(layer, self._draws)

    def __call__(
        self, key: Any, rows: Any, images: Any, targets: Any, weights: Any
    ) -> tuple[Any, Any, Any]:
        """The mixed batch.

        A row mixed of a and b, a with the share s, has in the loss what it
        should have, `s w_a loss(y_a) + (1 - s) w_b loss(y_b)`: cross-entropies
        are linear in the target, so that this is the loss of the targets'
        mean, weighted with `s w_a` and `(1 - s) w_b`, times their sum.

        Args:
            key: The epoch's.
            rows: Row numbers of the batch, int64 (n,).
            images: float32 (n, height, width, 3).
            targets: Encoded, float32 (n, outputs), of a loss that is linear in them.
            weights: Of rows (n,) or of their outputs (n, outputs), float32.

        Returns:
            Images, targets and weights, of the same shapes.
        """
        fold_in = tf.random.experimental.stateless_fold_in
        # Row numbers are not negative: no image's own changes have this seed.
        seed = fold_in(fold_in(tf.stack([key, self._seed]), -1), rows[0])
        columns = weights if weights.shape.rank == 2 else weights[:, None]
        labels = tf.concat([targets * columns, columns], axis=1)
        for number, layer in enumerate(self._layers):
            self._draws.start(fold_in(seed, number))
            mixed = layer({"images": images, "labels": labels})
            images, labels = mixed["images"], mixed["labels"]
        weighted, sums = labels[:, : targets.shape[1]], labels[:, targets.shape[1] :]
        mixed_weights = sums if weights.shape.rank == 2 else sums[:, 0]
        return images, tf.math.divide_no_nan(weighted, sums), mixed_weights
