"""`tltool models`: the pretrained backbones that have a card."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from tltool.cli.output import JsonOption, OfflineOption, examples, print_json, print_table
from tltool.cli.reading import checked_task

app = typer.Typer(help="List, show and fetch pretrained backbones.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="See `tltool models list`.")]


LIST_EXAMPLES = examples(
    "tltool models list --task image-classification --max-params 10M",
    "tltool models list --json",
)
CHECK_EXAMPLES = examples(
    "tltool models check efficientnet-lite0",
    "tltool models check --all-offline",
)
ADD_EXAMPLES = examples(
    "tltool models add ./my-bert --name my-bert --licence MIT",
    "tltool models add efficientnet-lite0 --weights-file runs/birds/1/model.keras --name birds",
)
PULL_EXAMPLES = examples(
    "tltool models pull efficientnet-lite0",
    "tltool models pull hf://google/electra-small-discriminator",
    "tltool models pull hf://timm/resnet18.a1_in1k --refresh",
)


@app.command("list", epilog=LIST_EXAMPLES)
def list_models(
    task: Annotated[
        str | None,
        typer.Option(
            callback=checked_task, help="Only backbones for this task, as a recipe names it."
        ),
    ] = None,
    max_params: Annotated[
        str | None, typer.Option(metavar="N", help="Only up to so many weights, such as 10M.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the backbones that have a card; hubs, wheels and folders have more (see the guide)."""
    from tltool.backbones.catalog import list_cards
    from tltool.tasks.table import known_task

    modality = None if task is None else known_task(task).backbone_modality
    most = _count(max_params)
    cards = [
        card
        for card in list_cards()
        if modality in (None, card.modality) and (most is None or card.parameters <= most)
    ]
    if as_json:
        print_json([card.model_dump(mode="json") for card in cards])
        return
    rows = [
        {
            "name": card.name,
            "input": card.modality,
            "weights": card.parameters,
            "size": card.input_summary,
            "licence": card.licence,
            "from": card.kept_in,
        }
        for card in cards
    ]
    print_table(rows, right=("weights",))


@app.command()
def show(name: NameArgument, as_json: JsonOption = False) -> None:
    """Print a backbone's card: source, licence, input, layer groups, published figures."""
    from tltool.backbones.catalog import get_card

    card = get_card(name)
    values = card.model_dump(mode="json", exclude_none=True)
    if as_json:
        print_json(values)
        return
    import yaml

    typer.echo(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=88), nl=False)


@app.command(epilog=PULL_EXAMPLES)
def pull(
    name: NameArgument,
    refresh: Annotated[
        bool, typer.Option(help="Ask the Hugging Face hub for the newest commit.")
    ] = False,
    _: OfflineOption = False,
) -> None:
    """Fetch a backbone's files into the cache, check them, and print where they are."""
    from tltool.backbones.sources import hub
    from tltool.backbones.sources.locate import fetch_model

    if refresh and name.startswith(hub.PREFIX):
        typer.echo(str(hub.fetch_hub_model(name, refresh=True)))
    else:
        typer.echo(str(fetch_model(name)))


@app.command(epilog=ADD_EXAMPLES)
def add(
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help="A folder, hf://org/model, or another backbone."),
    ],
    name: Annotated[str, typer.Option(help="What recipes call it.")],
    weights_file: Annotated[
        Path | None, typer.Option(help="Weights in place of those that it comes with.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="One line for people.")] = None,
    licence: Annotated[str | None, typer.Option(help="Of the weights.")] = None,
    _: OfflineOption = False,
) -> None:
    """Write a card for a model of your own: recipes then name it, and changed files are refused."""
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()
    from tltool.backbones.own_card import add_card

    path = add_card(source, name=name, weights_file=weights_file, title=title, licence=licence)
    typer.echo(str(path))


@app.command(epilog=CHECK_EXAMPLES)
def check(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Cards of `tltool models list`.")
    ] = None,
    all_offline: Annotated[
        bool,
        typer.Option(help="Every family, and every card, that needs no model hub."),
    ] = False,
    as_json: JsonOption = False,
    _: OfflineOption = False,
) -> None:
    """Load backbones and compare their features with those of the library they come from."""
    from tltool.support.errors import BackboneError
    from tltool.support.quiet import load_tensorflow

    if not names and not all_offline:
        raise BackboneError("There is nothing to check.", hint="name a card, or add --all-offline")
    load_tensorflow()
    from tltool.backbones.catalog import get_card, list_cards
    from tltool.backbones.check import TOLERANCE, check_card, check_family, golden_families

    cards = [get_card(name).name for name in names or ()]
    results = []
    if all_offline:
        results += [check_family(name) for name in golden_families()]
        cards += [card.name for card in list_cards() if card.works_offline]
    results += [check_card(name) for name in dict.fromkeys(cards)]
    rows = [
        {
            "name": result.name,
            "compared with": result.library,
            "largest difference": None if result.difference is None else f"{result.difference:.1e}",
            "result": "passed" if result.passed else result.error or "FAILED",
        }
        for result in results
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows, right=("largest difference",))
    failed = [result.name for result in results if not result.passed]
    if failed:
        typer.echo(
            f"error: {len(failed)} of {len(results)} are not what they should be: "
            f"{', '.join(failed)} (a difference may be {TOLERANCE:.0e} of the largest feature)",
            err=True,
        )
        raise typer.Exit(1)


def _count(text: str | None) -> float | None:
    """10M as 10,000,000."""
    from tltool.support.errors import RecipeError

    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)", text.strip())
    if match is None:
        raise RecipeError(
            f"--max-params: {text!r} is no number of weights.", hint="write 5000000, 500k or 10M"
        )
    return float(match[1]) * {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}[match[2]]
