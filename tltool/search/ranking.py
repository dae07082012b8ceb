"""Ranks pretrained backbones on one's own data, without fine-tuning any.

Each backbone's frozen features of the training and validation rows are scored
by a cross-validated linear probe and, for tasks that a linear head can answer,
by LogME; the test rows are not touched.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tltool.data.examples import Examples
from tltool.data.splits import undivided
from tltool.recipe.recipe import HeadSection, Recipe
from tltool.support.errors import BackboneError, HeadError
from tltool.support.items import items_of
from tltool.support.progress import Progress
from tltool.support.spread import Spread
from tltool.tasks.table import Task
from tltool.training.preparation import Prepared, assemble, load_data

if TYPE_CHECKING:
    from tltool.backbones.load import Weights
    from tltool.evaluation.probe import ProbeScore
    from tltool.features.store import FeatureStore

UNTRAINED = "untrained:"
"""Before a backbone's name: the same network with random weights."""

# Batches of the measured forward pass, and for how long it is repeated at most.
_TIMED_BATCHES, _BATCH_SIZE = 4, 32
_TIMED_SECONDS, _TIMED_PASSES = 3.0, 5
_FLOAT32_BYTES = 4


@dataclass(frozen=True)
class RankedBackbone:
    """One backbone's scores on the data; all None but `error` where it can't be used.

    Attributes:
        backbone: As it was named.
        metric: What `score` is: the key of the task's headline score.
        score: Mean of the linear probe over the folds.
        std: Sample standard deviation over the folds.
        logme: LogME score, higher is better; None where no linear head answers the task.
        setting: Strength of the probe's penalty.
        channels: Length of the pooled features.
        parameters: Weights of the backbone.
        size_mb: Their size as float32, in megabytes (10^6 bytes).
        examples_per_second: Of the frozen forward pass, preprocessing left
            out: the best of a few passes over some of the rows.
        error: Why it can't be used.
    """

    backbone: str
    metric: str
    score: float | None = None
    std: float | None = None
    logme: float | None = None
    setting: str | None = None
    channels: int | None = None
    parameters: int | None = None
    size_mb: float | None = None
    examples_per_second: float | None = None
    error: str | None = None


def rank(
    recipe: Recipe | str | Path,
    backbones: Sequence[str],
    *,
    data: Any = None,
    progress: Progress | None = None,
    store: FeatureStore | None = None,
    spread: Spread | None = None,
) -> list[RankedBackbone]:
    """Ranks backbones by a linear probe on their frozen features.

    Args:
        recipe: Gives data, task, `cache`, and `max_length` or `image_size_px`
            for every backbone; its own backbone, head and schedule don't count.
        backbones: Names as in `backbone.name`; `untrained:NAME` is the same
            network with random weights (of `training.seed`), to compare with.
        data: As for `finetune`.
        progress: Is told what happens.
        store: Where features are kept; None takes the cache folder.
        spread: Where features are computed and probes fitted, such as `spread_over("auto")`
            gives it; None takes this process.

    Returns:
        The best first; those that can't be used last, with their `error`.

    Raises:
        BackboneError: None of them can be used.
        TltoolError: The recipe or its data can't be used.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    progress = progress or Progress()
    backbones = items_of(backbones, "backbones", BackboneError)
    if not backbones:
        raise BackboneError("There is no backbone to rank.", hint="name at least one")
    examples, summary = load_data(recipe, data=data, progress=progress)
    spread = spread or Spread()
    unusable: list[RankedBackbone] = []

    def frozen() -> Iterator[_Frozen]:
        for name in dict.fromkeys(backbones):
            try:
                yield _frozen(recipe, name, examples, summary, progress, store, spread)
            except (BackboneError, HeadError) as error:
                progress.note(f"left out: {error.message}")
                unusable.append(RankedBackbone(name, recipe.spec.metric, error=error.message))

    # While one backbone's probe is fitted elsewhere, the next one's features are computed.
    results = [*spread.map(_scored, frozen()), *unusable]
    if all(result.error for result in results):
        raise BackboneError(
            "None of the backbones can be used:\n  "
            + "\n  ".join(f"{result.backbone}: {result.error}" for result in results),
            hint="`tltool models list` shows backbones that work.",
        )
    sign = -1 if recipe.spec.target.headline().higher_is_better else 1
    return sorted(results, key=lambda r: (r.error is not None, sign * (r.score or 0.0)))


@dataclass(frozen=True)
class _Frozen:
    """A backbone's features of the training and validation rows, and what they are to tell.

    Attributes:
        measured: What is known of the backbone without a probe.
        features: float32 (n, channels).
        truth: Of the rows, as the target gives it.
        task: With its target.
        groups: What each row belongs to that folds do not divide.
    """

    measured: RankedBackbone
    features: np.ndarray
    truth: np.ndarray
    task: Task
    groups: tuple[str, ...]


def _frozen(
    recipe: Recipe,
    name: str,
    examples: Examples,
    summary: Mapping[str, Any],
    progress: Progress,
    store: FeatureStore | None,
    spread: Spread,
) -> _Frozen:
    prepared = _assemble(recipe, name, examples, summary, progress)
    features, truth = _features(_renamed(recipe, name), prepared, progress, store, spread)
    examples = prepared.examples.of_splits("train", "validation")
    parameters = sum(group.num_parameters for group in prepared.backbone.groups)
    measured = RankedBackbone(
        backbone=name,
        metric=recipe.spec.metric,
        channels=features.shape[1],
        parameters=parameters,
        size_mb=parameters * _FLOAT32_BYTES / 1e6,
        examples_per_second=forward_speed(prepared),
    )
    return _Frozen(measured, features, truth, prepared.task, undivided(examples))


def _scored(frozen: _Frozen) -> RankedBackbone:
    from tltool.evaluation.probe import probe
    from tltool.search.logme import logme

    features, truth, target = frozen.features, frozen.truth, frozen.task.target
    result: ProbeScore = probe(features, truth, frozen.task, groups=frozen.groups)
    return replace(
        frozen.measured,
        score=result.value,
        std=result.std,
        logme=logme(features, target.encode(truth)) if target.solvable else None,
        setting=f"{result.setting}, {result.folds} folds of {len(features):,} rows",
    )


def _renamed(recipe: Recipe, name: str) -> Recipe:
    """The recipe with another backbone, and with what any backbone can do."""
    backbone = recipe.backbone.model_copy(update={"name": name, "dropout": None})
    changes = {"backbone": backbone, "head": HeadSection(), "schedule": "feature_extraction"}
    return recipe.model_copy(update=changes)


def _assemble(
    recipe: Recipe,
    name: str,
    examples: Examples,
    summary: Mapping[str, Any],
    progress: Progress,
) -> Prepared:
    untrained = name.startswith(UNTRAINED)
    named = _renamed(recipe, name.removeprefix(UNTRAINED))
    weights: Weights = "random" if untrained else "pretrained"
    return assemble(named, examples, summary, weights=weights, progress=progress)


def _features(
    recipe: Recipe,
    prepared: Prepared,
    progress: Progress,
    store: FeatureStore | None,
    spread: Spread,
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, channels) and truth of the training and validation rows."""
    from tltool.training.frozen_features import frozen_features

    found = frozen_features(recipe, prepared, progress, store=store, spread=spread)
    parts = [prepared.examples.split("train"), prepared.examples.split("validation")]
    truths = [prepared.task.target.truth(part.targets, part.origins) for part in parts if len(part)]
    features = np.concatenate([found.train, found.validation])
    if not np.isfinite(features).all():
        raise BackboneError(
            f"Backbone {recipe.backbone.name!r} gives features that are not finite numbers."
        )
    return features, np.concatenate(truths)


def forward_speed(prepared: Prepared) -> float:
    """Examples a second of the backbone's forward pass on rows of the training split.

    Preprocessing is left out: the best of a few passes over some rows.
    """
    import tensorflow as tf

    from tltool.data.batches.pipeline import make_batches
    from tltool.data.batches.source import example_source
    from tltool.evaluation.inference import by_length
    from tltool.graph.folding import fold_batch_norms

    # As the store of features computes it.
    model = fold_batch_norms(prepared.backbone.model)
    examples = prepared.examples.split("train")
    chosen = _spread_batches(by_length(examples))
    source = example_source(examples.take(chosen), prepared.backbone.preprocessing)
    dataset = make_batches(source, targets=None, batch_size=_BATCH_SIZE, training=False)
    batches = list(dataset)

    @tf.function(input_signature=[dataset.element_spec], autograph=False)
    def run(inputs: Any) -> Any:
        return model(inputs, training=False)

    def one_pass() -> float:
        started = time.perf_counter()
        for inputs in batches:
            run(inputs).numpy()
        return time.perf_counter() - started

    one_pass()  # traces, and warms up
    passes: list[float] = []
    while len(passes) < _TIMED_PASSES and sum(passes) < _TIMED_SECONDS:
        passes.append(one_pass())
    return len(chosen) / min(passes)


def _spread_batches(ordered: Sequence[int]) -> list[int]:
    """Rows of a few whole batches, from all over an order: each batch of neighbours.

    So a batch's texts are of like length, as where all rows are computed.
    """
    stretches = np.array_split(np.asarray(ordered), _TIMED_BATCHES)
    starts = [max(0, (len(stretch) - _BATCH_SIZE) // 2) for stretch in stretches]
    pieces = zip(stretches, starts, strict=True)
    return [int(row) for part, start in pieces for row in part[start : start + _BATCH_SIZE]]
