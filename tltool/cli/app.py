"""The `tltool` command: joins the commands and turns errors into exit codes.

Nothing here or in a command's module may import TensorFlow or Keras at module
level: `tltool --help` must answer at once.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from contextlib import suppress
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tltool._version import __version__
from tltool.cli import (
    auto,
    benchmark,
    cache,
    data,
    diagnose,
    doctor,
    evaluate,
    explain,
    export,
    finetune,
    inspect,
    launch,
    lr_find,
    models,
    monitor,
    plan,
    predict,
    push,
    quantize,
    rank,
    recipes,
    resume,
    retrain,
    runs,
    search,
    serve,
    tune,
    tune_head,
    validate,
)
from tltool.cli.output import tell, tell_warnings
from tltool.cli.streams import abandon_streams, settle_streams
from tltool.support import stopping
from tltool.support.errors import TltoolError, first_line
from tltool.support.imports import take_from_parent
from tltool.support.machine import known_error
from tltool.support.processes import end_with_parent


class _ReaderGoneError(Exception):
    """Nobody reads stdout any more."""


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would exit with 1
            raise _ReaderGoneError from error
        except KeyboardInterrupt as error:  # typer would exit without a word
            raise typer.Abort from error


app = typer.Typer(
    name="tltool",
    cls=_Commands,
    help="Transfer learning: from labelled images or texts to a checked, exported model.",
    epilog="Start with:  tltool finetune quickstart",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tltool {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


app.command("finetune", epilog=finetune.EXAMPLES)(finetune.finetune)
app.command("auto", epilog=auto.EXAMPLES)(auto.auto)
app.command("launch", epilog=launch.EXAMPLES)(launch.launch)
app.command("resume", epilog=resume.EXAMPLES)(resume.resume)
app.command("retrain", epilog=retrain.EXAMPLES)(retrain.retrain)
app.command("plan", epilog=plan.EXAMPLES)(plan.plan)
app.command("tune", epilog=tune.EXAMPLES)(tune.tune)
app.command("tune-head", epilog=tune_head.EXAMPLES)(tune_head.tune_head)
app.command("validate", epilog=validate.EXAMPLES)(validate.validate)
app.command("evaluate", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command("predict", epilog=predict.EXAMPLES)(predict.predict)
app.command("explain", epilog=explain.EXAMPLES)(explain.explain)
app.command("search", epilog=search.EXAMPLES)(search.search)
app.command("export", epilog=export.EXAMPLES)(export.export)
app.command("push", epilog=push.EXAMPLES)(push.push)
app.command("quantize", epilog=quantize.EXAMPLES)(quantize.quantize)
app.command("serve", epilog=serve.EXAMPLES)(serve.serve)
app.command("monitor", epilog=monitor.EXAMPLES)(monitor.monitor)
app.command("inspect", epilog=inspect.EXAMPLES)(inspect.inspect)
app.command("diagnose", epilog=diagnose.EXAMPLES)(diagnose.diagnose)
app.command("benchmark", epilog=benchmark.EXAMPLES)(benchmark.benchmark)
app.command("rank", epilog=rank.EXAMPLES)(rank.rank)
app.command("lr-find", epilog=lr_find.EXAMPLES)(lr_find.lr_find)
app.add_typer(recipes.app, name="recipes")
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.add_typer(runs.app, name="runs")
app.add_typer(cache.app, name="cache")
app.command("doctor", epilog=doctor.EXAMPLES)(doctor.doctor)


def main() -> None:
    """Runs the command line and exits: 0 done, 1 tltool's fault or a failed check, 2 the user's."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    end_with_parent()
    take_from_parent()
    settle_streams()
    tell_warnings()
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        pass
    except OSError as error:
        code = code or _tell_of(error)
    abandon_streams()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Runs one command and returns its exit code; errors are told on stderr.

    A signal that asked it to stop decides the code, as in shells: 130 for Ctrl-C, 143 for
    SIGTERM, 129 for SIGHUP.
    """
    with stopping.stoppable():
        code = _run(arguments)
        return stopping.exit_code() or code


def _run(arguments: list[str]) -> int:
    try:
        result = typer.main.get_command(app).main(
            arguments, prog_name="tltool", standalone_mode=False
        )
    except typer.TyperException as error:
        _say(*_usage_lines(error))
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except _ReaderGoneError:
        return 0  # the reader of stdout went away (`| head`): not an error of ours
    except Exception as error:
        if stopping.exit_code() and not isinstance(error, TltoolError):
            return _interrupted()  # what that became on its way through another library
        return _tell_of(error)
    return result if isinstance(result, int) else 0


def _interrupted() -> int:
    _say("interrupted")
    return 130


def _usage_lines(error: typer.TyperException) -> tuple[str, ...]:
    context = getattr(error, "ctx", None)
    if context is not None and not context.args and error.format_message() == context.get_help():
        return (error.format_message(),)  # a command that does nothing by itself
    place = context.command_path if context else "tltool"
    return f"error: {error.format_message()}", f"hint: see {place} --help"


def _tell_of(error: Exception) -> int:
    """Tells of an error on stderr; returns the exit code."""
    if (known := known_error(error)) is not None:
        _say(f"error: {known.message}", f"hint: {known.hint}" if known.hint else "")
        return known.exit_code
    lines = "".join(traceback.format_exception(error))
    try:
        descriptor, name = tempfile.mkstemp(prefix="tltool-fault-", suffix=".txt")
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(lines)
        kept = f"its traceback is kept in {name}"
    except OSError:
        kept = f"its traceback:\n{lines}"
    _say(
        f"error: a fault of tltool {__version__}: {type(error).__name__}: {first_line(error)}", kept
    )
    return 1


def _say(*lines: str) -> None:
    with suppress(OSError):  # there may be no one to tell
        for line in lines:
            if line:
                tell(line)
