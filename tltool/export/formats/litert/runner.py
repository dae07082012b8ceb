"""Runs a .tflite file with the LiteRT interpreter."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter

from tltool.export.contract import MAIN_SIGNATURE, Contract
from tltool.export.feeding import single_inputs
from tltool.export.outputs import Call, Run, run_of
from tltool.support.quiet import quiet


def litert_runner(path: Path, contract: Contract) -> Run:
    """Runs a .tflite file, one input at a time."""
    infer, target = _loaded(path), contract.task.target
    inputs_of = single_inputs(contract.preprocessing, contract.length, contract.takes)

    def values(batch: Sequence[Any]) -> Any:
        return [
            target.combined({name: value[0] for name, value in infer(**inputs).items()})
            for inputs in inputs_of(batch)
        ]

    return run_of(path, contract, values)


def litert_call(path: Path, contract: Contract) -> Call:
    """Runs a .tflite file on preprocessed inputs."""
    infer, name = _loaded(path), contract.task.target.result_name
    return lambda inputs: infer(**inputs)[name][0]


def _loaded(path: Path) -> Any:
    with quiet():
        interpreter = Interpreter(model_path=str(path), num_threads=os.cpu_count())
        interpreter.allocate_tensors()
    return interpreter.get_signature_runner(MAIN_SIGNATURE)
