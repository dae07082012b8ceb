"""The command that each worker runs: the ordinary one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tltool.recipe.recipe import Recipe

_TOGETHER = "training.distribution=multi_worker"


@dataclass(frozen=True)
class Command:
    """`tltool finetune` of a recipe, as a worker runs it.

    Attributes:
        recipe: A file, or the name of one of tltool's own.
        overrides: `key=value`.
        options: Further options of `tltool finetune`, such as `--no-audit`.
        again: Those of a start after the first one has failed.
    """

    recipe: str
    overrides: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    again: tuple[str, ...] = ()

    def arguments(self, workers: int, *, again: bool = False) -> list[str]:
        """After `tltool`, for so many workers; `again` where they may have been started before."""
        together = [_TOGETHER] if workers > 1 else []
        more = self.again if again else ()
        return ["finetune", self.recipe, *self.overrides, *together, *self.options, *more]

    def resolved(self, workers: int) -> Recipe:
        """The recipe with its overrides, as each worker will read it.

        Raises:
            RecipeError: Every fault of it.
        """
        given: Sequence[str] = [*self.overrides, *([_TOGETHER] if workers > 1 else [])]
        return Recipe.load(self.recipe, given)
