"""Solves a phase's linear head on the frozen features instead of stepping to it.

The linear probe of LP-FT (Kumar et al. 2022, arXiv:2202.10054): fine-tuning
that starts from the best head bends the pretrained features least.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tltool.graph.cut import Cut
from tltool.model.freezing import PhasePlan
from tltool.model.joining import TransferModel
from tltool.recipe.schema import TrainingSection
from tltool.support import stopping
from tltool.support.errors import PlanError
from tltool.support.progress import Progress
from tltool.tasks.losses.taught import Teaching, is_taught
from tltool.tasks.table import Task
from tltool.training.best_weights import BestWeights, HistoryRow
from tltool.training.linear_solver import Folds, LinearLayer, LinearRows, solve_linear
from tltool.training.phase import training_loss, training_metrics


@dataclass(frozen=True)
class LinearHead:
    """A head that is one linear layer on frozen features.

    Attributes:
        layer: The layer.
        features: What it reads, dropout left out: a tensor (batch, channels)
            of the model's graph.
    """

    layer: keras.layers.Dense
    features: Any


@dataclass(frozen=True)
class HeadData:
    """What a solver reads.

    Attributes:
        cut: Where the frozen part ends, or None.
        stored: Whether batches hold what crosses the cut in place of the model's inputs.
        train, validation: Batches of (inputs, targets[, weights]).
        folds: Of the rows of `train` as they come, that choose the penalty; none leaves it to the
            validation rows, None draws some.
        taught: How targets of `train` are learnt that a teacher's are joined to, or None.
    """

    cut: Cut | None
    stored: bool
    train: tf.data.Dataset
    validation: tf.data.Dataset | None
    folds: Folds | None = None
    taught: Teaching | None = None


def check_solvable(plans: Sequence[PhasePlan], transfer: TransferModel) -> None:
    """Raises PlanError where a phase is to be solved exactly and can't be."""
    for plan in plans:
        if plan.phase.solver == "exact":
            linear_head(transfer, plan)


def linear_head(transfer: TransferModel, plan: PhasePlan) -> LinearHead:
    """The linear head of a phase that trains nothing else.

    Raises:
        PlanError: The phase trains more, or the head is no linear layer.
    """
    field = f"schedule.{plan.number - 1}.solver"
    if plan.phase.train != "head":
        raise PlanError(
            f"{field}: exact solves the head alone, but the phase trains {plan.title}.",
            hint="Write `train: head`, or `solver: gradient`.",
        )
    node = _node(transfer.model.output)
    layer = node.operation
    if (
        type(layer) is not keras.layers.Dense
        or layer.activation is not keras.activations.linear
        or layer.bias is None
        or {v.path for v in layer.trainable_variables} != plan.trainable
        or len(node.arguments.keras_tensors[0].shape) != 2
    ):
        weights = ", ".join(sorted(plan.trainable))
        raise PlanError(
            f"{field}: exact needs a head of one linear layer with a bias on the pooled features; "
            f"this one learns {weights}.",
            hint="Leave out `head.hidden_units` and heads of your own, or train the head with "
            "`{train: head, solver: gradient}`.",
        )
    features = node.arguments.keras_tensors[0]
    while isinstance(_node(features).operation, keras.layers.Dropout):
        features = _node(features).arguments.keras_tensors[0]
    return LinearHead(layer, features)


def _node(tensor: Any) -> Any:
    """The call of a layer that made a tensor of a functional model."""
    history = tensor._keras_history
    return history.operation._inbound_nodes[history.node_index]


def solve_head(
    transfer: TransferModel,
    plan: PhasePlan,
    task: Task,
    training: TrainingSection,
    data: HeadData,
    history: list[HistoryRow],
    best: BestWeights,
    progress: Progress,
    agreed: Callable[[np.ndarray], np.ndarray] | None = None,
) -> None:
    """Puts the best linear head into the model: a phase of one epoch.

    The history gets a row with the values of the solved head on the frozen features.

    Args:
        transfer: Its head is overwritten.
        plan: The phase.
        task: Gives loss and metric.
        training: Label smoothing and seed.
        data: The rows, of images as they are.
        history: Rows of all phases; one is added.
        best: Is offered the head.
        progress: Is told what was solved.
        agreed: From what one of several workers has solved to what all take.
    """
    started = time.perf_counter()
    head = linear_head(transfer, plan)
    features = _feature_function(transfer, head, data)
    train = _rows(features, data.train)
    validation = None if data.validation is None else _rows(features, data.validation)
    solved, row_loss = _smoothed(train, task, training), task.target.row_loss
    if data.taught is not None:
        targets = data.taught.solved(solved.targets, task.num_outputs, row_loss)
        solved, row_loss = replace(solved, targets=targets), data.taught.row_loss(row_loss)
    layer = solve_linear(
        solved,
        None if validation is None else _smoothed(validation, task, training),
        row_loss,
        seed=training.seed,
        folds=data.folds,
    )
    if agreed is not None:
        layer = replace(layer, kernel=agreed(layer.kernel), bias=agreed(layer.bias))
    head.layer.kernel.assign(layer.kernel)
    head.layer.bias.assign(layer.bias)
    row: HistoryRow = {
        "phase": f"{plan.number} {plan.title}",
        "epoch": 1,
        "total_epoch": len(history) + 1,
        **_values(head, layer, train, task, training, "", data.taught),
        **({} if validation is None else _values(head, layer, validation, task, training, "val_")),
        "learning_rate": None,
    }
    seconds = time.perf_counter() - started
    row["seconds"] = round(seconds, 3)
    row["examples_per_second"] = round(len(train) / max(seconds, 1e-9), 1)
    history.append(row)
    progress.note(
        f"{plan.number} {plan.title}: solved on {len(train):,} rows of {train.features.shape[1]:,} "
        f"features, L2 strength {layer.l2:g}"
    )
    progress.epoch_end(row, best.offer(row))


def _feature_function(
    transfer: TransferModel, head: LinearHead, data: HeadData
) -> Callable[[Any], Any]:
    """From what a batch holds to the head's features, in inference mode."""
    if data.cut is None or not data.stored:
        return _called(keras.Model(transfer.model.input, head.features))
    crossing = list(data.cut.crossing)
    if len(crossing) == 1 and crossing[0] is head.features:
        return lambda inputs: tf.nest.flatten(inputs)[0]
    return _called(keras.Model(crossing, head.features))


def _called(model: keras.Model) -> Callable[[Any], Any]:
    @tf.function(reduce_retracing=True, autograph=False)
    def run(inputs: Any) -> Any:
        return model(inputs, training=False)

    return run


def _rows(features: Callable[[Any], Any], batches: tf.data.Dataset) -> LinearRows:
    """Reads a dataset once."""
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for batch in batches:
        stopping.check()
        inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(batch)
        values = np.asarray(tf.cast(features(inputs), tf.float32))
        ones = np.ones(len(values), np.float32)
        found.append(
            (values, np.asarray(targets), ones if weights is None else np.asarray(weights))
        )
    columns, targets, weights = map(np.concatenate, zip(*found, strict=True))
    return LinearRows(columns, targets, weights)


def _smoothed(rows: LinearRows, task: Task, training: TrainingSection) -> LinearRows:
    """Rows with labels as the loss smooths them; what a teacher says stays as it is."""
    outputs = task.num_outputs
    labels = task.target.smoothed(rows.targets[:, :outputs], training.label_smoothing)
    if not is_taught(rows.targets, outputs):
        return replace(rows, targets=labels)
    targets = np.concatenate([labels, rows.targets[:, outputs:]], axis=1)
    return replace(rows, targets=targets, width=outputs)


def _values(
    head: LinearHead,
    layer: LinearLayer,
    rows: LinearRows,
    task: Task,
    training: TrainingSection,
    prefix: str,
    taught: Teaching | None = None,
) -> dict[str, float]:
    """Loss and metric as Keras computes them at the end of an epoch of any phase."""
    outputs = tf.constant(layer.outputs(rows.features))
    function = training_loss(task, training, taught)
    # Keras takes the rows for those of one of several devices, and divides their loss among them.
    devices = tf.distribute.get_strategy().num_replicas_in_sync
    loss = devices * float(function(rows.targets, outputs, sample_weight=rows.weights))
    values = {f"{prefix}loss": loss + sum(float(penalty) for penalty in head.layer.losses)}
    for metric in training_metrics(task, training, taught):
        metric.update_state(rows.targets, outputs)
        values[f"{prefix}{metric.name}"] = float(metric.result())
    return values
