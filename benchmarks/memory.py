"""The most memory that data of many rows take, by stage: it must hardly grow with the rows.

    python benchmarks/memory.py
    python benchmarks/memory.py --only texts --sizes 10000 100000

Each number in a new process with an empty cache. Images are generated JPEG
files in folders of their classes, on which a head is trained; texts are lines of
a generated table, read, divided, tokenized, and batched for one epoch. Linux only.
"""

from __future__ import annotations

import argparse
import io
import os
import struct
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from cases import CASES, Arena
from contest import Contender, Result, markdown_table, run, say
from PIL import Image
from race import publish, tltool_versions

SIZES = {
    "images": (1_000, 10_000, 100_000, 1_000_000),
    "texts": (10_000, 100_000, 1_000_000, 5_000_000),
}
QUICK_SIZES = (200, 400)
IMAGE_SIZE_PX = 32
FILE_SIZES = [(32, 32), (48, 32), (40, 40), (36, 48)]
DIFFERENT_PICTURES = 100
NUM_CLASSES = 10
WORDS = ("hello", "world", "flight", "delayed", "card", "when", "is", "my", "the", "lost")
WORDS_A_TEXT = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SIZES, default=list(SIZES), metavar="KIND")
    parser.add_argument("--sizes", nargs="+", type=int, metavar="ROWS", help="at least two")
    parser.add_argument("--quick", action="store_true", help="a trial: few rows, nothing written")
    options = parser.parse_args()
    for kind in options.only:
        sizes = options.sizes or (QUICK_SIZES if options.quick else SIZES[kind])
        measure, describe = MEASURED[kind]
        results = {}
        for size in sorted(sizes):
            # An arena for each size: nothing that was checked or computed is known to the next.
            with Arena(Path(), quick=options.quick) as arena:
                results[size] = measure(arena, size)
            say(f"{size:,} {kind}: {results[size]}")
        section = "memory" if kind == "images" else f"memory {kind}"
        publish(section, describe(results), quick=options.quick)


def measure_images(arena: Arena, size: int) -> Result:
    """Trains a head on so many generated pictures; a hundredth each validates and tests."""
    say(f"making {size:,} pictures")
    make_pictures(arena.path / "pictures", size)
    # Two epochs, so that whatever is kept from the first is used in the second.
    case = {**vars(CASES["image-head"]), "epochs": 2, "image_size_px": IMAGE_SIZE_PX}
    tables = {
        "train": str(arena.path / "pictures"),
        "validation_fraction": 0.01,
        "test_fraction": 0.01,
    }
    return run(contender(arena, {**case, "batch_size": 256, "tables": tables}), seed=0)


def measure_texts(arena: Arena, size: int) -> Result:
    """Reads so many generated texts; see contenders/memory_tltool.py."""
    table = arena.path / "texts.csv"
    plain = 0
    with table.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for number in range(size):
            text = text_of(number)
            # What it takes in a list of Python: the string and the reference to it.
            plain += sys.getsizeof(text) + 8
            file.write(f"{text},class{number % NUM_CLASSES}\n")
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    digits = [digit for number in "0123456789" for digit in (number, f"##{number}")]
    settings = {"texts": str(table), "vocabulary": [*special, *digits, *WORDS]}
    return {**run(contender(arena, settings), seed=0), "plain_mb": plain / 1e6}


def contender(arena: Arena, settings: Mapping[str, Any]) -> Contender:
    """The program that is measured."""
    return Contender(
        "memory", "memory_tltool", settings, environment={"TLTOOL_CACHE": str(arena.cache)}
    )


def make_pictures(folder: Path, count: int) -> None:
    """Small JPEG files in ten folders; a comment makes each file another one.

    The comment is a COM segment behind the start of the image (ITU-T T.81, B.2.4.5).
    """
    generator = np.random.default_rng(0)
    pictures = []
    for number in range(DIFFERENT_PICTURES):
        shapes = Image.fromarray(generator.integers(0, 256, (6, 8, 3), np.uint8))
        written = io.BytesIO()
        size = FILE_SIZES[number % len(FILE_SIZES)]
        shapes.resize(size, Image.Resampling.BICUBIC).save(written, "JPEG", quality=85)
        pictures.append(written.getvalue())
    for number in range(NUM_CLASSES):
        (folder / f"class{number}").mkdir(parents=True)
    for number in range(count):
        picture, comment = pictures[number % len(pictures)], b"%010d" % number
        segment = b"\xff\xfe" + struct.pack(">H", 2 + len(comment)) + comment
        path = folder / f"class{number % NUM_CLASSES}" / f"{number:07}.jpg"
        path.write_bytes(picture[:2] + segment + picture[2:])


def text_of(number: int) -> str:
    """A text of a few words, different for each number."""
    words = (WORDS[number // 10**place % len(WORDS)] for place in range(WORDS_A_TEXT))
    return f"{' '.join(words)} {number}"


def describe_images(results: Mapping[int, Result]) -> str:
    """Heading, table, growth and conditions."""
    return "\n".join(
        [
            "## Memory by the number of training images",
            "",
            _table("Images", results),
            "",
            f"{_growth('image', results)} The head of EfficientNet-Lite0 at {IMAGE_SIZE_PX} px, 2 "
            "epochs, on generated JPEG files of 32 to 48 px in class folders, of which a hundredth "
            f"each validates and tests. {_conditions()}",
        ]
    )


def describe_texts(results: Mapping[int, Result]) -> str:
    """Heading, table, growth and conditions."""
    most = max(results)
    plain = results[most]["plain_mb"] * 1e6 / most
    return "\n".join(
        [
            "## Memory by the number of texts",
            "",
            _table("Texts", results),
            "",
            f"{_growth('text', results)} The texts alone take {plain:,.0f} bytes each in a list of "
            "Python. Lines of a generated table with a text and a label are read, searched for "
            "duplicates, divided, tokenized, and batched for one epoch; no model is trained. "
            f"{_conditions()}",
        ]
    )


def _table(what: str, results: Mapping[int, Result]) -> str:
    """Peaks in all, and by stage."""
    stages = list(next(iter(results.values()))["stages_mb"])
    named = map(str.capitalize, stages)
    head = [what, "Peak memory (RSS)", "Peak anonymous memory", *named, "Wall"]
    return markdown_table(head, [_row(size, result, stages) for size, result in results.items()])


def _row(size: int, result: Result, stages: Sequence[str]) -> list[str]:
    peaks = [result["peak_rss_mb"], result["peak_anonymous_mb"]]
    peaks += [result["stages_mb"][stage] for stage in stages]
    return [f"{size:,}", *(f"{peak:,.0f} MB" for peak in peaks), f"{result['wall_s']:.0f} s"]


def _growth(noun: str, results: Mapping[int, Result]) -> str:
    """By how much the peak grows, in bytes a row."""
    sizes = sorted(results)

    def each(least: int, most: int) -> float:
        grown = results[most]["peak_anonymous_mb"] - results[least]["peak_anonymous_mb"]
        return float(grown * 1e6 / (most - least))

    steps = "; ".join(
        f"{each(least, most):,.0f} from {least:,} to {most:,}" for least, most in pairwise(sizes)
    )
    return (
        f"The peak of anonymous memory, which is what the process itself holds, grows by "
        f"{each(sizes[0], sizes[-1]):,.0f} bytes for each {noun} from {sizes[0]:,} to "
        f"{sizes[-1]:,} ({steps}). By stage, the most that was held in it."
    )


def _conditions() -> str:
    return (
        f"A new process and an empty cache for each row. {tltool_versions()}, "
        f"{os.cpu_count()} CPUs."
    )


MEASURED = {
    "images": (measure_images, describe_images),
    "texts": (measure_texts, describe_texts),
}


if __name__ == "__main__":
    main()
