"""Which runtimes of the last years run which exports, as a table in RESULTS.md.

    make runtimes

Tiny models of every task in every format and precision are run in each runtime that
`make test-runtimes` installs, and compared with their golden examples. Fails where one differs.
"""

from __future__ import annotations

import sys
import tempfile
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

import runtime_zoo
from contest import markdown_table
from results import write_section

from tltool.export.contract import Contract

NOTE = """\
Tiny models of every task, exported as recipes do it, in runtimes of the last years: the largest
difference of an answer from the golden examples, which this version's own runtime gave. Of numbers
it counts standard deviations. `Needs` is what the export says of itself. TensorFlow
2.17 itself computes `dynamic_int8` of a free length wrongly: from files made for it alone too."""


def main() -> None:
    runtimes = runtime_zoo.installed()
    if not runtimes:
        sys.exit("error: no runtimes are installed: run `make runtimes`")
    with tempfile.TemporaryDirectory() as place:
        folders = runtime_zoo.make_exports(Path(place))
        cells: dict[Path, dict[str, str]] = defaultdict(dict)
        wrong = []
        for runtime in runtimes:
            asked = runtime_zoo.taken_by(runtime, folders)
            for folder, said in zip(asked, runtime_zoo.ask(runtime, asked), strict=True):
                cells[folder][runtime] = cell(said)
                if not runtime_zoo.passes(runtime, folder, said):
                    wrong.append(f"{folder.parent.name}, {folder.name}: {said}")
        text = "\n\n".join(
            ["## Exports in runtimes of the last years", NOTE, *tables(runtimes, folders, cells)]
        )
    print(text)
    write_section("runtimes", text)
    if wrong:
        sys.exit("error: not as the golden examples:\n" + "\n".join(wrong))


def cell(said: dict[str, object]) -> str:
    return f"{said['difference']:.0e}" if "difference" in said else f"FAILS: {said['error']}"


def tables(
    runtimes: list[str], folders: list[Path], cells: dict[Path, dict[str, str]]
) -> list[str]:
    """One for each family, with a column for each version."""
    found = []
    for family in runtime_zoo.FAMILIES:
        columns = [name for name in runtimes if runtime_zoo.family(name) == family]
        taken = [f for f in folders if columns and set(columns) & cells[f].keys()]
        if not taken:
            continue
        heads = ["Task", "Export", "Needs", *(name.rpartition("-")[2] for name in columns)]
        rows = [
            [
                folder.parent.name,
                f"`{folder.name}`",
                oldest(folder),
                *(cells[folder].get(name, "–") for name in columns),
            ]
            for folder in taken
        ]
        found += [f"### {family}", markdown_table(heads, rows)]
    return found


def oldest(folder: Path) -> str:
    runtime = Contract.read(folder).runtime
    return str(runtime).removesuffix(" or newer") if runtime else "not known"


if __name__ == "__main__":
    main()
