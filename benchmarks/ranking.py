"""Ranks text encoders whose order is known: a whole one, its first blocks, an untrained one.

    python benchmarks/ranking.py --data DIR

On the published training split of banking77, or on fewer of its rows. Prints a
Markdown table and puts it into RESULTS.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from results import write_section
from shallow_bert import write_first_blocks

import tltool
from tltool.features.store import FeatureStore
from tltool.recipe.recipe import Recipe
from tltool.search.ranking import RankedBackbone
from tltool.support.errors import TltoolError
from tltool.support.progress import terminal_progress

RECIPE = Path(__file__).parent / "recipes" / "banking77.yaml"
BACKBONE = "all-minilm-l6-v2"
BLOCKS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--rows", type=int, help="rows of the training split (default: all)")
    arguments = parser.parse_args()
    try:
        text = measure(arguments.data, arguments.rows)
    except TltoolError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    print(text, flush=True)
    write_section("ranking banking77", text)


def measure(data: Path, rows: int | None) -> str:
    """The Markdown section."""
    folder = data / "banking77"
    overrides = [f"data.train={folder / 'train.csv'}", f"data.test={folder / 'test.csv'}"]
    if rows is not None:
        overrides.append(f"data.max_examples={rows}")
    recipe = Recipe.load(RECIPE, overrides)
    with tempfile.TemporaryDirectory() as place:
        shallow = str(write_first_blocks(Path(place) / "first_blocks", BLOCKS))
        names = {
            BACKBONE: f"{BACKBONE}, all 6 blocks",
            shallow: f"{BACKBONE}, its first {BLOCKS} blocks",
            f"untrained:{BACKBONE}": f"untrained:{BACKBONE}",
        }
        store = FeatureStore(Path(place) / "features")
        started = time.perf_counter()
        # The expected best one comes last, so that the order is the ranking's own.
        results = tltool.rank(recipe, list(names)[::-1], progress=terminal_progress(), store=store)
        first = time.perf_counter() - started
        started = time.perf_counter()
        tltool.rank(recipe, list(names)[::-1], store=store)
        return section(results, names, first, time.perf_counter() - started)


def section(
    results: list[RankedBackbone], names: dict[str, str], first: float, again: float
) -> str:
    """Title, table and conditions."""
    rows = [
        f"| {place} | {names[one.backbone]} | {one.score:.3f} ± {one.std:.3f} | {one.logme:.3f} "
        f"| {(one.parameters or 0) / 1e6:.1f} | {one.size_mb:.0f} "
        f"| {one.examples_per_second:.0f} | {one.setting} |"
        for place, one in enumerate(results, start=1)
    ]
    return "\n".join(
        [
            "## Ranking of text encoders on banking77",
            "",
            "`tltool rank` on rows of the published training split; the test rows are not used.",
            "",
            "| Place | Backbone | Probe accuracy | LogME | Million weights | MB | Examples/s "
            "| Probe |",
            "| ---: | --- | ---: | ---: | ---: | ---: | ---: | --- |",
            *rows,
            "",
            f"The whole ranking took {first:.0f} s, and {again:.0f} s again with the features "
            f"stored. tltool {tltool.__version__}, TensorFlow {version('tensorflow')}, "
            f"Keras {version('keras')}, on CPUs that did other work too.",
        ]
    )


if __name__ == "__main__":
    main()
