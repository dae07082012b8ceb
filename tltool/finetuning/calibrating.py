"""Gives a trained model the temperature at which its confidences are right, before it is measured.

It is fitted on what the model says of validation rows. Where these are few and the model is the
linear one, the rows that its cross-validation held out take their place: the layers below are the
pretrained ones for all folds. Of a network that was trained there is no such thing, since only a
training for each fold would give it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tltool.evaluation.calibration import FEW_ROWS, calibrate
from tltool.model.temperature import with_temperature
from tltool.recipe.recipe import Recipe
from tltool.runs.run import Run
from tltool.support.progress import Progress
from tltool.training.preparation import Prepared

if TYPE_CHECKING:
    from tltool.finetuning.conclusion import Trained

Array = np.ndarray[Any, Any]


def calibrated(recipe: Recipe, prepared: Prepared, trained: Trained, progress: Progress) -> Trained:
    """The trained model with its temperature, where it is better for that; see `calibrate`.

    A model that was trained again on all labelled rows takes the temperature of the first one,
    which has not learnt from the validation rows.

    Args:
        recipe: `training.calibrate` counts.
        prepared: The data.
        trained: The run, without a temperature.
        progress: Is told of it.
    """
    setting, target = recipe.training.calibrate, prepared.task.target
    if setting is False or not target.calibratable():
        return trained
    validation = prepared.examples.split("validation")
    raw = trained.first.raw_outputs(validation) if len(validation) else None
    fitted, truth, source = _rows_to_fit(prepared, trained, raw)
    found = calibrate(
        fitted, truth, target.row_loss, target.smoothed, source=source, anyway=setting is True
    )
    progress.note(found.words)
    trained = replace(trained, calibration=found)
    return _scaled(trained, prepared, raw, found.temperature) if found.kept else trained


def _rows_to_fit(
    prepared: Prepared, trained: Trained, raw: Array | None
) -> tuple[Array, Array, str]:
    """Raw outputs of rows that the model has not learnt from, encoded targets, what they are."""
    target, linear = prepared.task.target, trained.linear
    found, source = raw, "validation rows"
    rows = prepared.examples.split("validation")
    few = raw is None or len(raw) < FEW_ROWS
    if few and trained.kept.linear and linear is not None and linear.held_out is not None:
        found, numbers = linear.held_out
        rows = prepared.examples.split("train").take(numbers.tolist())
        source = "training rows, each held out from its fold"
    if found is None:
        found = np.zeros((0, target.num_outputs), np.float32)
    return found, target.encode(target.truth(rows.targets, rows.origins)), source


def _scaled(trained: Trained, prepared: Prepared, raw: Array | None, temperature: float) -> Trained:
    def of(run: Run) -> Run:
        model = with_temperature(run.model, temperature)
        return Run(run.folder, run.recipe, run.task, run.preprocessing, model)

    run, target = of(trained.run), prepared.task.target
    first = run if trained.first is trained.run else of(trained.first)
    validation = prepared.examples.split("validation")

    def said() -> Any:
        outputs = np.asarray(target.outputs(np.asarray(raw) / np.float32(temperature)))
        return target.kept(outputs, validation.targets, validation.inputs)

    return replace(trained, run=run, first=first, validation=cache(said))
