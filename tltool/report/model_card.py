"""The model card: what the model is, what it was made from, how well it does, where it fails.

Sections after Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv:1810.03993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tltool.report.content import (
    METRIC_HEADER,
    PHASE_HEADER,
    RunSummary,
    check_words,
    gain_words,
    headline,
    licences,
    limits,
    metric_rows,
    notes,
    phase_rows,
    remarks,
    tables,
)
from tltool.report.summary import markdown_table
from tltool.report.wording import code, markdown, table
from tltool.support.files import size_text


def model_card(
    summary: RunSummary,
    recipe: Mapping[str, Any],
    environment: Mapping[str, Any],
    *,
    plot: str | None = None,
    plot_title: str = "What the held-out rows gave",
    curves: str | None = None,
) -> str:
    """Writes the model card as Markdown.

    Args:
        summary: The facts of the run.
        recipe: The resolved recipe as plain values; `description`, `data`,
            `augment` and `training` are used.
        environment: Names to versions, such as `{"keras": "3.15.1"}`.
        plot: Path of the confusion matrix or another picture, relative to the card.
        plot_title: What it shows, for those who can't see it.
        curves: Path of the learning curves, relative to the card.
    """
    sections = (
        ("Model details", _details(summary, recipe)),
        ("Intended use", _INTENDED_USE),
        ("Data", _data(summary, recipe)),
        ("Training procedure", _training(summary, recipe, curves)),
        ("Evaluation", _evaluation(summary, plot, plot_title)),
        ("Limits", _bullets(limits(summary))),
        ("Files", _files(summary)),
        ("Licences", _licences(summary)),
        ("Versions", table(("Package", "Version"), _pairs(environment))),
    )
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in sections)
    return f"# Model card: {markdown(summary.name)}\n\n{body}\n"


_INTENDED_USE = (
    "_To be completed by the people who publish this model; tltool cannot know it._ State who "
    "should use it, on what input, for which decisions, and what it must not be used for. The "
    "scores below hold for data like that they were measured on and for nothing else."
)

_RUN_FOLDER = "- Run folder: "
# OWASP, "CSV Injection" (owasp.org/www-community/attacks/CSV_Injection): what to escape would
# depend on the spreadsheet, and programs must read back the texts as they were.
_PREDICTIONS = (
    "`predictions.csv`: every held-out row with its prediction, texts as the data has them. "
    "Import it into a spreadsheet with every column as text, since a cell that begins with `=`, "
    "`+`, `-` or `@` would be taken for a formula."
)


def published(card: str) -> str:
    """A model card of this module as others can read it beside the model's files.

    Without what stays where the run is, and with paths that are relative to it.
    """
    lines = card.splitlines()
    place = next((line for line in lines if line.startswith(_RUN_FOLDER)), "")
    kept = [line for line in lines if line not in (place, f"- {_PREDICTIONS}")]
    text = "\n".join(kept) + "\n"
    folder = place.removeprefix(_RUN_FOLDER).strip("` ")
    return text.replace(f"{folder}/", "") if folder else text


def _details(summary: RunSummary, recipe: Mapping[str, Any]) -> str:
    lines = [
        f"Task: {summary.task}",
        f"Pretrained model: {summary.backbone}",
        f"Made by: tltool. {headline(summary)}",
    ]
    if recipe.get("description"):
        lines.append(f"Description: {recipe['description']}")
    return _bullets(lines)


def _data(summary: RunSummary, recipe: Mapping[str, Any]) -> str:
    source = summary.data_source or recipe.get("data", {}).get("train") or "given in Python"
    counts = [[markdown(split), f"{rows:,}"] for split, rows in summary.counts.items()]
    own = {split: recipe.get("data", {}).get(split) for split in summary.counts}
    sources = [f"Source: {markdown(source)}"]
    for split in ("validation", "test"):
        if split in own:
            marked = split in summary.given
            inside = (
                "the part of the source that is marked so" if marked else "rows of the same source"
            )
            where = markdown(own[split]) if own[split] else inside
            sources.append(f"Source of the {split} examples: {where}")
    listed = "\n".join(f"- {line}" for line in sources)
    parts = [listed, table(("Split", "Examples"), counts, right=(1,))]
    if said := notes(summary):
        parts.append(_bullets(said))
    return "\n\n".join(parts)


def _training(summary: RunSummary, recipe: Mapping[str, Any], curves: str | None) -> str:
    if not summary.phases:
        return "Not trained in this run."
    parts = [_table(PHASE_HEADER, phase_rows(summary), right=(2, 3, 4, 5))]
    if summary.weights:
        parts.append(markdown(summary.weights))
    if curves:
        parts.append(f"![Learning curves](<{curves}>)")
    if augment := {key: value for key, value in (recipe.get("augment") or {}).items() if value}:
        parts.append(table(("Augmentation of training images", "Value"), _pairs(augment)))
    if training := recipe.get("training"):
        settings = {key: value for key, value in training.items() if value is not None}
        parts.append(table(("Setting", "Value"), _pairs(settings)))
    return "\n\n".join(parts)


def _evaluation(summary: RunSummary, plot: str | None, plot_title: str) -> str:
    parts = [
        f"On {summary.measured}.",
        _table(METRIC_HEADER, metric_rows(summary), right=(1, 2)),
    ]
    if gained := gain_words(summary):
        parts.append(f"Gain of fine-tuning: {markdown(gained)}.")
    if summary.calibration:
        parts.append(f"Calibration: {markdown(summary.calibration)}.")
    parts += [markdown_table(found.header, found.rows) for found in tables(summary)]
    parts += [f"{title}:\n\n{_bullets(lines)}" for title, lines in remarks(summary) if lines]
    if plot:
        parts.append(f"![{markdown(plot_title)}](<{plot}>)")
    return "\n\n".join(parts)


def _files(summary: RunSummary) -> str:
    lines = [
        (f"{code(a.path)}: {markdown(a.name)}, {size_text(a.size_bytes)}, " if a.path
         else f"{markdown(a.name)}: ")
        + f"{markdown(check_words(a))}."
        + (f" {markdown(a.usage)}" if a.usage else "")
        for a in summary.artifacts
    ]  # fmt: skip
    bullets = [f"- {line}" for line in (*lines, _PREDICTIONS)]
    return "\n".join([*bullets, f"{_RUN_FOLDER}{code(summary.run_dir)}"])


def _licences(summary: RunSummary) -> str:
    weights, data = licences(summary)
    return _bullets((f"Pretrained weights: {weights}", f"Data: {data}"))


def _table(header: tuple[str, ...], rows: Sequence[Sequence[str]], right: tuple[int, ...]) -> str:
    return table(header, [[*map(markdown, row)] for row in rows], right=right)


def _pairs(values: Mapping[str, Any]) -> list[list[str]]:
    return [[markdown(key), markdown(value)] for key, value in values.items()]


def _bullets(lines: Any) -> str:
    return "\n".join(f"- {markdown(line)}" for line in lines)
