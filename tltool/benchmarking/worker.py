"""The process in which one model is measured: it starts, loads, answers once, then serves rounds.

    python -m tltool.benchmarking.worker REQUEST

One JSON line goes out when the first answer is there, one for each line that
comes in. Nothing is imported before the clock runs but what starting needs.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tltool.benchmarking.runtimes import RUNTIMES, Inputs, Loaded
from tltool.support.errors import ExportError, TltoolError
from tltool.support.imports import take_from_parent
from tltool.support.processes import end_with_parent

_SEED = 0
# A call or two are not enough for a percentile, however slow the model.
_FEWEST_CALLS = 3


def main() -> None:
    """Measures what the request in the first argument names."""
    end_with_parent()
    take_from_parent()
    # Native code writes to descriptor 1; the answers go out by another one.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        for reply in _replies(json.loads(sys.argv[1])):
            answers.write(json.dumps(reply) + "\n")
            answers.flush()


def _replies(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    try:
        loaded, first = _start(request)
        yield first
        for line in sys.stdin:
            yield _round(loaded, request, **json.loads(line))
    except TltoolError as error:
        yield {"error": error.message, "hint": error.hint}
    except Exception as error:
        yield {"error": f"{type(error).__name__}: {error}".splitlines()[0], "hint": None}


def _start(request: dict[str, Any]) -> tuple[Loaded, dict[str, Any]]:
    runtime, threads = RUNTIMES[request["form"]], request["threads"]
    runtime.imports(threads)
    imported, memory = time.time(), _memory("VmRSS")
    loaded = runtime.load(Path(request["path"]), threads)
    ready = time.time()
    inputs, golden = _inputs(loaded, request, request["batch"])
    made = time.time()
    _call(loaded, inputs)
    answered = time.time()
    return loaded, {
        "import_s": imported - request["began"],
        "load_s": ready - imported,
        "answer_s": answered - made,
        "runtime_bytes": memory,
        "golden": golden,
    }


def _round(
    loaded: Loaded, request: dict[str, Any], *, batch: int, seconds: float, warm_up: bool
) -> dict[str, Any]:
    inputs, _ = _inputs(loaded, request, batch)
    if warm_up:
        _call(loaded, inputs)
        _call(loaded, inputs)
    latencies: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(latencies) < _FEWEST_CALLS:
        began = time.perf_counter()
        _call(loaded, inputs)
        latencies.append(time.perf_counter() - began)
    return {"latencies": latencies, "calls": len(inputs), "peak_bytes": _memory("VmHWM")}


def _call(loaded: Loaded, inputs: list[Inputs]) -> None:
    for part in inputs:
        loaded.run(part)


def _inputs(loaded: Loaded, request: dict[str, Any], batch: int) -> tuple[list[Inputs], bool]:
    """The inputs of each call that a batch needs, and whether they are golden examples."""
    import numpy as np

    file = request["inputs"]
    stored = dict(np.load(file, allow_pickle=False)) if file else {}
    golden = loaded.specs.keys() <= stored.keys()
    batch *= int(stored.pop("rows_of_an_example", 1))
    rows = loaded.fixed_batch or batch
    if batch % rows:
        raise ExportError(
            f"{request['path']} takes {rows} examples at once, so not {batch}.",
            hint=f"use a multiple of {rows} for --batch",
        )
    whole = {
        name: np.resize(stored[name], (batch, *stored[name].shape[1:])).astype(dtype)
        if golden
        else _random((batch, *shape[1:]), dtype)
        for name, (shape, dtype) in loaded.specs.items()
    }
    parts = range(0, batch, rows)
    return [{name: x[i : i + rows] for name, x in whole.items()} for i in parts], golden


def _random(shape: tuple[int | None, ...], dtype: str) -> Any:
    import numpy as np

    if dtype in {"string", "object", "bytes"}:
        raise ExportError(
            "The model takes raw texts or files, of which there are none.",
            hint="measure the export folder that tltool wrote, with its golden examples",
        )
    sizes = [size for size in shape if size is not None]
    if len(sizes) < len(shape):
        raise ExportError(
            "The model leaves the size of an input open, and there are no golden examples.",
            hint="measure the export folder that tltool wrote",
        )
    if np.issubdtype(np.dtype(dtype), np.floating):
        return np.random.default_rng(_SEED).uniform(-1, 1, sizes).astype(dtype)
    return np.ones(sizes, dtype)  # an index that every table has


def _memory(field: str) -> int | None:
    """Bytes of memory by `/proc`: now (VmRSS) or at most so far (VmHWM); None where there is none.

    `getrusage` will not do: its maximum begins with that of the parent process.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    main()
