"""Small faults, put into the core one at a time, that its tests must notice. Linux only.

    make mutate                                   # a sample of every module in mutants.yaml
    make mutate ARGUMENTS="splits labels --all"   # every mutant of two modules

A mutant is killed when a test of its module fails, or all of them take far longer than without it.
Mutants are written into a copy of the checkout, and tested in forks of one process.
"""

from __future__ import annotations

import argparse
import difflib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

# What most tests import is imported once, before the forks.
import pandas  # noqa: F401
import pydantic  # noqa: F401
import pytest
import sklearn.linear_model
import sklearn.metrics  # noqa: F401
import yaml
from contest import say
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator
from forks import Forks
from leaving_out import left_out, meaning
from results import write_section

ROOT = Path(__file__).parents[1]
MODULES: dict[str, Any] = yaml.safe_load((ROOT / "benchmarks" / "mutants.yaml").read_text())
REPORT = ROOT / "benchmarks" / "MUTANTS.md"
HEAD = "| Module | Mutants | Tried | Killed | Share |\n| --- | --- | --- | --- | --- |\n"
# One replacement where Cosmic Ray has many, most of which fail at once.
SWAPPED = {
    "Binary": "Add_Sub Sub_Add Mul_Div Div_Mul FloorDiv_Mul Mod_Mul Pow_Mul BitOr_BitAnd "
    "BitAnd_BitOr",
    "Comparison": "Eq_NotEq NotEq_Eq Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt "
    "Is_IsNot IsNot_Is",
    "Unary": "Operator_Delete_USub Operator_Delete_Not Operator_Delete_Invert",
}
OPERATORS = [
    "AddNot", "ExceptionReplacer", "NumberReplacer", "RemoveDecorator", "ReplaceAndWithOr",
    "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ReplaceFalseWithTrue",
    "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ZeroIterationForLoop",
    *(f"ReplaceBinaryOperator_{name}" for name in SWAPPED["Binary"].split()),
    *(f"ReplaceComparisonOperator_{name}" for name in SWAPPED["Comparison"].split()),
    *(f"ReplaceUnary{name}" for name in SWAPPED["Unary"].split()),
]  # fmt: skip


def mutants(source: str) -> list[str]:
    """The source with one fault each, none twice, none that changes words and types alone."""
    found: dict[str, str] = {meaning(source): source}
    for code in (*_swapped(source), *left_out(source)):
        with suppress(SyntaxError):
            found.setdefault(meaning(code), code)
    return list(found.values())[1:]


def _swapped(source: str) -> Iterator[str]:
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        positions = (
            at for node in ast_nodes(get_ast(source)) for at in operator.mutation_positions(node)
        )
        for occurrence, _ in enumerate(positions):
            yield mutate_code(source, operator, occurrence)


class Copy:
    """A copy of the checkout, in which mutants are tested."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._forks, self._moments = folder / "copy", Forks(folder), count(10**9)
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for name in names.split("\0"):
            if (ROOT / name).is_file():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.folder / name)

    def write(self, name: str, code: str) -> None:
        """Writes a module, with a time of its own so that no stale bytecode is taken for it."""
        (self.folder / name).write_text(code)
        os.utime(self.folder / name, (moment := next(self._moments), moment))

    def passes(self, module: dict[str, Any], patience: float) -> bool:
        """Whether the tests of a module pass."""
        child = self._forks.start(lambda: self._test(module))
        code = self._forks.wait(child, patience)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        return code == 0

    def _test(self, module: dict[str, Any]) -> int:
        for name in [name for name in sys.modules if name.partition(".")[0] == "tltool"]:
            del sys.modules[name]
        os.chdir(self.folder)
        os.environ["PYTHONPATH"] = sys.path[0] = str(self.folder)
        marks = ["-m", "not slow and not weights and not data", "-k", module.get("only", "")]
        return pytest.main(["-x", "-p", "no:cacheprovider", *marks, *module["tests"]])


def test_module(copy: Copy, name: str, sample: int | None, seed: int) -> str:
    """Tests the mutants of a module, writes its section, returns its row of the table."""
    module = MODULES[name]
    there = [(f, m) for f in module["files"] for m in mutants((ROOT / f).read_text())]
    tried = random.Random(f"{seed} {name}").sample(there, min(sample or len(there), len(there)))
    began = time.monotonic()
    if not copy.passes(module, 3600):
        raise SystemExit(f"The tests of {name} fail without any mutant.")
    patience = 30 + 10 * (time.monotonic() - began)
    whys = {(known["was"], known["now"]): known["why"] for known in module.get("survivors", [])}
    lines, killed = [], 0
    for number, (file, code) in enumerate(tried, start=1):
        source = (ROOT / file).read_text()
        copy.write(file, code)
        survived = copy.passes(module, patience)
        copy.write(file, source)
        killed += not survived
        if survived:
            line, was, now = difference(source, code)
            why = whys.get((was, now), "**not explained**")
            lines.append(f"- `{file}:{line}`: `{was}` → `{now or 'nothing'}`: {why}")
            say(f"{name} {number}/{len(tried)} {lines[-1]}")
    share = f"{killed / len(tried):.0%}"
    text = f"## {name}\n\nBy the tests of {', '.join(module['tests'])}.\n\n" + "\n".join(lines)
    write_section(f"mutants {name}", text, REPORT)
    return f"| {name} | {len(there)} | {len(tried)} | {killed} | {share} |"


def difference(source: str, code: str) -> tuple[int, str, str]:
    """The first changed line's number, what the changed lines were and what they are."""
    before, after = source.splitlines(), code.splitlines()
    changes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    _, i, j, k, m = next(change for change in changes if change[0] != "equal")
    was, now = (" ".join(line.strip() for line in part) for part in (before[i:j], after[k:m]))
    return i + 1, was, now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=", ".join(MODULES))
    parser.add_argument(
        "--sample", type=int, help="mutants of each module, instead of its own number"
    )
    parser.add_argument("--all", action="store_true", help="try every mutant")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    given = parser.parse_args()
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "1"
    with tempfile.TemporaryDirectory(prefix="tltool-mutants-") as folder:
        copy = Copy(Path(folder))
        for name in given.modules or MODULES:
            sample = None if given.all else given.sample or MODULES[name]["sample"]
            row = test_module(copy, name, sample, given.seed)
            say(row)
            known = REPORT.read_text() if REPORT.is_file() else ""
            rows = {
                line.split()[1]: line for line in re.findall(r"^\| [a-z_]\S* .*\|$", known, re.M)
            }
            rows[name] = row
            table = HEAD + "\n".join(rows[name] for name in MODULES if name in rows)
            write_section("mutants", table, REPORT)


if __name__ == "__main__":
    main()
