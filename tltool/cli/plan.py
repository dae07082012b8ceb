"""`tltool plan`: what each phase would train; trains nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from tltool.cli.output import (
    AuditOption,
    JsonOption,
    OfflineOption,
    OverridesArgument,
    RecipeArgument,
    TrustOption,
    examples,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from tltool.export.formats.problems import Audit
    from tltool.model.freezing import PhasePlan
    from tltool.recipe.recipe import Recipe
    from tltool.training.preparation import Prepared

EXAMPLES = examples(
    "tltool plan three_phases",
    "tltool plan my_recipe.yaml schedule=gradual",
)


def plan(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    audit: AuditOption = True,
    as_json: JsonOption = False,
    _: OfflineOption = False,
    _trust: TrustOption = False,
) -> int:
    """Print the freezing plan: what each phase trains, and how fast; and what cannot be exported.

    Exits with 2 where the trained model could not be exported as the recipe asks.
    """
    from tltool.recipe.recipe import Recipe

    checked = Recipe.load(recipe, overrides or ())

    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.finetuning.teaching import check_teacher
    from tltool.support.progress import terminal_progress
    from tltool.training.preparation import prepare

    teacher = check_teacher(checked)
    prepared = prepare(checked, progress=terminal_progress(), teacher=teacher)
    found = _audit(checked, prepared) if audit else None
    code = 2 if found and found.problems else 0
    if as_json:
        phases = [_as_values(phase) for phase in prepared.plans]
        print_json({"phases": phases, "export": found.to_json() if found else None})
        return code
    print_table(
        [{"group": g.name, "weights": g.size} for g in prepared.transfer.groups],
        right=("weights",),
    )
    typer.echo()
    print_table([_row(phase) for phase in prepared.plans], right=("trained weights", "share"))
    if found:
        _print_audit(found)
    return code


def _audit(recipe: Recipe, prepared: Prepared) -> Audit:
    from tltool.export.audit.audit import audit_export

    preprocessing = prepared.backbone.preprocessing
    return audit_export(prepared.transfer.model, prepared.task, preprocessing, recipe.export)


def _print_audit(found: Audit) -> None:
    if lines := found.lines():
        typer.echo("\nexport")
    for line in lines:
        typer.echo(f"  {line}")
    if found.problems:
        typer.echo()
    print_table(
        [
            {
                "cannot be made": problem.form,
                "because": problem.what,
                "layers": ", ".join(map(str, problem.places)) or None,
                "instead": problem.hint,
            }
            for problem in found.problems
        ]
    )


def _row(phase: PhasePlan) -> dict[str, object]:
    rates = {
        group: phase.phase.learning_rate * factor for group, factor in phase.rate_factors.items()
    }
    groups = list(rates)
    span = groups[0] if len(groups) == 1 else f"{groups[0]} … {groups[-1]}"
    low, high = min(rates.values()), max(rates.values())
    prefix = phase.frozen_prefix
    solved = phase.phase.solver == "exact"
    rate = f"{high:.2g}" if low == high else f"{low:.2g} … {high:.2g}"
    return {
        "phase": f"{phase.number} {phase.title}",
        "epochs": "solved" if solved else phase.phase.epochs,
        "trained groups": span,
        "trained weights": phase.num_trainable,
        "share": f"{phase.num_trainable / phase.num_total:.1%}",
        "learning rate": None if solved else rate,
        "curve": None if solved else phase.phase.curve,
        "BatchNorm": phase.phase.batch_norm,
        "frozen prefix": f"up to {prefix[-1]}" if prefix else "none",
    }


def _as_values(phase: PhasePlan) -> dict[str, Any]:
    return {
        "number": phase.number,
        "title": phase.title,
        **phase.phase.model_dump(mode="json", by_alias=True),
        "learning_rate_by_group": {}
        if phase.phase.solver == "exact"
        else {
            group: phase.phase.learning_rate * factor
            for group, factor in phase.rate_factors.items()
        },
        "frozen_prefix": list(phase.frozen_prefix),
        "trained_weights": phase.num_trainable,
        "all_weights": phase.num_total,
    }
