"""Runtimes of the last years, each in an environment of its own, and what they run."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import exported
import trained

from tltool.export.contract import Contract
from tltool.export.formats.base import ExportTarget, LiteRTOptions
from tltool.export.formats.runtime import version_key
from tltool.export.formats.table import FORMATS
from tltool.recipe.export_section import Int8Section

ENVIRONMENTS = Path(__file__).parents[2] / ".venv-runtimes"
"""`make test-runtimes` fills it: a folder for each, such as `tflite-runtime-2.14.0`."""
FAMILIES = {
    "tflite-runtime": ("litert",),
    "ai-edge-litert": ("litert",),
    "tensorflow-cpu": ("litert", "saved_model"),
    "onnxruntime": ("onnx",),
}
"""The formats that each kind of runtime takes."""
PRECISIONS = ("float32", "float16", "dynamic_int8", "int8")
# All in 8 bits but for one kind: what 8 bits do to the answers is not asked here.
IN_FLOAT = {"class": "SOFTMAX", "class_set": "LOGISTIC", "numbers": "MEAN"}
# The runtimes' 8-bit kernels round some halves in other ways; a step of a probability is 0.004.
LIMITS = {"float32": 1e-4, "float16": 1e-4, "dynamic_int8": 0.05, "int8": 0.05}


def installed() -> list[str]:
    """The runtimes that are there, each family's oldest first."""
    found = [file.parent.name for file in ENVIRONMENTS.glob("*/.installed")]
    return sorted(found, key=lambda name: (list(FAMILIES).index(family(name)), version(name)))


def family(runtime: str) -> str:
    return runtime.rpartition("-")[0]


def version(runtime: str) -> tuple[int, ...]:
    return version_key(runtime.rpartition("-")[2])


def make_exports(root: Path) -> list[Path]:
    """An export folder for each task, format and precision, and the other inputs of LiteRT."""
    made = {
        "text classes": trained.text_classifier(),
        "text labels": trained.text_tagger(),
        "text numbers": trained.text_rater(),
        "image classes": trained.image_classifier(root / "classes"),
        "image labels": trained.image_tagger(root / "labels"),
        "image numbers": trained.image_rater(root / "numbers"),
    }
    folders = []
    for name, model in made.items():
        for target in targets(name):
            folder = root / name / target.folder
            folder.parent.mkdir(exist_ok=True)
            int8 = Int8Section(keep_float=(IN_FLOAT[model.task.target.kind],))
            folders.append(exported.export_folder(model, folder, target, int8=int8))
    return folders


def targets(name: str) -> Iterator[ExportTarget]:
    litert = FORMATS["litert"]
    yield from (ExportTarget(litert, precision) for precision in PRECISIONS)
    if name == "text classes":
        yield ExportTarget(litert, "dynamic_int8", LiteRTOptions(length="free"))
    if name == "image classes":
        yield ExportTarget(litert, "int8", LiteRTOptions(input="uint8"))
        yield ExportTarget(litert, "dynamic_int8", LiteRTOptions(input="uint8_any_size"))
    yield ExportTarget(FORMATS["saved_model"])
    if find_spec("tf2onnx"):
        yield ExportTarget(FORMATS["onnx"])


def taken_by(runtime: str, folders: list[Path]) -> list[Path]:
    """The exports that are for a runtime."""
    return [f for f in folders if Contract.read(f).form in FAMILIES[family(runtime)]]


def ask(runtime: str, folders: list[Path]) -> list[dict]:
    """What `golden_program.py` says of each folder; an `error` too where its process ended."""
    program = Path(__file__).with_name("golden_program.py")
    python = ENVIRONMENTS / runtime / "bin" / "python"
    command = [str(python), str(program), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    ended = {"error": f"ended with {done.returncode}: {done.stderr.strip()[-200:]}"}
    return [*said, *[ended] * (len(folders) - len(said))]


# A fault of that runtime: files made for it alone have it too, those of a fixed length have not.
WRONG_THERE = {("tensorflow-cpu-2.17.1", "litert_dynamic_int8_free_length")}


def passes(runtime: str, folder: Path, said: dict) -> bool:
    if (runtime, folder.name) in WRONG_THERE:
        return "difference" in said
    return said.get("difference", 1.0) <= LIMITS[Contract.read(folder).precision]
