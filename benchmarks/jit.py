"""What XLA gives a training step on this machine, for each of the two offline backbones.

    python benchmarks/jit.py

Times one training step of everything (batch 32) as TensorFlow's graph and
compiled with XLA, in turn in one process, and the first step, which traces and
compiles. `training.jit: auto` follows from it: XLA compiles once for each
shape, and texts come in about nine widths.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from dataclasses import dataclass, field

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from results import write_section

from tltool.backbones.load import load_backbone
from tltool.model.freezing import plan_phases
from tltool.model.joining import apply_plan, join
from tltool.recipe.schema import HeadSection, PhaseSection, TrainingSection
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task
from tltool.training.optimizers import make_optimizer, make_schedule

BATCH = 32
CLASSES = 10
CASES = (
    ("all-minilm-l6-v2", "text", 16),
    ("all-minilm-l6-v2", "text", 32),
    ("efficientnet-lite0", "image", 224),
)


@dataclass
class Steps:
    """Seconds of one way to run a step."""

    first: float = 0.0
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def compiled(name: str, modality: str, jit: bool) -> keras.Model:
    task = Task(TASKS[f"{modality}-classification"], ClassTarget(tuple(map(str, range(CLASSES)))))
    transfer = join(load_backbone(name), HeadSection(), task)
    (plan,) = plan_phases((PhaseSection(train="all"),), transfer.groups, task.spec.modality)
    apply_plan(transfer.model, plan)
    optimizer = make_optimizer(TrainingSection(), make_schedule(plan.phase, 1000), {})
    transfer.model.compile(optimizer=optimizer, loss=task.loss(), jit_compile=jit)
    optimizer.build(transfer.model.trainable_variables)
    return transfer.model


def batch(modality: str, size: int):
    rng = np.random.default_rng(0)
    targets = np.eye(CLASSES, dtype="float32")[rng.integers(0, CLASSES, BATCH)]
    if modality == "image":
        return rng.normal(size=(BATCH, size, size, 3)).astype("float32"), targets
    ids = rng.integers(1000, 20000, (BATCH, size)).astype("int32")
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids), "segment_ids": 0 * ids}
    return inputs, targets


def measure(name: str, modality: str, size: int, rounds: int) -> dict[bool, Steps]:
    models = {jit: compiled(name, modality, jit) for jit in (False, True)}
    inputs, targets = batch(modality, size)
    found = {jit: Steps() for jit in models}
    for number in range(rounds + 1):
        for jit, model in models.items():
            began, cpu = time.perf_counter(), time.process_time()
            model.train_on_batch(inputs, targets)
            seconds = time.perf_counter() - began
            if number == 0:
                found[jit].first = seconds
            else:
                found[jit].wall.append(seconds)
                found[jit].cpu.append(time.process_time() - cpu)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="measured steps each (default 7)")
    rounds = parser.parse_args().rounds
    lines = [
        "## XLA on this machine's CPU",
        "",
        f"One training step of everything, batch {BATCH}, median of {rounds} steps in turn.",
        "",
        "| Model | Input | Graph | XLA | Graph, CPU | XLA, CPU | XLA / graph | First step, graph "
        "| First step, XLA |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, modality, size in CASES:
        steps = measure(name, modality, size, rounds)
        wall = {jit: statistics.median(one.wall) for jit, one in steps.items()}
        cpu = {jit: statistics.median(one.cpu) for jit, one in steps.items()}
        shown = f"{size} tokens" if modality == "text" else f"{size} px"
        lines.append(
            f"| {name} | {shown} | {wall[False]:.2f} s | {wall[True]:.2f} s | {cpu[False]:.2f} s "
            f"| {cpu[True]:.2f} s | {wall[True] / wall[False]:.2f} | {steps[False].first:.1f} s "
            f"| {steps[True].first:.1f} s |"
        )
    text = "\n".join(lines)
    print(text)
    write_section("jit", text)


if __name__ == "__main__":
    main()
