"""Runs contenders against each other: each in a process of its own, in turn, round after round.

A contender is a program in contenders/ that takes its settings as JSON on the
command line and prints its result as the last line of stdout. In each round
every contender runs once, so that a slow hour of the machine meets them all;
what is told is the median over the rounds.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).parent / "contenders"
Result = dict[str, Any]


@dataclass(frozen=True)
class Contender:
    """One of those that are compared.

    Attributes:
        title: What the table calls it.
        program: Its file in contenders/, without the suffix.
        settings: Passed on; `seed` is added in each round.
        python: Interpreter of the environment that holds its libraries.
        environment: Variables set for its process.
        before: Is called before each of its runs.
        seed_shift: Added to the number of the round to make the seed.
    """

    title: str
    program: str
    settings: Mapping[str, Any]
    python: Path = Path(sys.executable)
    environment: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], object] | None = None
    seed_shift: int = 0


def compete(contenders: Sequence[Contender], rounds: int) -> dict[str, list[Result]]:
    """The results of every contender, one for each round."""
    results: dict[str, list[Result]] = {contender.title: [] for contender in contenders}
    for number in range(rounds):
        for contender in contenders:
            if contender.before is not None:
                contender.before()
            seed = (number + contender.seed_shift) % rounds
            result = run(contender, seed=seed)
            results[contender.title].append(result)
            say(f"round {number + 1}/{rounds}  {contender.title}: {_short(result)}")
    return results


def run(contender: Contender, **settings: Any) -> Result:
    """One run of one contender.

    Raises:
        RuntimeError: It failed; what it said is on stderr.
    """
    program = PROGRAMS / f"{contender.program}.py"
    text = json.dumps({**contender.settings, **settings})
    done = subprocess.run(
        [str(contender.python), str(program), "--settings", text],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **contender.environment},
    )
    if done.returncode:
        raise RuntimeError(f"{program.name} ended with code {done.returncode}: {done.stdout}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def say(text: str) -> None:
    """Talk, on stderr."""
    print(text, file=sys.stderr, flush=True)


def _short(result: Result) -> str:
    numbers = {key: value for key, value in result.items() if isinstance(value, int | float)}
    return ", ".join(f"{key} {value:.4g}" for key, value in numbers.items())


def median(results: Sequence[Result], key: str) -> float:
    """The median of one value over the rounds."""
    return statistics.median(result[key] for result in results)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers."""
    align = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, align, *rows])


def time_table(
    results: Mapping[str, Sequence[Result]], references: Sequence[tuple[str, str]]
) -> str:
    """Times, ratios and test accuracy of training runs.

    Args:
        results: Of `compete`.
        references: Pairs of a contender's title and the short name that the
            columns of the ratios to it bear.
    """
    head = ["Contender", "Wall", "Range", "User CPU"]
    head += [f"{kind} ÷ {short}" for _, short in references for kind in ("Wall", "CPU")]
    head += ["Test accuracy"]
    return markdown_table(head, [_time_row(title, results, references) for title in results])


def _time_row(
    title: str, results: Mapping[str, Sequence[Result]], references: Sequence[tuple[str, str]]
) -> list[str]:
    own = results[title]
    walls = [result["wall_s"] for result in own]
    row = [title, f"{median(own, 'wall_s'):.1f} s", f"{min(walls):.1f}–{max(walls):.1f} s"]
    row += [f"{median(own, 'user_cpu_s'):.1f} s"]
    for reference, _ in references:
        keys = ("wall_s", "user_cpu_s")
        row += [f"{median(own, key) / median(results[reference], key):.2f}" for key in keys]
    return [*row, mean_and_deviation([result["test_accuracy"] for result in own])]


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean and sample standard deviation, as 0.941 ± 0.001."""
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.3f}{spread}"
