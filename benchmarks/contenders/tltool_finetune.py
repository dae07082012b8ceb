"""tltool: one call of `tltool.finetune`, timed until the last epoch is over."""

from __future__ import annotations

import importlib
import pkgutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from protocol import Stopwatch, read_settings, report

import tltool
from tltool.recipe.recipe import Recipe
from tltool.support.progress import Progress


class TrainingClock(Progress):
    """Reads the stopwatch where the last step and validation of the training are done.

    The others write no file of the model either.
    """

    def __init__(self) -> None:
        self.times: dict[str, float] = {}
        self._stopwatch = Stopwatch()

    @contextmanager
    def phase(self, title: str, epochs: int, steps_per_epoch: int) -> Iterator[None]:
        """Notes the time at its end."""
        yield
        self.times = self.read()

    def read(self) -> dict[str, float]:
        """What the stopwatch shows."""
        return self._stopwatch.read()


def main() -> None:
    settings = read_settings()
    import_all()
    with tempfile.TemporaryDirectory() as folder:
        recipe = Recipe.of(**recipe_values(settings), output_dir=folder)
        clock = TrainingClock()
        run = tltool.finetune(recipe, progress=clock)
        report(**clock.times, test_accuracy=run.metrics["test"]["accuracy"])


def import_all() -> None:
    """Loads all of tltool and what it stands on: imports are not timed."""
    for module in pkgutil.walk_packages(tltool.__path__, "tltool."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def recipe_values(settings: dict[str, Any]) -> dict[str, Any]:
    """The recipe of a case; see `cases.Case.settings`."""
    phase = {
        "train": settings["train"],
        "epochs": settings["epochs"],
        "learning_rate": settings["learning_rate"],
        "curve": "cosine",
    }
    training = {
        "batch_size": settings["batch_size"],
        "weight_decay": settings["weight_decay"],
        "gradient_clip_norm": settings["gradient_clip_norm"],
        "label_smoothing": settings["label_smoothing"],
        "seed": settings["seed"],
    }
    return {
        "task": f"{settings['modality']}-classification",
        "data": {**settings["tables"], "input_column": "input"},
        "backbone": {"name": settings["backbone"], "image_size_px": settings.get("image_size_px")},
        "head": {"dropout": settings["dropout"]},
        "schedule": [phase],
        "training": training,
        "evaluation": {"baseline": False},
        "export": {"formats": []},
    }


if __name__ == "__main__":
    main()
