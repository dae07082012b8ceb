"""Asks the example page, in headless Chromium, what exported models say."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "examples" / "browser"
installed = pytest.mark.skipif(
    shutil.which("node") is None or not (PAGE / "node_modules").is_dir(),
    reason="`make test-browser` installs what this needs",
)


def ask_browser(questions, *, direct: bool = False) -> list[dict]:
    """What the page says: see `browser.mjs`.

    Args:
        questions: Pairs of an export folder and its raw inputs.
        direct: Ask the folders' snippets, and not by the page's form.
    """
    asked = [
        {"folder": str(folder), "inputs": list(inputs), "direct": direct}
        for folder, inputs in questions
    ]
    done = subprocess.run(
        ["node", Path(__file__).with_name("browser.mjs"), PAGE],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run_in_browser(path: Path, inputs):
    """A runner for the gate: see `tltool.export.gate.check.Runner`."""
    ((answers),) = ask_browser([(path.parent, inputs)])
    assert not answers["failed"], answers["status"]
    return outputs_of(answers), [row["label"] for row in answers["answers"]]


def outputs_of(answers) -> np.ndarray:
    """The probabilities, float32 (n, classes), or the numbers (n, 1)."""
    return np.array([row["values"] for row in answers["answers"]], np.float32)
