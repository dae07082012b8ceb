"""`tltool finetune`: the main job."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from tltool.cli.output import (
    AuditOption,
    JsonOption,
    KeepFailedOption,
    OfflineOption,
    OverridesArgument,
    RayOption,
    RecipeArgument,
    ResumeAnywayOption,
    TrustOption,
    examples,
    print_json,
    tell,
)
from tltool.support.files import own_temporary_files

if TYPE_CHECKING:
    from tltool.finetuning.cross_validation import CrossValidation
    from tltool.runs.run import Run
    from tltool.support.stopwatch import Stopwatch

EXAMPLES = examples(
    "tltool finetune quickstart",
    "tltool finetune my_images data.train=photos/ schedule.0.epochs=5",
    "tltool finetune my_recipe.yaml training.seed=1 name=second-try",
    "tltool finetune my_recipe.yaml --profile",
    "tltool finetune my_recipe.yaml --resume",
    "tltool finetune my_recipe.yaml --folds 5",
)


def finetune(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    keep_failed: KeepFailedOption = False,
    audit: AuditOption = True,
    profile: Annotated[
        bool, typer.Option("--profile", help="Print where the time went, on stderr.")
    ] = False,
    folds: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Train once for each of so many folds of the rows, measure each on its own, and "
            "keep no model.",
        ),
    ] = None,
    ray: RayOption = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the newest run of this name that has not come to its end; where "
            "there is none, begin one.",
        ),
    ] = False,
    resume_anyway: ResumeAnywayOption = False,
    as_json: JsonOption = False,
    _: OfflineOption = False,
    _trust: TrustOption = False,
) -> int:
    """Fine-tune a model, measure it, export it and check the exports."""
    from tltool.recipe.recipe import Recipe

    for name, given in {"--profile": profile, "--keep-failed": keep_failed}.items():
        if folds is not None and given:
            raise typer.BadParameter(f"{name} is not for --folds, which exports nothing")
    checked = Recipe.load(recipe, overrides or ())

    from tltool.support.quiet import timed_tensorflow

    clock = timed_tensorflow()

    from tltool.finetuning.job import finetune as run_finetune
    from tltool.support.progress import terminal_progress
    from tltool.support.ray_cluster import spread_over
    from tltool.training.place import need_place

    progress = terminal_progress()
    # Ray first: the names of its sockets are too long for the folder of temporary files.
    with spread_over(ray, progress) as spread, own_temporary_files():
        if folds is not None:
            from tltool.finetuning.cross_validation import cross_validate

            found = cross_validate(
                checked,
                folds=folds,
                progress=progress,
                spread=spread,
                resume=resume,
                resume_anyway=resume_anyway,
            )
            return _tell_of_folds(found, [recipe, *(overrides or ())], as_json=as_json)
        run = run_finetune(
            checked,
            progress=progress,
            keep_failed=keep_failed,
            audit=audit,
            clock=clock,
            spread=spread,
            resume=resume,
            resume_anyway=resume_anyway,
        )
    if checked.training.distribution == "multi_worker" and not need_place().is_chief:
        return 0  # the chief tells of the run
    return tell_of_run(run, clock, profile=profile, as_json=as_json)


def _tell_of_folds(found: CrossValidation, words: list[str], *, as_json: bool) -> int:
    """Tells what a cross-validation gave; returns the exit code."""
    command = shlex.join(["tltool", "finetune", *words])
    if not found.finished:
        again = f"{command} --folds {found.folds} --resume"
        tell(f"The cross-validation {found.path} was interrupted; to go on: {again}")
        return 130
    if as_json:
        print_json({"folder": str(found.path), **found.metrics})
        return 0
    for line in found.lines():
        typer.echo(line)
    typer.echo(
        f"\nFiles\n  {found.path}/metrics.json\n  {found.path}/predictions.csv\n\n"
        f"No model is kept. To train one on the recipe's own split:\n  {command}"
    )
    return 0


def tell_of_run(run: Run, clock: Stopwatch, *, profile: bool, as_json: bool) -> int:
    """Tells how a run ended; returns the exit code."""
    if run.summary is None:
        kept = [f"The run was interrupted. What it kept is in {run.path}"]
        if run.folder.model.is_file():
            kept.append(f"its best epoch: tltool evaluate {run.path}")
        if run.folder.can_go_on:
            kept.append(f"to go on: tltool resume {run.path}")
        typer.echo("; ".join(kept), err=True)
        return 130
    if profile:
        _print_profile(run, clock)
    if as_json:
        print_json({"run": str(run.path), **run.folder.manifest()})
        return 0
    from rich.console import Console

    from tltool.report.summary import render

    render(run.summary, Console())
    return 0


def _print_profile(run: Run, clock: Stopwatch) -> None:
    from tltool.graph.arithmetic import forward_flops, matmul_rate
    from tltool.report.profile import Arithmetic, profile_lines

    length = json.loads(run.folder.data_summary.read_text(encoding="utf-8")).get("text_length")
    tokens = round(length["tokens"]["median"]) if length else None
    arithmetic = Arithmetic(forward_flops(run.model, tokens), tokens, matmul_rate())
    for line in profile_lines(clock.seconds, arithmetic):
        typer.echo(line, err=True)
