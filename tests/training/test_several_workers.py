"""Several workers in processes of their own: equal to one, and what happens when one ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import tiny
from together import TLTOOL, history, run, status, write_recipe

import tltool
from tltool.support.errors import RunError, TltoolError
from tltool.training.checkpoint import position_in

pytestmark = pytest.mark.slow
WAIT = "training.barrier_seconds=600"


@pytest.fixture(scope="module")
def text_recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("ends"), "text")


def test_two_workers_give_what_one_process_gives(text_recipe):
    done = run("finetune", text_recipe, "name=one")
    assert done.returncode == 0, done.stderr
    done = run("launch", "--workers", 2, text_recipe, "name=two", WAIT)
    assert done.returncode == 0, done.stderr
    runs = text_recipe.parent / "runs"
    one, two = (history(runs / name / "1") for name in ("one", "two"))
    assert len(one) == len(two) == 4
    for row, other in zip(one, two, strict=True):
        assert row == pytest.approx(other, abs=1e-5)
    assert [folder.name for folder in (runs / "two").iterdir()] == ["1"]
    assert status(runs / "two" / "1") == "finished"
    inputs = list(tltool.load_run(runs / "one").examples("test").inputs)
    answers = [
        np.asarray(
            tltool.load_artifact(runs / name / "1" / "exports" / "saved_model").predict(inputs)
        )
        for name in ("one", "two")
    ]
    np.testing.assert_allclose(*answers, atol=1e-4)
    # The chief talks, the other is quiet, and the summary is printed once.
    assert "[0] Training" in done.stderr
    assert not [line for line in done.stderr.splitlines() if line.startswith("[1] Training")]
    assert done.stdout.count("Result on the test split") == 1


WAYS = {
    # Adam makes much of gradients that are next to nothing, as those of adapters are at first.
    "solved, adapted, twice": (
        "text",
        ["schedule=[{train: head, solver: exact}, "
         "{train: lora, rank: 2, epochs: 1, learning_rate: 0.001}]",
         "training.refit=true"],
        1e-4,
    ),
    "mixed, averaged, in parts": (
        "image",
        ["augment.layers=[{layer: MixUp, alpha: 0.2}]", "training.ema_momentum=0.9",
         "training.average_epochs.last=2", "training.gradient_accumulation_steps=2",
         "training.batch_size=8", "training.sampling=balanced"],
        1e-5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_other_ways_of_training_give_what_one_process_gives(way, tmp_path):
    modality, overrides, most = WAYS[way]
    recipe = write_recipe(tmp_path, modality)
    overrides = [*overrides, "--no-audit"]
    done = run("launch", "--workers", 2, recipe, "name=two", WAIT, *overrides)
    assert done.returncode == 0, done.stderr
    done = run("finetune", recipe, "name=one", *overrides)
    assert done.returncode == 0, done.stderr
    one, two = (history(tmp_path / "runs" / name / "1") for name in ("one", "two"))
    for row, other in zip(one, two, strict=True):
        assert row == pytest.approx(other, abs=most)


class Launched:
    """A launch that goes on for long, with the processes of its workers."""

    def __init__(self, recipe: Path, *arguments: object) -> None:
        self.folder = recipe.parent
        self.process = subprocess.Popen(
            [*TLTOOL, "launch", "--workers", "2", str(recipe), WAIT, *map(str, arguments)],
            stderr=subprocess.PIPE, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        )  # fmt: skip
        self.lines: list[str] = []

    def until(self, words: str) -> None:
        for line in self.process.stderr:
            self.lines.append(line)
            if words in line:
                return
        raise AssertionError("".join(self.lines))

    def workers(self) -> list[int]:
        """Process numbers by index."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == self.process.pid:
                    variables = (folder / "environ").read_bytes().split(b"\0")
                    (text,) = (v for v in variables if v.startswith(b"TF_CONFIG="))
                    index = json.loads(text.partition(b"=")[2])["task"]["index"]
                    found[index] = int(folder.name)
            except (OSError, ValueError):
                continue
        return [found[index] for index in sorted(found)]

    def end(self) -> str:
        with self.process:
            rest = self.process.stderr.read()
        return "".join(self.lines) + rest


LONG = "schedule.1.epochs=500"


def test_a_worker_that_is_killed_ends_all_and_is_named(text_recipe):
    launched = Launched(text_recipe, "name=killed", LONG)
    launched.until("2 all")
    time.sleep(2)
    os.kill(launched.workers()[1], signal.SIGKILL)
    said = launched.end()
    assert launched.process.returncode == 1, said
    assert "Worker 1 of 2" in said
    assert "gone" in said
    folder = text_recipe.parent / "runs" / "killed" / "1"
    assert status(folder) == "failed"
    assert "Worker 1 of 2" in json.loads((folder / "run.json").read_text())["error"]


# So that there is much of an epoch to be stopped within.
SMALL = "training.batch_size=2"


@pytest.fixture(scope="module")
def whole(text_recipe):
    """The history of a run by one process that nothing has stopped."""
    done = run("finetune", text_recipe, "name=whole", SMALL)
    assert done.returncode == 0, done.stderr
    return history(text_recipe.parent / "runs" / "whole" / "1")


def is_within(folder: Path, phase: int) -> bool:
    """Whether a run has a checkpoint within an epoch of a phase."""
    for file in folder.glob("checkpoints/state-*.safetensors"):
        with suppress(RunError):  # gone since
            position = position_in(file)
            if position.phase == phase and position.step:
                return True
    return False


def assert_resumed(folder: Path, whole: list[dict[str, float]]) -> None:
    """The run went on once, within an epoch, and ended as one that was never stopped."""
    assert status(folder) == "finished"
    (resumed,) = json.loads((folder / "run.json").read_text())["resumed"]
    assert re.fullmatch(r"epoch \d of phase 2 after \d+ steps?", resumed["at"])
    for row, other in zip(whole, history(folder), strict=True):
        assert row == pytest.approx(other, abs=1e-5)


def test_all_go_on_within_the_epoch_after_a_worker_was_killed(text_recipe, whole):
    launched = Launched(
        text_recipe, "name=again", SMALL, "training.checkpoint={steps: 2}", "--max-restarts", 1
    )
    folder = text_recipe.parent / "runs" / "again" / "1"
    launched.until("2 all")
    second, deadline = launched.workers()[1], time.monotonic() + 600
    while not is_within(folder, phase=2):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(second, signal.SIGKILL)
    said = launched.end()
    assert launched.process.returncode == 0, said
    assert "starting all again" in said
    assert_resumed(folder, whole)


def test_after_a_signal_to_one_worker_another_number_goes_on_within_the_epoch(text_recipe, whole):
    launched = Launched(text_recipe, "name=stopped", SMALL)
    launched.until("2 all")
    os.kill(launched.workers()[1], signal.SIGTERM)
    said = launched.end()
    assert launched.process.returncode == 143, said
    folder = text_recipe.parent / "runs" / "stopped" / "1"
    assert status(folder) == "interrupted"
    assert tltool.load_run(folder).predict(["good film"])
    done = run("finetune", text_recipe, "name=stopped", SMALL, "--resume")
    assert done.returncode == 0, done.stderr
    assert "2 devices trained, and 1 go on" in done.stderr
    assert_resumed(folder, whole)


def test_workers_with_different_recipes_are_told_what_differs(text_recipe):
    from tltool.finetuning.launching.local import free_ports
    from tltool.training.place import tf_config

    addresses = [f"localhost:{port}" for port in free_ports(2)]
    started = [
        subprocess.Popen(
            [*TLTOOL, "finetune", str(text_recipe), "training.distribution=multi_worker", WAIT,
             f"training.seed={index}"],
            stderr=subprocess.PIPE, text=True,
            env={**os.environ, "TF_CONFIG": tf_config(addresses, index),
                 "CUDA_VISIBLE_DEVICES": "-1"},
        )
        for index in range(2)
    ]  # fmt: skip
    for process in started:
        _, said = process.communicate()
        assert process.returncode == 2, said
        assert "training.seed: worker 0 has 0, worker 1 has 1" in said


def test_slurms_variables_make_workers(text_recipe):
    numbers = range(2)
    common = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "localhost",
              "SLURM_STEP_TASKS_PER_NODE": "2", "SLURM_JOB_ID": str(os.getpid()),
              "CUDA_VISIBLE_DEVICES": "-1"}  # fmt: skip
    started = [
        subprocess.Popen(
            [*TLTOOL, "finetune", str(text_recipe), "training.distribution=multi_worker", WAIT,
             "name=slurm", "schedule.1.epochs=1", "--no-audit"],
            stderr=subprocess.PIPE, text=True,
            env={**os.environ, **common, "SLURM_PROCID": str(number)},
        )
        for number in numbers
    ]  # fmt: skip
    said = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert status(text_recipe.parent / "runs" / "slurm" / "1") == "finished"


def test_other_commands_refuse_a_recipe_for_several_workers(text_recipe):
    recipe = tltool.Recipe.load(text_recipe, ["training.distribution=multi_worker"])
    with pytest.raises(TltoolError, match="only `tltool finetune`"):
        tltool.plan(recipe, data=tiny.texts(40))
