"""How long the commands take that must answer at once, and that they load nothing heavy.

    python benchmarks/cli_startup.py --repeats 9

Runs `--help`, `validate` and `recipes list` in turn, each in a new process, so
that a slow moment of the machine meets them all alike; prints the median and
the range of the wall times, and puts the table into RESULTS.md. A bare Python
is measured beside them: it is what no program in Python can be quicker than.
Fails where a command loads a numerical library.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

from results import write_section

COMMANDS = {
    "python -c pass": None,
    "tltool --help": ["--help"],
    "tltool validate quickstart": ["validate", "quickstart"],
    "tltool recipes list": ["recipes", "list"],
}
HEAVY = ("tensorflow", "keras", "keras_hub", "numpy", "pandas", "sklearn", "matplotlib", "PIL")
# Runs a command as the console script does, then tells what it loaded.
PROBE = """
import json, sys
from tltool.cli.app import run
code = run(json.loads(sys.argv[1]))
print(json.dumps([code, sorted(name for name in sys.modules if "." not in name)]), file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="runs of each command, at least 7")
    repeats = max(7, parser.parse_args().repeats)
    loaded = {name: heavy_modules(words) for name, words in COMMANDS.items() if words}
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(repeats + 1):
        for name, words in COMMANDS.items():
            elapsed = timed(words)
            if turn:  # the first turn fills the caches of files and bytecode
                seconds[name].append(elapsed)
    text = table(seconds, loaded, repeats)
    print(text)
    write_section("cli startup", f"## Start of the command line\n\n{text}")
    if any(loaded.values()):
        sys.exit("a command that must be light loads a heavy library")


def timed(words: list[str] | None) -> float:
    command = ["-c", "pass"] if words is None else ["-m", "tltool", *words]
    started = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return time.perf_counter() - started


def heavy_modules(words: list[str]) -> list[str]:
    command = [sys.executable, "-c", PROBE, json.dumps(words)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    code, modules = json.loads(done.stderr.splitlines()[-1])
    if code:
        raise RuntimeError(f"tltool {' '.join(words)} exited with {code}")
    return [name for name in HEAVY if name in modules]


def table(seconds: dict[str, list[float]], loaded: dict[str, list[str]], repeats: int) -> str:
    lines = [
        f"Wall time of a new process, {repeats} runs each, the commands in turn.",
        "",
        "| Command | Median | Fastest | Slowest | Heavy libraries loaded |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for name, values in seconds.items():
        low, middle, high = min(values), statistics.median(values), max(values)
        heavy = ", ".join(loaded.get(name, [])) or "none"
        lines.append(f"| `{name}` | {middle:.2f} s | {low:.2f} s | {high:.2f} s | {heavy} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
