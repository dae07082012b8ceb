"""What a run tells is printed as it is, on any terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from tltool.support.progress import RichProgress

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
