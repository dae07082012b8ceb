"""Ways to make a model that are worth trying: settings known from measured recipes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from tltool.model.freezing import expand_schedule
from tltool.recipe.recipe import Recipe
from tltool.recipe.schema import AugmentSection, Last, PhaseSection

EXACT_HEAD = "exact head"
HEAD_SEARCH = "head search"

# Steps that a training has, in a number of epochs within these bounds.
_STEPS, _FEWEST_EPOCHS, _MOST_EPOCHS = 120, 3, 12
# Where there is no time for as many, a share of them will do; longer ones are tried up to so many
# times as many.
_SHORTEST, _LONGEST = 3, 4
# Networks with more weights learn at a quarter of the rate: BERT's own rates (Devlin et al. 2018,
# appendix A.3) are those of 110 million.
_LARGE, _SLOWER = 60_000_000, 0.25
# With fewer rows of each class, the contrastive way is worth trying (docs/few_examples.md).
_FEW_ROWS = 64
_SMOOTHING = "training.label_smoothing"
# Changes that keep what a picture shows: no mirroring, which turns letters and signs.
_CHANGES = AugmentSection(
    rotation_degrees=15.0, zoom=0.15, translation=0.1, brightness=0.1, contrast=0.2
)
_SOLVED = PhaseSection(train="head", solver="exact")


@dataclass(frozen=True)
class Candidate:
    """A way to make a model.

    Attributes:
        backbone: The pretrained network.
        way: How it is trained, for people.
        recipe: Which trains it.
        usual: Epochs of its last phase that trains step by step, as the way is known; 0 where
            there is no such phase.
    """

    backbone: str
    way: str
    recipe: Recipe
    usual: int = 0

    @property
    def name(self) -> str:
        """For people, with its epochs where it has any."""
        epochs = f", {self.epochs} epoch{'s' * (self.epochs != 1)}" if self.usual else ""
        return f"{self.backbone}: {self.way}{epochs}"

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from other ways, whatever its epochs."""
        return self.backbone, self.way

    @property
    def phases(self) -> tuple[PhaseSection, ...]:
        """Of its schedule."""
        return tuple(one for one in self.recipe.schedule if isinstance(one, PhaseSection))

    @property
    def epochs(self) -> int:
        """Of the last phase that trains step by step; 0 where there is none."""
        stepping = [phase.epochs for phase in self.phases if phase.solver == "gradient"]
        return stepping[-1] if stepping else 0

    @property
    def least(self) -> int:
        """Epochs with fewer of which it would not be the known way any more."""
        return self.usual if self.way == HEAD_SEARCH else ceil(self.usual / _SHORTEST)

    def with_epochs(self, epochs: int) -> Candidate:
        """The same with other epochs in the last phase that trains step by step."""
        phases = list(self.phases)
        place = max(i for i, phase in enumerate(phases) if phase.solver == "gradient")
        phases[place] = phases[place].model_copy(update={"epochs": epochs})
        return replace(self, recipe=self.recipe.model_copy(update={"schedule": tuple(phases)}))

    def longer(self) -> Candidate | None:
        """The same with twice the epochs; None where that is more than is worth trying."""
        if not self.usual or 2 * self.epochs > _LONGEST * self.usual:
            return None
        return self.with_epochs(2 * self.epochs)

    def kept_as_trained(self) -> Candidate:
        """The same, its recipe settled: other rows than the validation rows have chosen it."""
        if not self.usual:
            return self
        training = self.recipe.training.model_copy(update={"keep": "trained"})
        return replace(self, recipe=self.recipe.model_copy(update={"training": training}))


def exact_head(recipe: Recipe, backbone: str) -> Candidate:
    """The best linear layer on the pretrained features.

    Args:
        recipe: Data, training and export.
        backbone: As a recipe names it.
    """
    named = recipe.backbone.model_copy(update={"name": backbone})
    own = recipe.model_copy(update={"backbone": named, "schedule": (_SOLVED,)})
    return Candidate(backbone, EXACT_HEAD, own)


def searched_head(start: Candidate, recipe: Recipe) -> Candidate:
    """What a head search found.

    Args:
        start: The backbone's exact head.
        recipe: With the settings that were found.
    """
    found = Candidate(start.backbone, HEAD_SEARCH, recipe)
    return replace(found, usual=found.epochs)


def fine_tunings(
    start: Candidate, *, groups: int, weights: int, rows: int, classes: int
) -> list[Candidate]:
    """The known settings that train layers of the backbone, the most promising first.

    Of texts they are those of `benchmarks/recipes/banking77.yaml`, slower and of the last layers
    alone; of images those of `recipes/my_images.yaml`, and of `sign_digits.yaml` and `trash6.yaml`
    there. All begin with the head solved exactly (Kumar et al. 2022, arXiv:2202.10054). With few
    rows of each class the contrastive way is among them.

    Args:
        start: The backbone's exact head; of its recipe, fields that were given are kept.
        groups: Layer groups below the head.
        weights: Of the backbone.
        rows: To train on.
        classes: That are told apart; 0 where there are none.
    """
    recipe = start.recipe
    steps = ceil(rows / recipe.training.rows_per_update)
    epochs = min(_MOST_EPOCHS, max(_FEWEST_EPOCHS, ceil(_STEPS / max(1, steps))))
    scale = _SLOWER if weights > _LARGE else 1.0
    third, half = (Last(last=max(1, ceil(groups / part))) for part in (3, 2))

    def way(name: str, train: Any, rate: float, **changes: Any) -> Candidate:
        phase = PhaseSection(
            train=train, epochs=epochs, learning_rate=rate * scale, curve="linear",
            group_decay=changes.pop("group_decay", 1.0),
        )  # fmt: skip
        update = {"schedule": (_SOLVED, phase), "training": _trained(recipe), **changes}
        return Candidate(start.backbone, name, recipe.model_copy(update=update), epochs)

    if recipe.spec.backbone_modality == "text":
        found = [
            way("all layers", "all", 2e-4, group_decay=0.9),
            way("last layers", third, 3e-4),
            way("all layers, slowly", "all", 5e-5),
        ]
    else:
        found = [
            way("last layers, slowly", third, 2e-4),
            way("last layers", third, 5e-4),
            way("half of the layers", half, 1e-3),
            way("all layers", "all", 1e-4),
        ]
        if recipe.augment is None and "augment" not in recipe.model_fields_set:
            found.insert(3, way("last layers, pictures changed", third, 5e-4, augment=_CHANGES))
    if recipe.spec.target.contrasts and classes and rows < _FEW_ROWS * classes:
        phases = expand_schedule("contrastive", groups, recipe.spec.backbone_modality, steps)
        near = recipe.model_copy(update={"schedule": phases})
        found.append(Candidate(start.backbone, "contrastive", near, phases[0].epochs))
    return found


def _trained(recipe: Recipe) -> Any:
    """How they train: by the metric, with smoothed targets where the kind of target has them.

    What was given stays as it is.
    """
    usual: dict[str, Any] = {"monitor": "metric"}
    if _SMOOTHING not in recipe.spec.target.refused:
        usual["label_smoothing"] = 0.1
    given = recipe.training.model_fields_set
    return recipe.training.model_copy(
        update={field: value for field, value in usual.items() if field not in given}
    )
