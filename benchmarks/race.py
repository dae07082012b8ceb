"""Races tltool against rivals in the cases of `cases.py`, and writes what came out.

A program that races says who the rivals are; this module has its command
line, runs it, and turns each case into a section of RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from cases import CASES, Arena, Case
from contest import Contender, Result, compete, say, time_table
from results import write_section

import tltool
from tltool.support.errors import TltoolError


def tltool_contenders(arena: Arena, case: Case) -> list[Contender]:
    """tltool with an empty feature cache and, where layers are frozen, again with the cache filled.

    The second run has another training seed: only what the frozen layers
    computed is the same.
    """
    settings = arena.settings(case)
    environment = {"TLTOOL_CACHE": str(arena.cache)}
    first = Contender(
        "tltool, first time",
        "tltool_finetune",
        settings,
        environment=environment,
        before=arena.forget_features,
    )
    second = Contender(
        "tltool, second time", "tltool_finetune", settings, environment=environment, seed_shift=1
    )
    return [first, second] if case.has_frozen_layers else [first]


@dataclass(frozen=True)
class Race:
    """What a program compares.

    Attributes:
        name: Of its sections in RESULTS.md.
        rival: Short name of what tltool runs against.
        rivals: The contenders beside tltool in a case, the reference first.
        check: Is called before the first round of each case, to see that the
            contenders train the same model.
        extra_references: By case, further contenders that ratios are given to.
    """

    name: str
    rival: str
    rivals: Callable[[Arena, Case], list[Contender]]
    check: Callable[[Arena, Case], object] | None = None
    extra_references: Mapping[str, tuple[str, str]] | None = None


def arguments(description: str, cases: Sequence[str]) -> argparse.ArgumentParser:
    """The command line of every training race."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument(
        "--per-class", type=int, metavar="N", help="at most N training rows of each class"
    )
    parser.add_argument("--only", nargs="+", choices=cases, default=list(cases), metavar="CASE")
    add_rounds(parser)
    return parser


def add_rounds(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=3, help="at least 3 (default 3)")
    parser.add_argument(
        "--quick", action="store_true", help="a trial: few rows, one round, nothing written"
    )


def rounds_of(options: argparse.Namespace) -> int:
    """One round for a trial, else at least three."""
    return 1 if options.quick else max(3, options.rounds)


def publish(name: str, text: str, *, quick: bool) -> None:
    """Prints a section, and puts it into RESULTS.md unless it is only a trial."""
    if quick:
        text = f"TRIAL of few rows in one round: its figures mean nothing.\n\n{text}"
    print(f"\n{text}\n", flush=True)
    if not quick:
        write_section(name, text)


def hold(race: Race, options: argparse.Namespace) -> None:
    """Runs the cases asked for; each becomes a section of its own."""
    try:
        with Arena(options.data, quick=options.quick, per_class=options.per_class) as arena:
            for name in options.only:
                say(f"{race.name}: {name}")
                publish(
                    f"{race.name} {name}",
                    _section(race, name, arena, rounds_of(options)),
                    quick=options.quick,
                )
    except TltoolError as error:
        sys.exit(f"error: {error}")


def _section(race: Race, name: str, arena: Arena, rounds: int) -> str:
    case = CASES[name]
    if race.check is not None:
        race.check(arena, case)
    rivals = race.rivals(arena, case)
    results = compete([*rivals, *tltool_contenders(arena, case)], rounds)
    references = [(rivals[0].title, race.rival)]
    if race.extra_references and name in race.extra_references:
        references.append(race.extra_references[name])
    return describe(race, case, arena.counts[case.dataset], results, references)


def describe(
    race: Race,
    case: Case,
    counts: Mapping[str, int],
    results: Mapping[str, Sequence[Result]],
    references: Sequence[tuple[str, str]],
) -> str:
    """Heading, table and conditions of one case."""
    rounds = len(next(iter(results.values())))
    libraries = ", ".join([tltool_versions(), *peer_libraries(results)])
    rows = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    return "\n".join(
        [
            f"## {race.name[0].upper()}{race.name[1:]}: {case.title}",
            "",
            time_table(results, references),
            "",
            f"From data on disk to trained weights, with validation in each epoch ({rows} rows, "
            f"batches of {case.batch_size}); imports and the test are not in the time. Medians of "
            f"{rounds} rounds, the contenders in turn in each; accuracy: mean and sample standard "
            f"deviation over the seeds of the rounds. {libraries}, {os.cpu_count()} CPUs.",
        ]
    )


def tltool_versions() -> str:
    """Versions of tltool and of what it stands on."""
    return (
        f"tltool {tltool.__version__}, TensorFlow {version('tensorflow')}, Keras {version('keras')}"
    )


def peer_libraries(results: Mapping[str, Sequence[Result]]) -> list[str]:
    """Names and versions of the libraries that contenders tell of."""
    told = (result.get("libraries") for own in results.values() for result in own)
    return sorted({libraries for libraries in told if libraries})
