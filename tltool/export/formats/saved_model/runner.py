"""Runs a SavedModel with TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tltool.data.batches.pipeline import model_inputs
from tltool.export.contract import MAIN_SIGNATURE, RAW_SIGNATURE, Contract
from tltool.export.feeding import raw_inputs
from tltool.export.outputs import Call, Outputs, Run
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


def saved_model_call(path: Path, contract: Contract) -> Call:
    """Runs a SavedModel folder on preprocessed inputs, by its second signature."""
    with quiet():
        loaded = tf.saved_model.load(str(path))
    target = contract.task.target
    (names,) = (
        [t.name for t in way.inputs] for way in contract.signatures if way.name == RAW_SIGNATURE
    )

    def call(inputs: Mapping[str, Any]) -> Any:
        given = dict(zip(names, inputs.values(), strict=True)) if len(names) == 1 else inputs
        tensors = {name: tf.constant(values) for name, values in given.items()}
        raw = loaded.signatures[RAW_SIGNATURE](**tensors)[target.raw_name]
        return np.asarray(target.result(raw))[0]

    return call
