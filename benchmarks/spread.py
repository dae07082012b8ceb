"""Frozen features computed here and in shards on a Ray cluster of this machine.

    python benchmarks/spread.py        # with Python of an environment that has the extra [ray]

Each contender reads generated JPEG files and writes what EfficientNet-Lite0's frozen layers give
into an empty store; a worker has one core. All stores must hold the same bytes.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from cases import Arena
from contest import Contender, Result, compete, markdown_table, median
from pictures import make_pictures
from race import add_rounds, publish, rounds_of, tltool_versions

NUM_FILES, NUM_QUICK_FILES = 4000, 256
SIZES = [(500, 375), (320, 320)]
WORKERS = (0, 1, 2)
ONE_CORE = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_rounds(parser)
    options = parser.parse_args()
    count = NUM_QUICK_FILES if options.quick else NUM_FILES
    with Arena(Path(), quick=options.quick) as arena:
        make_pictures(arena.path / "pictures", count, SIZES)
        environment = {"TLTOOL_CACHE": str(arena.cache), **ONE_CORE}
        contenders = [
            Contender(
                title(workers),
                "features_spread",
                {"folder": str(arena.path / "pictures"), "workers": workers},
                environment=environment,
                before=arena.forget_features,
            )
            for workers in WORKERS
        ]
        results = compete(contenders, rounds_of(options))
    digests = {result["sha256"] for own in results.values() for result in own}
    if len(digests) != 1:
        raise RuntimeError(f"The stores differ: {digests}")
    publish("spread", describe(results, count), quick=options.quick)


def title(workers: int) -> str:
    """What a contender is called."""
    if not workers:
        return "this process"
    return f"Ray, {workers} worker{'s' if workers > 1 else ''}"


def describe(results: Mapping[str, Sequence[Result]], count: int) -> str:
    """Heading, table and conditions."""
    one = median(results[title(1)], "seconds")
    rows = []
    for name, own in results.items():
        times = [result["seconds"] for result in own]
        middle = median(own, "seconds")
        rows.append(
            [
                name,
                f"{middle:.1f} s",
                f"{min(times):.1f}–{max(times):.1f} s",
                f"{count / middle:.0f}",
                f"{one / middle:.2f}",
            ]
        )
    head = ["Where", "Wall", "Range", "Images a second", "Throughput ÷ 1 worker"]
    return "\n".join(
        [
            "## Frozen features in shards",
            "",
            markdown_table(head, rows),
            "",
            f"{count:,} generated JPEG files through the frozen EfficientNet-Lite0 at 224 px into "
            "an empty store, one core a worker; the start of the workers, about as long as that of "
            "a command, is in the time, that of the cluster is not. The files of all stores were "
            f"the same to the byte. Medians of {len(results[title(1)])} rounds, the contenders in "
            f"turn in each. {tltool_versions()}, Ray {version('ray')}, {os.cpu_count()} CPUs.",
        ]
    )


if __name__ == "__main__":
    main()
