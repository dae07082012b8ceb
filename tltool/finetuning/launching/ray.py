"""Workers as those of Ray Train: the extra `[ray]`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tltool.finetuning.launching.command import Command
from tltool.recipe.recipe import Recipe
from tltool.runs.folder import RunFolder
from tltool.support.errors import TrainingError, first_line
from tltool.support.ray_cluster import spread_over


@dataclass(frozen=True)
class RayJob:
    """What is asked of Ray.

    Attributes:
        address: As for `spread_over`.
        workers: How many.
        gpus, cpus: Of each worker.
        max_restarts: How often all are started again after one has failed.
        storage: Where Ray keeps what it knows of the training; all machines must see it. None
            takes its own default.
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
            self._fit(recipe, audit)
        # Ray keeps what workers report only beside checkpoints.
        return str(RunFolder.open(Path(recipe.output_dir) / recipe.name).path)

    def _fit(self, recipe: Recipe, audit: bool) -> None:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.tensorflow import TensorflowTrainer

        config = {"recipe": recipe.to_values(), "folder": str(Path.cwd()), "audit": audit}
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
                name=recipe.name,
                failure_config=FailureConfig(max_failures=self.max_restarts),
                **({"storage_path": str(Path(self.storage).absolute())} if self.storage else {}),
            ),
        )
        try:
            trainer.fit()
        except Exception as error:  # Ray's own are of many kinds
            raise TrainingError(f"The training on Ray has failed: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """The last line that tells: Ray puts the tracebacks of its own processes before it."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else first_line(error)


def _train(config: dict[str, Any]) -> None:
    """What Ray runs in each worker, whose place it has put into `TF_CONFIG`."""
    from ray import train

    from tltool.support.quiet import load_tensorflow

    os.chdir(config["folder"])
    load_tensorflow()

    from tltool.finetuning.job import finetune
    from tltool.recipe.recipe import Recipe
    from tltool.support.progress import PlainProgress

    run = finetune(Recipe.of(**config["recipe"]), progress=PlainProgress(), audit=config["audit"])
    train.report({"run": str(run.path.absolute()), "status": run.status})
