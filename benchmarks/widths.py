"""How many widths batches of texts have, and how much of what is computed is padding.

    python benchmarks/widths.py TABLE.csv --column text [--max-length 64]

Compares the widths that tltool pads to, those of `training.static_shapes`, and others,
for batches of 32 texts of a table, tokenized for all-minilm-l6-v2.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tltool.backbones.load import load_backbone
from tltool.data.batches.buckets import bucket_sizes
from tltool.data.batches.ordering import make_ordering
from tltool.data.examples import Examples
from tltool.data.texts.tokenizing import tokens_of

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--column", default="text")
    parser.add_argument("--max-length", type=int, default=64)
    options = parser.parse_args()
    with options.table.open(newline="", encoding="utf-8") as file:
        texts = [row[options.column] for row in csv.DictReader(file)]
    lengths = tokens_in(texts, options.max_length)
    print(f"{len(texts):,} texts of {lengths.mean():.1f} tokens, cut at {options.max_length}")
    for name, sizes in choices(options.max_length).items():
        widths, computed = measure(lengths, sizes, options.max_length)
        print(f"{name:26} {widths:2} widths, {computed:.2f} tokens computed for each real one")


def choices(max_length: int) -> dict[str, Sequence[int]]:
    powers = [size for size in (8, 16, 32, 64, 128, 256) if size < max_length]
    return {
        "as usual": bucket_sizes(max_length),
        "training.static_shapes": bucket_sizes(max_length, few=True),
        "powers of two from 8 on": (*powers, max_length),
        "powers of two from 32 on": (*(size for size in powers if size >= 32), max_length),
        "one width": (max_length,),
    }


def tokens_in(texts: Sequence[str], max_length: int) -> np.ndarray:
    backbone = load_backbone("all-minilm-l6-v2", weights="random", max_length=max_length)
    names = [f"row {number}" for number in range(len(texts))]
    examples = Examples("text", list(texts), names, ["train"] * len(texts), names)
    return np.minimum(tokens_of(examples, backbone.preprocessing).lengths, max_length)


def measure(lengths: np.ndarray, sizes: Sequence[int], max_length: int) -> tuple[int, float]:
    """How many widths an epoch has, and tokens computed for each real one."""
    usual, given = (np.array(kind) for kind in (bucket_sizes(max_length), sizes))
    # Batches have the same rows whatever they are padded to.
    cost = usual[np.searchsorted(usual, lengths)]
    rows, counts = make_ordering(len(lengths), batch_size=BATCH, widths=cost).shuffled([0, 0])
    batches = np.split(rows.numpy(), np.cumsum(counts.numpy())[:-1])
    widths = [int(given[np.searchsorted(given, lengths[batch].max())]) for batch in batches]
    return len(set(widths)), float(sum(BATCH * width for width in widths) / lengths.sum())


if __name__ == "__main__":
    main()
