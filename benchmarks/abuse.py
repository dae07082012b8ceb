"""What tltool makes of abuse. Linux only; every trial is a process of its own.

    python benchmarks/abuse.py signals --trials 60 --seed 0
    python benchmarks/abuse.py inputs --seed 0

`signals`: a tiny run gets SIGINT, SIGTERM, SIGHUP, SIGKILL or two signals at a random moment. It
must leave a run that can be used or that says what it is, and no process, lock or temporary file;
what SIGKILL leaves, the next run must remove.

`inputs`: recipes, overrides, tables, pictures, models and requests with something changed. Each
must be accepted or refused in words, in time and within a bound of memory; before them, each is
given as it is, and must be accepted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import yaml
from contest import markdown_table, say
from forks import Forks
from hostile_inputs import KINDS as INPUTS
from hostile_inputs import give_all
from hostile_inputs import table as outcomes
from results import write_section

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

KINDS = ("INT", "TERM", "HUP", "KILL", "two")
CODES = {"INT": 130, "TERM": 143, "HUP": 129, "KILL": -9}
USABLE, NO_MODEL = "usable", "no model"
# A process that watches its parent looks once a second.
LINGERING_SECONDS = 5.0


@dataclass(frozen=True)
class Trial:
    """One run that was disturbed.

    Attributes:
        kind: Of the disturbance.
        after: Seconds from the start.
        signals: What was sent.
        code: Exit code; negative where a signal ended the process.
        status: Of the run, or "none" before its folder was made.
        run: Its number, or empty.
        faults: What is wrong.
        use: What `tltool predict` said of it, in short.
    """

    kind: str
    after: float
    signals: tuple[str, ...]
    code: int
    status: str
    run: str
    faults: tuple[str, ...]
    use: str = ""

    def __str__(self) -> str:
        faults = "".join(f"\n    FAULT: {fault}" for fault in self.faults)
        return (
            f"{' '.join(self.signals):8} after {self.after:5.1f} s: exit code {self.code:4}, "
            f"{self.status}, {self.use or '-'}{faults}"
        )

    def checked(self, said: dict[str, str]) -> Trial:
        """With what `predict` says of its run."""
        use = said.get(self.run, "") if self.run else ""
        wrong = () if use in {"", USABLE, NO_MODEL} else (use,)
        return replace(self, use=use, faults=self.faults + wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("signals", help="signals at random moments of a tiny run")
    command.add_argument("--trials", type=int, default=60)
    command.add_argument("--seed", type=int, default=0)
    command.set_defaults(run=signals)
    command = commands.add_parser("inputs", help="mutated recipes, data, models and requests")
    command.add_argument("--kinds", nargs="+", choices=INPUTS, default=list(INPUTS))
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--count", type=int, help="of each kind, in place of the usual number")
    command.set_defaults(run=inputs)
    options = parser.parse_args()
    sys.exit(options.run(options))


def signals(options: argparse.Namespace) -> int:
    """Sends signals; returns how many trials had faults."""
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="abuse-") as folder:
        bench = Bench(Path(folder))
        bench.finetune()  # the first one computes features that the others find
        lengths = []
        for export in (True, False):
            started = time.perf_counter()
            code = bench.finetune(export=export)
            lengths.append(time.perf_counter() - started)
            say(f"an undisturbed run: {lengths[-1]:.1f} s, exit code {code}")
            if code:
                say(bench.last_words(0))
                return 1
        trials = []
        for number in range(options.trials):
            kind = KINDS[number % len(KINDS)]
            # Every second one ends with its training: more signals meet that then.
            trials.append(
                disturbed(bench, kind, chance, lengths[number % 2], export=not number % 2)
            )
            say(f"{number + 1:3} {trials[-1]}")
        code = bench.finetune()
        left = bench.leftovers()
        usable = bench.predict_all()
        trials = [trial.checked(usable) for trial in trials]
        for number, trial in enumerate(trials, start=1):
            say(f"{number:3} {trial}")
        say(f"\na last run, undisturbed: exit code {code}, left behind: {left or 'nothing'}")
    say("\n" + table(trials))
    return sum(bool(trial.faults) for trial in trials) + bool(code) + bool(left)


def inputs(options: argparse.Namespace) -> int:
    """Gives inputs; returns how many ended in a fault. Whole, it is written to RESULTS.md."""
    counts = {kind: options.count or INPUTS[kind].count for kind in options.kinds}
    with tempfile.TemporaryDirectory(prefix="abuse-") as folder:
        found = give_all(Path(folder), counts, options.seed)
    text = outcomes(found)
    print(text)
    if options.count is None and options.kinds == list(INPUTS):
        write_section("abuse inputs", f"## Mutated inputs\n\nSeed {options.seed}.\n\n{text}")
    return min(sum(given.is_fault for given in found), 99)


def disturbed(
    bench: Bench, kind: str, chance: random.Random, length: float, *, export: bool
) -> Trial:
    """Starts a run, sends signals, and looks at what is left."""
    after = chance.uniform(0.0, length)
    gap = chance.choice((0.0, 0.01, 0.1, 0.5))
    sent = tuple(chance.choices(KINDS[:3], k=2)) if kind == "two" else (kind,)
    before, marks = set(bench.runs()), set(bench.leftovers())
    child = bench.finetune(wait=False, export=export)
    time.sleep(after)
    for number, name in enumerate(sent):
        if number:
            time.sleep(gap)
        if bench.is_running(child):
            os.kill(child, getattr(signal, f"SIG{name}"))
    code = bench.wait(child)
    faults = []
    if code not in {
        0,
        *(CODES[name] for name in sent),
        *(-getattr(signal, f"SIG{name}") for name in sent),
    }:
        faults.append(f"exit code {code}: {bench.last_words(child)}")
    if alive := bench.processes_of(child):
        faults.append(f"processes that did not end: {alive}")
    # A second signal may end the cleaning up.
    if kind not in {"KILL", "two"} and (left := set(bench.leftovers()) - marks):
        faults.append(f"files left: {sorted(left)}")
    new = sorted(set(bench.runs()) - before)
    status = "none"
    for run in new:
        status = bench.status(run)
        if status not in {"finished", "interrupted", "died"}:
            faults.append(f"{run} says {status}")
    if code == 0 and status != "finished":
        faults.append(f"exit code 0, but {status}")
    return Trial(kind, after, sent, code, status, new[-1].name if new else "", tuple(faults))


def table(trials: list[Trial]) -> str:
    """The outcomes, a row for each kind of disturbance."""
    rows = []
    for kind in KINDS:
        own = [trial for trial in trials if trial.kind == kind]
        statuses = Counter(t.status for t in own)
        rows.append(
            [
                "two signals" if kind == "two" else f"SIG{kind}",
                str(len(own)),
                *(str(statuses[s]) for s in ("none", "interrupted", "died", "finished")),
                str(sum(t.use == USABLE for t in own)),
                str(sum(t.use == NO_MODEL for t in own)),
                str(sum(bool(t.faults) for t in own)),
            ]
        )
    header = ["signal", "trials", "no run yet", "interrupted", "died", "finished",
              "usable model", "marked, no model", "faults"]  # fmt: skip
    return markdown_table(header, rows)


class Bench(Forks):
    """A folder with data, a tiny pretrained model and a recipe; commands run in forks."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        import tltool.export.formats.litert.export
        import tltool.finetuning.conclusion
        import tltool.finetuning.job
        import tltool.report.plots
        import tltool.training.trainer  # noqa: F401

        self.wait(self.start(self._write))

    def _write(self) -> int:
        from presets import write_text_preset, write_texts

        write_text_preset(self.root / "bert")
        recipe = {
            "task": "text-classification",
            "name": "abused",
            "data": {
                "train": str(write_texts(self.root / "texts.csv")),
                "validation_fraction": 0.2,
                "test_fraction": 0.2,
            },
            "backbone": str(self.root / "bert"),
            "schedule": [
                {"train": "head", "epochs": 2, "learning_rate": 0.01},
                {"train": "all", "epochs": 4, "learning_rate": 0.005},
            ],
            "training": {"batch_size": 8},
            "evaluation": {"baseline": False},
            "export": {"formats": ["litert"]},
            "output_dir": str(self.root / "runs"),
        }
        (self.root / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        return 0

    def finetune(self, *, wait: bool = True, export: bool = True) -> int:
        """Runs the recipe; returns the exit code, or at once the number of the process."""
        overrides = () if export else ("export.formats=[]",)
        recipe = str(self.root / "recipe.yaml")
        child = self.start(lambda: self._command("finetune", recipe, *overrides))
        return self.wait(child) if wait else child

    def _command(self, *arguments: str) -> int:
        from tltool.cli.app import run

        return run(list(arguments))

    def is_running(self, child: int) -> bool:
        """Whether a process has not ended."""
        state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z"

    def processes_of(self, session: int) -> list[str]:
        """Processes that a trial started and that are still there after a while."""
        deadline = time.monotonic() + LINGERING_SECONDS
        while (alive := _session(session)) and time.monotonic() < deadline:
            time.sleep(0.1)
        return alive

    def runs(self) -> list[Path]:
        """The folders of the runs."""
        return list((self.root / "runs" / "abused").glob("*"))

    def leftovers(self) -> list[str]:
        """Temporary files and folders, in the runs, the cache and the system's folder."""
        hidden = [*(self.root / "runs").rglob(".*"), *(self.root / "cache").rglob(".*")]
        found = [*hidden, *(self.root / "tmp").iterdir()]
        return sorted(str(path.relative_to(self.root)) for path in found)

    def status(self, run: Path) -> str:
        """As `tltool runs list` says it."""
        from tltool.runs.folder import RunFolder
        from tltool.support.errors import RunError

        try:
            return RunFolder(run).status
        except RunError as error:
            return str(error)

    def predict_all(self) -> dict[str, str]:
        """What predicting with each run gives: `USABLE`, `NO_MODEL`, or what went wrong."""
        self.wait(self.start(self._predict_all), patience=1800.0)
        return dict(json.loads((self.root / "usable.json").read_text()))

    def _predict_all(self) -> int:
        from tltool.runs.run import load_run
        from tltool.support.errors import RunError

        said = {}
        for folder in self.runs():
            try:
                load_run(folder).predict(["good film"])
                said[folder.name] = USABLE
            except RunError as error:
                marked = "has no model" in error.message
                said[folder.name] = NO_MODEL if marked else error.message
            except Exception as error:
                said[folder.name] = repr(error)
        (self.root / "usable.json").write_text(json.dumps(said))
        return 0


def _session(number: int) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(session) == number and state != "Z":
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


if __name__ == "__main__":
    main()
