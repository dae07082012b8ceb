"""tltool: transfer learning for Keras 3, from labelled data to a checked, exported model.

    import tltool

    recipe = tltool.Recipe.load("quickstart")
    run = tltool.finetune(recipe)
    run.evaluate()
    run.predict(["The service was excellent."])
    run.export("litert")

Importing this package is cheap; TensorFlow is loaded by the first call that needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tltool._version import __version__
from tltool.errors import TltoolError

if TYPE_CHECKING:
    from tltool.artifact import Artifact, load_artifact
    from tltool.backbones.base import Features
    from tltool.finetuning import finetune, plan
    from tltool.head_tuning import HeadSearchResult, tune_head
    from tltool.heads import register_head
    from tltool.lr_finder import RateTest, lr_find
    from tltool.ranking import RankedBackbone, rank
    from tltool.recipe import Recipe
    from tltool.run import Run, load_run
    from tltool.tasks import Task

_LAZY = {
    "Artifact": "tltool.artifact",
    "load_artifact": "tltool.artifact",
    "Features": "tltool.backbones.base",
    "finetune": "tltool.finetuning",
    "plan": "tltool.finetuning",
    "HeadSearchResult": "tltool.head_tuning",
    "tune_head": "tltool.head_tuning",
    "register_head": "tltool.heads",
    "RateTest": "tltool.lr_finder",
    "lr_find": "tltool.lr_finder",
    "RankedBackbone": "tltool.ranking",
    "rank": "tltool.ranking",
    "Recipe": "tltool.recipe",
    "Run": "tltool.run",
    "load_run": "tltool.run",
    "Task": "tltool.tasks",
}

__all__ = [
    "Artifact",
    "Features",
    "HeadSearchResult",
    "RankedBackbone",
    "RateTest",
    "Recipe",
    "Run",
    "Task",
    "TltoolError",
    "__version__",
    "finetune",
    "load_artifact",
    "load_run",
    "lr_find",
    "plan",
    "rank",
    "register_head",
    "tune_head",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'tltool' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
