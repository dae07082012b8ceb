"""Runs a SavedModel with TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tltool.data.batches.pipeline import model_inputs
from tltool.export.contract import MAIN_SIGNATURE, Contract
from tltool.export.feeding import raw_inputs
from tltool.export.outputs import Outputs, Run
from tltool.support.quiet import quiet


def saved_model_runner(path: Path, contract: Contract) -> Run:
    """Runs a SavedModel folder, which takes raw inputs itself."""
    with quiet():
        loaded = tf.saved_model.load(str(path))
    task, modality = contract.task, contract.task.spec.modality

    def serve(batch: Sequence[Any]) -> dict[str, Any]:
        raw = {name: tf.constant(column) for name, column in raw_inputs(batch, modality).items()}
        try:
            # Asked of `loaded` each time: it owns the weights and must stay alive.
            return loaded.signatures[MAIN_SIGNATURE](**raw)
        except tf.errors.InvalidArgumentError:
            model_inputs(batch, contract.preprocessing)  # names the input that cannot be read
            raise

    def run(batch: Sequence[Any]) -> Outputs:
        outputs, names = task.target.from_served({n: t.numpy() for n, t in serve(batch).items()})
        return task.target.with_inputs(outputs, batch), names

    return run
