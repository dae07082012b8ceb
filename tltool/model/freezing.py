"""The freezing plan: which weights learn in which phase, and how fast. Pure planning.

Nothing here touches a model: groups of named weights and a schedule go in, one
`PhasePlan` a phase comes out. `tltool.model.joining` describes a model as groups and
`tltool.training.trainer` applies a plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import ceil
from typing import Literal

from tltool.recipe.schema import From, Last, PhaseSection, ScheduleName, ShareOfWeights
from tltool.support.errors import PlanError, did_you_mean
from tltool.tasks.table import Modality

HEAD = "head"
# Steps that a contrastive phase of the known strategies takes at least: with few rows more epochs.
CONTRASTIVE_STEPS = 60

# Share of a phase: what is left must be long enough to train at the full rate.
_LONGEST_WARMUP = 0.5

WeightKind = Literal["weight", "batch_norm", "adapter", "statistic"]


@dataclass(frozen=True)
class Weight:
    """One variable of a model.

    Attributes:
        path: Unique in its model.
        size: Number of scalars.
        kind: "batch_norm" is a scale or offset of a BatchNorm layer; "adapter"
            is LoRA's and learns only where a phase trains `lora`;
            "statistic" is never learned by gradients (moving averages, seeds).
    """

    path: str
    size: int
    kind: WeightKind = "weight"


@dataclass(frozen=True)
class Group:
    """A layer group as the planner sees it; the last one is always the head."""

    name: str
    weights: tuple[Weight, ...]

    @property
    def size(self) -> int:
        """Number of scalars in the group, random seeds left out."""
        return sum(w.size for w in self.weights if w.kind != "statistic")


@dataclass(frozen=True)
class PhasePlan:
    """What one phase does.

    Attributes:
        number: Counted from 1.
        title: For people, such as "head" or "last 2 groups".
        phase: The phase as the recipe gives it, its warm-up settled.
        trainable: Paths of the weights that learn.
        rate_factors: For each group that learns, the factor on the phase's
            learning rate.
        frozen_prefix: Names of the leading groups in which nothing learns: what
            they compute is the same in every epoch.
        num_trainable: Number of scalars that learn.
        num_total: Number of scalars in the model.
        stop: Epochs after which it ends, where that is before those that its learning rate is
            planned for; 0 leaves it out.
    """

    number: int
    title: str
    phase: PhaseSection
    trainable: frozenset[str]
    rate_factors: dict[str, float]
    frozen_prefix: tuple[str, ...]
    num_trainable: int
    num_total: int
    stop: int | None = None

    @property
    def epochs(self) -> int:
        """Epochs that it trains at most."""
        return self.phase.epochs if self.stop is None else self.stop


def plan_phases(
    schedule: ScheduleName | Sequence[PhaseSection],
    groups: Sequence[Group],
    modality: Modality,
    steps_per_epoch: int = 1,
) -> tuple[PhasePlan, ...]:
    """Plans every phase of a schedule.

    Args:
        schedule: Phases, or the name of a known strategy (see `expand_schedule`).
        groups: All layer groups from input to output; the last is the head.
        modality: Sets the learning rates of the known strategies.
        steps_per_epoch: Sets the epochs of the known strategies that hang on it.

    Raises:
        PlanError: A phase names an unknown group, asks for more groups than
            there are, or a pattern matches nothing.
    """
    if not groups or groups[-1].name != HEAD:
        raise PlanError("The last layer group must be the head.")
    phases = (
        expand_schedule(schedule, len(groups) - 1, modality, steps_per_epoch)
        if isinstance(schedule, str)
        else schedule
    )
    solved = [False, *(phase.solver == "exact" for phase in phases)]
    return tuple(
        _plan(number, _warmed_up(phase, after_solved=after), groups)
        for number, (phase, after) in enumerate(zip(phases, solved, strict=False), start=1)
    )


def _warmed_up(phase: PhaseSection, *, after_solved: bool) -> PhaseSection:
    """The phase with a warm-up, where it says none of its own.

    A solved head is at its optimum, which the first steps at the full rate, of an optimizer that
    knows no moments yet, would leave far behind; fine-tuning is to start from it (Kumar et al.
    2022, arXiv:2202.10054).
    """
    if phase.warmup_fraction is not None or not after_solved:
        return phase
    first_epoch = min(1 / phase.epochs, _LONGEST_WARMUP)
    return phase.model_copy(update={"warmup_fraction": first_epoch})


def expand_schedule(
    name: ScheduleName, num_backbone_groups: int, modality: Modality, steps_per_epoch: int = 1
) -> tuple[PhaseSection, ...]:
    """The phases that a known strategy stands for.

    - feature_extraction: the head alone.
    - fine_tune: the head, then everything (the Keras transfer-learning guide).
    - gradual: the head, then one more group an epoch from the top down, each
      lower group slower by 2.6 (ULMFiT, Howard and Ruder 2018, arXiv:1801.06146).
    - linear_probe_then_fine_tune: the best linear head, computed exactly, then
      everything at a low rate (LP-FT, Kumar et al. 2022, arXiv:2202.10054).

    - contrastive: everything, so that rows of a class come near, then the best
      linear head, computed exactly (SetFit, Tunstall et al. 2022, arXiv:2209.11055).
    - few_examples: before it is known which of its candidates is best, contrastive
      (see `tltool.search.few_examples`).

    The learning rates are usual starting points for AdamW: 5e-5 for a
    transformer (Devlin et al. 2018, appendix A.3), 1e-4 for a CNN.

    Args:
        name: Of the strategy.
        num_backbone_groups: Layer groups below the head.
        modality: What the backbone reads.
        steps_per_epoch: Batches of the training rows; a contrastive phase has as many epochs
            as make `CONTRASTIVE_STEPS` of them.
    """
    full_rate = 5e-5 if modality == "text" else 1e-4
    everything = PhaseSection(
        train="all", epochs=3, learning_rate=full_rate, warmup_fraction=0.1, curve="linear"
    )
    match name:
        case "feature_extraction":
            return (PhaseSection(train="head", epochs=10, learning_rate=3e-3),)
        case "fine_tune":
            return (PhaseSection(train="head", epochs=3, learning_rate=3e-3), everything)
        case "linear_probe_then_fine_tune":
            probe = PhaseSection(train="head", solver="exact")
            # Without a warm-up of its own: that after a solved head is longer.
            gently = {"learning_rate": full_rate / 2, "warmup_fraction": None}
            return (probe, everything.model_copy(update=gently))
        case "contrastive" | "few_examples":
            drawing = PhaseSection(
                train="all",
                objective="contrastive",
                epochs=ceil(CONTRASTIVE_STEPS / steps_per_epoch),
                learning_rate=full_rate,
                warmup_fraction=0.1,
                curve="linear",
            )
            return (drawing, PhaseSection(train="head", solver="exact"))
        case "gradual":
            step = everything.model_copy(update={"epochs": 1, "group_decay": 1 / 2.6})
            unfreezing = [
                step.model_copy(update={"train": Last(last=count)})
                for count in range(1, num_backbone_groups)
            ]
            return (PhaseSection(train="head", learning_rate=3e-3), *unfreezing, step)


def _plan(number: int, phase: PhaseSection, groups: Sequence[Group]) -> PhasePlan:
    selected = _selected_paths(phase, groups, f"schedule.{number - 1}.train")
    if phase.objective == "contrastive":
        selected -= _paths(groups[-1:])
    learning = {"weight", "batch_norm"} if phase.batch_norm == "train" else {"weight"}
    if phase.train == "lora":
        learning.add("adapter")
    trainable = {
        group.name: [w for w in group.weights if w.kind in learning and w.path in selected]
        for group in groups
    }
    first = next((i for i, group in enumerate(groups) if trainable[group.name]), None)
    if first is None:
        raise PlanError(
            f"Phase {number} trains nothing: no weight of the selected groups can learn.",
            hint="A head without weights needs `train: all` or more groups.",
        )
    head = len(groups) - 1
    return PhasePlan(
        number=number,
        title=_title(phase) + (", contrastive" if phase.objective == "contrastive" else ""),
        phase=phase,
        trainable=frozenset(w.path for weights in trainable.values() for w in weights),
        rate_factors={
            group.name: phase.group_decay ** (head - i)
            for i, group in enumerate(groups)
            if trainable[group.name]
        },
        frozen_prefix=tuple(group.name for group in groups[:first]),
        num_trainable=sum(w.size for weights in trainable.values() for w in weights),
        num_total=sum(group.size for group in groups),
    )


def _selected_paths(phase: PhaseSection, groups: Sequence[Group], field: str) -> set[str]:
    """Paths of the weights a phase selects; the head is always among them."""
    train = phase.train
    if isinstance(train, tuple):
        return _matching_paths(train, groups, field) | _paths(groups[-1:])
    match train:
        case "lora":
            adapters = {w.path for g in groups for w in g.weights if w.kind == "adapter"}
            return adapters | _paths(groups[-1:])
        case "head":
            start = len(groups) - 1
        case "all":
            start = 0
        case Last(last=count):
            if count > len(groups) - 1:
                raise PlanError(
                    f"{field}: last: {count} asks for more layer groups than the backbone "
                    f"has ({len(groups) - 1}): {_names(groups)}.",
                    hint="`train: all` trains every group.",
                )
            start = len(groups) - 1 - count
        case From(from_=name):
            start = _index(name, groups, field)
        case ShareOfWeights(fraction=fraction):
            start = _start_of_share(fraction, groups)
    return _paths(groups[start:])


def _paths(groups: Sequence[Group]) -> set[str]:
    return {weight.path for group in groups for weight in group.weights}


def _index(name: str, groups: Sequence[Group], field: str) -> int:
    names = [group.name for group in groups]
    if name not in names:
        raise PlanError(
            f"{field}: there is no layer group {name!r}; the model has {_names(groups)}.",
            hint=did_you_mean(name, names),
        )
    return names.index(name)


def _start_of_share(fraction: float, groups: Sequence[Group]) -> int:
    """The earliest group from which on the backbone's weights are at most this share."""
    budget = fraction * sum(group.size for group in groups[:-1])
    start = len(groups) - 1
    while start > 0 and groups[start - 1].size <= budget:
        start -= 1
        budget -= groups[start].size
    return start


def _matching_paths(patterns: Sequence[str], groups: Sequence[Group], field: str) -> set[str]:
    selected: set[str] = set()
    for pattern in patterns:
        found = {
            weight.path
            for group in groups
            for weight in group.weights
            if fnmatchcase(group.name, pattern) or fnmatchcase(weight.path, pattern)
        }
        if not found:
            names = [group.name for group in groups]
            raise PlanError(
                f"{field}: the pattern {pattern!r} matches no layer group and no weight; "
                f"the groups are {_names(groups)}.",
                hint=did_you_mean(pattern, names)
                or "a weight's path looks like " + repr(groups[0].weights[0].path),
            )
        selected |= found
    return selected


def _names(groups: Sequence[Group]) -> str:
    return ", ".join(group.name for group in groups)


def _title(phase: PhaseSection) -> str:
    match phase.train:
        case Last(last=1):
            return "last group"
        case Last(last=count):
            return f"last {count} groups"
        case From(from_=name):
            return f"from {name}"
        case ShareOfWeights(fraction=fraction):
            return f"last {fraction:.0%} of the weights"
        case "lora":
            return f"LoRA of rank {phase.rank}"
        case "head" | "all" as name:
            return name
        case patterns:
            return ", ".join(patterns)


def adapter_rank(schedule: ScheduleName | Sequence[PhaseSection]) -> int | None:
    """The rank of the adapters that a schedule trains; None where it trains none.

    Raises:
        PlanError: Two phases ask for different ranks.
    """
    if isinstance(schedule, str):
        return None
    ranks = {phase.rank for phase in schedule if phase.train == "lora"}
    if len(ranks) > 1:
        raise PlanError(
            f"The phases of `train: lora` have the ranks {sorted(ranks)}, but a model has one.",
            hint="Give them the same `rank`.",
        )
    return next(iter(ranks), None)
