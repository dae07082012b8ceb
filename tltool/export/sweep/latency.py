"""How long LiteRT files take for one example, measured in turn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tltool.export.contract import MAIN_SIGNATURE
from tltool.support.quiet import quiet

WARM_UP = 3


def latencies(
    files: Sequence[Path],
    inputs: dict[str, np.ndarray[Any, Any]],
    *,
    threads: int,
    rounds: int = 30,
) -> list[float]:
    """The median milliseconds that each file takes for one example.

    In each round every file runs once, so that a slow moment of the machine
    meets all of them alike. Preprocessing is not counted.

    Args:
        files: .tflite files with the same inputs.
        inputs: One preprocessed example, by input name.
        threads: That an interpreter may use.
        rounds: Runs of each file, after a few that are not counted.
    """
    with quiet():
        runs = [_runner(file, threads) for file in files]
        times: list[list[float]] = [[] for _ in runs]
        for _ in range(WARM_UP + rounds):
            for run, taken in zip(runs, times, strict=True):
                begin = time.perf_counter()
                run(**inputs)
                taken.append(1000 * (time.perf_counter() - begin))
    return [median(taken[WARM_UP:]) for taken in times]


def _runner(file: Path, threads: int) -> Any:
    interpreter = Interpreter(model_path=str(file), num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter.get_signature_runner(MAIN_SIGNATURE)
