"""`tltool cache`: the store of what frozen layers gave, kept for later runs."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tltool.cli.output import JsonOption, finite, print_json, print_table

if TYPE_CHECKING:
    from tltool.features.store import Entry

app = typer.Typer(help="List and clear the store of frozen features.", no_args_is_help=True)

_DAY_SECONDS = 24 * 3600
_KEY_CHARACTERS = 10


@app.command("list")
def list_entries(as_json: JsonOption = False) -> None:
    """List what is stored, the last used first."""
    from tltool.features.store import FeatureStore
    from tltool.support.files import size_text

    store = FeatureStore()
    entries = store.entries()
    total = sum(entry.num_bytes for entry in entries)
    if as_json:
        print_json(
            {
                "folder": str(store.folder),
                "bytes": total,
                "entries": [_as_values(entry) for entry in entries],
            }
        )
        return
    print_table([_row(entry) for entry in entries], right=("rows", "size"))
    count = "1 entry" if len(entries) == 1 else f"{len(entries)} entries"
    typer.echo(f"{count}, {size_text(total)} in {store.folder}")


@app.command()
def clear(
    older_than: Annotated[
        float,
        typer.Option(
            metavar="DAYS", min=0, callback=finite, help="Keep what was used in the last DAYS days."
        ),
    ] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Remove what is stored; later runs compute it again."""
    from tltool.features.store import FeatureStore
    from tltool.support.files import size_text

    store = FeatureStore()
    freed = store.clear(older_than * _DAY_SECONDS)
    if as_json:
        print_json({"folder": str(store.folder), "freed_bytes": freed})
    else:
        typer.echo(f"freed {size_text(freed)} in {store.folder}")


def _row(entry: Entry) -> dict[str, object]:
    from tltool.support.files import size_text

    return {
        "key": entry.path.name[:_KEY_CHARACTERS],
        "backbone": entry.about.get("backbone"),
        "data": entry.about.get("data"),
        "up to": entry.about.get("up_to"),
        "rows": entry.rows,
        "size": size_text(entry.num_bytes),
        "last used": f"{datetime.fromtimestamp(entry.last_used):%Y-%m-%d %H:%M}",
    }


def _as_values(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.path.name,
        **entry.about,
        "rows": entry.rows,
        "tokens": entry.tokens,
        "bytes": entry.num_bytes,
        "last_used": datetime.fromtimestamp(entry.last_used).astimezone().isoformat("T", "seconds"),
    }
