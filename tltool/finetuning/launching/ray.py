"""Workers as those of Ray Train: the extra `[ray]`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tltool.finetuning.launching.command import Command
from tltool.finetuning.resuming import unfinished
from tltool.recipe.recipe import Recipe
from tltool.support.errors import TrainingError, first_line
from tltool.support.ray_cluster import spread_over


@dataclass(frozen=True)
class RayJob:
    """What is asked of Ray.

    Attributes:
        address: As for `spread_over`.
        workers: How many.
        gpus, cpus: Of each worker.
        max_restarts: How often all are started again after one has failed, from the run's last
            checkpoint.
        storage: Where Ray keeps what it knows of the training and a copy of the run's folder as
            it was after the last epoch: a folder that all machines see, or an address such as
            `s3://bucket/path`. None takes Ray's own default.
    """

    address: str
    workers: int
    gpus: int = 0
    cpus: int = 1
    max_restarts: int = 0
    storage: str | None = None

    def run(self, command: Command, *, audit: bool = True) -> str:
        """Trains on Ray; returns the run's folder.

        The folder of this process must be there on all machines: recipes name data and runs by
        paths in it.

        Raises:
            DeviceError: Ray is not installed or can't be reached.
            TrainingError: The training has failed, as often as it may.
        """
        recipe = command.resolved(self.workers)
        with spread_over(self.address, talk=True, cpus=self.workers * self.cpus):
            return self._fit(recipe, audit)

    def _fit(self, recipe: Recipe, audit: bool) -> str:
        from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig
        from ray.train.tensorflow import TensorflowTrainer

        earlier = unfinished(recipe.output_dir, recipe.name)
        config = {
            "recipe": recipe.to_values(),
            "folder": str(Path.cwd()),
            "audit": audit,
            "earlier": None if earlier is None else str(earlier.path),
        }
        resources = {"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus else {})}
        trainer = TensorflowTrainer(
            _train,
            train_loop_config=config,
            scaling_config=ScalingConfig(
                num_workers=self.workers,
                use_gpu=self.gpus > 0,
                resources_per_worker=resources,
            ),
            run_config=RunConfig(
                # Ray would take one of the same name for the same training.
                name=f"{recipe.name}-{datetime.now(tz=UTC):%Y-%m-%d_%H-%M-%S}",
                failure_config=FailureConfig(max_failures=self.max_restarts),
                checkpoint_config=CheckpointConfig(num_to_keep=1),
                storage_path=None if self.storage is None else _absolute(self.storage),
            ),
        )
        try:
            return str(trainer.fit().metrics["run"])
        except Exception as error:  # Ray's own are of many kinds
            raise TrainingError(f"The training on Ray has failed: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """The last line that tells: Ray puts the tracebacks of its own processes before it."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else first_line(error)


def _absolute(storage: str) -> str:
    """A place for files: an address as it is, a folder as it is seen from anywhere."""
    return storage if "://" in storage else str(Path(storage).absolute())


def _train(config: dict[str, Any]) -> None:
    """What Ray runs in each worker, whose place it has put into `TF_CONFIG`."""
    from tltool.support.quiet import load_tensorflow

    os.chdir(config["folder"])
    load_tensorflow()

    from tltool.finetuning.job import finetune
    from tltool.support.progress import PlainProgress

    recipe = Recipe.of(**config["recipe"])
    # What Ray has started again goes on with the run that it began, and with no other one.
    begun = unfinished(recipe.output_dir, recipe.name)
    run = finetune(
        recipe,
        progress=PlainProgress(),
        audit=config["audit"],
        resume=begun is not None and str(begun.path) != config["earlier"],
        after_epoch=_report,
    )
    _report(run.path, {"run": str(run.path.absolute()), "status": run.status})


def _report(folder: Path, facts: Mapping[str, Any]) -> None:
    """Tells Ray what the run is at; every worker must, and one of them gives the run's folder."""
    from ray import train

    chief = train.get_context().get_world_rank() == 0
    whole = train.Checkpoint.from_directory(folder.absolute()) if chief else None
    train.report(dict(facts), whole)
