"""`tltool explain`: what in an input an answer rests on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tltool.cli.output import (
    JsonOption,
    RunArgument,
    TrustOption,
    examples,
    print_json,
    print_table,
    tell,
    tell_list,
)
from tltool.cli.reading import INPUTS, How, fields_as_options, reads_data

if TYPE_CHECKING:
    from tltool.evaluation.explaining.explanation import Explanation
    from tltool.tasks.target import Target

EXAMPLES = examples(
    'tltool explain runs/quickstart "The crew was lovely, but we waited for hours."',
    "tltool explain runs/my_images photo.jpg more/ --output why",
    "tltool explain runs/my_images photo.jpg --label dog --json",
)
_WORDS_SHOWN = 15


@reads_data(*INPUTS)
def explain(
    run: RunArgument,
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="INPUT...", help="As for tltool predict: files, folders, texts."),
    ],
    how: How | None = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Write index.html, and a PNG file of each picture with its map, into a folder.",
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="What to explain; default: what the model answers."),
    ] = None,
    most: Annotated[int, typer.Option(min=1, help="Inputs that are explained, at most.")] = 50,
    as_json: JsonOption = False,
    _trust: TrustOption = False,
) -> int:
    """Explain answers: maps over pictures, weights of words, and a check of both."""
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.data.reading.rows import Row
    from tltool.data.reading.sources import reading
    from tltool.report.explanations import write_explanations
    from tltool.runs.explain import explain as explained
    from tltool.runs.predict import collect_inputs, row_of, without_broken_pictures
    from tltool.runs.run import load_run
    from tltool.support.progress import terminal_progress

    loaded = load_run(run, progress=terminal_progress())
    with fields_as_options():
        section = reading(loaded.recipe.data, **how or {})
        items = collect_inputs(inputs, loaded.task.spec, section)
    modality = loaded.task.spec.modality
    if len(items) > most:
        tell(f"the first {most:,} of {len(items):,} inputs are explained (--most)")
    read = [row_of(item, modality, section.encoding) for item in items[:most]]
    some = without_broken_pictures(read, modality)
    rows = [row for row in some if isinstance(row, Row)]
    broken = [row for row in some if not isinstance(row, Row)]
    found = explained(loaded, [row.input for row in rows], [row.origin for row in rows], label)
    if output is not None:
        write_explanations(found, loaded.task.target, output)
        tell(f"written: {output / 'index.html'}")
    if as_json:
        print_json([one.to_json() for one in found])
    else:
        _print(found, loaded.task.target)
    tell_list(f"not explained, {len(broken):,} in all:", broken)
    return 1 if broken else 0


def _print(found: list[Explanation], target: Target) -> None:
    print_table(
        [
            {
                "input": one.origin,
                "answer": target.words(one.answer),
                "explained": one.label,
                "value": f"{one.value:.4g}",
                **{name: f"{value:.3g}" for name, value in _figures(one).items()},
            }
            for one in found
        ],
        right=("value", "deletion", "insertion", "random"),
    )
    for one in found:
        if words := sorted(one.words(), key=lambda pair: -abs(pair[1]))[:_WORDS_SHOWN]:
            typer.echo(f"\n{one.origin}: words for and against {one.label}")
            rows = [{"word": word, "weight": f"{weight:+.3f}"} for word, weight in words]
            print_table(rows, right=("weight",))


def _figures(one: Explanation) -> dict[str, float]:
    return {} if one.check is None else one.check.to_json()
