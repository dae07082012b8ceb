"""The most memory that training the head takes, by the number of images: it must stay flat.

    python benchmarks/memory.py

Each number in a new process with an empty feature cache, on generated JPEG
files. Linux only.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cases import CASES, Arena
from contest import Contender, Result, markdown_table, run, say
from pictures import make_pictures
from race import publish, tltool_versions

SIZES, QUICK_SIZES = (1_000, 10_000, 50_000), (200, 400)
HELD_OUT = 200
IMAGE_SIZE_PX = 64
FILE_SIZES = [(64, 64), (96, 64), (80, 80), (72, 96)]
NUM_CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a trial: few rows, nothing written")
    options = parser.parse_args()
    sizes = QUICK_SIZES if options.quick else SIZES
    with Arena(Path(), quick=options.quick) as arena:
        say(f"making {max(sizes) + 2 * HELD_OUT:,} pictures")
        paths = make_pictures(arena.path / "pictures", max(sizes) + 2 * HELD_OUT, FILE_SIZES)
        results = {size: measure(arena, paths, size) for size in sizes}
    publish("memory", describe(results), quick=options.quick)


def measure(arena: Arena, paths: list[str], size: int) -> Result:
    """Trains on the first pictures; those after the largest size validate and test."""
    held_out = paths[-2 * HELD_OUT :]
    splits = {
        "train": paths[:size],
        "validation": held_out[:HELD_OUT],
        "test": held_out[HELD_OUT:],
    }
    tables = {split: str(_table(arena, split, rows)) for split, rows in splits.items()}
    arena.forget_features()
    contender = Contender(
        f"{size:,} images",
        "memory_tltool",
        {**case_settings(), "tables": tables},
        environment={"TLTOOL_CACHE": str(arena.cache)},
    )
    result = run(contender, seed=0)
    say(f"{size:,} images: {result}")
    return result


def case_settings() -> dict[str, Any]:
    """The head for two epochs, so that whatever is kept from the first is used in the second."""
    case = CASES["image-head"]
    return {**vars(case), "epochs": 2, "image_size_px": IMAGE_SIZE_PX}


def _table(arena: Arena, split: str, paths: list[str]) -> Path:
    table = arena.path / f"{split}.csv"
    rows = [(path, f"class{number % NUM_CLASSES}") for number, path in enumerate(paths)]
    with table.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("input", "label"), *rows])
    return table


def describe(results: Mapping[int, Result]) -> str:
    """Heading, table, growth and conditions."""
    head = ["Training images", "Peak memory (RSS)", "Peak anonymous memory", "Wall"]
    rows = [
        [
            f"{size:,}",
            f"{result['peak_rss_mb']:,.0f} MB",
            f"{result['peak_anonymous_mb']:,.0f} MB",
            f"{result['wall_s']:.0f} s",
        ]
        for size, result in results.items()
    ]
    least, most = min(results), max(results)
    growth = results[most]["peak_anonymous_mb"] - results[least]["peak_anonymous_mb"]
    each = growth * 1e6 / (most - least)
    return "\n".join(
        [
            "## Memory by the number of training images",
            "",
            markdown_table(head, rows),
            "",
            f"From {least:,} to {most:,} images the peak of anonymous memory, which is what the "
            f"process itself holds, grows by {growth:,.0f} MB, {each:,.0f} bytes an image. The "
            f"head of EfficientNet-Lite0 at {IMAGE_SIZE_PX} px, 2 epochs, generated JPEG files of "
            f"64 to 96 px, a new process and an empty feature cache for each row. "
            f"{tltool_versions()}, {os.cpu_count()} CPUs.",
        ]
    )


if __name__ == "__main__":
    main()
