"""`tltool retrain`: goes on from a run's model with new data, and compares the two."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from tltool.cli.finetune import tell_of_run
from tltool.cli.output import (
    AuditOption,
    JsonOption,
    KeepFailedOption,
    OfflineOption,
    OverridesArgument,
    RayOption,
    RunArgument,
    TrustOption,
    examples,
    print_json,
    tell,
)
from tltool.support.files import own_temporary_files

if TYPE_CHECKING:
    from tltool.finetuning.retraining import Retrained

EXAMPLES = examples(
    "tltool retrain runs/my_images/1 --data photos_of_may/",
    "tltool retrain runs/my_reviews --data april.csv --data may.csv --fail-on worse",
    "tltool retrain runs/my_images/1 --data photos_of_may/ schedule.0.learning_rate=1e-4 --json",
)


class Outcome(StrEnum):
    """What `--fail-on` can name."""

    WORSE = "worse"
    NOT_BETTER = "not-better"


_MEANS = {
    Outcome.WORSE: {"worse"},
    Outcome.NOT_BETTER: {"worse", "not apart", "not measured"},
}


def retrain(
    run: RunArgument,
    overrides: OverridesArgument = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data", metavar="NEW", help="New labelled data, as data.train names it; or several."
        ),
    ] = None,
    fail_on: Annotated[
        Outcome | None,
        typer.Option(
            help="Exit with 1 where the new model is this on the old test rows or on the new ones."
        ),
    ] = None,
    keep_failed: KeepFailedOption = False,
    audit: AuditOption = True,
    ray: RayOption = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with a retraining that has not come to its end."),
    ] = False,
    as_json: JsonOption = False,
    _: OfflineOption = False,
    _trust: TrustOption = False,
) -> int:
    """Train a run's model on with its old data and new, and compare the two; replaces nothing."""
    if not data:
        raise typer.BadParameter("new data is needed: --data NEW")

    from tltool.support.quiet import timed_tensorflow

    clock = timed_tensorflow()

    from tltool.finetuning.retraining import retrain as train_on
    from tltool.support.progress import terminal_progress
    from tltool.support.ray_cluster import spread_over

    progress = terminal_progress()
    with spread_over(ray, progress) as spread, own_temporary_files():
        found = train_on(
            run,
            data,
            *(overrides or ()),
            progress=progress,
            keep_failed=keep_failed,
            audit=audit,
            clock=clock,
            spread=spread,
            resume=resume,
        )
    if found.run.summary is None:
        return tell_of_run(found.run, clock, profile=False, as_json=as_json)
    if as_json:
        print_json(
            {
                "run": str(found.run.path),
                **found.run.folder.manifest(),
                "comparison": found.to_json(),
            }
        )
    else:
        tell_of_run(found.run, clock, profile=False, as_json=False)
        _tell_of_comparison(found)
    if fail_on is None:
        return 0
    refused = {name: v for name, v in found.verdicts.items() if v in _MEANS[fail_on]}
    for name, verdict in refused.items():
        tell(f"failed: {verdict} on the {name} test rows (--fail-on {fail_on})")
    return 1 if refused else 0


def _tell_of_comparison(found: Retrained) -> None:
    typer.echo("\nOld model and new")
    for line in found.lines():
        typer.echo(line)
    before, new = found.before.path, found.run.path
    typer.echo(
        f"\nNothing is replaced: {before} is as it was, the new model and its exports are in {new}."
        f"\n  tltool runs compare {before} {new} --html changes.html"
        "\n      which rows the new one gains and loses"
    )
