"""`tltool models`: the pretrained backbones that have a card."""

from __future__ import annotations

from typing import Annotated

import typer

from tltool.cli.output import JsonOption, print_json, print_table

app = typer.Typer(help="List, show and fetch pretrained backbones.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="See `tltool models list`.")]


@app.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """List the backbones that have a card; any other KerasHub preset works by its name."""
    from tltool.backbones.catalog import list_cards

    cards = list_cards()
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
            "from": "package registry" if card.works_offline else "model hub",
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


@app.command()
def pull(name: NameArgument) -> None:
    """Fetch a backbone's files into the cache and check their sha256."""
    from tltool.backbones.catalog import find_card
    from tltool.backbones.fetch import fetch_card, fetch_preset

    card = find_card(name)
    folder = fetch_card(card) if card is not None else fetch_preset(name)
    typer.echo(str(folder))
