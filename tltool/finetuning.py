"""The main job: a recipe and labelled data in, a trained, measured and exported run out.

Each stage is one function that hands its result to the next:
data → backbone + head → plan → training → evaluation → export → report.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.examples import Examples
from tltool.errors import RecipeError, TrainingError
from tltool.progress import Progress
from tltool.recipe import Recipe
from tltool.run_folder import RunFolder, Status, environment
from tltool.tasks import Task

if TYPE_CHECKING:
    import tensorflow as tf

    from tltool.backbones.base import Backbone
    from tltool.freezing import PhasePlan
    from tltool.model import TransferModel
    from tltool.run import Run
    from tltool.trainer import TrainingData, TrainingResult


@dataclass(frozen=True)
class Prepared:
    """Everything that is known before training starts.

    Attributes:
        examples: Checked and split.
        task: With its labels or target scale.
        data_summary: As `tltool.data.summary.describe` returns it.
        backbone: The pretrained model.
        transfer: Backbone and head, joined.
        plans: What each phase trains.
        strategy: The distribution strategy the model was built in.
    """

    examples: Examples
    task: Task
    data_summary: Mapping[str, Any]
    backbone: Backbone
    transfer: TransferModel
    plans: tuple[PhasePlan, ...]
    strategy: tf.distribute.Strategy


def finetune(
    recipe: Recipe | str | Path,
    *,
    data: Any = None,
    progress: Progress | None = None,
    keep_failed: bool = False,
) -> Run:
    """Fine-tunes a pretrained model as a recipe says.

    Args:
        recipe: A recipe, a recipe file, or the name of one of tltool's own.
        data: Labelled data in place of the recipe's `data.train`: a pair
            (inputs, labels), a pandas DataFrame, a `tf.data.Dataset` of pairs,
            or a mapping from "train", "validation" and "test" to any of these.
        progress: Is told what happens; None is silent.
        keep_failed: Keep an exported artifact that differs too much.

    Returns:
        The run: trained, evaluated, exported and checked, its files written.
        After Ctrl-C, a run with the best epoch so far, marked as interrupted.

    Raises:
        TltoolError: One of its kinds, if the recipe, the data, the backbone or
            the machine doesn't allow it, or an artifact fails the gate. Faults
            of recipe and data are found before anything is written.
    """
    started = time.perf_counter()
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    progress = progress or Progress()
    prepared = prepare(recipe, data=data, progress=progress)
    folder = _open_folder(recipe, prepared)
    try:
        result = _train(recipe, prepared, folder, progress)
        run = _save_model(recipe, prepared, folder, result)
        if not result.interrupted:
            from tltool.conclusion import conclude

            conclude(
                run,
                prepared,
                result,
                started=started,
                progress=progress,
                keep_failed=keep_failed,
            )
    except BaseException as error:
        interrupted = isinstance(error, KeyboardInterrupt)
        folder.record("interrupted" if interrupted else "failed", error=str(error))
        raise
    return run


def prepare(
    recipe: Recipe, *, data: Any = None, progress: Progress | None = None, seed: bool = True
) -> Prepared:
    """Reads and checks the data, loads the backbone, builds the model and plans the phases.

    Args:
        recipe: The recipe.
        data: As for `finetune`.
        progress: Is told what happens.
        seed: Seed all random generators from the recipe.
    """
    progress = progress or Progress()
    examples, summary = load_data(recipe, data=data, progress=progress)

    import keras
    import tensorflow as tf

    from tltool.data.labels import make_task
    from tltool.distribution import make_strategy
    from tltool.freezing import plan_phases
    from tltool.model import join, precision_scope

    task = make_task(recipe.spec, examples)
    strategy = make_strategy(recipe.training)
    if seed:
        keras.utils.set_random_seed(recipe.training.seed)
    if recipe.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    progress.stage(f"Backbone: {recipe.backbone.name}")
    with strategy.scope(), precision_scope(recipe.training.precision):
        backbone = _load_backbone(recipe)
        transfer = join(backbone, recipe.head, task)
    plans = plan_phases(recipe.schedule, transfer.groups, recipe.spec.modality)
    progress.note(
        f"{plans[0].num_total:,} weights in {len(transfer.groups)} groups: "
        + ", ".join(group.name for group in transfer.groups)
    )
    return Prepared(examples, task, summary, backbone, transfer, plans, strategy)


def plan(recipe: Recipe | str | Path, *, data: Any = None) -> tuple[PhasePlan, ...]:
    """The freezing plan of a recipe: what each phase would train. Trains nothing."""
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    return prepare(recipe, data=data).plans


def load_data(
    recipe: Recipe, *, data: Any = None, progress: Progress | None = None
) -> tuple[Examples, Mapping[str, Any]]:
    """Reads, limits, splits and checks the data; returns it with a summary for reports.

    Raises:
        RecipeError: The recipe names no data and none is given.
        DataError: The data can't be used.
    """
    from tltool.data.doctor import check_examples
    from tltool.data.in_memory import examples_from_python
    from tltool.data.sources import load_examples
    from tltool.data.splits import limit_examples, split_examples
    from tltool.data.summary import describe

    progress = progress or Progress()
    section = recipe.data
    if data is None and section.train is None:
        raise RecipeError(
            "The recipe names no data: data.train is missing.",
            hint="Give it a folder or a table, e.g. data.train=photos/ or data.train=reviews.csv",
        )
    progress.stage(f"Data: {section.train if data is None else 'given from Python'}")
    if data is None:
        examples = load_examples(section, recipe.spec)
    else:
        examples = examples_from_python(data, recipe.spec, section)
    examples = limit_examples(examples, section.max_examples, section.split_seed)
    examples = check_examples(examples, on_error=section.on_error)
    examples = split_examples(
        examples,
        validation_fraction=section.validation_fraction,
        test_fraction=section.test_fraction,
        seed=section.split_seed,
    )
    summary = describe(examples)
    for line in _data_notes(summary):
        progress.note(line)
    return examples, summary


def _data_notes(summary: Mapping[str, Any]) -> list[str]:
    counts = {split: sum(classes.values()) for split, classes in summary["counts"].items()}
    classes = len(next(iter(summary["counts"].values())))
    notes = [", ".join(f"{count:,} {split}" for split, count in counts.items())]
    if "targets" not in summary:
        notes[0] += f" examples in {classes} classes"
    if summary["skipped"]:
        notes.append(f"{len(summary['skipped'])} broken files or rows left out")
    return [*notes, *(f"warning: {warning}" for warning in summary["warnings"])]


def _load_backbone(recipe: Recipe) -> Backbone:
    from tltool.backbones.load import load_backbone

    return load_backbone(
        recipe.backbone.name,
        modality=recipe.spec.modality,
        max_length=recipe.backbone.max_length,
        image_size_px=recipe.backbone.image_size_px,
        dropout=recipe.backbone.dropout,
    )


def _open_folder(recipe: Recipe, prepared: Prepared) -> RunFolder:
    from tltool.data.labels import save_task
    from tltool.files import write_json, write_text

    folder = RunFolder.create(recipe.output_dir, recipe.name)
    write_text(folder.recipe, recipe.to_yaml())
    save_task(prepared.task, folder.labels, prepared.examples)
    write_text(folder.preprocessing, prepared.backbone.preprocessing.model_dump_json() + "\n")
    write_json(folder.environment, environment())
    write_json(folder.data_summary, prepared.data_summary)
    return folder


def _train(
    recipe: Recipe, prepared: Prepared, folder: RunFolder, progress: Progress
) -> TrainingResult:
    from tltool.trainer import train

    progress.stage("Training")
    validated = len(prepared.examples.split("validation")) > 0
    result = train(
        prepared.transfer,
        prepared.plans,
        prepared.task,
        recipe.training,
        _training_data(recipe, prepared, "train"),
        _training_data(recipe, prepared, "validation") if validated else None,
        strategy=prepared.strategy,
        checkpoint=folder.checkpoint,
        progress=progress,
    )
    if result.best is None and not result.interrupted:
        raise TrainingError("Training ended without completing an epoch.")
    return result


def _training_data(recipe: Recipe, prepared: Prepared, split: Any) -> TrainingData:
    from tltool.data.labels import class_weights, encode_targets
    from tltool.data.pipeline import make_dataset
    from tltool.inference import by_length
    from tltool.trainer import TrainingData

    training = split == "train"
    examples = prepared.examples.split(split)
    if not training:
        examples = examples.take(by_length(examples))
    setting = recipe.training.class_weights if training else None
    dataset = make_dataset(
        examples,
        prepared.backbone.preprocessing,
        targets=encode_targets(prepared.task, examples.targets, examples.origins),
        weights=class_weights(prepared.task, examples.targets, setting),
        batch_size=recipe.training.batch_size,
        training=training,
        seed=recipe.training.seed,
        augment=recipe.augment if training else None,
    )
    return TrainingData(dataset, len(examples))


def _save_model(
    recipe: Recipe, prepared: Prepared, folder: RunFolder, result: TrainingResult
) -> Run:
    from tltool.files import atomic_path
    from tltool.model import to_float32
    from tltool.report.history import write_history
    from tltool.run import Run

    model = to_float32(prepared.transfer.model)
    if result.best is not None:
        with atomic_path(folder.model) as temporary:
            model.save(temporary)
    write_history(result.history, folder.history, folder.events)
    status: Status = "interrupted" if result.interrupted else "running"
    folder.record(status, task=recipe.task, backbone=recipe.backbone.name, best=result.best)
    return Run(folder, recipe, prepared.task, prepared.backbone.preprocessing, model)
