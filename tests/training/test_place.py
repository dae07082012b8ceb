from __future__ import annotations

import json

import pytest

from tltool.support.errors import DeviceError
from tltool.training.place import find_place, tf_config

TWO = ["one:2222", "two:2223"]


def place(config, **more):
    text = config if isinstance(config, str) else json.dumps(config)
    return find_place({"TF_CONFIG": text, **more})


def test_a_worker_knows_its_place_and_the_chief_from_tf_config():
    chief, other = (place(tf_config(TWO, index)) for index in (0, 1))
    assert (chief.is_chief, other.is_chief) == (True, False)
    assert other.workers == ("one:2222", "two:2223")
    assert other.port == 2223
    assert str(other) == "worker 1 of 2 (two:2223), by TF_CONFIG"
    assert find_place({}) is None


@pytest.mark.parametrize(("kind", "index", "expected"), [("chief", 0, 0), ("worker", 1, 2)])
def test_a_chief_of_its_own_comes_before_the_workers(kind, index, expected):
    cluster = {"chief": ["zero:1"], "worker": TWO}
    found = place({"cluster": cluster, "task": {"type": kind, "index": index}})
    assert found.index == expected
    assert found.workers[0] == "zero:1"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{", "is no JSON"),
        ("[]", "no mapping 'cluster'"),
        ({"cluster": {"worker": TWO}}, "no mapping 'task'"),
        ({"cluster": {"worker": TWO}, "task": {"type": "worker", "index": 2}}, "allowed: 0 to 1"),
        ({"cluster": {"worker": TWO}, "task": {"type": "worker", "index": "0"}}, "task.index '0'"),
        ({"cluster": {"worker": TWO}, "task": {"type": "ps", "index": 0}}, "task.type 'ps'"),
        ({"cluster": {"worker": TWO, "ps": []}, "task": {"index": 0}}, "['ps']"),
        ({"cluster": {"worker": ["one"]}, "task": {"index": 0}}, "allowed: host:port"),
        ({"cluster": {"worker": ["a:1", "a:1"]}, "task": {"index": 0}}, "'a:1' twice"),
        ({"cluster": {"worker": "a:1"}, "task": {"index": 0}}, "no list of addresses"),
    ],
)
def test_a_damaged_tf_config_is_refused_with_what_is_wrong(config, says):
    with pytest.raises(DeviceError) as error:
        place(config)
    assert says in error.value.message
    assert "host1:2222" in error.value.hint


SLURM = {
    "SLURM_PROCID": "2",
    "SLURM_STEP_NUM_TASKS": "3",
    "SLURM_STEP_NODELIST": "node[9-10]",
    "SLURM_STEP_TASKS_PER_NODE": "2,1",
    "SLURM_JOB_ID": "120042",
}


def test_slurms_ranks_are_on_the_nodes_in_slurms_order():
    found = find_place(SLURM)
    assert found.workers == ("node9:15042", "node9:15043", "node10:15042")
    assert str(found) == "worker 2 of 3 (node10:15042), by Slurm"
    assert find_place({**SLURM, "TF_CONFIG": tf_config(TWO, 1)}).index == 1


@pytest.mark.parametrize("change", [{"SLURM_STEP_NUM_TASKS": "4"}, {"SLURM_PROCID": "3"},
                                    {"SLURM_STEP_NODELIST": "node[9"}])  # fmt: skip
def test_slurms_variables_that_contradict_each_other_are_refused(change):
    with pytest.raises(DeviceError, match="Slurm's variables"):
        find_place({**SLURM, **change})
