"""Every known fault of apps planted on real exports: is it found, and are sound apps left alone?

    python benchmarks/diagnose.py EXPORT...

The apps are those of `tests/helpers/faulty_apps.py`, which prepare images and texts by code of
their own. Sound apps say what the model says, but for what other runtimes change: 25 an export,
whose answers are off by up to 2e-6, or of 8 bits by up to a step of 1/256, number by number.
Prints a Markdown table for each export folder: what was named first, or that it does not show on
the golden examples; `--write` puts them into RESULTS.md. Exits with 1 where something was named
wrongly.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import faulty_apps as apps
from results import table_row, write_section

from tltool.export.diagnosis.diagnosis import Diagnosis, Examiner

SOUND = 25
OFF = {"int8": 1 / 256, "dynamic_int8": 1e-4}
ARITHMETIC = 2e-6
WRONG = "**wrong**"
MISREAD: dict[str, Callable[[Any], Any]] = {
    "softmax_missing": lambda p: np.log(np.maximum(p, 1e-30)) + 3,
    "softmax_twice": apps.softmax,
    "sigmoid_on_top": lambda p: 1 / (1 + np.exp(-p)),
    "percent": lambda p: 100 * p,
    "label_order": lambda p: np.roll(p, 1, axis=1),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exports", nargs="+", type=Path, help="LiteRT export folders")
    parser.add_argument("--write", action="store_true", help="into RESULTS.md")
    arguments = parser.parse_args()
    lines = ["## Faults of apps that are planted on exports, and what is named first"]
    for folder in arguments.exports:
        contract = json.loads((folder / "contract.json").read_text(encoding="utf-8"))
        classes = len(contract["task"]["labels"])
        lines += [
            "",
            f"### {contract['task']['name']}, {classes} classes, {contract['precision']}",
            "",
            table_row(["Planted", "Difference", "Named first", ""]),
            table_row(["---", "---:", "---", "---"]),
        ]
        for row in measured(folder, contract["precision"]):
            lines.append(table_row(row))
            print(lines[-1], file=sys.stderr, flush=True)
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        write_section("diagnosis", text)
    sys.exit(WRONG in text)


def measured(folder: Path, precision: str) -> Iterator[list[str]]:
    """A row for each fault, and one for all sound apps together."""
    call, examiner = apps.litert(folder), Examiner(folder)
    image = (folder / "golden").is_dir()
    kind = apps.ImageApp if image else apps.TextApp

    def said(read: Callable[[Any], Any] = lambda p: p, **faults: Any) -> Diagnosis:
        written = apps.answers(folder, call, kind(folder, **faults), read=read)
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "answers.json"
            file.write_text(json.dumps(written))
            return examiner(file)

    planted = apps.IMAGE_FAULTS if image else apps.TEXT_FAULTS
    for name, (key, faults) in planted.items():
        yield told(name, key, said(**faults))
    for key, read in MISREAD.items():
        yield told(key.replace("_", " "), key, said(read))
    found = [said(off_by(precision, seed)) for seed in range(SOUND)]
    named = sum(one.found.verdict != "sound" for one in found)
    largest = max(one.found.right.largest for one in found)
    yield [f"{SOUND} sound apps", f"{largest:.1g}", f"{named} named", WRONG if named else ""]


def off_by(precision: str, seed: int) -> Callable[[Any], Any]:
    """Answers as another runtime gives them."""
    rng, most = np.random.default_rng(seed), OFF.get(precision, ARITHMETIC)
    return lambda p: p + rng.uniform(-most, most, p.shape)


def told(name: str, key: str, found: Diagnosis) -> list[str]:
    """A row that says whether the fault was named first, or does not show."""
    best = found.found.best[0].keys if found.found.verdict in ("fault", "several") else ()
    hidden = {one.faults[0].key for one in found.found.hidden}
    small = found.found.right.largest <= found.limits.arithmetic
    shows = not (found.sound and (small or key in hidden))
    right = best == (key,) if shows else True
    verdict = ", ".join(best) or found.found.verdict
    remark = "" if shows else "does not show"
    return [name, f"{found.found.right.largest:.2g}", verdict, remark if right else WRONG]


if __name__ == "__main__":
    main()
