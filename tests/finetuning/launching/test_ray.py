"""Two workers of Ray Train on this machine; `make test-ray` runs this where Ray is installed."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from together import history, status, write_recipe

import tltool
from tltool.finetuning.launching.command import Command
from tltool.finetuning.launching.ray import RayJob
from tltool.support.errors import DeviceError, TrainingError
from tltool.support.ray_cluster import spread_over

ray = pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning",
                               "ignore::ResourceWarning"),
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        with spread_over("local", cpus=2):
            yield


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_recipe(tmp_path_factory.mktemp("ray"), "text")


def workers() -> list[int]:
    """Process numbers of Ray Train's workers."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"RayTrainWorker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def kill_the_second(folder: Path, killed: list[int]) -> None:
    """Kills the worker that is not the chief once the run has a checkpoint."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and not [*folder.glob("checkpoints/state-*.safetensors")]:
        time.sleep(0.01)
    chief = json.loads((folder / "run.json").read_text())["process"]
    for pid in workers():
        if str(pid) not in chief:
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)


def test_a_cluster_that_is_not_there_is_told(recipe):
    # Before this process is connected with one that is.
    with pytest.raises(DeviceError, match=r"No Ray cluster can be reached at '127.0.0.1:1'"):
        RayJob("127.0.0.1:1", 2).run(Command(str(recipe)))


def test_after_a_worker_was_killed_ray_goes_on_and_keeps_the_run(cluster, recipe):
    runs, storage = recipe.parent / "runs", recipe.parent / "storage"
    one = tltool.finetune(tltool.Recipe.load(recipe, ["name=one"]))
    killed: list[int] = []
    folder = runs / "ray" / "1"
    thread = threading.Thread(target=kill_the_second, args=(folder, killed))
    thread.start()
    job = RayJob("local", 2, max_restarts=1, storage=str(storage))
    assert Path(job.run(Command(str(recipe), ("name=ray",)))) == folder
    thread.join()
    assert len(killed) == 1
    assert [found.name for found in (runs / "ray").iterdir()] == ["1"]
    assert status(folder) == "finished"
    (resumed,) = json.loads((folder / "run.json").read_text())["resumed"]
    assert "phase" in resumed["at"]
    assert resumed["changes"] == []
    for row, other in zip(history(one.path), history(folder), strict=True):
        assert row == pytest.approx(other, abs=1e-5)
    # What Ray was given is the run itself, as it is in the end.
    (experiment,) = (found for found in storage.iterdir() if found.is_dir())
    result = ray.train.Result.from_path(str(experiment))
    assert result.metrics == {"run": str(folder), "status": "finished"}
    answers = [
        np.asarray(tltool.load_artifact(place / "exports" / "saved_model").predict(["good film"]))
        for place in (Path(result.checkpoint.path), one.path)
    ]
    np.testing.assert_allclose(*answers, atol=1e-4)


def test_what_a_worker_fails_of_is_told(cluster, recipe):
    with pytest.raises(TrainingError, match="nothing"):
        RayJob("local", 2).run(Command(str(recipe), ("data.label_column=nothing",)))
