"""The trial of devices: what it tries, and that a device that computes wrongly is found."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import tensorflow as tf

from tltool.support.errors import DeviceError
from tltool.training import device_trial
from tltool.training.device_trial import EXACT, ROUNDED, try_devices

LOSSES = (1.4, 1.0, 0.5)


@pytest.fixture
def machine(monkeypatch):
    """Two GPUs, only one of them new, and a TPU; what they train to can be changed."""
    wrong = {}

    def train(self, trial, training):
        found = wrong.get((trial.devices, trial.precision), LOSSES)
        if isinstance(found, Exception):
            raise found
        return replace(trial, losses=found, steps_per_second=2.0)

    details = {"old": {"compute_capability": (6, 1)}, "new": {"compute_capability": (8, 0)}}
    seen = {"CPU": ["cpu:0"], "GPU": ["gpu:0", "gpu:1"], "TPU": ["tpu:0"]}
    monkeypatch.setattr(device_trial, "describe_devices", lambda: seen)
    monkeypatch.setattr(device_trial._Network, "train", train)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["old", "new"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details.get)
    return wrong


def found_by(network="image"):
    return {
        (trial.devices, trial.precision): trial
        for trial in try_devices(lambda text: None)
        if trial.network == network
    }


def test_every_device_is_tried_in_the_precisions_it_has(machine):
    found = found_by()
    assert [*found] == [
        ("cpu:0", "float32"),
        ("cpu:0", "mixed_bfloat16"),
        ("gpu:0", "float32"),
        ("gpu:1", "float32"),
        ("gpu:1", "mixed_float16"),
        ("gpu:0, gpu:1", "float32"),
        ("tpu:0", "float32"),
        ("tpu:0", "mixed_bfloat16"),
    ]
    assert all(trial.agrees for trial in found.values())
    assert found["gpu:1", "float32"].bound == EXACT
    assert found["gpu:1", "mixed_float16"].bound == ROUNDED


@pytest.mark.parametrize("losses", [(1.4, 1.0, 0.5 + 2 * EXACT), (1.4, 1.4, 1.4), (math.nan,) * 3])
def test_a_device_whose_losses_are_others_disagrees(machine, losses):
    machine["gpu:0", "float32"] = losses
    trial = found_by()["gpu:0", "float32"]
    assert not trial.agrees
    assert trial.to_json()["agrees"] is False


def test_a_device_that_fails_is_told_and_the_others_are_tried(machine):
    machine["gpu:0", "float32"] = DeviceError("it is asleep")
    found = found_by()
    assert found["gpu:0", "float32"].failure == "it is asleep"
    assert found["gpu:0", "float32"].to_json()["difference"] is None
    assert found["gpu:1", "float32"].agrees


def test_doctor_says_what_disagrees(machine, monkeypatch, capsys):
    from tltool.cli import doctor

    facts = {
        "versions": {},
        "devices": {"CPU": "cpu:0"},
        "workers": {},
        "cache": {},
        "pretrained models": {},
    }
    monkeypatch.setattr(doctor, "_facts", lambda: {**facts, "problems": []})
    assert doctor.doctor(train=True, as_json=False) == 0
    assert "agrees" in capsys.readouterr().out
    machine["gpu:1", "mixed_float16"] = (1.4, 1.4, 1.4)
    assert doctor.doctor(train=True, as_json=False) == 1
    shown = capsys.readouterr().out
    assert "DIFFERS" in shown
    assert "the text network in mixed_float16 on gpu:1: losses differ by 0.9" in shown


@pytest.mark.slow
def test_the_cpu_agrees_with_itself():
    trials = [trial for trial in try_devices(lambda text: None) if trial.devices == "cpu:0"]
    assert [trial.precision for trial in trials] == ["float32", "mixed_bfloat16"] * 2
    for trial in trials:
        assert trial.agrees, trial
        assert trial.losses[-1] < 0.7 * trial.losses[0]
        assert trial.steps_per_second > 0
