"""Workers as the pods of a Kubernetes Job, or of a TFJob for those who have Kubeflow's operator."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from tltool.finetuning.launching.command import Command
from tltool.support.errors import RecipeError
from tltool.training.place import CONFIG, tf_config

_PORT = 2222
_INDEX = "TLTOOL_WORKER"
# RFC 1123, less what Kubernetes adds to the names of pods.
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?")


@dataclass(frozen=True)
class Pods:
    """What is asked of Kubernetes.

    Attributes:
        workers: Pods, one a worker.
        image: A container with tltool.
        name: Of the job and its service.
        claim: A PersistentVolumeClaim that all pods can write (ReadWriteMany); the chief's runs
            and the features of all go there, and data may be there. None has no volume.
        mount: Where it is mounted; the working folder.
        gpus: Of each worker.
        cpus, memory: Of each worker, as Kubernetes writes them.
        max_restarts: How often all are started again after one has failed.
    """

    workers: int
    image: str
    name: str = "tltool"
    claim: str | None = None
    mount: str = "/work"
    gpus: int = 0
    cpus: str = "1"
    memory: str = "4Gi"
    max_restarts: int = 0

    def check(self) -> None:
        """Raises RecipeError where the name can't be that of a job."""
        if not _NAME.fullmatch(self.name):
            raise RecipeError(
                f"--name: {self.name!r} can't be the name of a Kubernetes job.",
                hint="Use up to 52 small letters, digits and hyphens, a letter first.",
            )

    def indexed_job(self, command: Command) -> str:
        """A headless Service and an Indexed Job, as YAML.

        Each pod has the host name JOB-INDEX in the service's domain, from which `TF_CONFIG` is
        made. Where one worker fails all do, and each counts in `backoffLimit`; what a new start
        would not mend (exit code 2) ends the job at once.

        Sources: https://kubernetes.io/docs/tasks/job/job-with-pod-to-pod-communication/ and
        .../docs/concepts/workloads/controllers/job/.
        """
        self.check()
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": self.name},
            "spec": {
                "clusterIP": "None",
                "selector": {"batch.kubernetes.io/job-name": self.name},
                # A worker asks for the others' addresses before they are ready.
                "publishNotReadyAddresses": True,
                "ports": [{"name": "workers", "port": _PORT}],
            },
        }
        addresses = [f"{self.name}-{n}.{self.name}:{_PORT}" for n in range(self.workers)]
        index = {"fieldRef": {"fieldPath": "metadata.annotations['batch.kubernetes.io/"
                                           "job-completion-index']"}}  # fmt: skip
        own = tf_config(addresses, 0).replace('"index": 0', f'"index": $({_INDEX})')
        together: list[dict[str, Any]] = [
            {"name": _INDEX, "valueFrom": index},
            {"name": CONFIG, "value": own},
        ]
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": self.name},
            "spec": {
                "completionMode": "Indexed",
                "completions": self.workers,
                "parallelism": self.workers,
                "backoffLimit": self.max_restarts * self.workers,
                "podFailurePolicy": {
                    "rules": [
                        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2]}}
                    ]
                },
                "template": {
                    "spec": {
                        "subdomain": self.name,
                        "restartPolicy": "Never",
                        **self._pod(command, together if self.workers > 1 else []),
                    }
                },
            },
        }
        return _documents(service, job)

    def tf_job(self, command: Command) -> str:
        """A TFJob, whose operator sets `TF_CONFIG` itself, as YAML.

        Source: https://www.kubeflow.org/docs/components/trainer/legacy-v1/user-guides/tensorflow/.
        """
        self.check()
        replicas = {
            "replicas": self.workers,
            "restartPolicy": "OnFailure" if self.max_restarts else "Never",
            # The operator knows the container by this name.
            "template": {"spec": self._pod(command, [], container="tensorflow")},
        }
        job = {
            "apiVersion": "kubeflow.org/v1",
            "kind": "TFJob",
            "metadata": {"name": self.name},
            "spec": {
                "runPolicy": {
                    "cleanPodPolicy": "None",
                    "backoffLimit": self.max_restarts * self.workers,
                },
                "successPolicy": "AllWorkers",
                "tfReplicaSpecs": {"Worker": replicas},
            },
        }
        return _documents(job)

    def _pod(
        self, command: Command, environment: list[dict[str, Any]], container: str = "worker"
    ) -> dict[str, Any]:
        limits = {"memory": self.memory, **({"nvidia.com/gpu": self.gpus} if self.gpus else {})}
        found: dict[str, Any] = {
            "name": container,
            "image": self.image,
            "command": ["tltool"],
            "args": command.arguments(self.workers, again=self.max_restarts > 0),
            "ports": [{"name": "tfjob-port", "containerPort": _PORT}],
            "resources": {"requests": {"cpu": self.cpus, "memory": self.memory}, "limits": limits},
        }
        if self.claim is None:
            return {"containers": [{**found, **({"env": environment} if environment else {})}]}
        cache = {"name": "TLTOOL_CACHE", "value": f"{self.mount}/.tltool-cache"}
        found |= {
            "env": [*environment, cache],
            "workingDir": self.mount,
            "volumeMounts": [{"name": "work", "mountPath": self.mount}],
        }
        volume = {"name": "work", "persistentVolumeClaim": {"claimName": self.claim}}
        return {"containers": [found], "volumes": [volume]}


def _documents(*objects: dict[str, Any]) -> str:
    return "---\n".join(yaml.safe_dump(one, sort_keys=False) for one in objects)
