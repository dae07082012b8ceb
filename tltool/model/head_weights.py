"""A head that starts from the weights of a trained one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tltool.backbones.formats.torch.weights import weighted_layers
from tltool.backbones.formats.weights_file import (
    NEVER_LOADED,
    nested_layers,
    require_file,
    same_shapes,
)
from tltool.data.labels import load_task
from tltool.graph.keras_file import load_keras_file
from tltool.model.freezing import HEAD
from tltool.model.joining import TransferModel
from tltool.support.errors import HeadError
from tltool.support.words import listed
from tltool.tasks.table import Task

_FIELD = "head.weights_file"
# Beside the `model.keras` of a run.
_LABELS = "labels.json"
_NEW = f"leave out {_FIELD}, to start with a new head"


def load_head_weights(transfer: TransferModel, task: Task, path: Path) -> None:
    """Puts the weights of a trained head into a model's, in place of those it was made with.

    Args:
        transfer: The model; every layer of its head must be in the file, by name and shape.
        task: What the model answers.
        path: The `model.keras` of a run; the labels are in `labels.json` beside it.

    Raises:
        HeadError: There is no such file, it can't be read, or it is of another head or of other
            labels.
        RunError: What is beside it is damaged.
    """
    check_head_file(task, path)
    found = dict(nested_layers(load_keras_file(path, HeadError, hint=NEVER_LOADED)))
    for name, layer in weighted_layers(transfer.model):
        if any(transfer.group_of[weight.path] != HEAD for weight in layer.weights):
            continue
        own = found.get(name)
        if own is None or not same_shapes(layer, own):
            what = "no layer" if own is None else "another shape for the layer"
            raise HeadError(f"{_FIELD}: {path} has {what} {name!r} of the head.", hint=_NEW)
        layer.set_weights(own.get_weights())


def check_head_file(task: Task, path: Path) -> None:
    """Sees, before anything is loaded, that a file of a head is there and of these labels.

    Args:
        task, path: As for `load_head_weights`.

    Raises:
        HeadError: There is no such file, or it is of other labels.
        RunError: What is beside it is damaged.
    """
    require_file(path, HeadError, _FIELD)
    beside = path.with_name(_LABELS)
    if beside.is_file():
        check_same_labels(load_task(beside).target.labels, task.target.labels, str(path))


def check_same_labels(
    before: Sequence[str], now: Sequence[str], whose: str, hint: str = _NEW
) -> None:
    """Sees that data has the labels that a model tells apart.

    Args:
        before: Of the model, in its order.
        now: Of the data.
        whose: The model, for messages.
        hint: What to do where it has others.

    Raises:
        HeadError: It has others; names those that only one of them has.
    """
    if list(before) == list(now):
        return
    new, gone = sorted({*now} - {*before}), sorted({*before} - {*now})
    told = [
        f"{words} {listed(names)}"
        for words, names in (("the data alone has", new), ("the model alone has", gone))
        if names
    ]
    raise HeadError(
        f"{whose} tells other labels apart than the data has: "
        f"{'; '.join(told) or 'they stand in another order'}.",
        hint=hint,
    )
