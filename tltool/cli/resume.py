"""`tltool resume`: goes on with a run that stopped."""

from __future__ import annotations

from typing import Annotated

import typer

from tltool.cli.finetune import tell_of_run
from tltool.cli.output import (
    AuditOption,
    JsonOption,
    KeepFailedOption,
    OfflineOption,
    OverridesArgument,
    ResumeAnywayOption,
    TrustOption,
    examples,
)
from tltool.support.files import own_temporary_files

EXAMPLES = examples(
    "tltool resume runs/my_images/3",
    "tltool resume runs/my_images",
    "tltool resume runs/my_images/3 schedule.0.epochs=8 --resume-anyway",
)


@own_temporary_files()
def resume(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="A run's folder, or runs/NAME: its newest that has not come to its end.",
        ),
    ],
    overrides: OverridesArgument = None,
    resume_anyway: ResumeAnywayOption = False,
    keep_failed: KeepFailedOption = False,
    audit: AuditOption = True,
    as_json: JsonOption = False,
    _: OfflineOption = False,
    _trust: TrustOption = False,
) -> int:
    """Go on with a run that was stopped, from its last checkpoint."""
    from tltool.support.quiet import timed_tensorflow

    clock = timed_tensorflow()

    from tltool.finetuning.job import resume as go_on
    from tltool.support.progress import terminal_progress

    done = go_on(
        run,
        *(overrides or ()),
        progress=terminal_progress(),
        keep_failed=keep_failed,
        audit=audit,
        clock=clock,
        anyway=resume_anyway,
    )
    return tell_of_run(done, clock, profile=False, as_json=as_json)
