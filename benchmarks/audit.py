"""What the audit before training costs, beside the conversion that it stands for.

    python benchmarks/audit.py

For each network: CPU and wall time of the audit (SavedModel and LiteRT) and of
`export_litert` in float32, in turn in one process, and whether both find the
same operators, each as often. Networks that cannot be fetched here have random
weights; all weights are moved a little, since the converter leaves out a bias
of zero. Fails where the operators differ.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from results import write_section

from tltool.backbones.load import load_backbone
from tltool.export.audit.audit import audit_export
from tltool.export.formats.litert.export import export_litert
from tltool.export.formats.litert.file import read_tflite
from tltool.model.joining import join
from tltool.recipe.export_section import ExportSection
from tltool.recipe.schema import HeadSection
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task

NETWORKS = {
    "all-minilm-l6-v2": "text",
    "efficientnet-lite0": "image",
    "keras-mobilenetv3small": "image",
    "keras-efficientnetb0": "image",
    "keras-resnet50v2": "image",
    "keras-convnexttiny": "image",
}
OFFLINE = {"all-minilm-l6-v2", "efficientnet-lite0"}


def main() -> None:
    rows = [measure(name, modality) for name, modality in NETWORKS.items()]
    text = table(rows)
    print(text)
    write_section("audit", f"## The audit before training\n\n{text}")
    if not all(row["same"] for row in rows):
        sys.exit("the audit found other operators than the export has")


def measure(name: str, modality: str) -> dict[str, Any]:
    backbone = load_backbone(
        name, modality=modality, weights="pretrained" if name in OFFLINE else "random"
    )
    task = Task(TASKS[f"{modality}-classification"], ClassTarget(("a", "b", "c")))
    model = join(backbone, HeadSection(), task).model
    scatter(model)
    contract = backbone.preprocessing
    audit, found = timed(lambda: audit_export(model, task, contract, ExportSection()))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.tflite"
        export, _ = timed(lambda: export_litert(model, task, contract, file, precision="float32"))
        real = read_tflite(file.read_bytes())
    same = found.litert_operators == real.operators
    print(name, audit, export, same, flush=True)
    count = sum(real.operators.values())
    size = model.count_params()
    return {"name": name, "weights": size, "audit": audit, "export": export,
            "operators": count, "same": same}  # fmt: skip


def scatter(model: keras.Model) -> None:
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if keras.backend.is_float_dtype(variable.dtype):
            variable.assign(variable.numpy() + rng.uniform(0.01, 0.02, variable.shape))


def timed(call: Callable[[], Any]) -> tuple[tuple[float, float], Any]:
    """CPU and wall seconds of a call, and what it returned."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = call()
    return (time.process_time() - cpu, time.perf_counter() - wall), result


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "Seconds of CPU (and of the clock) for the audit of SavedModel and LiteRT, beside the "
        "conversion of the same model to LiteRT in float32.",
        "",
        "| Network | Weights | Audit | Conversion | Operators | The same in both |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        times = (f"{cpu:.1f} ({wall:.1f})" for cpu, wall in (row["audit"], row["export"]))
        lines.append(
            f"| {row['name']} | {row['weights']:,} | {' | '.join(times)} | {row['operators']} | "
            f"{'yes' if row['same'] else 'NO'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
