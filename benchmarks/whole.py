"""What a user waits for: from the command to the checked files, beside another checkout.

    python benchmarks/whole.py --data DIR --against ../tltool-before --rounds 3 --core 1

Runs `tltool finetune` of the quickstart and of `my_images` on 210 photographs (150 to test;
the first ones of each digit in `DIR/sign_digits`), each in a new process, twice: the first run
finds the pretrained model and the texts in the cache and nothing else, the second one what the
first left there. The checkouts take turns, and who begins changes with the round. Wall time and
the seconds of the processors, those of child processes among them; on a machine that is busy
otherwise only the latter say something, with `--core` all of them on one core.
"""

from __future__ import annotations

import argparse
import compileall
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from contest import markdown_table, say
from race import publish, rounds_of, tltool_versions

from tltool.support.files import cache_dir

HERE = Path(__file__).resolve().parents[1]
# What is downloaded once, whatever is trained.
_FETCHED = ("models", "presets", "samples", "wheels")
_PHOTOGRAPHS = {"train": 21, "test": 15}  # of each digit
_RUNS = ("first", "second")
CASES = {
    "quickstart": ["quickstart"],
    "photographs": [
        "my_images",
        "data.train={photographs}/train",
        "data.test={photographs}/test",
    ],
}
_EPOCHS = ["schedule.0.epochs=1", "schedule.1.epochs=1"]


@dataclass(frozen=True)
class Seconds:
    """What one run took.

    Attributes:
        wall: From the command to its end.
        cpu: Of all processors, in user and system mode, child processes included.
    """

    wall: float
    cpu: float


Runs = Mapping[str, Sequence[Seconds]]
"""Of one checkout and case, one of each round: of first runs, and of second ones."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds sign_digits")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout of tltool")
    parser.add_argument("--rounds", type=int, default=3, help="at least 3 (default 3)")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--core", type=int, help="run everything on this core alone")
    parser.add_argument(
        "--quick", action="store_true", help="a trial: one round, one epoch, nothing written"
    )
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    checkouts = {"this checkout": HERE}
    if options.against is not None:
        checkouts["the other"] = options.against.resolve()
    for folder in checkouts.values():
        prepare(folder)
    with tempfile.TemporaryDirectory(prefix="tltool-whole.") as place:
        photographs = lay_out(options.data / "sign_digits", Path(place) / "photographs")
        for case in options.only:
            words = [*CASES[case], *_EPOCHS] if options.quick else CASES[case]
            words = [word.format(photographs=photographs) for word in words]
            runs = compete(checkouts, words, Path(place), rounds_of(options))
            text = section(case, runs, options.core)
            publish(f"whole {case}", text, quick=options.quick)


def prepare(checkout: Path) -> None:
    """Compiles a checkout's modules, as an installation does, and sees that it is what runs.

    Raises:
        SystemExit: It is no checkout.
    """
    compileall.compile_dir(checkout / "tltool", quiet=2)
    found = subprocess.run(
        [sys.executable, "-c", "import tltool; print(tltool.__file__)"],
        env=environment(checkout),
        capture_output=True,
        text=True,
        check=False,
        cwd=tempfile.gettempdir(),
    ).stdout.strip()
    if not found or not Path(found).is_relative_to(checkout):
        sys.exit(f"error: {checkout} is no checkout of tltool: {found or 'nothing'} is imported")


def environment(checkout: Path, **variables: str) -> dict[str, str]:
    """For processes of a checkout."""
    return {**os.environ, "PYTHONPATH": str(checkout), "TF_CPP_MIN_LOG_LEVEL": "3", **variables}


def lay_out(data: Path, target: Path) -> Path:
    """Links the first photographs of each class, in the order of their names.

    Args:
        data: Holds `train/CLASS/*` and `test/CLASS/*`.
        target: Gets the same folders.
    """
    for split, count in _PHOTOGRAPHS.items():
        for folder in sorted((data / split).iterdir()):
            (own := target / split / folder.name).mkdir(parents=True)
            for file in sorted(folder.iterdir())[:count]:
                (own / file.name).symlink_to(file.resolve())
    return target


def compete(
    checkouts: Mapping[str, Path], words: Sequence[str], place: Path, rounds: int
) -> dict[str, dict[str, list[Seconds]]]:
    """Both runs of each checkout in each round, the first of one round the last of the next."""
    found: dict[str, dict[str, list[Seconds]]] = {
        title: {run: [] for run in _RUNS} for title in checkouts
    }
    order = list(checkouts)
    for number in range(rounds):
        for title in order:
            with tempfile.TemporaryDirectory(dir=place) as own:
                cache = new_cache(Path(own) / "cache")
                for run in _RUNS:
                    took = timed(checkouts[title], words, cache, Path(own) / run)
                    found[title][run].append(took)
                    say(f"round {number + 1}/{rounds}  {title}, {run} run: "
                        f"{took.wall:.1f} s, {took.cpu:.1f} s of processors")  # fmt: skip
        order.reverse()
    return found


def new_cache(folder: Path) -> Path:
    """A cache folder that holds what was downloaded, and nothing that was computed."""
    folder.mkdir()
    for name in _FETCHED:
        shared = cache_dir().absolute() / name
        shared.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(shared, target_is_directory=True)
    return folder


def timed(checkout: Path, words: Sequence[str], cache: Path, output: Path) -> Seconds:
    """One `tltool finetune`.

    Raises:
        SystemExit: It failed; its last words are told.
    """
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "tltool", "finetune", *words, f"output_dir={output}"]
    done = subprocess.run(
        command,
        env=environment(checkout, TLTOOL_CACHE=str(cache)),
        capture_output=True,
        text=True,
        check=False,
        cwd=cache.parent,
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"error: {' '.join(command)} ended with {done.returncode}\n{done.stderr[-2000:]}")
    shutil.rmtree(output)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Seconds(wall, cpu)


def section(case: str, runs: Mapping[str, Runs], core: int | None) -> str:
    """Heading, table and conditions of one case."""
    rounds = len(next(iter(runs.values()))["first"])
    cores = f"one of {os.cpu_count()} CPUs" if core is not None else f"{os.cpu_count()} CPUs"
    return "\n".join(
        [
            f"## From the command to the checked files: {case}",
            "",
            table(runs),
            "",
            f"`tltool finetune {' '.join(CASES[case])}`, imports, audit, training, evaluation, "
            "exports and their check included. The first run finds nothing computed in the cache, "
            f"the second what the first left. Medians of {rounds} rounds, the checkouts in turn; "
            f"ratios: the median of those of the rounds. {tltool_versions()}, {cores}.",
        ]
    )


def table(runs: Mapping[str, Runs]) -> str:
    """Medians of each checkout, and where there are two the ratios of the first to the other."""
    head = ["Checkout", *(f"{run} run, {kind}" for run in _RUNS for kind in ("wall", "CPU"))]
    rows = [[title, *map(_seconds, _columns(own))] for title, own in runs.items()]
    if len(runs) == 2:
        own, other = map(_columns, runs.values())
        rows.append(["ratio", *map(_ratio, own, other)])
    return markdown_table(head, rows)


def _columns(runs: Runs) -> list[list[float]]:
    """The values of the rounds for each column."""
    columns = []
    for run in _RUNS:
        columns += [[one.wall for one in runs[run]], [one.cpu for one in runs[run]]]
    return columns


def _seconds(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f} s"


def _ratio(own: Sequence[float], other: Sequence[float]) -> str:
    return f"{statistics.median(a / b for a, b in zip(own, other, strict=True)):.2f}"


if __name__ == "__main__":
    main()
