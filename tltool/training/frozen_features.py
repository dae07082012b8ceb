"""The frozen backbone's pooled features of the training and validation examples, as arrays.

They come from the same store as the trainer's (`tltool.features.cache`): what
one of them computed, the other reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tltool.backbones.base import Backbone
from tltool.data.batches.pipeline import make_batches
from tltool.data.examples import Examples
from tltool.data.preprocessing import is_apart
from tltool.evaluation.inference import raw_outputs
from tltool.features.cache import Boundary, FeatureCache, Served
from tltool.features.frozen_layers import FrozenLayers
from tltool.features.store import FeatureStore
from tltool.graph.cut import Cut, cut_model
from tltool.recipe.recipe import Recipe
from tltool.support.errors import EvaluationError
from tltool.support.progress import Progress
from tltool.support.spread import Spread
from tltool.training.preparation import Prepared

_BATCH_SIZE = 256


@dataclass(frozen=True)
class FrozenFeatures:
    """What the pretrained backbone says of each example, in inference mode.

    Attributes:
        train: float32 (n, channels), or (n, 4 channels) of pairs that are apart, in
            the order of `prepared.examples.split("train")`.
        validation: float32 (m, channels), in the order of its validation split;
            m may be 0.
        test: Likewise; empty unless it was asked for.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def frozen_features(
    recipe: Recipe,
    prepared: Prepared,
    progress: Progress | None = None,
    *,
    store: FeatureStore | None = None,
    spread: Spread | None = None,
    test: bool = False,
    surely: bool = False,
) -> FrozenFeatures:
    """Pooled features of a recipe's training and validation rows, and maybe of its test rows.

    Features are those of the images as they are, without `augment`. They are
    read from the store, computed and stored where they are missing, and only
    computed where the recipe's `cache` or the disk doesn't allow storing.

    Args:
        recipe: Its `cache` section counts.
        prepared: The recipe's data and backbone, before any training.
        progress: Is told where the features come from.
        store: Where entries are kept; None takes the cache folder.
        spread: Where they are computed; None takes this process.
        test: Whether those of test rows are needed, which are not touched else.
        surely: Store them wherever the recipe allows it, without measuring whether it pays: they
            are the same then, to the bit, when they are asked for again.

    Raises:
        EvaluationError: The task's kind of target reads other features.
    """
    backbone, examples = prepared.backbone, prepared.examples
    if (reads := prepared.task.target.reads) != "pooled":
        raise EvaluationError(
            f"{recipe.task} reads {reads} features, and only pooled ones are ranked and searched.",
            hint="compare backbones and heads by `tltool finetune`",
        )
    contract = backbone.preprocessing
    apart = is_apart(contract)
    if is_apart(contract):
        backbone = replace(backbone, preprocessing=contract.one_text)
        examples = examples.texts()
    with prepared.strategy.scope():
        cut = _cut(backbone)
    layers = None if cut is None else FrozenLayers(cut.prefix)

    def features(rows: Examples, parts: Sequence[Examples]) -> list[np.ndarray]:
        """Of parts of some rows, whose features are stored together."""
        served = None
        if cut is not None and any(map(len, parts)):
            cache = FeatureCache(
                recipe.cache,
                rows,
                backbone.preprocessing,
                about={"backbone": recipe.backbone.name, "data": recipe.data.train},
                progress=progress,
                store=store,
                spread=spread,
                layers=layers,
            )
            boundary = Boundary(cut, backbone.groups[-1].name, epochs=1)
            served = cache.serve(boundary, decided=surely or None)
        found = [_pooled(backbone, cut, served, part) for part in parts]
        return [*map(compared, found)] if apart else found

    held_out = examples.where(lambda row: test and examples.splits[row] == "test")
    trained = examples.where(lambda row: examples.splits[row] != "test")
    parts = [examples.split("train"), examples.split("validation")]
    if prepared.pool is not None:  # all rows take part in each training, and are stored together
        return FrozenFeatures(*features(examples, [*parts, held_out]))
    return FrozenFeatures(*features(trained, parts), *features(held_out, [held_out]))


def compared(vectors: np.ndarray) -> np.ndarray:
    """What a linear model can read of the vectors of both texts of pairs, (n, 4 channels)."""
    first, second = vectors[::2], vectors[1::2]
    return np.concatenate([first, second, np.abs(first - second), first * second], axis=1)


def _cut(backbone: Backbone) -> Cut | None:
    """Cuts below a plain head, where the phase `train: head` of the default head cuts too."""
    # Zeros take nothing from the random generators that later layers draw from.
    head = keras.layers.Dense(1, kernel_initializer="zeros", dtype="float32", name="plain_head")
    model = keras.Model(backbone.model.input, head(backbone.features.pooled))
    return cut_model(model, {variable.path for variable in head.variables})


def _pooled(
    backbone: Backbone, cut: Cut | None, served: Served | None, examples: Examples
) -> np.ndarray:
    """The pooled features of some examples, float32 (n, channels)."""
    pooled = backbone.features.pooled
    if not len(examples):
        return np.zeros((0, int(pooled.shape[-1])), np.float32)
    if cut is None or served is None:
        return raw_outputs(keras.Model(backbone.model.input, pooled), examples,
                           backbone.preprocessing)  # fmt: skip
    if len(cut.crossing) == 1 and cut.crossing[0] is pooled:
        return _read(served, examples)
    return _completed(keras.Model(list(cut.crossing), pooled), served, examples)


def _read(served: Served, examples: Examples) -> np.ndarray:
    """The rows of an entry of one tensor that is not by token."""
    entry = served.entries[0]
    (spec,) = entry.tensors
    stored = np.memmap(entry.file(0), spec.dtype, "r", shape=(entry.rows, *spec.shape))
    return np.asarray(stored[served.sets[0].positions(examples)], np.float32)


def _completed(model: keras.Model, served: Served, examples: Examples) -> np.ndarray:
    """What the layers between the stored tensors and the pooled features make of them."""
    source = served.source(examples, training=True)
    batches = make_batches(source, targets=None, batch_size=_BATCH_SIZE, training=False)

    @tf.function(input_signature=[batches.element_spec], autograph=False)
    def run(inputs: Sequence[Any]) -> Any:
        return tf.cast(model(inputs, training=False), tf.float32)

    return np.concatenate([run(inputs).numpy() for inputs in batches])
