"""Opens the teacher that a recipe names, reads inputs without labels, and asks it once."""

from __future__ import annotations

import gc
import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tltool.data.examples import Examples
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing, is_apart
from tltool.recipe.recipe import Recipe
from tltool.recipe.schema import TeacherSection
from tltool.support.errors import DataError, RunError
from tltool.support.progress import Progress
from tltool.support.spread import Spread
from tltool.support.stopwatch import Stopwatch
from tltool.support.words import count
from tltool.training.preparation import Prepared

if TYPE_CHECKING:
    import keras
    import numpy as np

    from tltool.features.rows import Rows
    from tltool.graph.cut import Cut
    from tltool.runs.run import Run
    from tltool.tasks.target import Target

    Array = np.ndarray[Any, Any]


def taught(
    recipe: Recipe,
    prepared: Prepared,
    *,
    progress: Progress | None = None,
    spread: Spread | None = None,
    clock: Stopwatch | None = None,
) -> Prepared:
    """What was prepared, with what the recipe's teacher says of all rows that may train.

    What it says is kept in the store of frozen features, where the recipe's `cache` and the disk
    allow it: the next run with this teacher and these rows reads it there.

    Args:
        recipe: Without `teacher`, what was prepared is returned as it is.
        prepared: Of that recipe and of what `check_teacher` gives; its random generators begin
            anew.
        progress: Is told who teaches, and how many rows.
        spread: Where the teacher runs; None takes this process.
        clock: Counts its time.

    Raises:
        RunError: There is no such run, it has no model, or one for another task.
        DataError: The inputs without labels can't be used.
    """
    section = recipe.teacher
    if section is None:
        return prepared
    import keras

    progress, clock = progress or Progress(), clock or Stopwatch()
    progress.stage(f"Teacher: {section.run}")
    with clock.measure("teacher"):
        run = _opened(section, recipe, progress)
        others = _without_labels(section, recipe, prepared, progress)
        rows, raw, weights = _asked(run, recipe, prepared, others, progress, spread)
    title, target = _title(run), run.task.target
    del run
    gc.collect()  # a model holds itself in circles
    keras.utils.set_random_seed(recipe.training.seed)
    from tltool.training.lessons import Lessons

    facts: dict[str, Any] = {"weights": weights}
    if section.unlabelled is not None:
        facts["unlabelled"] = _digest(others)
    lessons = Lessons(target, rows, raw, others, facts, title)
    progress.note(lessons.words(section, prepared.task.target))
    return replace(prepared, lessons=lessons)


def check_teacher(recipe: Recipe) -> Target | None:
    """Sees, before data and backbone are loaded, that there is a teacher of this task, and inputs.

    Returns:
        What it answers, for `prepare` to compare with the data; None where there is none.

    Raises:
        RunError: There is no such run, it has no model, or one for another task.
        DataError: There is nothing where the inputs without labels should be.
    """
    if (section := recipe.teacher) is None:
        return None
    run = _found(section, recipe, Progress())
    if section.unlabelled is not None:
        _check_there(section.unlabelled, "teacher.unlabelled")
    return run.task.target.plain


def _check_there(source: str, field: str) -> None:
    from tltool.data.reading.shards import matches
    from tltool.data.reading.sources import resolve

    if not matches(source):
        resolve(source, field)


def _opened(section: TeacherSection, recipe: Recipe, progress: Progress) -> Run:
    run = _found(section, recipe, progress)
    with _as_teacher():
        run.model  # noqa: B018 - whether it can be read
        return run.without_score()


@contextmanager
def _as_teacher() -> Iterator[None]:
    """Says of which field an error is."""
    try:
        yield
    except RunError as error:
        raise RunError(
            f"teacher.run: {error.message}",
            hint=error.hint or "name the folder of a trained run, such as teacher.run=runs/NAME/1",
        ) from error


def _found(section: TeacherSection, recipe: Recipe, progress: Progress) -> Run:
    """The run, its model not loaded yet."""
    from tltool.runs.run import load_run

    with _as_teacher():
        run = load_run(section.run, progress=progress)
        if not run.folder.has_model:
            raise RunError(
                f"The run {str(run.path)!r} has no model (it is {run.status}).",
                hint="take a finished run: `tltool runs list` shows them",
            )
    if run.task.spec.name != recipe.task or type(run.task.target.plain) is not recipe.spec.target:
        raise RunError(
            f"teacher.run: {section.run} is of the task {run.task.spec.name} "
            f"({run.task.target.noun}), and this recipe's is {recipe.task} "
            f"({recipe.spec.target.noun}).",
            hint="take a teacher of the same task, or leave out `teacher`",
        )
    return run


def _title(run: Run) -> str:
    """The run, its backbone and how good it was, for people."""
    score, found = run.task.target.headline(), run.folder.manifest().get("metrics") or {}
    reached = found.get(score.key)
    told = "" if reached is None else f", {score.title} {score.text(reached)} in its own test"
    return f"{run.path} ({run.recipe.backbone.name}{told})"


# ---- inputs without labels -----------------------------------------------------------------------


def _without_labels(
    section: TeacherSection, recipe: Recipe, prepared: Prepared, progress: Progress
) -> Examples:
    """The inputs that `teacher.unlabelled` names; see `inputs_without_labels`."""
    if section.unlabelled is None:
        return replace(prepared.examples.take([]), tokens=None)
    source, field = section.unlabelled, "teacher.unlabelled"
    return inputs_without_labels(source, field, recipe, prepared, progress)


def inputs_without_labels(
    source: str, field: str, recipe: Recipe, prepared: Prepared, progress: Progress
) -> Examples:
    """The inputs that a source names, tokenized, but for those that are in the data.

    Args:
        source: As `tltool predict` takes one.
        field: Who names it, for messages.
        recipe: How it is read.
        prepared: The labelled data, and the backbone.
        progress: Is told what is read and left out.

    Raises:
        DataError: It can't be read, or has nothing new.
    """
    from tltool.data.texts.tokenizing import tokenized

    known = prepared.examples
    found = _read(source, field, recipe, progress)
    new, there = _new_among(found, known)
    if not len(new):
        raise DataError(
            f"{field}: all {count(len(found), 'input')} of {source} are in "
            "data.train, data.validation or data.test already.",
            hint="name other inputs",
        )
    progress.note(f"{count(len(new), 'row')} without labels, {source}")
    left_out = [
        f"{count(rows, 'row')} {why}"
        for rows, why in (
            (there, "of the labelled data (training, validation or test)"),
            (len(found) - len(new) - there, "given twice"),
            (len(found.skipped), "broken"),
        )
        if rows
    ]
    if left_out:
        progress.note(f"left out: {', '.join(left_out)}")
    new = replace(new, splits=["train"] * len(new), kind=known.kind, columns=known.columns)
    return tokenized(new, prepared.backbone.preprocessing, progress)


def _read(source: str, field: str, recipe: Recipe, progress: Progress) -> Examples:
    """Inputs that `source` names; those that are broken are settled as `data.on_error` says."""
    from tltool.data.checks.doctor import check_examples
    from tltool.data.reading.rows import Broken, Row, settle
    from tltool.runs.predict import collect_inputs, row_of, unlabelled

    data = recipe.data
    _check_there(source, field)
    try:
        items = collect_inputs([source], recipe.spec, data)
    except DataError as error:
        raise DataError(f"{field}: {error.message}", hint=error.hint) from error
    rows = [row_of(item, recipe.spec.modality, data.encoding) for item in items]
    broken = [row for row in rows if isinstance(row, Broken)]
    skipped = settle(broken, data.on_error, what="inputs without labels")
    sound = unlabelled([row for row in rows if isinstance(row, Row)], recipe.spec.modality)
    if not len(sound):
        raise DataError(f"{field}: nothing in {source} can be used.")
    sound = replace(sound, skipped=skipped)
    return check_examples(sound, on_error=data.on_error, progress=progress)


def _new_among(found: Examples, known: Examples) -> tuple[Examples, int]:
    """The first of each content that no labelled row has, and how many rows are of such ones."""
    import numpy as np

    from tltool.data.checks.fingerprints import duplicate_numbers

    contents, others = duplicate_numbers(found), duplicate_numbers(known)
    there = np.isin(contents, others)
    first = np.zeros(len(contents), bool)
    first[np.unique(contents, return_index=True)[1]] = True
    return found.take(np.flatnonzero(first & ~there).tolist()), int(there.sum())


def _digest(examples: Examples) -> dict[str, Any]:
    """The number of rows, and a hash of their contents in order."""
    from tltool.data.checks.fingerprints import content_digests

    content = hashlib.sha256(content_digests(examples).tobytes()).hexdigest()[:16]
    return {"rows": len(examples), "content": content}


# ---- asking --------------------------------------------------------------------------------------


def _asked(
    run: Run,
    recipe: Recipe,
    prepared: Prepared,
    others: Examples,
    progress: Progress,
    spread: Spread | None,
) -> tuple[Rows, Array, str]:
    """The contents that may train, the teacher's raw outputs of them, and a hash of its weights."""
    import numpy as np

    from tltool.features.keys import weights_digest
    from tltool.training.lessons import joined

    started, examples = time.perf_counter(), prepared.examples
    contract = run.preprocessing
    shown = examples.where(lambda row: examples.splits[row] != "test")
    shown = joined(shown, others, contract) if len(others) else replace(shown, tokens=None)
    whole = _whole(run.model)
    digest = weights_digest(whole.weights)[:16]
    found = None if is_apart(contract) else _stored(whole, shown, run, recipe, progress, spread)
    rows, raw = found or _computed(whole.prefix, shown, contract)
    if not np.isfinite(raw).all():
        raise RunError(
            f"teacher.run: {run.path} gives what is no finite number.", hint="train it again"
        )
    # What is asked of them from now on is where a content stands.
    rows = replace(rows, examples=replace(rows.examples, tokens=None).take([]))
    seconds = time.perf_counter() - started
    progress.note(f"asked about {count(len(raw), 'input')}, {seconds:.1f} s")
    return rows, raw, digest


def _whole(model: keras.Model) -> Cut:
    """A model of which all is frozen."""
    from tltool.graph.cut import Cut, nodes_of

    weights = {id(weight): weight for weight in model.variables}
    return Cut(model, (model.output,), tuple(nodes_of(model)), tuple(weights.values()))


def _stored(
    whole: Cut,
    examples: Examples,
    run: Run,
    recipe: Recipe,
    progress: Progress,
    spread: Spread | None,
) -> tuple[Rows, Array] | None:
    """From the store, computed now where they are missing; None where they can't be stored."""
    import numpy as np

    from tltool.features.cache import Boundary, FeatureCache

    cache = FeatureCache(
        # Rounded, they would be another teacher's.
        recipe.cache.model_copy(update={"dtype": "float32"}),
        examples,
        run.preprocessing,
        about={"backbone": run.recipe.backbone.name, "data": recipe.data.train},
        spread=spread,
    )
    served = cache.serve(Boundary(whole, "the outputs of a teacher", 1), decided=True)
    if served is None:
        return None
    entry = served.entries[0]
    (spec,) = entry.tensors
    raw = np.memmap(entry.file(0), spec.dtype, "c", shape=(entry.rows, *spec.shape))
    return served.sets[0], raw


def _computed(
    model: keras.Model, examples: Examples, contract: ImagePreprocessing | TextPreprocessing
) -> tuple[Rows, Array]:
    """The same batches as the store would have them computed in."""
    import numpy as np

    from tltool.data.checks.fingerprints import as_items, content_digests
    from tltool.data.packed import new_array
    from tltool.features.frozen_layers import FrozenLayers, batch_order
    from tltool.features.rows import Rows

    digests = content_digests(examples)
    first = np.unique(as_items(digests), return_index=True)[1]
    rows = Rows(examples.take(first.tolist()), digests[first], contract)
    raw = new_array((rows.count, int(model.output_shape[-1])), np.float32)
    for numbers, (values,) in FrozenLayers(model).batches(
        rows.source, batch_order(rows.lengths, rows.count)
    ):
        raw[numbers] = values
    return rows, raw


def facts_of(prepared: Prepared) -> Mapping[str, Any]:
    """What decides what a teacher says, ready for JSON; empty without one."""
    return {} if prepared.lessons is None else prepared.lessons.facts
