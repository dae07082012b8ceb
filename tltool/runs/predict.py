"""From what a user names on a command line to rows to predict, and predictions as rows."""

from __future__ import annotations

import itertools
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tltool.data.examples import Examples
from tltool.data.reading.assemble import usable
from tltool.data.reading.encoding import decode, decode_bytes, is_binary, lines_of
from tltool.data.reading.folders import SUFFIXES, TEXT_SUFFIXES, file_row
from tltool.data.reading.in_memory import input_columns
from tltool.data.reading.rows import Broken, Row, broken_file, settle
from tltool.data.reading.shards import matches, tables_in
from tltool.data.reading.sources import own_form, read_inputs
from tltool.data.reading.tables import TABLE_SUFFIXES, table_suffix
from tltool.data.reading.walk import entries, exists, files_below, tell_omitted
from tltool.recipe.recipe import DataSection
from tltool.recipe.schema import OnError
from tltool.support.errors import DataError, did_you_mean
from tltool.support.files import atomic_path
from tltool.support.progress import Progress
from tltool.support.spread import Spread
from tltool.support.words import count, excerpt, listed
from tltool.tasks.table import Modality, Task, TaskSpec

if TYPE_CHECKING:
    import numpy as np

_LOG = logging.getLogger(__name__)

STDIN = "-"
BATCH_ROWS = 256
"""Rows that are read, predicted and given before the next are read."""
# Pictures all the same: what tltool cannot read of them is told as a fault.
_OTHER_IMAGES = (
    *(".avif", ".heic", ".heif", ".jp2", ".jxl", ".svg", ".ico", ".tga", ".psd"),
    *(".pbm", ".pgm", ".ppm", ".dcm", ".dng", ".cr2", ".nef", ".arw", ".raw"),
)

Item = Path | Row | Broken
"""A file that is one input, read when its turn comes; a row; or what cannot be one."""


def collect_inputs(
    arguments: Sequence[str],
    spec: TaskSpec,
    section: DataSection | None = None,
    *,
    stdin: bytes | None = None,
) -> list[Item]:
    """What `arguments` name, in their order.

    Each argument is one of:

    - a table, or a folder of them: the texts, or the images, of the section's
      `input_column`;
    - a file in a form of the task's own, read as in training; what labels it has do not matter;
    - a .txt file that is none: one text a line (text);
    - an image file (image);
    - a folder, searched with its subfolders as in training: images, or .txt
      files that are one text each; a warning names files of other kinds;
    - a pattern with `*`, `?` or `[…]` that matches any of these;
    - `-`: one text or one image path a line on standard input;
    - anything else is itself the text to predict (text).

    A line that is a pair of texts has a tab between them, or is JSON: a list of
    both, or an object with the columns' names. Of arguments that are texts
    themselves two are a pair. Blank lines are left out.

    Args:
        arguments: As above.
        spec: The task of the model.
        section: Columns, delimiter and encoding; None takes the columns of
            `tltool.tasks.table.INPUT_COLUMNS`, and finds out the others.
        stdin: What to read for `-`; None takes standard input.

    Raises:
        DataError: Files that do not exist, or tables that cannot be read (all
            of them are named), or nothing to predict at all.
    """
    reader = _Reader(spec, section or DataSection(), stdin)
    items: list[Item] = []
    faults: list[DataError] = []
    for position, argument in enumerate(arguments, start=1):
        try:
            items += reader.items(argument, f"argument {position}")
        except DataError as error:
            faults.append(error)
    if reader.first is not None:
        text, origin = reader.first
        faults.append(
            DataError(
                f"{origin}, {excerpt(text)!r}, is the first text of a pair, and no second follows.",
                hint="give two texts for each pair, or a table, or -",
            )
        )
    if len(faults) == 1:
        raise faults[0]
    if faults:
        lines = [f"{len(faults)} of the inputs cannot be used:", *(f.message for f in faults)]
        raise DataError("\n  ".join(lines), hint=faults[0].hint)
    if not items:
        raise DataError("There is nothing to predict.", hint="name files, folders or texts, or -")
    return items


class Predictions:
    """Rows to show or write, made while they are iterated over, a batch of inputs at a time.

    A row has `origin`, `input` and `prediction`, and what else the task gives:
    `confidence`, `probabilities`. One that cannot be predicted has no prediction
    and says why in `error`.

    Args:
        items: The inputs.
        outputs: What the model says of examples, as `Task.outputs` or `Target.kept` gives it.
        task: Labels and kind of task.
        encoding: Of text files; None finds it out.
        on_error: "skip" goes on after an input that cannot be used; "stop"
            looks for further ones, but predicts no more.
        files: The folder for files that belong to predictions, such as masks, which
            the rows name; None writes none.
        top: Keep the probabilities of this many classes, highest first; None
            keeps all, in label order.
        progress: What is told meanwhile.
        spread: Where inputs are read and predicted; elsewhere, pictures are found by the same
            paths, and `outputs` pickles, as a `Model` does.

    Attributes:
        predicted: How many inputs have a prediction so far.
        files_written: How many files were written.
        broken: Those that have none, and why.
    """

    def __init__(
        self,
        items: Sequence[Item],
        outputs: Callable[[Examples], np.ndarray[Any, Any]],
        task: Task,
        *,
        encoding: str | None = None,
        on_error: OnError = "skip",
        top: int | None = None,
        progress: Progress | None = None,
        files: Path | None = None,
        spread: Spread | None = None,
    ) -> None:
        self._items, self._task, self._on_error, self._top = items, task, on_error, top
        self._predict = _Predict(outputs, task.spec.modality, encoding, on_error)
        self._progress, self._spread = progress or Progress(), spread or Spread()
        self._files, self._names = files, set[str]()
        self.predicted = self.files_written = 0
        self.broken: list[Broken] = []

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows, in the order of the inputs.

        Raises:
            DataError: Inputs that cannot be used, under "stop".
        """
        done = 0
        with self._progress.rows("Predicting", len(self._items)) as advance:
            for rows, outputs in self._spread.map(self._predict, self._batches(), computes=True):
                if self._spread.elsewhere:
                    self._check_reached(self._items[done : done + len(rows)], rows)
                done += len(rows)
                broken = [row for row in rows if isinstance(row, Broken)]
                self.broken += broken
                if not self.broken or self._on_error == "skip":
                    yield from self._in_order(rows, outputs)
                    self.predicted += len(rows) - len(broken)
                advance(len(rows))
        settle(self.broken, self._on_error, what="inputs")

    def _batches(self) -> Iterator[_Batch]:
        for start in range(0, len(self._items), BATCH_ROWS):
            yield _Batch(self._items[start : start + BATCH_ROWS], bool(self.broken))

    def _check_reached(self, items: Sequence[Item], rows: Sequence[Row | Broken]) -> None:
        """Raises DataError where what can be used here could not be used elsewhere."""
        for item, row in zip(items, rows, strict=True):
            if isinstance(row, Broken) and isinstance(self._predict.looked_at(item), Row):
                raise DataError(
                    f"{row}, says the worker that was to predict it; here it can be used.",
                    hint="paths must lead to the same files on each machine of the cluster",
                )

    def _in_order(
        self, rows: Sequence[Row | Broken], outputs: np.ndarray[Any, Any] | None
    ) -> Iterator[dict[str, Any]]:
        """The predictions of rows, and in their places what is wrong with broken ones."""
        sound = [row for row in rows if isinstance(row, Row)]
        predictions = iter(() if outputs is None else self._predictions(sound, outputs))
        for row in rows:
            if isinstance(row, Row):
                yield next(predictions)
            else:
                empty = {"input": None, "prediction": None}
                yield {"origin": row.origin, **empty, "error": row.reason}

    def _predictions(
        self, rows: Sequence[Row], outputs: np.ndarray[Any, Any]
    ) -> list[dict[str, Any]]:
        from tltool.evaluation.evaluate import PredictionRows

        found = list(
            PredictionRows(outputs, unlabelled(rows, self._task.spec.modality), self._task)
        )
        for row, output in zip(found, outputs, strict=True):
            del row["target"]
            self._write_file(row, output)
            if self._top is not None and "probabilities" in row:
                ranked = sorted(row["probabilities"].items(), key=lambda item: -item[1])
                row["probabilities"] = dict(ranked[: self._top])
            if self._top is not None and "best" in row:
                row["best"] = row["best"][: self._top]
        return found

    def _write_file(self, row: dict[str, Any], output: Any) -> None:
        """Writes the file of a prediction, named as its input, and names it in the row."""
        target = self._task.target
        if self._files is None or (content := target.file_of(output)) is None:
            return
        plain = _name_for(row["origin"], row["input"]) or "input"
        names = (f"{plain}{'' if n == 1 else f'-{n}'}.png" for n in itertools.count(1))
        name = next(name for name in names if name not in self._names)
        self._names.add(name)
        self._files.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._files / name) as temporary:
            temporary.write_bytes(content)
        row[target.file_column] = str(self._files / name)
        self.files_written += 1


def _name_for(origin: str, value: str) -> str:
    """The name, without suffix, of a file that belongs to an input."""
    if value != origin or exists(Path(origin)) or ":" not in origin:
        return Path(origin if exists(Path(origin)) else value).stem
    # A picture within a table or an archive: `a.parquet: row 3`.
    file, _, place = origin.rpartition(":")
    return "-".join([Path(file).stem, *re.findall(r"\w+", place)])


class _Batch(NamedTuple):
    """Inputs that are read and predicted together.

    Attributes:
        items: The inputs.
        after_broken: Whether an earlier one could not be used.
    """

    items: Sequence[Item]
    after_broken: bool


@dataclass(frozen=True)
class _Predict:
    """Reads a batch of inputs and runs the model on those that can be used.

    Attributes:
        outputs, encoding, on_error: As in `Predictions`.
        modality: What the model takes.
    """

    outputs: Callable[[Examples], np.ndarray[Any, Any]]
    modality: Modality
    encoding: str | None
    on_error: OnError

    def __call__(self, batch: _Batch) -> tuple[list[Row | Broken], np.ndarray[Any, Any] | None]:
        """The rows, broken pictures among them now `Broken`, and what the model says of the others.

        A picture is looked at by itself only where the model cannot read all of them: to do so
        takes as long as to read it.
        """
        rows = [self._row(item) for item in batch.items]
        stopping = self.on_error == "stop"
        if stopping and (batch.after_broken or any(isinstance(row, Broken) for row in rows)):
            return without_broken_pictures(rows, self.modality), None
        try:
            return rows, self._said(rows)
        except Exception:
            sound = without_broken_pictures(rows, self.modality)
            if sound == rows:
                raise
        return sound, None if stopping else self._said(sound)

    def looked_at(self, item: Item) -> Row | Broken:
        """The row of an input, `Broken` where it cannot be used."""
        (row,) = without_broken_pictures([self._row(item)], self.modality)
        return row

    def _row(self, item: Item) -> Row | Broken:
        return row_of(item, self.modality, self.encoding)

    def _said(self, rows: Sequence[Row | Broken]) -> np.ndarray[Any, Any] | None:
        sound = [row for row in rows if isinstance(row, Row)]
        return self.outputs(unlabelled(sound, self.modality)) if sound else None


def row_of(item: Item, modality: Modality, encoding: str | None = None) -> Row | Broken:
    """The row of an input, read now where it is a file; `Broken` where it cannot be used.

    Args:
        item: As `collect_inputs` gives it.
        modality: What the model takes.
        encoding: Of text files; None finds it out.
    """
    if isinstance(item, Path):
        item = file_row(item, modality, encoding=encoding)
    return usable(item, modality)


def without_broken_pictures(rows: Sequence[Row | Broken], modality: Modality) -> list[Row | Broken]:
    """Rows whose pictures are decoded in full: those that cannot be are now `Broken`."""
    from tltool.data.checks.doctor import image_problems

    if modality != "image":
        return list(rows)
    problems = image_problems([row.input for row in rows if isinstance(row, Row)])
    return [
        broken_file(row.origin, row.input, problems[row.input])
        if isinstance(row, Row) and row.input in problems
        else row
        for row in rows
    ]


def unlabelled(rows: Sequence[Row], modality: Modality) -> Examples:
    """Examples of rows, without targets and splits."""
    unknown = [None] * len(rows)
    return Examples(
        modality=modality,
        inputs=[row.input for row in rows],
        targets=unknown,
        splits=unknown,
        origins=[row.origin for row in rows],
    )


class Model:
    """A run or an exported model that predicts; another process loads it anew, once, by its path.

    Args:
        path: A run's folder, or an exported model's folder or file.
        progress: Is told what happens.

    Attributes:
        task: Labels and kind of task.
        section: How the run's own data was read.

    Raises:
        RunError: There is no such run, or it has no model.
        ExportError: There is no such exported model.
    """

    def __init__(self, path: Path, progress: Progress | None = None) -> None:
        from tltool.export.artifact import is_artifact, load_artifact
        from tltool.runs.run import load_run

        self._path = path
        self._outputs: Callable[[Examples], np.ndarray[Any, Any]]
        if is_artifact(path):
            artifact = load_artifact(path)
            self.task, self.section, self._outputs = artifact.task, DataSection(), artifact.kept
        else:
            run = load_run(path, progress=progress)
            self.task, self.section = run.task, run.recipe.data
            self._outputs = run.outputs

    def __call__(self, examples: Examples) -> np.ndarray[Any, Any]:
        """What the model says of examples, as `Target.kept` gives it."""
        return self._outputs(examples)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial, (_said_by, self._path)


def _said_by(path: Path, examples: Examples) -> np.ndarray[Any, Any]:
    return _model_at(path)(examples)


@lru_cache(maxsize=1)
def _model_at(path: Path) -> Model:
    return Model(path)


class _Reader:
    """The items that arguments name."""

    def __init__(self, spec: TaskSpec, section: DataSection, stdin: bytes | None) -> None:
        self._spec, self._section, self._stdin = spec, section, stdin
        self._modality = spec.modality
        self.first: tuple[str, str] | None = None
        """A first text of a pair that still waits for its second, and where it stands."""

    def items(self, argument: str, origin: str) -> Sequence[Item]:
        """Those of one argument, which stands at `origin`."""
        if argument == STDIN:
            data = sys.stdin.buffer.read() if self._stdin is None else self._stdin
            text = decode_bytes(data, "stdin", self._section.encoding)
            return self._lines(text, "stdin", Path())
        if not argument:  # as a path it would be the current folder
            raise DataError(f"{origin} is empty.", hint="name a file or a folder, or give a text")
        path = Path(argument).expanduser()
        if exists(path):
            return self._of_path(path)
        if found := matches(argument):
            return [item for match in found for item in self._of_path(match)]
        if self._modality == "image" or self._looks_like_a_file(argument):
            raise _missing(path)
        if self._modality == "text":
            return [Row(argument, None, origin)]
        if self.first is None:
            self.first = argument, origin
            return []
        (text, before), self.first = self.first, None
        return [Row((text, argument), None, f"{before} and {origin.rpartition(' ')[2]}")]

    def _looks_like_a_file(self, argument: str) -> bool:
        """Whether a text is more likely the misspelt name of a file."""
        path = Path(argument)
        own = Path(self._section.train or "").suffix if self._spec.target.own_files else ""
        known = path.suffix.lower() in TEXT_SUFFIXES or table_suffix(path) is not None
        return (known or path.suffix == own != "") and len(argument.split()) == 1

    def _of_path(self, path: Path) -> Sequence[Item]:
        if path.is_dir():
            tables = [file for part in tables_in(path).values() for file in part]
            return [row for file in tables for row in self._of_table(file)] or self._of_folder(path)
        if table_suffix(path):
            return self._of_table(path)
        if self._modality == "image":
            return [path]
        plain = path.suffix.lower() in TEXT_SUFFIXES
        if self._is_own(path, guessed=plain):
            return self._of_table(path)
        if plain:
            return self._lines(decode(path, self._section.encoding), str(path), path.parent)
        formats = ", ".join((*TEXT_SUFFIXES, *TABLE_SUFFIXES))
        return [Broken(str(path), f"not a format tltool reads texts from ({formats})")]

    def _of_table(self, path: Path) -> Sequence[Item]:
        return read_inputs(path, self._section, self._spec)

    def _is_own(self, path: Path, *, guessed: bool) -> bool:
        """Whether a file is in a form of the task's own, or must look so where that is a guess."""
        if not self._spec.target.own_files or is_binary(path):
            return False
        if not guessed:
            return True
        try:
            return bool(own_form(path, self._section, self._spec, guessed=True))
        except DataError:
            return False

    def _of_folder(self, folder: Path) -> list[Path | Broken]:
        suffixes = SUFFIXES[self._modality]
        if not suffixes:
            raise DataError(
                f"{folder} is a folder, and no file is a pair of texts.", hint="name a table"
            )
        wanted = {*suffixes, *(_OTHER_IMAGES if self._modality == "image" else ())}
        omitted: list[Path] = []
        found: list[Path | Broken] = []
        others: list[str] = []
        for item in files_below(folder, omitted):
            if isinstance(item, Broken) or item.suffix.lower() in wanted:
                found.append(item)
            else:
                others.append(str(item.relative_to(folder)))
        tell_omitted(omitted, suffixes)
        files = [item for item in found if isinstance(item, Path)]
        inputs = set(self._spec.target.inputs_among(files, folder))
        if labels := [str(file.relative_to(folder)) for file in files if file not in inputs]:
            found = [item for item in found if isinstance(item, Broken) or item in inputs]
            _LOG.warning("left out, since they are labels in %s: %s", folder, listed(labels, 5))
        if others:
            noun = "are no images" if self._modality == "image" else f"do not end in {suffixes[0]}"
            _LOG.warning("left out, since they %s in %s: %s", noun, folder, listed(others, 5))
        return found or [Broken(str(folder), f"no files ending in {', '.join(suffixes)}")]

    def _lines(self, text: str, source: str, folder: Path) -> Sequence[Item]:
        numbered = [(f"{source}:{n}", line) for n, line in enumerate(lines_of(text), start=1)]
        if self._modality == "text_pair":
            return [self._pair(line, at) for at, line in numbered if line.strip()]
        lines = [(at, line.strip()) for at, line in numbered]
        image = self._modality == "image"
        return [Row(str(folder / line) if image else line, None, at) for at, line in lines if line]

    def _pair(self, line: str, origin: str) -> Row | Broken:
        """The pair of texts that a line holds: JSON, or the two with a tab between them."""
        if line.lstrip()[:1] not in ("{", "["):
            texts = line.split("\t")
            if len(texts) == 2:
                return Row(tuple(texts), None, origin)
            return Broken(origin, f"{count(len(texts) - 1, 'tab')} where one parts two texts")
        names = input_columns(self._section, self._modality)
        try:
            value = json.loads(line)
        except ValueError as error:
            return Broken(origin, f"not JSON ({error})")
        if isinstance(value, dict):
            if missing := [name for name in names if name not in value]:
                return Broken(origin, f"there is no {' and no '.join(map(repr, missing))}")
            value = tuple(value[name] for name in names)
        return Row(value, None, origin)


def _missing(path: Path) -> DataError:
    siblings: list[str] = []
    with suppress(DataError):
        siblings = [entry.name for entry in entries(path.parent, [])]
    where = f"in {path.parent}: " if str(path.parent) != "." else ""
    near = did_you_mean(path.name, siblings)
    return DataError(f"{path} does not exist.", hint=f"{where}{near}" if near else "check the path")
