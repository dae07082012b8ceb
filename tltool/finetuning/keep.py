"""Which model a run keeps: the fine-tuned network, or the linear model where that is no worse.

A network that was fine-tuned for hours and is no better than one linear layer on the pretrained
features has learnt nothing that these features did not say; the layer is then the safer choice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tltool.evaluation.comparison import Comparison, compare

if TYPE_CHECKING:
    from tltool.data.examples import Examples
    from tltool.finetuning.linear_model import LinearModel
    from tltool.recipe.recipe import Recipe
    from tltool.tasks.target import Target

FEW_ROWS = 40
"""Validation rows below which a difference of one or two of them decides nothing."""
DEFAULT_HEAD = "default"


@dataclass(frozen=True)
class Kept:
    """Which model a run keeps, and why.

    Attributes:
        linear: Whether it is the linear model.
        comparison: Of the fine-tuned network with the linear model on the validation rows; None
            where they were not compared.
        reason: Why, in words.
    """

    linear: bool = False
    comparison: Comparison | None = None
    reason: str = "there was no linear model to compare with"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def choose(
    recipe: Recipe,
    target: Target,
    validation: Examples,
    linear: LinearModel | None,
    outputs: Callable[[], Any],
    solved: bool,
) -> Kept:
    """Chooses by the validation rows.

    The linear model is kept where it is at least as good on them as the network: in the headline
    score, row by row on the same rows. The network has been chosen among its epochs by these rows
    and the linear model has not, so that equal scores speak for the latter. With fewer than
    `FEW_ROWS` a difference may be chance: then it is kept only where the paired 95 % interval says
    that the network is worse, and its cross-validated score on the training rows is no worse than
    the network's on the validation rows. A head that the recipe names is never replaced.

    Args:
        recipe: `training.keep` and `head` count.
        target: Measures.
        validation: The labelled rows.
        linear: The linear model, or None.
        outputs: Gives what the fine-tuned network says of the validation rows, as `Run.outputs`.
        solved: Whether training did nothing but solve the head exactly.
    """
    if linear is None:
        return Kept()
    if reason := _undecided(recipe, validation, solved):
        return Kept(reason=reason)
    truth = target.truth(validation.targets, validation.origins)
    found = compare(outputs(), linear.outputs("validation", target), truth, target)
    if found is None:
        return Kept(reason=f"the validation rows have no {target.headline().title.lower()}")
    if found.gain > 0:
        return Kept(False, found, "it is better on the validation rows")
    if found.rows >= FEW_ROWS:
        return Kept(True, found, "the fine-tuned network is no better on the validation rows")
    if found.is_worse and _is_no_worse(linear.score, found.value, target):
        return Kept(True, found, "the fine-tuned network is worse on the validation rows")
    few = f"{found.rows} validation rows are too few to say that it is worse"
    return Kept(False, found, few)


def _undecided(recipe: Recipe, validation: Examples, solved: bool) -> str:
    """Why the models are not compared; empty where they are."""
    if recipe.training.keep != "best":
        return f"training.keep is {recipe.training.keep}"
    if recipe.head.name != DEFAULT_HEAD:
        return f"the recipe asks for the head {recipe.head.name}"
    if not len(validation):
        return "there are no validation rows to compare them on"
    return "it is a linear model itself: its head was solved exactly" if solved else ""


def _is_no_worse(score: float | None, other: float, target: Target) -> bool:
    if score is None:
        return False
    return score >= other if target.headline().higher_is_better else score <= other
