"""Ways of training that make no sense together, or for a kind of target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tltool.recipe.schema import PhaseSection, TrainingSection
from tltool.support.errors import Fault
from tltool.tasks.table import TaskSpec

Phase = Mapping[str, Any]


def training_faults(
    values: Mapping[str, Any], phases: Sequence[tuple[str, Phase]], spec: TaskSpec | None
) -> Iterator[Fault]:
    """Faults between the fields of `training` and what they are used with.

    Args:
        values: The recipe as read; any shape.
        phases: Each phase with its path.
        spec: Of its task, where that is known.
    """
    training = _section(values, "training")
    for place, phase in phases:
        yield from _plateau_faults(values, place, phase)
    if training.get("refit") is True:
        yield from _refit_faults(values, spec)
    if training.get("keep") == "last":
        yield from _last_faults(training)
    if training.get("sampling", "natural") != "natural":
        yield from _sampling_faults(values, phases, spec)
    if training.get("gradient_accumulation_steps", 1) != 1:
        yield from _accumulation_faults(values, phases, spec)
    yield from _unstepped_faults(values, phases)
    if training.get("average_epochs") is not None:
        yield from _average_faults(values, phases)
    if training.get("calibrate") is True and spec is not None and not spec.target.calibratable():
        yield Fault(
            "training.calibrate",
            f"needs confidences in classes or labels; not for {spec.name}",
            repr(True),
            hint="leave it out",
        )


def _plateau_faults(values: Mapping[str, Any], place: str, phase: Phase) -> Iterator[Fault]:
    path = f"{place}.curve"
    if phase.get("curve") != "plateau":
        for key in ("plateau_factor", "plateau_patience"):
            default = PhaseSection.model_fields[key].default
            if phase.get(key, default) != default:
                yield Fault(
                    f"{place}.{key}",
                    "belongs to curve: plateau",
                    repr(phase[key]),
                    hint="leave it out, or write `curve: plateau`",
                )
        return
    hint = "take another curve, such as cosine"
    if phase.get("objective") == "contrastive":
        yield Fault(path, "plateau looks at validation rows, and contrastive has none", hint=hint)
    if _section(values, "training").get("refit") is True:
        yield Fault(
            path,
            "plateau looks at validation rows, and training.refit learns from them",
            hint=hint,
        )
    if _section(values, "head").get("search") is True and phase.get("train", "head") == "head":
        yield Fault(path, "plateau is not known to head.search", hint=hint)


def _sampling_faults(
    values: Mapping[str, Any], phases: Sequence[tuple[str, Phase]], spec: TaskSpec | None
) -> Iterator[Fault]:
    training = _section(values, "training")
    path, sampling = "training.sampling", training["sampling"]
    weights = "use training.sampling=natural and training.class_weights=balanced"
    for place, phase in phases:
        if phase.get("solver") == "exact":
            problem = f"draws rows by step, and {place} solves the head on all rows at once"
            yield Fault(path, problem, repr(sampling), hint=weights)
    if _section(values, "head").get("search") is True:
        yield Fault(path, "is not known to head.search", repr(sampling), hint=weights)
    if spec is not None and not spec.target.contrasts:
        yield Fault(
            path,
            f"needs one class for each row; not for {spec.name}",
            repr(sampling),
            hint="use training.sampling=natural",
        )
    if training.get("class_weights") is not None:
        yield Fault(
            path,
            "and training.class_weights both make up for rare classes: they would count twice",
            repr(sampling),
            hint="use one of them: training.class_weights=null, or training.sampling=natural",
        )
    if training.get("tokens_per_batch") is not None:
        yield Fault(
            path,
            "draws other numbers of texts of a length in each epoch, which "
            "training.tokens_per_batch can't divide",
            repr(sampling),
            hint="use training.batch_size",
        )


def _accumulation_faults(
    values: Mapping[str, Any], phases: Sequence[tuple[str, Phase]], spec: TaskSpec | None
) -> Iterator[Fault]:
    """What looks at all rows of an update together."""
    training = _section(values, "training")
    path, steps = "training.gradient_accumulation_steps", training["gradient_accumulation_steps"]
    hint = "use a larger training.batch_size, and leave this out"
    if spec is not None and spec.target.compares_rows:
        yield Fault(path, f"{spec.name} compares the rows of a batch", repr(steps), hint=hint)
    for key in ("dice", "ranking"):
        if training.get(key):
            yield Fault(
                path, f"training.{key} is a loss of all rows of a batch", repr(steps), hint=hint
            )
    for place, phase in phases:
        if phase.get("objective") == "contrastive":
            yield Fault(path, f"{place} compares the rows of a batch", repr(steps), hint=hint)
    if training.get("tokens_per_batch") is not None:
        yield Fault(
            path,
            "counts batches of equally many rows, and training.tokens_per_batch makes others",
            repr(steps),
            hint="use training.batch_size, or a larger training.tokens_per_batch alone",
        )
    for key in ("static_shapes", "jit"):
        if training.get(key) == "always":
            problem = f"takes parts of any size, and training.{key}: always needs fixed ones"
            yield Fault(path, problem, repr(steps), hint=hint)
    if _section(values, "head").get("name") == "two_towers":
        yield Fault(
            path, "head two_towers reads the texts of a pair one by one", repr(steps), hint=hint
        )


def _unstepped_faults(
    values: Mapping[str, Any], phases: Sequence[tuple[str, Phase]]
) -> Iterator[Fault]:
    """What is of steps, where the head is solved at once and nothing else is trained."""
    training, schedule = _section(values, "training"), values.get("schedule")
    solved = bool(phases) and all(phase.get("solver") == "exact" for _, phase in phases)
    keys: tuple[str, ...] = ()
    if isinstance(schedule, list | tuple) and solved:
        keys = ("ema_momentum", "gradient_accumulation_steps")
    elif schedule == "few_examples":  # of the latter its contrastive phase tells
        keys = ("ema_momentum",)
    what = "every phase solves" if solved else "few_examples may choose to solve"
    for key in keys:
        default = TrainingSection.model_fields[key].default
        if (value := training.get(key, default)) != default:
            yield Fault(
                f"training.{key}",
                f"is of steps, and {what} the head at once",
                repr(value),
                hint="leave it out, or train by a phase with `solver: gradient`",
            )


def _average_faults(
    values: Mapping[str, Any], phases: Sequence[tuple[str, Phase]]
) -> Iterator[Fault]:
    path, averaged = "training.average_epochs", _section(values, "training")["average_epochs"]
    if _section(values, "training").get("refit") is True:
        yield Fault(
            path,
            "is of several epochs, and training.refit trains again for the number of one",
            repr(averaged),
            hint="leave out one of them",
        )
    solved = [place for place, phase in phases[-1:] if phase.get("solver") == "exact"]
    if solved and values.get("schedule") != "linear_probe_then_fine_tune":
        yield Fault(
            path,
            f"is of the last phase's epochs, and {solved[0]} solves the head in one",
            repr(averaged),
            hint="end the schedule with a phase that trains by gradient",
        )


def _refit_faults(values: Mapping[str, Any], spec: TaskSpec | None) -> Iterator[Fault]:
    """What is chosen on validation rows by the very model that has learnt from them."""
    thresholds = _section(values, "evaluation").get("thresholds", "auto")
    has_thresholds = spec is not None and "evaluation.thresholds" not in spec.target.refused
    if has_thresholds and thresholds == "auto":
        yield Fault(
            "training.refit",
            "learns from the validation rows, and evaluation.thresholds: auto chooses by them",
            hint="give evaluation.thresholds numbers, such as 0.5 or those that a run without "
            "refit has chosen (labels.json)",
        )


def _last_faults(training: Phase) -> Iterator[Fault]:
    """What chooses among epochs of which the last one is to be kept."""
    for key, chooses in (
        ("refit", "trains again for as many epochs as were best"),
        ("average_epochs", "keeps the mean of several epochs"),
    ):
        if training.get(key):
            yield Fault(
                "training.keep",
                f"keeps the last epoch, and training.{key} {chooses}",
                repr("last"),
                hint=f"leave out training.{key}, or use training.keep=trained",
            )


def _section(values: Mapping[str, Any], key: str) -> Phase:
    section = values.get(key)
    return section if isinstance(section, Mapping) else {}
