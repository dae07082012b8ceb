"""What a person sees while a run goes on: live bars in a terminal, plain lines in a pipe.

All of it is talk and goes to stderr; stdout is for data.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichBars

from tltool.support.words import harmless

Row = Mapping[str, str | int | float | None]
_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """What a run tells of itself. This base says nothing: the default of the Python API."""

    def stage(self, title: str) -> None:
        """A new stage of the run begins."""

    def note(self, text: str) -> None:
        """A fact worth knowing, such as a warning about the data."""

    @contextmanager
    def phase(self, title: str, epochs: int, steps_per_epoch: int) -> Iterator[None]:
        """A training phase, from its first to its last step."""
        yield

    def step(self, epoch: int, step: int, examples: int, values: Mapping[str, float]) -> None:
        """One step is done.

        Args:
            epoch, step: Counted from 1 in their phase and epoch.
            examples: Examples in the step.
            values: Running means, such as loss and accuracy.
        """

    def epoch_end(self, row: Row, best: bool) -> None:
        """An epoch and its validation are done; `best` if no earlier one was better."""

    @contextmanager
    def rows(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Rows are worked through; the function that it yields tells that so many more are."""
        yield lambda count: None


def _values(values: Mapping[str, object]) -> str:
    shown = ((k, v) for k, v in values.items() if isinstance(v, int | float))
    return "  ".join(f"{key} {value:.4f}" for key, value in shown)


# What a row of the history holds beside loss and metrics.
_NOT_MEASURED = {
    "phase",
    "epoch",
    "total_epoch",
    "learning_rate",
    "seconds",
    "examples_per_second",
}


def _epoch_line(row: Row, best: bool) -> str:
    keys = [key for key in row if key not in _NOT_MEASURED]
    # The loss before the metrics, training before validation.
    keys.sort(key=lambda key: (key.startswith("val_"), not key.endswith("loss")))
    measured = _values({key: row[key] for key in keys})
    seconds = row.get("seconds") or 0.0
    speed = row.get("examples_per_second") or 0.0
    # By training rows alone none is: the last one is kept then.
    mark = "  best so far" if best and any(key.startswith("val_") for key in keys) else ""
    return f"epoch {row['epoch']}  {measured}  {float(seconds):.1f} s  {float(speed):.0f}/s{mark}"


class PlainProgress(Progress):
    """One line a fact: for pipes, log files and terminals without control codes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stderr

    def _line(self, text: str) -> None:
        self._stream.write(harmless(text) + "\n")
        self._stream.flush()

    def stage(self, title: str) -> None:
        """Writes the title."""
        self._line(title)

    def note(self, text: str) -> None:
        """Writes the note, indented."""
        self._line(f"  {text}")

    @contextmanager
    def phase(self, title: str, epochs: int, steps_per_epoch: int) -> Iterator[None]:
        """Writes the phase's title and length."""
        self._line(f"  {title}: {in_epochs(epochs)} of {steps_per_epoch} steps")
        yield

    def epoch_end(self, row: Row, best: bool) -> None:
        """Writes the epoch's values."""
        self._line(f"    {_epoch_line(row, best)}")

    @contextmanager
    def rows(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Writes how many are done: after the first of several batches, then now and then."""
        speed, done, told = _Speed(), 0, -_SECONDS_BETWEEN_LINES

        def advance(count: int) -> None:
            nonlocal done, told
            done += count
            rate, now = speed.add(count), time.monotonic()
            if (done < total and now - told >= _SECONDS_BETWEEN_LINES) or done == total > count:
                told = now
                self._line(f"{title}: {done:,} of {total:,}" + (f"  {rate:.0f}/s" if rate else ""))

        yield advance


@dataclass
class _Speed:
    """Examples a second since the phase began, the first step (which compiles) left out."""

    started: float | None = None
    examples: int = 0

    def add(self, examples: int) -> float:
        now = time.perf_counter()
        if self.started is None:
            self.started = now
            return 0.0
        self.examples += examples
        return self.examples / max(now - self.started, 1e-9)


class RichProgress(Progress):
    """Live bars: phase, epoch, step, loss, metric, examples a second, time left."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bars: RichBars | None = None
        self._steps_per_epoch = 0
        self._epochs = 0
        self._speed = _Speed()

    @contextmanager
    def rows(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Shows a bar over all rows."""
        speed = _Speed()
        with self._bar(TextColumn("{task.fields[rate]}", markup=False)) as bars:
            task = bars.add_task(harmless(title), total=total, rate="")

            def advance(count: int) -> None:
                rate = speed.add(count)
                bars.update(task, advance=count, rate=f"{rate:.0f}/s" if rate else "")

            yield advance

    def _bar(self, *columns: TextColumn) -> RichBars:
        """A bar with columns of its own; stdout, which is for data, stays what it is."""
        return RichBars(
            TextColumn("  {task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            *columns,
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
            redirect_stdout=False,
        )

    def stage(self, title: str) -> None:
        """Prints the title in bold."""
        self._console.print(harmless(title), style="bold", highlight=False, markup=False)

    def note(self, text: str) -> None:
        """Prints the note, indented."""
        self._console.print(f"  {harmless(text)}", highlight=False, markup=False)

    @contextmanager
    def phase(self, title: str, epochs: int, steps_per_epoch: int) -> Iterator[None]:
        """Shows a bar over all steps of the phase."""
        self._steps_per_epoch, self._epochs, self._speed = steps_per_epoch, epochs, _Speed()
        with self._bar(TextColumn("{task.fields[values]}", markup=False)) as bars:
            self._bars = bars
            self._title = title = harmless(title)
            self._task = bars.add_task(title, total=epochs * steps_per_epoch, values="")
            try:
                yield
            finally:
                self._bars = None

    def step(self, epoch: int, step: int, examples: int, values: Mapping[str, float]) -> None:
        """Moves the bar."""
        if self._bars is not None:
            speed = self._speed.add(examples)
            self._bars.update(
                self._task,
                completed=(epoch - 1) * self._steps_per_epoch + step,
                description=f"{self._title}  epoch {epoch}/{self._epochs}",
                values=f"{_values(values)}  {speed:.0f}/s",
            )

    def epoch_end(self, row: Row, best: bool) -> None:
        """Prints the epoch's values above the bar."""
        console = self._bars.console if self._bars is not None else self._console
        line = harmless(f"  {row['phase']}  {_epoch_line(row, best)}")
        console.print(line, highlight=False, markup=False)


def terminal_progress(stream: TextIO | None = None) -> Progress:
    """Bars where stderr is a terminal, plain lines elsewhere."""
    console = Console(file=stream, stderr=stream is None)
    return RichProgress(console) if console.is_terminal else PlainProgress(stream)


def in_epochs(count: int) -> str:
    """1 as "1 epoch", 3 as "3 epochs"."""
    return "1 epoch" if count == 1 else f"{count} epochs"
