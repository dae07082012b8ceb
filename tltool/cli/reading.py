"""Options that say how other data than the run's own is read, the same for every command."""

from __future__ import annotations

import copy
import functools
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from tltool.support.errors import TltoolError

if TYPE_CHECKING:
    from tltool.data.examples import Examples
    from tltool.runs.run import Run

How = dict[str, Any]
"""What was said of how data is read: arguments of `tltool.data.reading.sources.reading`."""
OnError = Literal["stop", "skip"]

_OPTIONS: dict[str, Any] = {
    "input_columns": Annotated[
        list[str] | None,
        typer.Option(
            "--input-column",
            "--column",
            help="Column of a table with the texts or image paths, twice for pairs of texts; "
            "default: the run's.",
        ),
    ],
    "label_columns": Annotated[
        list[str] | None,
        typer.Option(
            "--label-column",
            help="Column of a table with the label, or several; default: the run's.",
        ),
    ],
    "delimiter": Annotated[
        str | None,
        typer.Option(
            help=r"Between the columns of a table, \t for a tab; default: the run's, else found "
            "out.",
            callback=lambda value: value and value.replace(r"\t", "\t"),
        ),
    ],
    "encoding": Annotated[
        str | None,
        typer.Option(help="Of texts and tables; default: the run's, else found out."),
    ],
    "quoting": Annotated[
        Literal["minimal", "none"] | None,
        typer.Option(
            help="Of a table: none takes quotes for characters; default: the run's, else minimal."
        ),
    ],
    "on_error": Annotated[
        OnError | None,
        typer.Option(help="After a row that cannot be used; default: the run's."),
    ],
}


def checked_task(task: str | None) -> str | None:
    """The value of `--task`; a name of no task is refused.

    Raises:
        RecipeError: There is no such task.
    """
    if task is not None:
        from tltool.tasks.table import known_task  # it takes a tenth of a second

        known_task(task, "--task")
    return task


TaskOption = Annotated[
    str | None,
    typer.Option(
        "--task", callback=checked_task, help="What it is for; default: guessed from the labels."
    ),
]
INPUTS = ("input_columns", "delimiter", "encoding", "quoting")
"""Those that count where no labels are read."""

OPTION_NAMES = {
    "data.train": "--data",
    "data.label_columns": "--label-column",
    "data.input_columns": "--input-column",
    **{
        f"data.{field}": f"--{field.replace('_', '-')}"
        for field in ("input_column", "label_column", "delimiter", "encoding", "quoting")
    },
    "data.on_error": "--on-error",
}
OVERRIDDEN = {field: name for field, name in OPTION_NAMES.items() if field != "data.on_error"}
OVERRIDDEN |= {"data.train": "DATA", "task": "--task"}
"""Of commands on data, which have overrides in place of `--on-error`."""


def _without_run(option: Any, usual: str) -> Any:
    """An option of a command that has no run whose data says how more of it is read."""
    kind, named = get_args(option)
    own = copy.copy(named)
    own.help = named.help.replace("the run's, else ", "").replace("the run's", usual)
    return Annotated[kind, own]


def reads_data(
    *fields: str, of_run: bool = True, usual: Mapping[str, str] | None = None
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Gives a command options for these fields, which come to it as its argument `how`.

    A command that has `--data` refuses them without it.

    Args:
        fields: Of `_OPTIONS`; none takes all of them.
        of_run: Whether the command has a run.
        usual: What counts by default where it has none, by field; of others it is guessed.
    """
    known = _OPTIONS
    if not of_run:
        said = usual or {}
        known = {n: _without_run(one, said.get(n, "guessed")) for n, one in _OPTIONS.items()}

    def with_options(command: Callable[..., Any]) -> Callable[..., Any]:
        own = inspect.signature(command, eval_str=True).parameters.values()
        options = [
            inspect.Parameter(
                field, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=known[field]
            )
            for field in fields or _OPTIONS
        ]
        parameters = []
        for one in own:
            named = one.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            parameters += options if one.name == "how" else [named]

        @functools.wraps(command)
        def run(**values: Any) -> Any:
            given = {option.name: values.pop(option.name) for option in options}
            how = {name: value for name, value in given.items() if value not in (None, [])}
            if how and values.get("data", "") is None:
                raise typer.BadParameter("how data is read can be said of --data alone.")
            return command(**values, how=how)

        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return with_options


def rows_of(run: Run, data: str | None, how: How) -> Examples:
    """The rows of `--data`, read as the options of `reads_data` say, or those of the run's test.

    Raises:
        DataError: They cannot be read; the options are named in place of fields.
    """
    if data is None:
        return run.rows()
    with fields_as_options():
        return run.rows(data, **how)


@contextmanager
def fields_as_options(names: Mapping[str, str] = OPTION_NAMES) -> Iterator[None]:
    """Names fields of a recipe in errors as the options that a command has in their place.

    Args:
        names: The option of each field, by its dotted path, or of each argument; a plain word is
            taken for one in front of a colon alone.
    """
    paths = [re.escape(name) + ("(?=:)" if name.isalpha() else "") for name in names]

    def as_options(text: str) -> str:
        fields = rf"(?<![\w.])({'|'.join(paths)})(=|\b)"
        text = text.replace(" or data.label_columns", "")
        text = text.replace("or data.input_columns for", "twice for")
        return re.sub(fields, lambda found: names[found[1]] + (" " if found[2] else ""), text)

    try:
        yield
    except TltoolError as error:
        error.message = as_options(error.message)
        error.hint = error.hint and as_options(error.hint)
        raise
