"""`tltool push`: a run's card, exports and recipe into a repository of the Hugging Face hub."""

from __future__ import annotations

from typing import Annotated

import typer

from tltool.cli.output import (
    JsonOption,
    RunArgument,
    TrustOption,
    examples,
    print_json,
    print_table,
    tell,
)

EXAMPLES = examples(
    "tltool push runs/my_images/1 hf://my-name/my-images --dry-run",
    "tltool push runs/my_images/1 hf://my-name/my-images --private",
    "tltool push runs/my_reviews hf://my-org/reviews --licence cc-by-4.0 --json",
)


def push(
    run: RunArgument,
    place: Annotated[
        str, typer.Argument(metavar="hf://ORG/NAME", help="The model repository, new or there.")
    ],
    private: Annotated[
        bool,
        typer.Option("--private", help="Make it private; refuse a public one that is there."),
    ] = False,
    licence: Annotated[
        str | None,
        typer.Option(
            help="Of the model, as the hub calls it, such as cc-by-4.0; default: that of the "
            "pretrained weights, where it is known."
        ),
    ] = None,
    message: Annotated[str | None, typer.Option(help="Of the commit.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be uploaded; ask no server.")
    ] = False,
    as_json: JsonOption = False,
    _trust: TrustOption = False,
) -> None:
    """Publish a run on the Hugging Face hub: card, exports and recipe, and no row of its data."""
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.runs.push import LEFT_OUT, publication
    from tltool.runs.run import load_run

    found = publication(load_run(run), place, licence=licence)
    url = None if dry_run else found.push(private=private, message=message)
    if as_json:
        print_json({"dry_run": dry_run, "url": url, **found.to_json()})
        return
    print_table(
        [{"file": path, "bytes": size} for path, size in found.sizes().items()], right=("bytes",)
    )
    typer.echo("\nNot uploaded")
    print_table([{"what": what, "why": why} for what, why in LEFT_OUT.items()])
    if "license" not in found.metadata:
        tell("note: no licence is known; --licence names one")
    elif licence is None:
        tell(f"note: the licence {found.metadata['license']} is that of the pretrained weights")
    typer.echo(
        f"\nNothing was uploaded (--dry-run); it would go to {found.repo}."
        if url is None
        else f"\n{url}"
    )
