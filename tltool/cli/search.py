"""`tltool search`: what of a collection is most like a text or a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tltool.cli.output import (
    JsonOption,
    TrustOption,
    examples,
    print_json,
    print_table,
    tell,
    tell_list,
)
from tltool.cli.reading import INPUTS, How, fields_as_options, reads_data

EXAMPLES = examples(
    "tltool search runs/my-faces faces.index --build photos/",
    "tltool search runs/my-faces faces.index photo.jpg --top 5",
    'tltool search runs/questions faq.index "Where is my card?" --json',
)
_SHOWN = 80


@reads_data(*INPUTS)
def search(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_ARTIFACT",
            help="A run of an embedding task, or an exported model's folder or file.",
        ),
    ],
    index: Annotated[Path, typer.Argument(metavar="INDEX", help="The folder of the index.")],
    queries: Annotated[
        list[str] | None,
        typer.Argument(metavar="[QUERY]...", help="Texts, or image files; as for predict."),
    ] = None,
    build: Annotated[
        list[str] | None,
        typer.Option(help="First build the index of a folder, a table or a file; give several."),
    ] = None,
    how: How | None = None,
    faiss: Annotated[
        str,
        typer.Option(
            metavar="INDEX",
            help="Build a Faiss index too and search by it: Flat, HNSW32, IVF1024,Flat …",
        ),
    ] = "",
    top: Annotated[int, typer.Option(min=1, help="How many to show of each query.")] = 10,
    as_json: JsonOption = False,
    _trust: TrustOption = False,
) -> None:
    """Find what is most like a text or a picture in an index of them."""
    if not queries and not build:
        raise typer.BadParameter("give a query, or data to build the index of with --build")
    if faiss and not build:
        raise typer.BadParameter("--faiss says how an index is built; give --build too")

    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.data.reading.sources import reading
    from tltool.runs.nearest import Embedder, build_index, load_index
    from tltool.support.progress import terminal_progress

    progress = terminal_progress()
    with fields_as_options():
        embedder = Embedder.load(model, progress)
        section = reading(embedder.section, **(how or {}))
        if build:
            made, broken = build_index(embedder, build, index, section=section,
                                       faiss=faiss, progress=progress)  # fmt: skip
            tell(f"{made.rows:,} rows of {made.width} numbers are in {index}")
            tell_list(f"{len(broken):,} inputs were left out:", broken)
        if not queries:
            return
        found = load_index(index).search(embedder, queries, top=top, section=section)
    if as_json:
        print_json(found)
        return
    for number, query in enumerate(found):
        if len(found) > 1:
            typer.echo(("\n" if number else "") + f"{query['input'][:_SHOWN]}")
        print_table(
            [
                {
                    "similarity": f"{near['similarity']:.3f}",
                    "origin": near["origin"],
                    **(
                        {} if near["input"] == near["origin"] else {"input": near["input"][:_SHOWN]}
                    ),
                }
                for near in query["neighbours"]
            ],
            right=("similarity",),
        )
