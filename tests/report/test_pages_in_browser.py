"""Pages in headless Chromium, wide and on a phone, light and dark: axe-core finds nothing serious.

Skipped where the browser's packages are not installed (`make test-browser` installs them).
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import evidence
import numpy as np
import pytest
from browser import PAGE, installed
from drift_rows import some
from test_compare_page import FACTS, TWO, examples, outputs
from test_decisions_on_page import DECIDED
from test_run_page import classes, pictures, seen, written

from tltool.evaluation.drift.sketch import Sketch
from tltool.evaluation.drift.verdict import judge
from tltool.evaluation.explaining.curves import Faithfulness
from tltool.evaluation.explaining.explanation import Explanation
from tltool.evaluation.explaining.words import Part
from tltool.evaluation.paired import pair
from tltool.finetuning.audit.job import PAGE as AUDIT
from tltool.finetuning.audit.job import DataAudit, audited
from tltool.report.compare_page import compare_page
from tltool.report.decisions import decisions_section
from tltool.report.drift_page import drift_page
from tltool.report.explanations import write_explanations
from tltool.report.thumbnails import Thumbnails
from tltool.support.progress import Progress
from tltool.tasks.classes import ClassTarget

pytestmark = installed
SCHEMES = ("light", "dark")
WIDTHS = (1200, 390)
CLICKED = {"run": ".matrix button"}


def write_audit(folder: Path) -> Path:
    """Of texts of three classes: wrong labels, near duplicates, and one unlike all others."""
    numbers = [0, 1, 2] * 30
    features = evidence.clouds(numbers, 5.0)
    features[40], features[50] = features[10], 30.0
    texts = evidence.sentences(90)
    texts[40] = f"{texts[10]} again"
    labels = [f"a class of a long name {number}" for number in numbers]
    labels[3], labels[7] = labels[4], labels[8]
    made = evidence.evidence_of(features, labels, texts)
    found = DataAudit(audited(made, curve=True, progress=Progress()), made)
    assert {one.kind for one in found.found.findings} == {"label", "duplicate", "outlier"}
    found.write(folder)
    return folder / AUDIT


def write_drift(path: Path) -> Path:
    sketch = Sketch.of(some(250, 1))
    verdict = judge(sketch, sketch.layout.tally(some(300, 2, darker=0.4, wrong=0.2)))
    assert {"inputs", "quality"} <= {*verdict.drifted}
    path.write_text(drift_page(verdict, "exports/litert_int8", "new/"))
    return path


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    labels = ("a class of a long name", "dog", "owl")
    true, taken = [0, 1, 2] * 4, [0, 1, 2] * 3 + [1, 1, 1]
    values, targets = classes(labels, true, taken)
    task = "image-classification"
    found, evaluation = seen(ClassTarget(labels), task, values, targets, pictures(folder))
    heat = np.outer(np.linspace(0, 1, 40), np.linspace(0, 1, 80)).astype(np.float32)
    mapped = Explanation("p", "dog", "dog", 0.9, "LayerCAM",
                         picture=np.full((40, 80, 3), 90, np.uint8), map=heat)  # fmt: skip
    found = replace(found, explained={9: mapped, 11: mapped})
    decided = decisions_section(DECIDED, Thumbnails(), ["a line of the audit"])
    run = written(found, evaluation, task, [decided])
    change = pair(examples(["cat"] * 4), TWO, outputs([1, 1, 0, 0]), outputs([1, 0, 1, 1]))
    check = Faithfulness(0.1, 0.9, 0.5)
    parts, weights = (Part(0, 0, 4), Part(0, 5, 8)), np.array([2.0, -2.0])
    of_text = Explanation(
        "x", "cat", "cat", 0.9, "words", check, text="good bad", parts=parts, weights=weights
    )
    write_explanations([of_text], TWO, folder / "why")
    (folder / "run.html").write_text(run)
    (folder / "compare.html").write_text(compare_page("a", FACTS, {"b": change}))
    return {
        "run": folder / "run.html",
        "compare": folder / "compare.html",
        "why": folder / "why" / "index.html",
        "audit": write_audit(folder / "audit"),
        "drift": write_drift(folder / "drift.html"),
    }


@pytest.fixture(scope="module")
def answers(pages):
    """What the browser says of each page, by its name, width and scheme."""
    asked = {
        (name, width, scheme): {
            "file": str(path),
            "width": width,
            "scheme": scheme,
            "click": CLICKED.get(name),
        }
        for name, path in pages.items()
        for width in WIDTHS
        for scheme in SCHEMES
    }
    done = subprocess.run(
        ["node", Path(__file__).parents[1] / "helpers" / "pages.mjs", PAGE],
        input=json.dumps(list(asked.values())),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(asked, json.loads(done.stdout), strict=True))


def test_nothing_is_serious_for_who_reads_with_a_screen_reader_or_little_contrast(answers):
    assert {key: found["violations"] for key, found in answers.items() if found["violations"]} == {}


def test_pages_are_no_wider_than_a_phone(answers):
    assert not [key for key, found in answers.items() if found["overflows"]]


def test_pages_ask_no_network_and_have_no_errors(answers):
    assert [found["requests"] + found["errors"] for found in answers.values()] == [[]] * len(
        answers
    )


def test_a_cell_opens_its_rows_by_keyboard(answers):
    for (name, *_), found in answers.items():
        if name == "run":
            assert "taken for dog, 1 row" in found["opened"]
            assert "Close" in found["opened"]
