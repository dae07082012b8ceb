"""Everything before training: data checked, backbone loaded, model built, phases planned."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.examples import SPLITS, Examples
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing, is_apart
from tltool.export.formats.table import check_export_installed
from tltool.recipe.layer_faults import check_installed
from tltool.recipe.recipe import DataSection, Recipe
from tltool.support.errors import DeviceError, RecipeError
from tltool.support.progress import Progress
from tltool.support.stopwatch import Stopwatch
from tltool.support.words import count
from tltool.tasks.labelled import LabelledTarget
from tltool.tasks.prediction_sets import least_rows
from tltool.tasks.table import Task
from tltool.tasks.target import Target

if TYPE_CHECKING:
    import tensorflow as tf

    from tltool.backbones.base import Backbone
    from tltool.backbones.load import Weights
    from tltool.data.added import Added
    from tltool.data.texts.text_length import TextLength
    from tltool.model.freezing import PhasePlan
    from tltool.model.joining import TransferModel
    from tltool.training.lessons import Lessons


@dataclass(frozen=True)
class Prepared:
    """Everything that is known before training starts.

    Attributes:
        examples: Checked and split; texts with their tokens.
        task: With its labels or target scale.
        data_summary: As `tltool.data.checks.summary.describe` returns it, for texts
            with `text_length`.
        backbone: The pretrained model; its contract has the length that texts are cut at.
        transfer: Backbone and head, joined.
        plans: What each phase trains.
        strategy: The distribution strategy the model was built in.
        text_length: How many tokens of a text the model reads; None for images.
        pool: Rows that features are stored of where several trainings share them, its own
            training and validation rows among them; None stores those alone.
        lessons: What a teacher says of training rows; None without one.
    """

    examples: Examples
    task: Task
    data_summary: Mapping[str, Any]
    backbone: Backbone
    transfer: TransferModel
    plans: tuple[PhasePlan, ...]
    strategy: tf.distribute.Strategy
    text_length: TextLength | None = None
    pool: Examples | None = None
    lessons: Lessons | None = None


def prepare(
    recipe: Recipe,
    *,
    data: Any = None,
    progress: Progress | None = None,
    seed: bool = True,
    clock: Stopwatch | None = None,
    validated: bool = True,
    teacher: Target | None = None,
) -> Prepared:
    """Reads and checks the data, loads the backbone, builds the model and plans the phases.

    Args:
        recipe: The recipe.
        data: As for `finetune`.
        progress: Is told what happens.
        seed: Seed all random generators from the recipe.
        clock: Counts the time of imports, data and backbone.
        validated: Whether the validation rows are among the data; False where folds make them.
        teacher: What a teacher answers, as `check_teacher` gives it; None where there is none.

    Raises:
        DataError: The data can't be used, or the teacher tells other classes apart.
        RecipeError: A package that the recipe's layers or formats need is not installed, or
            validation rows are to choose something, and there are none.
        DeviceError: This machine lacks a device that the recipe names.
    """
    clock = clock or Stopwatch()
    if recipe.augment is not None:
        check_installed(recipe.augment.layers)
    check_export_installed(recipe.export.formats)
    with clock.measure("imports"):
        import keras  # noqa: F401
        import tensorflow  # noqa: F401

        from tltool.training.distribution import claim_devices
    claim_devices(recipe.training)
    with clock.measure("data"):
        examples, summary = load_data(recipe, data=data, progress=progress)
    prepared = assemble(
        recipe, examples, summary, progress=progress, seed=seed, clock=clock, teacher=teacher
    )
    if validated:
        check_validation(recipe, examples, prepared.plans)
    return prepared


def assemble(
    recipe: Recipe,
    examples: Examples,
    summary: Mapping[str, Any],
    *,
    weights: Weights = "pretrained",
    progress: Progress | None = None,
    seed: bool = True,
    clock: Stopwatch | None = None,
    teacher: Target | None = None,
) -> Prepared:
    """Loads the backbone, builds the model and plans the phases for data that is read already.

    Args:
        recipe: The recipe.
        examples, summary: From `load_data`.
        weights: "random" builds the backbone with fresh random weights.
        progress: Is told what happens.
        seed: Seed all random generators from the recipe.
        clock: Counts the time of the backbone.
        teacher: As for `prepare`.
    """
    import keras
    import tensorflow as tf

    from tltool.data.labels import make_task
    from tltool.model.head_weights import check_head_file
    from tltool.model.joining import precision_scope
    from tltool.training.distribution import make_strategy

    progress, clock = progress or Progress(), clock or Stopwatch()
    task = make_task(recipe.spec, examples)
    check_named(recipe, task.target)
    if teacher is not None:
        task.target.translation(teacher)
    if recipe.head.weights_file is not None:
        check_head_file(task, Path(recipe.head.weights_file).expanduser())
    _check_sets(recipe, examples)
    strategy = make_strategy(recipe.training)
    if seed:
        keras.utils.set_random_seed(recipe.training.seed)
    if recipe.training.deterministic:
        tf.config.experimental.enable_op_determinism()
    shown = " with random weights" if weights == "random" else ""
    progress.stage(f"Backbone: {recipe.backbone.name}{shown}")
    with (
        clock.measure("backbone"),
        strategy.scope(),
        precision_scope(recipe.training.precision),
    ):
        backbone = _for_pairs(recipe, _with_adapters(recipe, backbone_of(recipe, weights)))
        _check_dividable(backbone, strategy.num_replicas_in_sync)
        examples, backbone, length = _fit_length(recipe, examples, backbone, progress)
        if task.target.sized:
            width = recipe.head.dimensions or int(backbone.features.pooled.shape[-1])
            task = replace(task, target=task.target.with_width(width))
        transfer, plans = _join(recipe, backbone, task, examples, seed=seed)
    progress.note(
        f"{plans[0].num_total:,} weights in {len(transfer.groups)} groups: "
        + ", ".join(group.name for group in transfer.groups)
    )
    if length is not None:
        summary = {**summary, "text_length": length.to_json()}
        progress.note(str(length))
    return Prepared(examples, task, summary, backbone, transfer, plans, strategy, length)


def rebuild(
    recipe: Recipe,
    task: Task,
    contract: ImagePreprocessing | TextPreprocessing,
    *,
    seed: bool = False,
) -> TransferModel:
    """The model as `assemble` built it for a run, with its pretrained weights.

    Args:
        recipe: The run's resolved recipe.
        task: With its labels or target scale.
        contract: The run's preprocessing.
        seed: Give the head the first weights that it had, too.
    """
    import keras

    from tltool.model.joining import precision_scope

    with precision_scope(recipe.training.precision):
        backbone = _with_adapters(recipe, backbone_of(recipe))
        if seed:
            keras.utils.set_random_seed(recipe.training.seed)
        return _joined(recipe, replace(backbone, preprocessing=contract), task)


def with_head(recipe: Recipe, prepared: Prepared) -> Prepared:
    """The same data and backbone with the head and the schedule of another recipe.

    What follows is what would follow if that recipe had been prepared at once.
    """
    from tltool.model.joining import precision_scope

    with prepared.strategy.scope(), precision_scope(recipe.training.precision):
        transfer, plans = _join(
            recipe, prepared.backbone, prepared.task, prepared.examples, seed=True
        )
    return replace(prepared, transfer=transfer, plans=plans)


def steps_per_epoch(recipe: Recipe, examples: Examples) -> int:
    """Updates of the weights in an epoch, at least 1."""
    rows = sum(split == "train" for split in examples.splits)
    return max(1, ceil(rows / recipe.training.rows_per_update))


def _join(
    recipe: Recipe, backbone: Backbone, task: Task, examples: Examples, *, seed: bool
) -> tuple[TransferModel, tuple[PhasePlan, ...]]:
    """Puts the head on the backbone and plans the phases; call it in the strategy's scope.

    With `seed` the head's first weights follow from the recipe's seed alone,
    and not from what loading the backbone happened to draw before.
    """
    import keras

    from tltool.model.freezing import plan_phases
    from tltool.training.head_solver import check_solvable

    if seed:
        keras.utils.set_random_seed(recipe.training.seed)
    transfer = _joined(recipe, backbone, task)
    plans = plan_phases(
        recipe.schedule,
        transfer.groups,
        recipe.spec.backbone_modality,
        steps_per_epoch(recipe, examples),
    )
    check_solvable(plans, transfer)
    return transfer, plans


def _joined(recipe: Recipe, backbone: Backbone, task: Task) -> TransferModel:
    """Backbone and head, which start from the weights that the recipe names.

    Raises:
        BackboneError: Its file of weights lacks a layer that the model has.
        HeadError: The file of the head's weights is not one of this head.
    """
    from tltool.model.joining import join

    transfer = join(backbone, recipe.head, task)
    if backbone.lacking:
        _check_unused(recipe, backbone, transfer)
    if recipe.head.weights_file is not None:
        from tltool.model.head_weights import load_head_weights

        load_head_weights(transfer, task, Path(recipe.head.weights_file).expanduser())
    return transfer


def check_named(recipe: Recipe, target: Target) -> None:
    """Sees before training that what a recipe says by label is of labels that there are.

    Raises:
        DataError: It names others.
    """
    target.settled(recipe.evaluation.thresholds, None)
    weights = recipe.training.class_weights
    if isinstance(target, LabelledTarget) and isinstance(weights, Mapping):
        target.check_names(weights)


def _check_sets(recipe: Recipe, examples: Examples) -> None:
    """Sees before training that there are validation rows enough to choose sets of classes on."""
    if (coverage := recipe.evaluation.sets) is None:
        return
    rows, needed = len(examples.split("validation")), least_rows(coverage)
    if rows < needed:
        raise RecipeError(
            f"evaluation.sets: {coverage:g} needs {count(needed, 'validation row')} or more. "
            f"Received: {rows}.",
            hint="give data.validation, a larger data.validation_fraction, or a lower rate",
        )


def _check_unused(recipe: Recipe, backbone: Backbone, transfer: TransferModel) -> None:
    from tltool.backbones.formats.torch.weights import weighted_layers
    from tltool.backbones.formats.weights_file import lacks

    for name, _ in weighted_layers(transfer.model):
        if name in backbone.lacking:
            raise lacks(backbone.name, recipe.backbone.weights_file, name)


def load_data(
    recipe: Recipe, *, data: Any = None, progress: Progress | None = None
) -> tuple[Examples, Mapping[str, Any]]:
    """Reads, limits, splits and checks the data; returns it with a summary for reports.

    Where rows have several texts that the model reads one by one, each text is a row of what is
    returned, while the summary is of the rows as they stand in the data.

    Raises:
        RecipeError: The recipe names no data and none is given.
        DataError: The data can't be used.
    """
    from tltool.data.checks.doctor import check_examples
    from tltool.data.checks.summary import describe
    from tltool.data.reading.assemble import check_labels
    from tltool.data.reading.in_memory import examples_from_python
    from tltool.data.reading.sources import load_added, load_parts
    from tltool.data.splits import limit_examples
    from tltool.training.worker_steps import sharing_of
    from tltool.training.workers import current

    progress, sharing = progress or Progress(), sharing_of(current())
    section = recipe.data
    spec = recipe.spec.of_rows(section.input_columns)
    if data is None and section.train is None:
        raise RecipeError(
            "The recipe names no data: data.train is missing.",
            hint="Give it a folder or a table, e.g. data.train=photos/ or data.train=reviews.csv",
        )
    progress.stage(f"Data: {section.train if data is None else 'given from Python'}")
    with _warnings_of("tltool.data") as told:
        if data is None:
            examples, *more = load_parts(section, spec)
        else:
            examples, *more = examples_from_python(data, spec, section), *load_added(section, spec)
    check = partial(
        check_examples,
        on_error=section.on_error,
        look=_look_together,
        sharing=sharing,
        progress=progress,
    )
    examples = check(limit_examples(examples, section.max_examples, section.split_seed))
    given = [split for split in SPLITS if split in examples.splits]
    examples, added = _divided(examples, list(map(check, more)), section)
    if added:
        check_labels(examples, spec)
    summary = {**describe(examples, recipe.task, sharing), "given_splits": given}
    if added:
        summary["added"] = [one.to_json() for one in added]
    names = {name for counts in summary["counts"].values() for name in counts} - {"all"}
    noun = examples.kind.noun_of(examples.targets)
    what = f" of {count(len(names), noun)}" if names else ""
    decided = None if examples.decided is None else str(examples.decided)
    lines = [*_data_notes(summary, what), *map(str, added), examples.note, decided]
    for line in filter(None, lines):
        progress.note(line)
    return examples.as_inputs(), {**summary, "warnings": [*told, *summary["warnings"]]}


def _divided(
    examples: Examples, more: Sequence[Examples], section: DataSection
) -> tuple[Examples, list[Added]]:
    """The rows with their splits, those of `data.added` after the others; what became of these."""
    from tltool.data.added import with_added
    from tltool.data.splits import split_examples

    fractions: dict[str, Any] = {
        "validation_fraction": section.validation_fraction,
        "test_fraction": section.test_fraction,
        "seed": section.split_seed,
    }
    examples, added = split_examples(examples, **fractions), []
    for source, rows in zip(section.added, more, strict=True):
        examples, told = with_added(examples, rows, source, **fractions)
        added.append(told)
    return examples, added


def _look_together(files: Sequence[str], done: Callable[[int], None]) -> dict[str, str]:
    """What is wrong with image files, of which each worker decodes its part."""
    from tltool.data.checks.doctor import image_problems
    from tltool.training.workers import current

    workers = current()
    # By name: what a worker has decoded before, and leaves out, may be another one's.
    own = [file for file in files if workers.has(file)]
    found = workers.meet("the image files", image_problems(own, done=done))
    return {file: why for problems in found for file, why in problems.items()}


@contextmanager
def _warnings_of(name: str) -> Iterator[list[str]]:
    """What a logger and those below it warn of meanwhile, such as files that are left out."""
    told: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    try:
        yield told
    finally:
        logger.removeHandler(handler)


def _data_notes(summary: Mapping[str, Any], what: str) -> list[str]:
    rows = ", ".join(f"{count:,} {split}" for split, count in summary["rows"].items())
    notes = [f"{rows} examples{what}"]
    if summary["skipped"]:
        notes.append(f"{count(len(summary['skipped']), 'broken input')} left out")
    return [*notes, *(f"warning: {warning}" for warning in summary["warnings"])]


def backbone_of(recipe: Recipe, weights: Weights = "pretrained") -> Backbone:
    """The backbone that a recipe names, before any training; mind its `lacking`."""
    from tltool.backbones.load import load_backbone

    backbone = load_backbone(
        recipe.backbone.name,
        modality=recipe.spec.backbone_modality,
        max_length=recipe.backbone.max_length,
        image_size_px=recipe.backbone.image_size_px,
        image_fit=recipe.spec.target.image_fit or recipe.backbone.image_fit,
        dropout=recipe.backbone.dropout,
        weights=weights,
        weights_file=recipe.backbone.weights_file if weights == "pretrained" else None,
        partial=True,
    )
    if recipe.backbone.image_levels == "spread":
        from tltool.backbones.levels import with_spread_levels

        return with_spread_levels(backbone)
    contract = backbone.preprocessing
    if recipe.spec.target.by_words and isinstance(contract, TextPreprocessing):
        return replace(backbone, preprocessing=contract.read_by_words())
    return backbone


def _with_adapters(recipe: Recipe, backbone: Backbone) -> Backbone:
    """The backbone with LoRA's adapters where a phase trains them."""
    from tltool.model.freezing import adapter_rank

    rank = adapter_rank(recipe.schedule)
    if rank is None:
        return backbone
    from tltool.model.lora import add_adapters

    return add_adapters(backbone, rank)


def _for_pairs(recipe: Recipe, backbone: Backbone) -> Backbone:
    """The backbone with a contract that takes pairs of texts as the head wants them."""
    from tltool.model.heads import pair_form

    contract = backbone.preprocessing
    if recipe.spec.modality != "text_pair" or not isinstance(contract, TextPreprocessing):
        return backbone
    form = pair_form(recipe.head.name)
    return replace(backbone, preprocessing=contract.model_copy(update={"pair": form}))


def check_validation(recipe: Recipe, examples: Examples, plans: Sequence[PhasePlan]) -> None:
    """Raises RecipeError where validation rows are to choose something, and there are none."""
    if "validation" in examples.splits:
        return
    if recipe.training.refit:
        raise RecipeError(
            "training.refit: validation rows choose how many epochs are trained again, and there "
            "are none.",
            hint="Use data.validation_fraction=0.1, name data.validation, or leave out refit.",
        )
    for plan in plans:
        if plan.phase.curve == "plateau":
            raise RecipeError(
                f"schedule.{plan.number - 1}.curve: plateau looks at validation rows, and there "
                "are none.",
                hint="Use data.validation_fraction=0.1, name data.validation, or take another "
                "curve, such as cosine.",
            )


def _check_dividable(backbone: Backbone, replicas: int) -> None:
    """Raises DeviceError where a batch has two rows for each example and several devices."""
    if replicas > 1 and is_apart(backbone.preprocessing):
        raise DeviceError(
            f"training.distribution: texts of pairs that are encoded apart can't be divided over "
            f"{replicas} devices.",
            hint="Use `training.distribution: none`, or head: default, which joins them.",
        )


def _fit_length(
    recipe: Recipe, examples: Examples, backbone: Backbone, progress: Progress
) -> tuple[Examples, Backbone, TextLength | None]:
    """Tokenizes texts, once, and gives the backbone's contract the length that fits them."""
    from tltool.data.texts.text_length import fit_length
    from tltool.data.texts.tokenizing import tokenized
    from tltool.training.worker_steps import sharing_of
    from tltool.training.workers import current

    contract = backbone.preprocessing
    if not isinstance(contract, TextPreprocessing):
        return examples, backbone, None
    examples = tokenized(examples, contract, progress, sharing_of(current()))
    contract, length = fit_length(examples, contract, recipe.backbone.max_length)
    budget = recipe.training.tokens_per_batch
    if budget is not None and budget < contract.max_length:
        raise RecipeError(
            f"training.tokens_per_batch: {budget} tokens are fewer than the longest text has, "
            f"{contract.max_length} ({length.reason}).",
            hint=f"Use {contract.max_length} or more, or a smaller backbone.max_length.",
        )
    return examples, replace(backbone, preprocessing=contract), length
