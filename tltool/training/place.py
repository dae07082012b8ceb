"""A worker's place: which of the processes that train one model together this one is.

A worker is the ordinary program. Its place comes from the environment: from `TF_CONFIG`, as
TensorFlow and Kubeflow write it, or from the variables of a Slurm step. Importing this is cheap.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from tltool.support.errors import DeviceError

CONFIG = "TF_CONFIG"
EXAMPLE = (
    'TF_CONFIG=\'{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}\''
)
_SLURM = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST",
          "SLURM_STEP_TASKS_PER_NODE")  # fmt: skip
# The first of a step's ports: jobs that share a node have different numbers.
_FIRST_PORT, _PORTS = 15_000, 10_000


@dataclass(frozen=True)
class Place:
    """One worker's place among all.

    Attributes:
        workers: The address of each, `host:port`; the first is the chief.
        index: Of this one.
        source: Where that was found.
    """

    workers: tuple[str, ...]
    index: int
    source: str

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes the run."""
        return self.index == 0

    @property
    def port(self) -> int:
        """The port that this worker listens on."""
        return int(self.workers[self.index].rpartition(":")[2])

    def name(self, index: int) -> str:
        """A worker in words."""
        chief = ", the chief" if index == 0 else ""
        return f"worker {index} of {len(self.workers)} ({self.workers[index]}{chief})"

    def title(self, index: int) -> str:
        """The same at the beginning of a sentence."""
        return f"W{self.name(index)[1:]}"

    def __str__(self) -> str:
        return f"{self.name(self.index)}, by {self.source}"


def tf_config(workers: Sequence[str], index: int) -> str:
    """The value of `TF_CONFIG` for a worker."""
    task = {"type": "worker", "index": index}
    return json.dumps({"cluster": {"worker": list(workers)}, "task": task})


def find_place(environment: Mapping[str, str] | None = None) -> Place | None:
    """The place that the environment gives this process; None where it gives none.

    Args:
        environment: None takes the process' own.

    Raises:
        DeviceError: What it gives can't be used.
    """
    given = os.environ if environment is None else environment
    if CONFIG in given:
        return _from_tf_config(given[CONFIG])
    if all(name in given for name in _SLURM):
        return _from_slurm(given)
    return None


def need_place() -> Place:
    """The place of this process.

    Raises:
        DeviceError: It has none, or one that can't be used.
    """
    place = find_place()
    if place is None:
        raise DeviceError(
            f"training.distribution: multi_worker needs the environment variable {CONFIG} with "
            "the addresses of all workers and this worker's index, or Slurm's variables, and "
            f"neither is set ({', '.join(_SLURM)}).",
            hint=f"`tltool launch --workers 2 RECIPE` starts workers; or for example {EXAMPLE}",
        )
    return place


def _from_tf_config(text: str) -> Place:
    try:
        config = json.loads(text)
    except ValueError as error:
        _refuse(f"is no JSON: {error}; received: {text[:200]!r}")
    cluster = _mapping(config, "cluster")
    task = _mapping(config, "task")
    if unknown := sorted(set(cluster) - {"chief", "worker"}):
        _refuse(f"has tasks {unknown} in `cluster`; allowed: chief, worker")
    chief, workers = (_addresses(cluster, name) for name in ("chief", "worker"))
    kind = task.get("type", "worker")
    own = {"chief": chief, "worker": workers}.get(kind)
    if own is None:
        _refuse(f"has task.type {kind!r}; allowed: chief, worker")
    index = task.get("index")
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(own):
        _refuse(
            f"has task.index {index!r}, and cluster.{kind} has {len(own)} addresses; "
            f"allowed: {'none' if not own else f'0 to {len(own) - 1}'}"
        )
    everyone = (*chief, *workers)
    if twice := [address for address, number in Counter(everyone).items() if number > 1]:
        _refuse(f"names the address {twice[0]!r} twice")
    return Place(everyone, index + (len(chief) if kind == "worker" else 0), CONFIG)


def _mapping(config: Any, name: str) -> Mapping[str, Any]:
    found = config.get(name) if isinstance(config, dict) else None
    if not isinstance(found, dict):
        _refuse(f"has no mapping {name!r}")
    return found


def _addresses(cluster: Mapping[str, Any], name: str) -> tuple[str, ...]:
    found = cluster.get(name, [])
    if not isinstance(found, list):
        _refuse(f"has no list of addresses in cluster.{name}; received: {found!r}")
    for address in found:
        host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
        if not host or not port.isdigit() or not 0 < int(port) < 2**16:
            _refuse(f"has {address!r} in cluster.{name}; allowed: host:port, port 1 to 65535")
    return tuple(found)


def _refuse(what: str) -> NoReturn:
    raise DeviceError(f"The environment variable {CONFIG} {what}.", hint=f"For example: {EXAMPLE}")


def _from_slurm(given: Mapping[str, str]) -> Place:
    # TensorFlow's `SlurmClusterResolver` sorts the nodes by name, so that its order is not that of
    # Slurm's ranks where names have numbers of different lengths, and it divides by the number of
    # GPUs: only its reading of Slurm's notation is taken.
    from tensorflow.python.distribute.cluster_resolver.slurm_cluster_resolver import (
        expand_hostlist,
        expand_tasks_per_node,
    )

    try:
        hosts = expand_hostlist(given["SLURM_STEP_NODELIST"])
        counts = expand_tasks_per_node(given["SLURM_STEP_TASKS_PER_NODE"])
        index, total = int(given["SLURM_PROCID"]), int(given["SLURM_STEP_NUM_TASKS"])
        first = _FIRST_PORT + int(given.get("SLURM_JOB_ID", "0")) % _PORTS
    except ValueError as error:
        raise DeviceError(
            f"Slurm's variables can't be read: {error}",
            hint="start the workers with srun, in a job that sbatch has started",
        ) from error
    workers = tuple(
        f"{host}:{first + number}"
        for host, count in zip(hosts, counts, strict=False)
        for number in range(count)
    )
    if len(workers) != total or not 0 <= index < total:
        raise DeviceError(
            f"Slurm's variables contradict each other: {total} tasks, rank {index}, and places "
            f"for {len(workers)} on {', '.join(hosts)}.",
            hint="start the workers with srun, in a job that sbatch has started",
        )
    return Place(workers, index, "Slurm")
