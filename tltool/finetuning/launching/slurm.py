"""Workers as the tasks of a Slurm job."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import dataclass

from tltool.finetuning.launching.command import Command
from tltool.support.errors import DeviceError


@dataclass(frozen=True)
class SlurmJob:
    """What is asked of Slurm.

    Attributes:
        workers: Tasks, one a worker.
        name: Of the job.
        gpus: Of each worker; 0 asks for none.
        cpus: Of each worker.
        time: Longest time, as Slurm writes it, or None.
        partition: Or None.
        max_restarts: Whether, and how often, a job that was preempted or failed starts again.
        options: Further lines for `#SBATCH`, such as `--mem=32G`.
    """

    workers: int
    name: str = "tltool"
    gpus: int = 0
    cpus: int = 1
    time: str | None = None
    partition: str | None = None
    max_restarts: int = 0
    options: tuple[str, ...] = ()

    def script(self, command: Command) -> str:
        """The file for `sbatch`: srun starts the workers, which find their places themselves.

        Sources: https://slurm.schedmd.com/sbatch.html and srun.html.
        """
        asked = [
            f"--job-name={self.name}",
            f"--ntasks={self.workers}",
            f"--cpus-per-task={self.cpus}",
            # Ranks in the order of the nodes, as the workers number themselves.
            "--distribution=block",
            *([f"--gpus-per-task={self.gpus}"] if self.gpus else []),
            *([f"--time={self.time}"] if self.time else []),
            *([f"--partition={self.partition}"] if self.partition else []),
            *(["--requeue", "--open-mode=append"] if self.max_restarts else []),
            *self.options,
        ]
        own = command.arguments(self.workers, again=self.max_restarts > 0)
        arguments = shlex.join(["tltool", *own])
        step = f"srun --kill-on-bad-exit=1 --cpus-per-task={self.cpus} {arguments}"
        lines = ["#!/bin/bash", *(f"#SBATCH {one}" for one in asked), ""]
        if self.max_restarts:
            lines += [
                step,
                "code=$?",
                "# 2 is a fault that a new start would not mend.",
                f'if [ "$code" -ne 0 ] && [ "$code" -ne 2 ] && '
                f'[ "${{SLURM_RESTART_COUNT:-0}}" -lt {self.max_restarts} ]; then',
                '  scontrol requeue "$SLURM_JOB_ID"',
                "fi",
                "exit $code",
            ]
        else:
            lines.append(step)
        return "\n".join(lines) + "\n"


def submit(script: str) -> str:
    """Hands a script to `sbatch`; returns what that says.

    Raises:
        DeviceError: There is no sbatch, or it refuses.
    """
    try:
        done = subprocess.run(["sbatch"], input=script, capture_output=True, text=True, check=True)
    except OSError as error:
        raise DeviceError(
            f"--submit: sbatch can't be started ({error.strerror}).",
            hint="submit on a machine of the cluster; without --submit the file is printed",
        ) from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip()
        raise DeviceError(f"--submit: sbatch has refused the job: {said}") from error
    return done.stdout.strip()
