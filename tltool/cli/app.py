"""The `tltool` command: joins the commands and turns errors into exit codes.

Nothing here or in a command's module may import TensorFlow or Keras at module
level: `tltool --help` must answer at once.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from tltool._version import __version__
from tltool.cli import (
    benchmark,
    cache,
    data,
    doctor,
    evaluate,
    export,
    finetune,
    inspect,
    lr_find,
    models,
    plan,
    predict,
    quantize,
    rank,
    recipes,
    runs,
    serve,
    tune_head,
    validate,
)
from tltool.support import stopping
from tltool.support.errors import TltoolError
from tltool.support.processes import end_with_parent

ISSUES = "https://github.com/tltool/tltool/issues"

app = typer.Typer(
    name="tltool",
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
app.command("plan", epilog=plan.EXAMPLES)(plan.plan)
app.command("tune-head", epilog=tune_head.EXAMPLES)(tune_head.tune_head)
app.command("validate", epilog=validate.EXAMPLES)(validate.validate)
app.command("evaluate", epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command("predict", epilog=predict.EXAMPLES)(predict.predict)
app.command("export", epilog=export.EXAMPLES)(export.export)
app.command("quantize", epilog=quantize.EXAMPLES)(quantize.quantize)
app.command("serve", epilog=serve.EXAMPLES)(serve.serve)
app.command("inspect", epilog=inspect.EXAMPLES)(inspect.inspect)
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
    sys.exit(run(sys.argv[1:]))


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
    except TltoolError as error:
        _say(f"error: {error.message}", f"hint: {error.hint}" if error.hint else "")
        return error.exit_code
    except typer.TyperException as error:
        command = " ".join(["tltool", *arguments[:1]]) if arguments else "tltool"
        _say(f"error: {error.format_message()}", f"hint: see {command} --help")
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except BrokenPipeError:
        # The reader of stdout went away (`| head`): not an error of ours.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123
        return 0
    except Exception:
        if stopping.exit_code():  # what the interruption became on its way through another library
            return _interrupted()
        traceback.print_exc()
        _say(f"\nThis is a fault of tltool {__version__}. Please report it with the lines above:",
             ISSUES)  # fmt: skip
        return 1
    return result if isinstance(result, int) else 0


def _interrupted() -> int:
    _say("interrupted")
    return 130


def _say(*lines: str) -> None:
    for line in lines:
        if line:
            typer.echo(line, err=True)
