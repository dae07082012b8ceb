"""The page of a run: what the summary and the model card say, with the rows to look at.

One file without a network: `report/index.html`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from tltool.evaluation.explaining.explanation import Explanation
from tltool.evaluation.reliability import reliability
from tltool.report import content
from tltool.report.charts import Mark, Series, line_chart, reliability_chart, scatter_chart
from tltool.report.content import RunSummary
from tltool.report.explanations import STYLE
from tltool.report.page import (
    Section,
    block,
    bullets,
    code,
    disclosure,
    heading,
    join,
    page,
    paragraph,
    table,
    terms,
)
from tltool.report.rows import Rows, confusions, worst
from tltool.support.files import size_text
from tltool.support.words import count, percent
from tltool.tasks.reports import Map, Matrix, Picture, Scatter
from tltool.tasks.table import TASKS

HistoryRow = Mapping[str, Any]

_HISTORY = ("loss", "val_loss", "learning_rate")
_PYTHON_INPUTS = {
    "image": '["photo.jpg"]',
    "text": '["a text"]',
    "text_pair": '[("a text", "another text")]',
    "text_triplet": '["a text"]',
}


@dataclass(frozen=True)
class Seen:
    """The rows that a run was measured on.

    Attributes:
        rows: With what the model says of them.
        truth: As `Target.truth` makes it.
        picture: What `Target.picture` gives of them.
        explained: What the answers to some of the mistakes rest on.
    """

    rows: Rows
    truth: Any
    picture: Picture
    explained: Mapping[int, Explanation] = field(default_factory=dict)


@dataclass(frozen=True)
class Course:
    """How the training went.

    Attributes:
        history: One row for each epoch, as `history.csv` has them.
        best: The row whose weights the model has, or None.
        unit: Of the metric while training, in words.
    """

    history: Sequence[HistoryRow]
    best: HistoryRow | None = None
    unit: str = ""


def run_page(
    summary: RunSummary,
    seen: Seen,
    course: Course,
    *,
    recipe: Mapping[str, Any],
    versions: Mapping[str, str],
    more: Sequence[Section] = (),
) -> str:
    """The page, as HTML.

    Args:
        summary: The facts of the run.
        seen: The rows that its metrics are of.
        course: Of its training.
        recipe: The resolved recipe as plain values.
        versions: Names of packages and their versions.
        more: Sections that stand after the mistakes.
    """
    lead = paragraph(content.headline(summary))
    # Made first: there is room for so many pictures, and these are the ones to look at.
    mistakes = Section("mistakes", content.mistakes_title(summary), _mistakes(summary, seen))
    sections = [
        Section("result", f"Result on the {summary.split} split", _result(summary)),
        Section("training", "What was trained", _training(summary, course)),
        Section("metrics", "Metrics", _metrics(summary)),
        Section("confusions", _title(seen.picture), _picture(seen)),
        mistakes,
        *more,
        Section("calibration", "Calibration", _calibration(seen)),
        Section("exports", "Exports", _exports(summary)),
        Section("use", "How to use it", _use(summary)),
        Section("limits", "Limits", bullets(content.limits(summary))),
        Section("details", "Details", _details(summary, recipe, versions)),
    ]
    return page(summary.name, sections, lead=lead, style=STYLE if seen.explained else "")


def _result(summary: RunSummary) -> Markup:
    notices = (*content.notes(summary), *summary.warnings)
    return terms(content.result_lines(summary)) + join(paragraph(n, "notice") for n in notices)


def _training(summary: RunSummary, course: Course) -> Markup:
    rows = [(split, f"{number:,} rows") for split, number in summary.counts.items()]
    facts = [
        ("Task", summary.task),
        ("Pretrained model", summary.backbone),
        ("Data", summary.data_source or "given in Python"),
        *rows,
    ]
    phases = table("Phases of training", content.PHASE_HEADER, content.phase_rows(summary), texts=2)
    weights = paragraph(summary.weights)
    return terms(facts) + phases + weights + _curves(summary, course)


def _curves(summary: RunSummary, course: Course) -> Markup:
    """Loss and metric over the epochs, and their figures as a table."""
    history, score = course.history, summary.score
    if not history:
        return Markup("")
    epochs = [float(i) for i in range(1, len(history) + 1)]
    marks = _marks(course)
    titles = {"loss": "Loss", score.key: f"{score.title} ({course.unit})".replace(" ()", "")}
    drawn = [
        line_chart(
            title,
            [
                Series(name, epochs, [row.get(prefix + key) for row in history])
                for prefix, name in (("", "training"), ("val_", "validation"))
            ],
            x_name="Epoch",
            share=score.share and key == score.key,
            marks=marks,
        )
        for key, title in titles.items()
    ]
    header = ("Epoch", "Phase", *_HISTORY, score.key, f"val_{score.key}")
    cells = [
        [str(int(epoch)), str(row.get("phase")), *(_number(row.get(key)) for key in header[2:])]
        for epoch, row in zip(epochs, history, strict=True)
    ]
    figures = disclosure("The figures of each epoch", table("Epochs", header, cells, texts=2))
    return Markup('<div class="charts">{}</div>').format(join(drawn)) + figures


def _marks(course: Course) -> list[Mark]:
    history = course.history
    marks = [
        Mark(i + 0.5, "")
        for i in range(1, len(history))
        if history[i].get("phase") != history[i - 1].get("phase")
    ]
    if course.best is not None and "total_epoch" in course.best:
        marks.append(Mark(float(course.best["total_epoch"]), "the model's weights"))
    return marks


def _metrics(summary: RunSummary) -> Markup:
    scores = table(f"On {summary.measured}", content.METRIC_HEADER, content.metric_rows(summary))
    parts = [scores]
    for found in content.tables(summary):
        title, rows, left_out = found.brief or (found.title, found.rows, "")
        parts.append(table(title, found.header, rows))
        if left_out:
            whole = table(found.title, found.header, found.rows)
            parts.append(disclosure(f"All {len(found.rows):,} rows", whole))
    for title, lines in content.remarks(summary):
        if lines:
            parts += [heading(title), bullets(lines)]
    return join(parts)


def _title(picture: Picture) -> str:
    return "Confusions" if isinstance(picture, Matrix) else picture.title


def _picture(seen: Seen) -> Markup:
    """The confusion matrix with its rows, or points; what tables have is not drawn again."""
    match seen.picture:
        case Matrix() as matrix:
            worst_rows = seen.rows.target.worst(seen.rows.outputs, seen.truth)
            return confusions(matrix, seen.rows, worst_rows)
        case Scatter(panels):
            drawn = [
                scatter_chart(
                    f"{name}: predicted over true values",
                    Series("rows", np.ravel(truth).tolist(), np.ravel(values).tolist()),
                    x_name="True value",
                    diagonal=True,
                )
                for name, values, truth in panels
            ]
            return Markup('<div class="charts">{}</div>').format(join(drawn))
        case Map(points, names, title):
            series = Series(count(len(names), "row"), *np.asarray(points).T.tolist())
            return scatter_chart(title, series, x_name="First component")
    return Markup("")


def _mistakes(summary: RunSummary, seen: Seen) -> Markup:
    rows = [mistake.row for mistake in summary.evaluation.mistakes]
    shown = replace(seen.rows, explained=seen.explained)
    return _explanation(seen) + worst(shown, rows, content.mistake_lines(summary))


def _explanation(seen: Seen) -> Markup:
    """How to read what is shown of the mistakes; empty where no answer is explained."""
    if not seen.explained:
        return Markup("")
    methods = sorted({one.method for one in seen.explained.values()})
    pictures = seen.rows.examples.modality == "image"
    shown = "bright in the map beneath it" if pictures else "blue, what speaks against it orange"
    told = Markup(
        "What each wrong answer rests on, found by {}: what speaks for it is {}. That shows where "
        "the model looks, not whether its reason is good; {} also checks whether it means anything."
    )
    return paragraph(told.format(" and ".join(methods), shown, code("tltool explain")))


def _calibration(seen: Seen) -> Markup:
    rows = seen.rows
    stated = rows.target.stated(np.asarray(rows.outputs), seen.truth)
    if stated is None:
        return Markup("")
    bins = reliability(*stated)
    points = Series(
        "share that came true, with its 95 % interval",
        [b.stated for b in bins],
        [b.came_true for b in bins],
        [b.interval for b in bins],
    )
    cells = [
        (percent(b.stated), percent(b.came_true), " to ".join(map(percent, b.interval)),
         f"{b.count:,}")
        for b in bins
    ]  # fmt: skip
    header = ("Stated, mean", "Came true", "95 % interval", "Number")
    told = paragraph(
        "How often the model is right when it states a confidence. On the dotted line, it is as "
        "often right as it says; below, it is too sure of itself."
    )
    figures = disclosure("The figures", table("Bins of equal width", header, cells, texts=0))
    return (
        told + reliability_chart("Stated confidence and how often it came true", points) + figures
    )


def _exports(summary: RunSummary) -> Markup:
    header = ("Export", "File", "Size", "Gate", "Largest difference", "Rows with the same answer")
    cells = [
        (
            a.name,
            code(a.path) if a.path else a.fault or "removed",
            size_text(a.size_bytes) if a.size_bytes else "–",
            _verdict(False if a.fault else a.passed),
            "–" if a.max_difference is None else f"{a.max_difference:.1e}",
            "–" if a.agreement is None else percent(a.agreement),
        )
        for a in summary.artifacts
    ]
    told = paragraph(
        "The gate compares each exported file with the trained model, on held-out rows. Beside "
        "each file are its contract, golden examples and a README with programs that run it."
    )
    found = table("Exported models", header, cells, texts=2)
    return told + found if found else paragraph("Nothing was exported.")


def _verdict(passed: bool | None) -> Markup:
    kind, word = {True: ("good", "passed"), False: ("bad", "FAILED"), None: ("soft", "–")}[passed]
    return Markup('<span class="{}">{}</span>').format(kind, word)


def _use(summary: RunSummary) -> Markup:
    commands = [
        paragraph(why[:1].upper() + why[1:] + ":") + block(command)
        for command, why in summary.next_commands
    ]
    inputs = _PYTHON_INPUTS[TASKS[summary.task].modality]
    python = f"import tltool\n\nrun = tltool.load_run({summary.run_dir!r})\nrun.predict({inputs})"
    return join(commands) + paragraph("From Python:") + block(python)


def _details(summary: RunSummary, recipe: Mapping[str, Any], versions: Mapping[str, str]) -> Markup:
    weights, data = content.licences(summary)
    facts = terms(
        [
            ("Run folder", code(summary.run_dir)),
            ("Licence of the pretrained weights", weights),
            ("Licence of the data", data),
        ]
    )
    text = yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)
    return (
        facts
        + disclosure("The whole recipe", block(text))
        + disclosure("Versions", terms(versions.items()))
    )


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "–"
