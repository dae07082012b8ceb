"""`tltool serve`: an exported model behind TensorFlow Serving's REST API."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tltool.cli.output import TrustOption, examples, finite
from tltool.cli.reading import How, reads_data, rows_of
from tltool.support.errors import TltoolError

if TYPE_CHECKING:
    from tltool.serving.exports import ServedExport
    from tltool.serving.limits import Limits

EXAMPLES = examples(
    "tltool serve runs/quickstart",
    "tltool serve runs/my_images/1/exports/saved_model --host 0.0.0.0 --port 8501 --name flowers",
    "tltool serve runs/quickstart --monitor --window 1000",
    "tltool serve runs/quickstart --check",
)


@reads_data()
def serve(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="RUN_OR_EXPORT", help="A run's folder, or the folder of an exported SavedModel."
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8501,
    name: Annotated[
        str | None, typer.Option(help="Name in the addresses; default: the run's.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="A name for this version, as /labels/NAME; may be given several times."),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="A name by which it may be asked (Host), or * for any; may be given several "
            "times. Default: localhost where --host is this machine alone, else any."
        ),
    ] = None,
    max_batch: Annotated[int, typer.Option(min=1, help="Rows a request may have.")] = 128,
    max_request_mb: Annotated[
        float, typer.Option(min=0.001, callback=finite, help="Megabytes a request's body may have.")
    ] = 16.0,
    max_megapixels: Annotated[
        float,
        typer.Option(min=0.001, callback=finite, help="Millions of pixels an image may have."),
    ] = 25.0,
    max_text_kb: Annotated[
        float, typer.Option(min=0.001, callback=finite, help="Kilobytes a text may have.")
    ] = 100.0,
    max_in_flight: Annotated[
        int, typer.Option(min=1, help="Requests at the same time, those that wait included.")
    ] = 32,
    concurrency: Annotated[
        int, typer.Option(min=1, help="Requests computed at the same time.")
    ] = 2,
    grace: Annotated[
        int, typer.Option(min=1, help="Seconds for running requests to finish at the end.")
    ] = 30,
    monitor: Annotated[
        bool,
        typer.Option(
            "--monitor",
            help="Compare what is asked with the export's sketch: /drift, and tltool_drift_… in "
            "/metrics.",
        ),
    ] = False,
    window: Annotated[
        int, typer.Option(min=80, help="Rows that are compared together, the last ones.")
    ] = 500,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Start it on a free port, compare its answers with the trained model, and stop.",
        ),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(help="Labelled data for --check; default: the run's test split."),
    ] = None,
    how: How | None = None,
    _trust: TrustOption = False,
) -> int:
    """Serve an exported model over HTTP, as TensorFlow Serving does, with a page to try it."""
    _need_the_extra()
    from tltool.serving.exports import find_export
    from tltool.serving.limits import Limits

    limits = Limits(
        request_bytes=round(max_request_mb * 1e6),
        rows=max_batch,
        image_pixels=round(max_megapixels * 1e6),
        text_bytes=round(max_text_kb * 1e3),
        in_flight=max_in_flight,
        concurrency=concurrency,
        grace_seconds=grace,
    )
    export = find_export(model, name=name, version_labels=tuple(label or ()))
    if check:
        return _check(export, limits, data, how or {})
    _serve(export, limits, host, port, allowed_host or [], window if monitor else None)
    return 0


def _need_the_extra() -> None:
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise TltoolError(
            f"Serving needs packages that are not installed: {error}.",
            hint="pip install 'tltool[serve]'",
        ) from error


def _serve(
    export: ServedExport,
    limits: Limits,
    host: str,
    port: int,
    allowed: list[str],
    window: int | None,
) -> None:
    from tltool.serving.observe import Log
    from tltool.serving.server import address_of, listen, names_of, run_server
    from tltool.serving.service import Service

    listening = listen(host, port)

    def tell(state: str) -> None:
        typer.echo(f"{export.name}, version {export.version}, is {state}: {address_of(listening)}")

    def tell_ready() -> None:
        with suppress(OSError):  # nobody may read stdout any more, and the server goes on
            tell("ready")

    service = Service(export, limits, Log(), on_ready=tell_ready, window=window)
    names = names_of(listening, host, allowed)
    run_server(service, listening, names, on_listening=lambda: tell("loading"))


def _check(export: ServedExport, limits: Limits, data: str | None, how: How) -> int:
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()

    from tltool.serving.check import check_served

    report = check_served(export, limits, lambda run: rows_of(run, data, how))
    typer.echo(str(report))
    return 0 if report.passed else 1
