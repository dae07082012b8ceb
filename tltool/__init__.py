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
from tltool.support.errors import DataError, TltoolError
from tltool.support.keras_settings import choose_backend

if TYPE_CHECKING:
    from tltool.backbones.base import Features
    from tltool.export.artifact import Artifact, load_artifact
    from tltool.finetuning.audit.job import DataAudit, audit
    from tltool.finetuning.auto.job import AutoResult, auto
    from tltool.finetuning.cross_validation import CrossValidation, cross_validate
    from tltool.finetuning.job import finetune, plan, resume
    from tltool.finetuning.retraining import Retrained, retrain
    from tltool.finetuning.tuning import TuningResult, tune
    from tltool.model.heads import register_head
    from tltool.recipe.recipe import Recipe
    from tltool.runs.nearest import Index, build_index, load_index
    from tltool.runs.run import Run, load_run
    from tltool.search.head_tuning import HeadSearchResult, tune_head
    from tltool.search.lr_finder import RateTest, lr_find
    from tltool.search.ranking import RankedBackbone, rank
    from tltool.support.ray_cluster import spread_over
    from tltool.tasks.class_sets import ClassSetTarget
    from tltool.tasks.classes import ClassTarget
    from tltool.tasks.embeddings.kind import EmbeddingTarget
    from tltool.tasks.masks.kind import MaskTarget
    from tltool.tasks.numbers import NumbersTarget
    from tltool.tasks.registry import register_target
    from tltool.tasks.table import Task
    from tltool.tasks.tags.kind import TagsTarget
    from tltool.tasks.target import Target

_LAZY = {
    "Artifact": "tltool.export.artifact",
    "load_artifact": "tltool.export.artifact",
    "AutoResult": "tltool.finetuning.auto.job",
    "auto": "tltool.finetuning.auto.job",
    "Features": "tltool.backbones.base",
    "CrossValidation": "tltool.finetuning.cross_validation",
    "cross_validate": "tltool.finetuning.cross_validation",
    "finetune": "tltool.finetuning.job",
    "plan": "tltool.finetuning.job",
    "resume": "tltool.finetuning.job",
    "Retrained": "tltool.finetuning.retraining",
    "retrain": "tltool.finetuning.retraining",
    "TuningResult": "tltool.finetuning.tuning",
    "tune": "tltool.finetuning.tuning",
    "DataAudit": "tltool.finetuning.audit.job",
    "audit": "tltool.finetuning.audit.job",
    "HeadSearchResult": "tltool.search.head_tuning",
    "tune_head": "tltool.search.head_tuning",
    "register_head": "tltool.model.heads",
    "RateTest": "tltool.search.lr_finder",
    "lr_find": "tltool.search.lr_finder",
    "RankedBackbone": "tltool.search.ranking",
    "rank": "tltool.search.ranking",
    "spread_over": "tltool.support.ray_cluster",
    "Recipe": "tltool.recipe.recipe",
    "Index": "tltool.runs.nearest",
    "build_index": "tltool.runs.nearest",
    "load_index": "tltool.runs.nearest",
    "Run": "tltool.runs.run",
    "load_run": "tltool.runs.run",
    "ClassSetTarget": "tltool.tasks.class_sets",
    "ClassTarget": "tltool.tasks.classes",
    "MaskTarget": "tltool.tasks.masks.kind",
    "EmbeddingTarget": "tltool.tasks.embeddings.kind",
    "NumbersTarget": "tltool.tasks.numbers",
    "register_target": "tltool.tasks.registry",
    "Task": "tltool.tasks.table",
    "TagsTarget": "tltool.tasks.tags.kind",
    "Target": "tltool.tasks.target",
}

__all__ = [
    "Artifact",
    "AutoResult",
    "ClassSetTarget",
    "ClassTarget",
    "CrossValidation",
    "DataAudit",
    "DataError",
    "EmbeddingTarget",
    "Features",
    "HeadSearchResult",
    "Index",
    "MaskTarget",
    "NumbersTarget",
    "RankedBackbone",
    "RateTest",
    "Recipe",
    "Retrained",
    "Run",
    "TagsTarget",
    "Target",
    "Task",
    "TltoolError",
    "TuningResult",
    "__version__",
    "audit",
    "auto",
    "build_index",
    "cross_validate",
    "finetune",
    "load_artifact",
    "load_index",
    "load_run",
    "lr_find",
    "plan",
    "rank",
    "register_head",
    "register_target",
    "resume",
    "retrain",
    "spread_over",
    "tune",
    "tune_head",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        choose_backend()
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'tltool' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
