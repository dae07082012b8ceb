"""The values that a search over recipes tries: of a recipe's section `tune`, or usual ones."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from tltool.recipe.recipe import Recipe
from tltool.recipe.schema import HIGHEST_RATE, Last, PhaseSection, TuneSection
from tltool.recipe.tune_faults import candidates, put
from tltool.support.errors import RecipeError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# Around the recipe's own rate.
_RATE_FACTOR = 5.0
_WEIGHT_DECAYS = (0.001, 0.3)
_SMOOTHINGS = (0.0, 0.05, 0.1)
# Of how many layer groups some train, as shares of all.
_SHARES_OF_GROUPS = (0.25, 0.5)
# Changes that keep what a picture shows: no mirroring, which turns letters and signs.
_AUGMENTATIONS: tuple[dict[str, float] | None, ...] = (
    None,
    {"rotation_degrees": 5.0, "zoom": 0.1, "translation": 0.05, "brightness": 0.1, "contrast": 0.1},
    {"rotation_degrees": 15.0, "zoom": 0.2, "translation": 0.1, "brightness": 0.2, "contrast": 0.2},
)
_DIGITS = 3


@dataclass(frozen=True)
class Dimension:
    """The values of one field.

    Attributes:
        field: Dotted.
        section: As the recipe gives it.
        own: The recipe's value.
        integral: Whether its numbers are whole.
    """

    field: str
    section: TuneSection
    own: Any = None
    integral: bool = False

    def distribution(self) -> BaseDistribution:
        """What Optuna draws from."""
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        if self.section.choices is not None:
            return CategoricalDistribution(list(self._choices()))
        low, high = self._bounds()
        if self.integral:
            return IntDistribution(int(low), int(high), log=self.section.log)
        return FloatDistribution(low, high, log=self.section.log)

    def value(self, drawn: Any) -> Any:
        """What a drawn value is in the recipe: numbers with three digits, but for its own."""
        if self.section.choices is not None:
            return self._choices()[drawn]
        if self.integral:
            return int(drawn)
        if drawn == self.own:
            return self.own
        low, high = self._bounds()
        return min(high, max(low, float(f"{drawn:.{_DIGITS}g}")))

    def drawn(self, value: Any) -> Any:
        """What is drawn for a value of the recipe; None where it is none of these values."""
        if self.section.choices is not None:
            alike = isinstance(value, bool)  # which is equal to 0 or 1
            for name, choice in self._choices().items():
                if choice == value and isinstance(choice, bool) == alike:
                    return name
            return None
        low, high = self._bounds()
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return value if number and low <= value <= high else None

    def _bounds(self) -> tuple[float, float]:
        low, high = self.section.low, self.section.high
        if low is None or high is None:  # the recipe's faults tell of it
            raise RecipeError(f"tune.{self.field}: has neither a range nor choices.")
        return low, high

    def _choices(self) -> dict[str, Any]:
        """By name, as Optuna keeps them: texts that tell one from another."""
        named = {}
        for choice in self.section.choices or ():
            plain = isinstance(choice, str)
            named[choice if plain else json.dumps(choice, ensure_ascii=False)] = choice
        return named


@dataclass(frozen=True)
class Space:
    """All that is searched.

    Attributes:
        recipe: Whose fields they are: its schedule is a list of phases.
        dimensions: One for each field.
    """

    recipe: Recipe
    dimensions: tuple[Dimension, ...]

    @classmethod
    def of(cls, recipe: Recipe, groups: int) -> Space:
        """That of a recipe's section `tune`, or the usual one.

        Args:
            recipe: With a list of phases for its schedule.
            groups: Layer groups of the backbone.

        Raises:
            RecipeError: A value is none that its field can have.
        """
        sections = recipe.tune or usual_space(recipe, groups)
        base = recipe.model_copy(update={"tune": {}})
        return cls(base, tuple(_dimension(base, *item) for item in sections.items()))

    def distributions(self) -> dict[str, BaseDistribution]:
        """By field."""
        return {one.field: one.distribution() for one in self.dimensions}

    def settings(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """Values of the recipe by field."""
        return {one.field: one.value(drawn[one.field]) for one in self.dimensions}

    def recipe_with(self, settings: Mapping[str, Any]) -> Recipe:
        """The recipe with other values.

        Raises:
            RecipeError: They don't go together.
        """
        values = self.recipe.to_values()
        for field, value in settings.items():
            values = put(values, field, value)
        return Recipe.of(**values)

    def own(self) -> dict[str, Any] | None:
        """What is drawn for the recipe as it stands; None where that is not in the space."""
        drawn = {one.field: one.drawn(one.own) for one in self.dimensions}
        return None if None in drawn.values() else drawn

    def extremes(self) -> Iterator[Recipe]:
        """The recipe with one field changed to each value that stands for its others.

        Raises:
            RecipeError: A value is none that its field can have.
        """
        for one in self.dimensions:
            for _, value in candidates(one.section.model_dump()):
                yield self.recipe_with({one.field: value})

    def to_values(self) -> dict[str, Any]:
        """As a section `tune` of a recipe."""
        return {
            one.field: one.section.model_dump(mode="json", exclude_defaults=True)
            for one in self.dimensions
        }


def _dimension(recipe: Recipe, field: str, section: TuneSection) -> Dimension:
    first = candidates(section.model_dump())[0][1]
    values = recipe.to_values()
    tried = _value_at(Recipe.of(**put(values, field, first)).to_values(), field)
    return Dimension(field, section, _value_at(values, field), isinstance(tried, int))


def _value_at(values: Any, field: str) -> Any:
    """The value at a dotted field; None where a section on the way is not there."""
    for key in field.split("."):
        if isinstance(values, list):
            values = values[int(key)]
        elif isinstance(values, Mapping):
            values = values.get(key)
        else:
            return None
    return values


def shown_value(value: Any) -> str:
    """A value as an override writes it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def usual_space(recipe: Recipe, groups: int) -> dict[str, TuneSection]:
    """What is worth searching where a recipe does not say, its own values among it.

    Of the last phase that trains layers of the backbone (else of the last one that trains step by
    step): learning rate, epochs, and how many layer groups train. For all phases weight decay where
    the optimizer has it, and label smoothing where the kind of target knows it; of images how much
    they are changed.

    Args:
        recipe: With a list of phases for its schedule.
        groups: Layer groups of the backbone.

    Raises:
        RecipeError: No phase trains step by step.
    """
    phases = [phase for phase in recipe.schedule if isinstance(phase, PhaseSection)]
    stepping = [place for place, phase in enumerate(phases) if phase.solver == "gradient"]
    deep = [place for place in stepping if phases[place].train != "head"]
    if not stepping:
        raise RecipeError(
            "schedule: no phase trains step by step, so that there is nothing usual to tune.",
            hint="add a phase such as {train: all, epochs: 3}, or a section `tune` to the recipe",
        )
    place = (deep or stepping)[-1]
    phase, training = phases[place], recipe.training
    rate = phase.learning_rate
    space: dict[str, dict[str, Any]] = {
        f"schedule.{place}.learning_rate": {
            "low": rate / _RATE_FACTOR, "high": min(HIGHEST_RATE, rate * _RATE_FACTOR), "log": True
        },
        f"schedule.{place}.epochs": {"low": max(1, phase.epochs // 2), "high": 2 * phase.epochs},
    }  # fmt: skip
    if training.optimizer != "adam":  # which has none
        space["training.weight_decay"] = _decays(training.weight_decay)
    if "training.label_smoothing" not in recipe.spec.target.refused and not training.ranking:
        smoothings = sorted({*_SMOOTHINGS, training.label_smoothing})
        space["training.label_smoothing"] = {"choices": smoothings}
    if parts := _parts(phase, groups):
        space[f"schedule.{place}.train"] = {"choices": parts}
    if recipe.spec.modality == "image":
        space |= _changes(recipe)
    return {field: TuneSection(**given) for field, given in space.items()}


def _decays(own: float) -> dict[str, Any]:
    low, high = _WEIGHT_DECAYS
    if own > 0:
        return {"low": min(own, low), "high": max(own, high), "log": True}
    return {"choices": [own, 0.01, 0.1]}


def _parts(phase: PhaseSection, groups: int) -> list[Any]:
    """Ways to choose what a phase trains, its own first; none where it names layers itself."""
    if phase.train != "all" and not isinstance(phase.train, Last):
        return []
    own = phase.train.model_dump() if isinstance(phase.train, Last) else phase.train
    some = [{"last": ceil(share * groups)} for share in _SHARES_OF_GROUPS if groups > 1]
    ways = [own, "all", *some]
    return [way for place, way in enumerate(ways) if way not in ways[:place]] if some else []


def _changes(recipe: Recipe) -> dict[str, Any]:
    """How much images are changed: from not at all to twice what the recipe does."""
    if recipe.augment is None:
        return {"augment": {"choices": list(_AUGMENTATIONS)}}
    most = {"rotation_degrees": 180.0, "zoom": 0.9, "translation": 0.9, "brightness": 0.9,
            "contrast": 0.9}  # fmt: skip
    given = recipe.augment.model_dump()
    return {
        f"augment.{field}": {"low": 0.0, "high": min(limit, 2 * given[field])}
        for field, limit in most.items()
        if given[field] > 0
    }
