"""Several trainings that belong together: their folder, and going on with them.

A cross-validation and a search over recipes keep what each training gave in one folder,
`OUTPUT_DIR/NAME-KIND/1`, which stands among the runs but holds no model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np

from tltool.data.examples import Examples, Split
from tltool.data.splits import fold_rows, undivided
from tltool.finetuning.resuming import Difference, check, differences, read_origin, write_origin
from tltool.model.freezing import adapter_rank
from tltool.recipe.recipe import Recipe
from tltool.runs.folder import RunFolder, environment, runs_of
from tltool.support.errors import DataError, RecipeError
from tltool.support.files import write_json, write_text
from tltool.support.words import listed
from tltool.tasks.table import Task
from tltool.tasks.target import Target
from tltool.training.preparation import Prepared, assemble, with_head
from tltool.training.pretrained import Pretrained

Array = np.ndarray[Any, Any]

# Facts of a series, beside those of a run, that can't be others when it goes on.
_FIXED = ("folds", "space")


class SeriesFolder(RunFolder):
    """The folder of such trainings; it is listed as a run, of which `tltool resume` knows nothing.

    Each of its files is written whole or not at all, and one process at a time works in it.
    """

    @property
    def origin(self) -> Path:
        """What the trainings were started with (JSON)."""
        return self.path / "origin.json"

    @classmethod
    def begun(cls, recipe: Recipe, kind: str, prepared: Prepared, facts: Mapping[str, Any]) -> Self:
        """A new folder with what is known before anything is trained.

        Args:
            recipe: As it was given.
            kind: What the trainings are for, the end of the folder's name.
            prepared: Of all rows.
            facts: What decides the result; see `go_on`.
        """
        folder = cls.create(recipe.output_dir, f"{recipe.name}-{kind}")
        write_text(folder.recipe, recipe.to_yaml())
        write_json(folder.environment, environment())
        write_json(folder.data_summary, prepared.data_summary)
        write_origin(folder, facts, prepared.strategy.num_replicas_in_sync)
        folder.record("running", task=recipe.task, backbone=recipe.backbone.name)
        return folder

    @classmethod
    def newest(cls, recipe: Recipe, kind: str, *, ended_too: bool = False) -> Self | None:
        """The newest folder of a recipe's name that was begun; None where there is none.

        Args:
            recipe, kind: As for `begun`.
            ended_too: Also one where all that was asked for is done.
        """
        parent = Path(recipe.output_dir) / f"{recipe.name}-{kind}"
        found = [cls(folder.path) for folder in runs_of(parent)] if parent.is_dir() else []
        begun = (folder for folder in reversed(found) if folder.origin.is_file())
        return next((one for one in begun if ended_too or one.status != "finished"), None)

    def go_on(
        self,
        facts: Mapping[str, Any],
        *,
        anyway: bool | None = None,
        measured: bool = False,
        ended_too: bool = False,
    ) -> list[Difference]:
        """Makes this process the one that works here, if what decides the result is the same.

        Args:
            facts: As the folder was begun with.
            anyway: Also where the recipe, its data or the machine differs; None where the command
                can't be told to.
            measured: As in `differences`.
            ended_too: Also where all that was asked for is done.

        Returns:
            What differs.

        Raises:
            RunError: Lists all that differs; or another process works here.
        """
        found = differences(read_origin(self), facts, measured=measured)
        check(self, found, anyway=anyway, fixed=_FIXED)
        if ended_too and self.status == "finished":
            self.record("interrupted")
        self.take_over(error=None)
        return found


class Base:
    """A model that several trainings begin with, its weights pretrained again for each.

    Args:
        recipe: That of a training.
        prepared: Of that recipe, and untrained.
        saved: Whether trainings save their model, which turns adapters (LoRA) into weights.
    """

    def __init__(self, recipe: Recipe, prepared: Prepared, *, saved: bool) -> None:
        self._saved = saved
        self._first = prepared
        self._take(recipe, prepared)

    def _take(self, recipe: Recipe, prepared: Prepared) -> None:
        self._prepared = prepared
        self._built, self._adapted = _built_by(recipe), False
        self._pretrained = Pretrained(prepared.backbone.model)

    def training(
        self,
        recipe: Recipe,
        fold: tuple[Examples, Task] | None = None,
        pool: Examples | None = None,
    ) -> Prepared:
        """What a training needs; that of before can't be gone on with.

        Args:
            recipe: Another backbone is loaded where the recipe has one.
            fold: Split rows and the task on them, in place of all rows.
            pool: As in `Prepared`.
        """
        if _built_by(recipe) != self._built or self._adapted:
            first = self._first
            other = assemble(recipe, first.examples, first.data_summary)
            self._take(recipe, replace(other, lessons=first.lessons))
        self._adapted = self._saved and adapter_rank(recipe.schedule) is not None
        self._pretrained.put_back()
        if fold is None:
            return with_head(recipe, self._prepared)
        examples, task = fold
        own = replace(self._prepared, examples=examples, task=task, pool=pool)
        return with_head(recipe, own)


def _built_by(recipe: Recipe) -> tuple[Any, ...]:
    """What decides the backbone and how data is read for it."""
    return (
        recipe.backbone.model_dump_json(),
        recipe.training.precision,
        adapter_rank(recipe.schedule),
        recipe.head.name,
        recipe.head.dimensions,
    )


def shared_rows(recipe: Recipe, examples: Examples) -> Examples:
    """Rows of which features are stored for several trainings, in some of which each is validated.

    They are there as training and as validation rows where training images are changed, since what
    is stored then differs.
    """
    if recipe.augment is None:
        return examples
    total = len(examples)
    both: tuple[Split, Split] = ("train", "validation")
    twice = examples.take([*range(total), *range(total)])
    return replace(twice, splits=[split for split in both for _ in range(total)])


def held_out_rows(rows: Examples, target: Target, folds: int, seed: int) -> list[Array]:
    """The numbers of the rows that each fold holds out, of as many folds as are asked for.

    Raises:
        DataError: There are too few rows for so many folds, or groups are too uneven.
    """
    held_out = [held for _, held in fold_rows(rows, target, folds, seed)]
    if len(held_out) < folds:
        raise DataError(
            f"Groups are so uneven that {folds - len(held_out)} of {folds} folds have no rows.",
            hint=f"take {len(held_out)} folds or fewer" if len(held_out) > 1 else None,
        )
    return held_out


def check_enough(rows: Examples, target: Target, folds: int) -> None:
    """Raises DataError where a class has fewer different rows than there are folds."""
    if rows.groups:
        return  # a class may be in few groups; that each fold trains on it is checked
    ties = undivided(rows) or tuple(map(str, range(len(rows))))
    first = np.unique(np.array(ties), return_index=True)[1].tolist()
    truth = target.truth(rows.targets, rows.origins)
    least = target.rows_of_rarest(truth[first])
    if least >= folds:
        return
    names = Counter(chain.from_iterable(target.names_in(rows.targets[row]) for row in first))
    few = [f"{name!r} ({amount})" for name, amount in names.items() if amount < folds]
    more = f" and {len(few) - 10} more" if len(few) > 10 else ""
    raise DataError(
        f"{folds} folds need {folds} different rows of each {target.noun}; fewer have "
        f"{', '.join(few[:10])}{more}.",
        hint=f"take {least} folds, or add rows" if least > 1 else "add rows, or leave it out",
    )


def check_labels(whole: Task, fold: Task, number: int) -> None:
    """Raises DataError where a fold's training rows lack a label that others have."""
    lacking = sorted(set(whole.target.labels) - set(fold.target.labels))
    if lacking:
        raise DataError(
            f"Fold {number} would train without {listed(lacking)}: all rows that have it are "
            "held out or drawn for validation.",
            hint="take other folds or another data.split_seed, add rows, or leave it out",
        )


def refuse_several_workers(recipe: Recipe, command: str) -> None:
    """Raises RecipeError where a recipe asks for several processes to train one model."""
    if recipe.training.distribution == "multi_worker":
        raise RecipeError(
            f"training.distribution: {command} trains in one process. Received: multi_worker.",
            hint="use training.distribution=auto",
        )
