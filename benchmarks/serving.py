"""What HTTP costs: a server's latency and throughput beside calling its SavedModel directly.

    python benchmarks/serving.py runs/quickstart
    python benchmarks/serving.py runs/flowers --rounds 9 --concurrency 1

Starts `tltool serve` in a process of its own and loads the same SavedModel here. In each round
every contender makes its requests, in turn, so that a slow moment of the machine meets all of them
alike. The rows are the export's golden examples. Clients keep their connections.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from results import write_section

from tltool._version import __version__
from tltool.serving.check import ServerProcess
from tltool.serving.exports import ServedExport, find_export
from tltool.serving.limits import Limits
from tltool.support.quiet import load_tensorflow, quiet

# Rows of a request, and callers at the same time.
SHAPES = ((1, 1), (1, 4), (32, 1))


@dataclass
class Measured:
    """Of one contender: the seconds of each request, and rows a second of each round."""

    latencies: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a run's folder, or an export folder")
    parser.add_argument("--rounds", type=int, default=5, help="at least 3")
    parser.add_argument("--requests", type=int, default=60, help="of each caller in a round")
    parser.add_argument("--concurrency", type=int, default=Limits.concurrency)
    parser.add_argument("--quick", action="store_true", help="a trial, not written to RESULTS.md")
    given = parser.parse_args()
    rounds, requests = (1, 5) if given.quick else (max(3, given.rounds), given.requests)
    export = find_export(given.model)
    rows = golden_rows(export)
    load_tensorflow()
    with ServerProcess(export, Limits(concurrency=given.concurrency)) as server:
        contenders: dict[tuple[str, int, int], Measured] = {}
        makers = {"direct": direct_caller(export), "HTTP": http_caller(export, server)}
        for number in range(rounds + 1):
            for size, callers in SHAPES:
                batch = [rows[i % len(rows)] for i in range(size)]
                for name, maker in makers.items():
                    found = measure(lambda m=maker, b=batch: m(b), callers, requests)
                    if number:  # the first round warms up
                        kept = contenders.setdefault((name, size, callers), Measured())
                        kept.latencies += found.latencies
                        kept.rates.append(size * len(found.latencies) / found.rates[0])
    text = table(contenders, export, rounds, requests, given.concurrency)
    print(text)
    if not given.quick:
        write_section(f"serving {export.task.spec.name}", text)


def golden_rows(export: ServedExport) -> list[bytes]:
    golden = json.loads((export.folder / "golden.json").read_text(encoding="utf-8"))
    inputs = [example["input"] for example in golden["examples"]]
    if export.task.spec.modality == "text":
        return [text.encode() for text in inputs]
    return [(export.folder / name).read_bytes() for name in inputs]


def direct_caller(export: ServedExport) -> Callable[[list[bytes]], Callable[[], Any]]:
    """Makes functions that give rows to the SavedModel in this process, and read its answers."""
    import tensorflow as tf

    with quiet():
        loaded = tf.saved_model.load(str(export.model))

    def caller(rows: list[bytes]) -> Callable[[], Any]:
        (name,) = loaded.signatures["serving_default"].structured_input_signature[1]

        def call() -> Any:
            outputs = loaded.signatures["serving_default"](**{name: tf.constant(rows)})
            return {key: tensor.numpy() for key, tensor in outputs.items()}

        return call

    return caller


def http_caller(
    export: ServedExport, server: ServerProcess
) -> Callable[[list[bytes]], Callable[[], Any]]:
    """Makes functions that send rows to the server, each over a connection of its own."""
    place = urlsplit(server.address)
    path = f"/v1/models/{quote(export.name)}:predict"

    def caller(rows: list[bytes]) -> Callable[[], Any]:
        connection = HTTPConnection(place.hostname or "", place.port)
        if export.task.spec.modality == "text":
            instances: list[Any] = [row.decode() for row in rows]
        else:
            instances = [{"b64": base64.b64encode(row).decode()} for row in rows]

        def call() -> Any:
            connection.request("POST", path, json.dumps({"instances": instances}))
            answer = connection.getresponse()
            content = answer.read()
            if answer.status != 200:
                raise RuntimeError(content.decode())
            return json.loads(content)

        return call

    return caller


def measure(maker: Callable[[], Callable[[], Any]], callers: int, requests: int) -> Measured:
    """Latencies of all requests of a round, and how long the round took (as the one rate)."""
    found = Measured()

    def work() -> None:
        call, seconds = maker(), []
        for _ in range(requests):
            begun = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - begun)
        found.latencies.extend(seconds)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.rates.append(time.perf_counter() - begun)
    if len(found.latencies) != callers * requests:
        raise RuntimeError("a caller failed")
    return found


def table(
    contenders: dict[tuple[str, int, int], Measured],
    export: ServedExport,
    rounds: int,
    requests: int,
    concurrency: int,
) -> str:
    lines = [
        f"## Serving over HTTP: {export.task.spec.name}",
        "",
        "| Rows a request | Callers | | Median | 95 % | 99 % | Rows/s | Median ÷ direct |"
        " Rows/s ÷ direct |",
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for (name, size, callers), found in contenders.items():
        base = contenders["direct", size, callers]
        middle, rate = statistics.median(found.latencies), statistics.median(found.rates)
        slower = middle / statistics.median(base.latencies)
        faster = statistics.median(a / b for a, b in zip(found.rates, base.rates, strict=True))
        cuts = statistics.quantiles(found.latencies, n=100)
        shown = " | ".join(f"{1000 * x:.1f} ms" for x in (middle, cuts[94], cuts[98]))
        lines.append(
            f"| {size} | {callers} | {name} | {shown} | {rate:.0f} | {slower:.2f} | {faster:.2f} |"
        )
    lines += [
        "",
        f"{rounds} rounds of {requests} requests of each caller, the contenders in turn in each; "
        f"the ratio of rows/s is the median over the rounds. The server computes {concurrency} "
        f"requests at a time; server and callers share the processor. tltool {__version__}.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
