"""What some data is: its format, columns, likely task, classes and faults; nothing is trained."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tltool.data.checks.doctor import check_examples
from tltool.data.checks.summary import describe
from tltool.data.checks.table_guess import LOOKED_AT, Column, columns_of, guess, remarks_on
from tltool.data.reading.folders import (
    ROBOFLOW_TABLE,
    SUFFIXES,
    TEXT_SUFFIXES,
    label_tables,
    split_folders,
)
from tltool.data.reading.sources import (
    SAMPLE_PREFIX,
    load_examples,
    located,
    own_form,
    reading,
    tables_at,
)
from tltool.data.reading.tables import CSV_SUFFIXES, table_suffix
from tltool.data.reading.walk import files_below, subfolders
from tltool.data.splits import split_examples
from tltool.recipe.faults import cross_faults
from tltool.recipe.reading import override
from tltool.recipe.recipe import DataSection
from tltool.support.errors import DataError, NoTaskError
from tltool.support.files import size_of
from tltool.tasks.guess import likely_task
from tltool.tasks.table import TASKS, Modality, TaskSpec, known_task


@contextmanager
def _warnings_once() -> Iterator[None]:
    """Has each warning told once meanwhile: data is read for the guess, and then by it."""
    told = set[str]()

    def is_new(record: logging.LogRecord) -> bool:
        known = len(told)
        told.add(record.getMessage())
        return len(told) > known

    names = [name for name in logging.root.manager.loggerDict if name.startswith("tltool.data.")]
    for logger in map(logging.getLogger, names):
        logger.addFilter(is_new)
    try:
        yield
    finally:
        for logger in map(logging.getLogger, names):
            logger.removeFilter(is_new)


@_warnings_once()
def inspect_data(
    source: str,
    *,
    task: str | None = None,
    how: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """What some data is, and how a recipe would read it.

    Args:
        source: As `data.train`.
        task: A key of `TASKS`; None guesses it from the labels.
        how: Arguments of `tltool.data.reading.sources.reading`; what they leave open is guessed.
        overrides: Changes to a recipe, as `key=value`, of which those of `data` count.

    Returns:
        JSON values: `source`; `format`; `files` and `bytes`; `columns` of a table
        (what they hold, from its first rows); `remarks`; `recipe`, the fields that
        read it; `summary`, as `describe` gives it, or None where nothing can be read;
        and `problems`, each of which would stop a training.

    Raises:
        DataError: There is no such data, or none of it can be read.
        RecipeError: An override can't be read, or there is no such task.
    """
    spec = known_task(task) if task is not None else None
    changes = [text for text in overrides if text.startswith("data.")]
    fields = override({"data": {}}, changes)["data"] | {"train": source}
    section = reading(DataSection(), **(how or {}), fields=fields)
    found = located(source, "data")
    first = found[0]  # such as CoNLL's columns in a .tsv, which a table may have, too
    likely = TASKS.values() if first.is_dir() or table_suffix(first) in CSV_SUFFIXES else ()
    specs = [spec] if spec else likely
    looked = _own_form(found, section, specs, guessed=not task, certain=not first.is_dir())
    if looked is None:
        try:
            looked = _looked_at(source, found, section, task)
        except DataError:
            looked = None if task else _own_form(found, section, TASKS.values(), guessed=True)
            if looked is None:
                raise
    fields = {**looked.fields, **_given(section)}
    summary, problems = _read(looked.task, source, fields)
    return {
        "source": source,
        "format": looked.format,
        "files": looked.tables,
        "bytes": sum(size_of(path) for path in looked.files),
        "columns": [column.shown() for column in looked.columns],
        "remarks": list(looked.remarks),
        "recipe": {"task": looked.task, "data": {"train": source, **fields}},
        "summary": summary,
        "problems": problems,
    }


def refuse_problems(found: Mapping[str, Any], overrides: Sequence[str] = ()) -> None:
    """Raises DataError where a training with overrides would stop at what `inspect_data` found."""
    problems, summary, skip = found["problems"], found["summary"], "data.on_error=skip"
    helps = summary is not None and problems == summary["skipped"]
    if not problems or (helps and skip in overrides):
        return
    shown = "\n  ".join(map(str, problems[:20]))
    more = f"; {skip} leaves rows out" if helps else ""
    raise DataError(
        f"{found['source']} can't be trained on:\n  {shown}",
        hint=f"tltool data inspect {found['source']} tells more{more}",
    )


@dataclass(frozen=True)
class _Looked:
    """What data looks like: its task, the fields that read it, and what is told of it."""

    task: str
    format: str
    files: Sequence[Path]
    tables: int = 0
    fields: Mapping[str, Any] = field(default_factory=dict)
    columns: Sequence[Column] = ()
    remarks: Sequence[str] = ()


def _own_form(
    found: Sequence[Path],
    section: DataSection,
    specs: Iterable[TaskSpec],
    *,
    guessed: bool,
    certain: bool = False,
) -> _Looked | None:
    """Data in a form that only the kind of target of one of some tasks has; None for others.

    Raises:
        DataError: A folder, or a file for a task that is not guessed, is of such a form and
            cannot be used; or no task reads its form.
    """
    if len(found) > 1:
        return None
    (path,) = found
    for spec in specs:
        try:
            if own := own_form(path, section, spec, guessed=guessed, certain=certain):
                return _Looked(spec.name, own, found)
        except NoTaskError:
            raise
        except DataError:
            if path.is_dir() or not guessed:
                raise
    return None


def _looked_at(
    source: str, found: Sequence[Path], section: DataSection, task: str | None
) -> _Looked:
    tables = tables_at(source, found)
    folder = found[0] if not tables else None
    files = [file for part in tables.values() for file in part]
    table = files[0] if files else _table_beside(found[0])
    columns = columns_of(table, section) if table is not None else []
    fields: dict[str, Any] = {}
    remarks: list[str] = []
    if source.startswith(SAMPLE_PREFIX):
        task = task or _sample_task(source)
    elif table is None:
        task = task or likely_task(_modality_of(found[0]), [])
    elif table.name == ROBOFLOW_TABLE:
        task = task or likely_task("image", [(0, 1)])
    else:
        spec = TASKS[task] if task else None
        fields, likely = guess(columns, table, section, spec, beside=folder is not None)
        task = task or likely
        remarks = remarks_on(columns, fields, task, section)
    number = len(files) or (1 if table else 0)
    told = _format_of(table, folder)
    return _Looked(task, told, files or found, number, fields, columns, remarks)


def _sample_task(source: str) -> str:
    from tltool.data.reading.samples import sample

    return sample(source.removeprefix(SAMPLE_PREFIX)).task


def _format_of(table: Path | None, folder: Path | None) -> str:
    suffix = "" if table is None else f"table ({table_suffix(table)})"
    if folder is None:
        return suffix
    if suffix:
        return f"folder with a {suffix}"
    return "folders of classes" if subfolders(folder) else "folder of files"


def _given(section: DataSection) -> dict[str, Any]:
    """What was said of how it is read."""
    said = section.model_dump(exclude_defaults=True, exclude={"train"})
    return {key: list(value) if isinstance(value, tuple) else value for key, value in said.items()}


def _read(
    task: str, source: str, fields: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, list[str]]:
    """Reads, checks and divides the data as a training would; what cannot be used is told.

    Fields that no recipe may have together are told alone: nothing reads by them.
    """
    if faults := list(cross_faults({"task": task, "data": {"train": source, **fields}})):
        return None, [str(fault).replace("\n    ", "; ") for fault in faults]
    section = DataSection.model_validate({"train": source, **fields, "on_error": "skip"})
    inputs = section.input_columns
    spec = TASKS[task].for_columns(inputs, section.label_column).of_rows(inputs)
    try:
        examples = load_examples(section, spec)
        if spec.modality == "image":
            from tltool.support.quiet import load_tensorflow

            load_tensorflow()
        examples = check_examples(examples, on_error="skip")
    except DataError as error:
        return None, [_told(_with_reasons(error, section, spec))]
    problems = list(examples.skipped)
    try:
        split_examples(
            examples,
            validation_fraction=section.validation_fraction,
            test_fraction=section.test_fraction,
            seed=section.split_seed,
        )
    except DataError as error:
        problems.append(_told(error))
    return describe(examples, task), problems


def _with_reasons(error: DataError, section: DataSection, spec: TaskSpec) -> DataError:
    """Of rows that cannot be used what is wrong with each, where none is left without them."""
    try:
        load_examples(section.model_copy(update={"on_error": "stop"}), spec)
    except DataError as reasons:
        return reasons
    return error


def _told(error: DataError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message


def _table_beside(folder: Path) -> Path | None:
    """The table of labels in a folder of images, or in its folder for training."""
    return next(iter(label_tables(split_folders(folder)["train"])), None)


def _modality_of(folder: Path) -> Modality:
    """What most files of a folder are."""
    files = islice((path for path in files_below(folder, []) if isinstance(path, Path)), LOOKED_AT)
    suffixes = [path.suffix.lower() for path in files]
    texts = sum(suffix in TEXT_SUFFIXES for suffix in suffixes)
    return "text" if texts > sum(suffix in SUFFIXES["image"] for suffix in suffixes) else "image"
