"""`tltool export`: exports a trained run again, in other formats or precisions."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import typer

from tltool.cli.output import (
    RUNTIME_FIELD,
    JsonOption,
    KeepFailedOption,
    LiteRTRuntimeOption,
    RunArgument,
    TrustOption,
    examples,
    print_json,
    print_table,
)
from tltool.cli.reading import How, fields_as_options, reads_data, rows_of
from tltool.support.files import own_temporary_files

# The values below are those of `tltool.recipe.schema`, which takes longer to import than `--help`.


class Format(StrEnum):
    """Formats an export can have."""

    SAVED_MODEL = "saved_model"
    LITERT = "litert"
    ONNX = "onnx"
    KERAS = "keras"


class WeightPrecision(StrEnum):
    """Precisions of the weights in a LiteRT file."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    DYNAMIC_INT8 = "dynamic_int8"
    INT8 = "int8"


_FIELDS = {
    "export.formats": "--format",
    "export.precisions": "--precision",
    "export.litert_input": "--litert-input",
    "export.litert_length": "--litert-length",
    **RUNTIME_FIELD,
}
Input = Literal["float32", "uint8", "uint8_any_size"]
Length = Literal["static", "free"]

EXAMPLES = examples(
    "tltool export runs/quickstart --format saved_model --format litert",
    "tltool export runs/quickstart/1 --format litert --precision float16 --precision dynamic_int8",
    "tltool export runs/my_images --format litert --litert-input uint8",
)


@own_temporary_files()
@reads_data()
def export(
    run: RunArgument,
    form: Annotated[
        list[Format],
        typer.Option("--format", help="May be given several times; onnx needs the extra [onnx]."),
    ],
    precision: Annotated[
        list[WeightPrecision] | None,
        typer.Option(help="Of LiteRT weights; may be given several times."),
    ] = None,
    litert_input: Annotated[
        Input | None,
        typer.Option(help="What LiteRT image models take; default: the run's recipe's."),
    ] = None,
    litert_length: Annotated[
        Length | None,
        typer.Option(help="Of texts for LiteRT models; default: the run's recipe's."),
    ] = None,
    litert_runtime: LiteRTRuntimeOption = None,
    data: Annotated[
        str | None,
        typer.Option(help="Labelled data to check on; default: the run's test split."),
    ] = None,
    how: How | None = None,
    keep_failed: KeepFailedOption = False,
    as_json: JsonOption = False,
    _trust: TrustOption = False,
) -> None:
    """Export a trained model and check it against itself."""
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.export.formats.table import export_targets
    from tltool.export.gate.report import gate_rows
    from tltool.recipe.recipe import Recipe
    from tltool.runs.run import load_run
    from tltool.support.progress import terminal_progress

    loaded = load_run(run, progress=terminal_progress())
    own = loaded.recipe.export
    changes = {
        "formats": tuple(f.value for f in form),
        "precisions": tuple(p.value for p in precision or [WeightPrecision.FLOAT32]),
        "litert_input": litert_input or own.litert_input,
        "litert_length": litert_length or own.litert_length,
        "litert_runtime": litert_runtime or own.litert_runtime,
    }
    values = loaded.recipe.to_values()
    rows = rows_of(loaded, data, how or {})
    with fields_as_options(_FIELDS):
        section = Recipe.of(**{**values, "export": {**values["export"], **changes}}).export
        reports = loaded.export_all(section, data=rows, keep_failed=keep_failed)
    if as_json:
        print_json([report.to_json() for report in reports])
        return
    for report in reports:
        typer.echo(str(report))
    typer.echo()
    names = [target.folder for target in export_targets(section)]
    numbers = ("size", "largest difference", *{report.same for report in reports}, "rows")
    print_table(gate_rows(names, reports), right=numbers)
    typer.echo(f"\nexported to {loaded.folder.exports}")
