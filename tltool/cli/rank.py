"""`tltool rank`: which pretrained backbone suits the data, without fine-tuning any."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tltool.cli.output import (
    JsonOption,
    OfflineOption,
    OverridesArgument,
    RayOption,
    RecipeArgument,
    TrustOption,
    examples,
    print_json,
    print_table,
    tell,
)

if TYPE_CHECKING:
    from tltool.search.ranking import RankedBackbone

EXAMPLES = examples(
    "tltool rank my_images data.train=photos/ --backbone efficientnet-lite0 "
    "--backbone resnet_50_imagenet",
    "tltool rank quickstart --backbone all-minilm-l6-v2 --backbone untrained:all-minilm-l6-v2",
    "tltool rank my_images data.train=photos/ --backbone efficientnet-lite0 --ray auto",
)


def rank(
    recipe: RecipeArgument,
    overrides: OverridesArgument = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            help="A name as in a recipe, or untrained:NAME for random weights; give several."
        ),
    ] = None,
    ray: RayOption = None,
    as_json: JsonOption = False,
    _: OfflineOption = False,
    _trust: TrustOption = False,
) -> None:
    """Rank backbones by a linear probe on their frozen features; the test rows are not used."""
    from dataclasses import asdict

    from tltool.recipe.recipe import Recipe

    if not backbone:
        raise typer.BadParameter("name at least one backbone", param_hint="--backbone")
    checked = Recipe.load(recipe, overrides or ())

    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.search.ranking import rank as rank_backbones
    from tltool.support.progress import terminal_progress
    from tltool.support.ray_cluster import spread_over

    progress = terminal_progress()
    with spread_over(ray, progress) as spread:
        results = rank_backbones(checked, backbone, progress=progress, spread=spread)
    if as_json:
        print_json([asdict(result) for result in results])
        return
    ranked = [result for result in results if result.error is None]
    print_table(
        [_row(place, result) for place, result in enumerate(ranked, start=1)],
        right=("", ranked[0].metric, "+/-", "LogME", "weights", "MB", "examples/s"),
    )
    for result in results:
        if result.error is not None:
            tell(f"left out: {result.backbone}: {result.error}")


def _row(place: int, result: RankedBackbone) -> dict[str, object]:
    return {
        "": place,
        "backbone": result.backbone,
        result.metric: f"{result.score:.4g}",
        "+/-": f"{result.std:.2g}",
        **({} if result.logme is None else {"LogME": f"{result.logme:.3f}"}),
        "weights": result.parameters,
        "MB": f"{result.size_mb:.1f}",
        "examples/s": f"{result.examples_per_second:.0f}",
        "probe": result.setting,
    }
