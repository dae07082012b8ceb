"""The model card: what the model is, what it was made from, how well it does, where it fails.

Sections after Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv:1810.03993).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tltool.evaluation.metrics import CALIBRATION_BINS
from tltool.report.content import (
    CLASS_HEADER,
    RunSummary,
    check_words,
    class_cells,
    confusion_lines,
    headline,
    notes,
)
from tltool.report.wording import code, count, markdown, percent, score, table
from tltool.support.files import size_text

FEW_ROWS = 30  # rows under which a class's own scores say little
_CALIBRATION_NOTED = 0.05

_METRIC_NAMES = {
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "macro_precision": "Macro precision",
    "macro_recall": "Macro recall",
    "roc_auc": "ROC-AUC (one against the rest)",
    "pr_auc": "PR-AUC (average precision)",
    "calibration_error": f"Calibration error ({CALIBRATION_BINS} bins)",
    "log_loss": "Log loss",
    "mae": "Mean absolute error",
    "rmse": "Root mean squared error",
    "r2": "R²",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
}


def model_card(
    summary: RunSummary,
    recipe: Mapping[str, Any],
    environment: Mapping[str, Any],
    *,
    plot: str | None = None,
) -> str:
    """Writes the model card as Markdown.

    Args:
        summary: The facts of the run.
        recipe: The resolved recipe as plain values; `description`, `data` and
            `training` are used.
        environment: Names to versions, such as `{"keras": "3.15.1"}`.
        plot: Path of the confusion matrix or scatter, relative to the card.
    """
    sections = (
        ("Model details", _details(summary, recipe)),
        ("Intended use", _INTENDED_USE),
        ("Data", _data(summary, recipe)),
        ("Training procedure", _training(summary, recipe)),
        ("Evaluation", _evaluation(summary, plot)),
        ("Limits", _bullets(_limits(summary))),
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
    parts = [f"Source: {markdown(source)}", table(("Split", "Examples"), counts, right=(1,))]
    if said := notes(summary):
        parts.append(_bullets(said))
    return "\n\n".join(parts)


def _training(summary: RunSummary, recipe: Mapping[str, Any]) -> str:
    if not summary.phases:
        return "Not trained in this run."
    rows = [
        [
            str(i),
            markdown(p.trained),
            f"{p.parameters:,}",
            *(
                ("solved", "")
                if p.learning_rate is None
                else (str(p.epochs), f"{p.learning_rate:g}")
            ),
        ]
        for i, p in enumerate(summary.phases, start=1)
    ]
    header = ("Phase", "Trained", "Parameters", "Epochs", "Learning rate")
    parts = [table(header, rows, right=(2, 3, 4))]
    if training := recipe.get("training"):
        settings = {key: value for key, value in training.items() if value is not None}
        parts.append(table(("Setting", "Value"), _pairs(settings)))
    return "\n\n".join(parts)


def _evaluation(summary: RunSummary, plot: str | None) -> str:
    metrics = summary.evaluation.metrics
    rows = [
        _metric_row(key, name, metrics) for key, name in _METRIC_NAMES.items() if key in metrics
    ]
    if summary.baseline:
        name, value = summary.baseline
        rows.append([f"Baseline: {markdown(name)}", score(summary.metric, value), "–"])
    parts = [
        f"On {summary.measured}.",
        table(("Metric", "Value", "95 % interval"), rows, right=(1, 2)),
    ]
    if classes := metrics.get("per_class"):
        cells = [[markdown(label), *values] for label, *values in map(class_cells, classes)]
        parts.append(table(CLASS_HEADER, cells, right=(1, 2, 3, 4)))
    if lines := confusion_lines(metrics):
        parts.append("Most frequent confusions:\n\n" + _bullets(lines))
    if plot:
        title = "Confusion matrix" if classes else "Predicted against true values"
        parts.append(f"![{title}](<{plot}>)")
    return "\n\n".join(parts)


def _metric_row(key: str, name: str, metrics: Mapping[str, Any]) -> list[str]:
    value, interval = metrics[key], metrics.get(f"{key}_interval")
    if value is None:
        return [name, markdown(metrics.get(f"{key}_note") or "undefined"), "–"]
    bounds = " to ".join(score(key, bound) for bound in interval) if interval else "–"
    return [name, score(key, value), bounds]


def _limits(summary: RunSummary) -> list[str]:
    metrics = summary.evaluation.metrics
    limits = [
        *summary.warnings,
        f"The scores come from {summary.measured}; on other data they may be lower. The interval "
        "covers the sampling of those rows only, not the choice of data or the training seed.",
    ]
    few = [row["label"] for row in metrics.get("per_class", ()) if row["support"] < FEW_ROWS]
    if few:
        named = ", ".join(few[:10]) + (f" and {len(few) - 10} more" if len(few) > 10 else "")
        limits.append(
            f"{count(len(few), 'class')} with fewer than {FEW_ROWS} rows, whose own scores "
            f"are uncertain: {named}."
        )
    if summary.text_length is not None:
        limits.append(
            f"The model reads the first {summary.text_length.max_length} tokens of a text; what "
            "follows does not count."
        )
    error = metrics.get("calibration_error")
    if error is not None:
        advice = "treat them as scores, not as probabilities" if error > _CALIBRATION_NOTED else ""
        limits.append(
            f"Confidences are off by {percent(error)} on average"
            + (f": {advice}." if advice else ".")
        )
    if summary.metric == "accuracy":
        limits.append(
            "The model always answers with one of its classes, also for input that fits none."
        )
    return limits


def _files(summary: RunSummary) -> str:
    lines = [
        f"{code(a.path)}: {markdown(a.name)}, {size_text(a.size_bytes)}, "
        + f"{markdown(check_words(a))}."
        + (f" {markdown(a.usage)}" if a.usage else "")
        for a in summary.artifacts
    ]
    return "\n".join(f"- {line}" for line in (*lines, f"Run folder: {code(summary.run_dir)}"))


def _licences(summary: RunSummary) -> str:
    source = f" ({summary.backbone_source})" if summary.backbone_source else ""
    return _bullets(
        (
            f"Pretrained weights: {summary.backbone_licence or 'not known'}{source}",
            f"Data: {summary.data_licence or 'not known; ask its owner before publishing'}",
        )
    )


def _pairs(values: Mapping[str, Any]) -> list[list[str]]:
    return [[markdown(key), markdown(value)] for key, value in values.items()]


def _bullets(lines: Any) -> str:
    return "\n".join(f"- {markdown(line)}" for line in lines)
