"""The files for Slurm and Kubernetes, and how workers are started on this machine."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from typing import Any

import pytest
import yaml
from command import cli, succeed

from tltool.finetuning.launching import local
from tltool.finetuning.launching.command import Command
from tltool.finetuning.launching.kubernetes import Pods
from tltool.finetuning.launching.slurm import SlurmJob
from tltool.support.errors import DeviceError, RecipeError
from tltool.training.place import find_place

COMMAND = Command("my recipe.yaml", ("training.batch_size=8", "name=it's"), ("--no-audit",))


def test_a_slurm_file_is_a_script_that_starts_the_ordinary_command(tmp_path):
    job = SlurmJob(4, "trial", gpus=1, cpus=8, time="1:00:00", options=("--mem=32G",))
    script = job.script(COMMAND)
    for line in ("--job-name=trial", "--ntasks=4", "--gpus-per-task=1", "--cpus-per-task=8",
                 "--time=1:00:00", "--mem=32G", "--distribution=block"):  # fmt: skip
        assert f"#SBATCH {line}\n" in script
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    srun.chmod(srun.stat().st_mode | stat.S_IXUSR)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(["bash", "-s"], input=script, env={"PATH": path}, capture_output=True,
                          text=True, check=True)  # fmt: skip
    arguments = done.stdout.splitlines()
    assert arguments[2:] == ["tltool", *COMMAND.arguments(4)]
    assert "training.distribution=multi_worker" in arguments


@pytest.mark.parametrize(
    ("code", "count", "again"),
    [(1, "0", True), (1, "2", False), (2, "0", False), (0, "0", False)],
)
def test_a_slurm_job_is_queued_again_as_often_as_it_may(code, count, again, tmp_path):
    for name, text in (("srun", f"exit {code}"), ("scontrol", 'echo "$@"')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7",
           "SLURM_RESTART_COUNT": count}  # fmt: skip
    done = subprocess.run(["bash", "-s"], input=SlurmJob(2, max_restarts=2).script(COMMAND),
                          env=env, capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == code
    assert done.stdout == ("requeue 7\n" if again else "")


def test_a_pod_finds_its_place_by_its_index():
    service, job = yaml.safe_load_all(Pods(3, "image:1", "trial").indexed_job(COMMAND))
    assert service["spec"]["clusterIP"] == "None"
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == COMMAND.arguments(3)
    index, config = container["env"]
    own = config["value"].replace(f"$({index['name']})", "2")
    place = find_place({"TF_CONFIG": own})
    assert place.index == 2
    assert place.workers[2] == "trial-2.trial:2222"
    assert job["spec"]["template"]["spec"]["subdomain"] == service["metadata"]["name"]


def test_a_claim_holds_the_runs_and_the_cache_of_all():
    pods = Pods(2, "image:1", claim="disk", gpus=1, max_restarts=2)
    _, job = yaml.safe_load_all(pods.indexed_job(COMMAND))
    spec = job["spec"]["template"]["spec"]
    assert spec["volumes"][0]["persistentVolumeClaim"] == {"claimName": "disk"}
    container = spec["containers"][0]
    assert container["workingDir"] == "/work"
    assert container["env"][-1]["value"].startswith("/work/")
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert job["spec"]["backoffLimit"] == 4


def test_a_name_that_kubernetes_refuses_is_refused():
    with pytest.raises(RecipeError, match="My_Job"):
        Pods(2, "image:1", "My_Job").indexed_job(COMMAND)


@pytest.mark.parametrize("claim", [None, "disk"])
def test_kubernetes_files_fit_the_published_schema(claim):
    validate = pytest.importorskip("kubernetes_validate")
    pods = Pods(2, "image:1", claim=claim, gpus=1, max_restarts=1)
    documents = list(yaml.safe_load_all(pods.indexed_job(COMMAND)))
    assert [one["kind"] for one in documents] == ["Service", "Job"]
    for document in documents:
        validate.validate(document, "1.31", strict=True)
    pod = yaml.safe_load(pods.tf_job(COMMAND))["spec"]["tfReplicaSpecs"]["Worker"]["template"]
    validate.validate({"apiVersion": "v1", "kind": "Pod", **pod}, "1.31", strict=True)


def test_a_tfjob_has_the_fields_of_the_published_client():
    models = pytest.importorskip("kubeflow.training.models")
    document = yaml.safe_load(Pods(2, "image:1", max_restarts=1).tf_job(COMMAND))
    check_fields(models, "KubeflowOrgV1TFJob", document)


def check_fields(models: Any, name: str, value: dict[str, Any]) -> None:
    """Each field is one of the model's, down to where Kubernetes' own models begin."""
    model = getattr(models, name)
    names = {json_name: own for own, json_name in model.attribute_map.items()}
    for field, inner in value.items():
        assert field in names, f"{name} has no {field}; it has {sorted(names)}"
        kind = model.openapi_types[names[field]]
        several = kind.startswith("dict(str, ")
        kind = kind.removeprefix("dict(str, ").removesuffix(")")
        for one in inner.values() if several else [inner]:
            if hasattr(models, kind):
                check_fields(models, kind, one)


GPUS = {"CUDA_VISIBLE_DEVICES": "3,5,6,7"}


def test_each_worker_gets_its_part_of_the_gpus():
    assert local._gpus_by_worker(2, GPUS) == ["3,5", "6,7"]
    assert local._gpus_by_worker(4, GPUS) == ["3", "5", "6", "7"]
    assert local._gpus_by_worker(2, {"CUDA_VISIBLE_DEVICES": "-1"}) == [None, None]
    with pytest.raises(DeviceError, match="3 workers can't share 4 GPUs"):
        local._gpus_by_worker(3, GPUS)


WORKER = """
import json, os, signal, sys, time
place = json.loads(os.environ["TF_CONFIG"])
index = place["task"]["index"]
def stop(number, frame):
    print("asked", number, file=sys.stderr); sys.exit(128 + number)
signal.signal(signal.SIGTERM, stop)
print("hello from", index, "of", len(place["cluster"]["worker"]), flush=True)
print("talk", file=sys.stderr, flush=True)
MORE
"""


@pytest.fixture
def launched(monkeypatch):
    """Launches small programs in place of `tltool finetune`; returns code, talk and output."""

    def start(more: str, **options):
        told: list[str] = []
        out: list[str] = []
        program = WORKER.replace("MORE", more)
        monkeypatch.setattr(local, "_PROGRAM", ("-c", program))
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
        code = local.launch_here(COMMAND, 2, tell=told.append, out=out.append, **options)
        return code, told, out

    return start


def test_the_chief_writes_to_stdout_and_all_talk_with_their_number(launched):
    code, told, out = launched("")
    assert code == 0
    assert out == ["hello from 0 of 2"]
    assert sorted(told) == ["[0] talk", "[1] hello from 1 of 2", "[1] talk"]


@pytest.mark.parametrize(("ends", "code"), [("sys.exit(2)", 2), ("sys.exit(1)", 1),
                                            ("os.kill(os.getpid(), 9)", 1),
                                            ("os.kill(os.getpid(), 15)", 143)])  # fmt: skip
def test_where_a_worker_fails_all_end(ends, code, launched, monkeypatch):
    monkeypatch.setattr(local, "_GRACE_SECONDS", 0.3)
    found, told, _ = launched(f"if index: {ends}\ntime.sleep(60)")
    assert found == code
    assert any("ending the workers that worker 1 has left behind" in line for line in told)
    assert any(line.startswith("worker 1 ended with exit code") for line in told)


def test_all_are_started_again_as_often_as_they_may(launched, tmp_path):
    mark = tmp_path / "mark"
    dies = f"""
import pathlib
mark = pathlib.Path({str(mark)!r})
if index and not mark.exists():
    mark.touch()
    sys.exit(1)
"""
    code, told, out = launched(dies, max_restarts=1)
    assert code == 0
    assert out == ["hello from 0 of 2"] * 2
    assert "worker 1 ended with exit code 1: starting all again" in told


def test_a_fault_of_the_user_is_not_tried_again(launched):
    code, _, out = launched("sys.exit(2)", max_restarts=3)
    assert code == 2
    assert len(out) == 1


def test_a_signal_is_passed_on_and_decides_the_exit_code(launched):
    stops = "if index == 0: os.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)"
    code, told, _ = launched(stops, max_restarts=2)
    assert code == 143
    assert "[0] asked 15" in told
    assert not any("left behind" in line for line in told)


def test_options_of_another_launcher_are_refused():
    assert cli("launch", "quickstart", "--submit").code == 2
    refused = cli("launch", "quickstart", "--slurm", "--ray", "auto")
    assert (refused.code, "can't be used together" in refused.err) == (2, True)


def test_a_faulty_recipe_is_told_before_anything_is_started():
    refused = cli("launch", "quickstart", "--slurm", "training.batch_sise=3")
    assert refused.code == 2
    assert "batch_size" in refused.err


def test_files_are_printed():
    script = succeed("launch", "quickstart", "--workers", 3, "--slurm").out
    assert shlex.split(script.splitlines()[-1])[-3:] == [
        "finetune", "quickstart", "training.distribution=multi_worker"]  # fmt: skip
    text = succeed("launch", "quickstart", "--kubernetes", "image:1", "--tfjob").out
    assert yaml.safe_load(text)["kind"] == "TFJob"


def test_submitting_without_slurm_is_told(monkeypatch):
    monkeypatch.setenv("PATH", "")
    refused = cli("launch", "quickstart", "--slurm", "--submit")
    assert (refused.code, "sbatch can't be started" in refused.err) == (2, True)


def test_ray_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    refused = cli("launch", "quickstart", "--ray", "auto")
    assert (refused.code, "pip install 'tltool[ray]'" in refused.err) == (2, True)
