"""What a run tells is printed as it is, on any terminal, and leaves the data alone."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from tltool.support.progress import PlainProgress, RichProgress

NASTY = "/data/[/x] [bold]photos [link=:"


@pytest.mark.parametrize("width", [1, 200])
def test_brackets_in_paths_are_no_markup(width):
    stream = io.StringIO()
    progress = RichProgress(
        Console(file=stream, force_terminal=True, width=width, color_system=None)
    )
    progress.stage(NASTY)
    progress.note(NASTY)
    with progress.phase(NASTY, 1, 1):
        progress.step(1, 1, 8, {NASTY: 0.5})
        progress.epoch_end({"phase": NASTY, "epoch": 1, NASTY: 0.5}, best=True)
    shown = stream.getvalue()
    assert width == 1 or shown.count(NASTY) >= 5


def test_no_title_drives_a_terminal():
    for terminal in (False, True):
        stream = io.StringIO()
        progress = RichProgress(Console(file=stream)) if terminal else PlainProgress(stream)
        with progress.phase("a\x1b]0;b\x07c", 1, 1):
            progress.step(1, 1, 8, {})
            progress.epoch_end({"phase": "a\x1b]0;b\x07c", "epoch": 1}, best=True)
        assert "\x1b]0" not in stream.getvalue()
        assert "a\ufffd]0;b\ufffdc" in stream.getvalue()


def test_plain_lines_come_after_the_first_batch_now_and_then_and_at_the_end():
    told = io.StringIO()
    progress = PlainProgress(told)
    with progress.rows("Predicting", 1000) as advance:
        for _ in range(10):
            advance(100)
    with progress.rows("A single batch", 7) as advance:
        advance(7)
    first, last = told.getvalue().splitlines()
    assert first == "Predicting: 100 of 1,000"
    assert last.startswith("Predicting: 1,000 of 1,000  ")


def test_a_bar_leaves_stdout_alone():
    told, stdout = io.StringIO(), sys.stdout
    progress = RichProgress(Console(file=told, force_terminal=True, width=100))
    with progress.rows("Predicting", 3) as advance:
        assert sys.stdout is stdout
        advance(2)
        advance(1)
    assert "3/3" in told.getvalue()


@pytest.mark.parametrize(("measured", "told"), [({"val_loss": 0.5}, True), ({}, False)])
def test_an_epoch_is_the_best_so_far_only_by_validation_rows(measured, told):
    stream = io.StringIO()
    PlainProgress(stream).epoch_end({"phase": "1 head", "epoch": 1, "loss": 0.4, **measured}, True)
    assert ("best so far" in stream.getvalue()) is told
