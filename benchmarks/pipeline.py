"""Images a second from JPEG files to batches of the network's input: tltool and others.

    python benchmarks/peers.py                       # once: makes PyTorch's environment
    python benchmarks/pipeline.py

The files are generated, 500x375 pixels; every contender decodes them, resizes
the shorter side to 256 with an antialiased bicubic filter, crops the centre of
224x224 and normalises. No network runs.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cases import Arena
from contest import Contender, Result, compete, markdown_table, median
from peers import add_python, check_python
from pictures import make_pictures
from race import add_rounds, peer_libraries, publish, rounds_of, tltool_versions

NUM_FILES, NUM_QUICK_FILES = 2000, 128
SIZE = (500, 375)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_python(parser)
    add_rounds(parser)
    options = parser.parse_args()
    python = check_python(options.python)
    with Arena(Path(), quick=options.quick) as arena:
        count = NUM_QUICK_FILES if options.quick else NUM_FILES
        make_pictures(arena.path / "pictures", count, [SIZE])
        settings = {
            "folder": str(arena.path / "pictures"),
            "batch_size": 32,
            "backbone": "efficientnet-lite0",
        }
        results = compete(contenders(settings, python), rounds_of(options))
    publish("pipeline", describe(results, count), quick=options.quick)


def contenders(settings: dict[str, Any], python: Path) -> list[Contender]:
    torch = [
        Contender(
            f"PyTorch DataLoader, Pillow, {workers} workers",
            "decode_torch",
            {**settings, "workers": workers},
            python=python,
        )
        for workers in sorted({0, os.cpu_count() or 1})
    ]
    return [
        Contender("tltool, into memory", "decode_tltool", {**settings, "in_memory": True}),
        Contender("tltool, as a stream", "decode_tltool", {**settings, "in_memory": False}),
        Contender("tf.data by hand", "decode_tfdata", settings),
        *torch,
    ]


def describe(results: Mapping[str, Sequence[Result]], count: int) -> str:
    """Heading, table and conditions."""
    rounds = len(next(iter(results.values())))
    libraries = ", ".join([tltool_versions(), *peer_libraries(results)])
    head = ["Contender", "Images a second", "Range", "User CPU an image"]
    return "\n".join(
        [
            "## Decoding and resizing images",
            "",
            markdown_table(head, [_row(title, own) for title, own in results.items()]),
            "",
            f"{count:,} generated JPEG files of {SIZE[0]}×{SIZE[1]} pixels to batches of 32 "
            f"normalised images of 224×224. Medians of {rounds} rounds, the contenders in turn "
            f"in each. {libraries}, {os.cpu_count()} CPUs.",
        ]
    )


def _row(title: str, own: Sequence[Result]) -> list[str]:
    rates = [result["images"] / result["wall_s"] for result in own]
    middle = own[0]["images"] / median(own, "wall_s")
    cpu_ms = 1000 * median(own, "user_cpu_s") / own[0]["images"]
    return [title, f"{middle:.0f}", f"{min(rates):.0f}–{max(rates):.0f}", f"{cpu_ms:.2f} ms"]


if __name__ == "__main__":
    main()
