"""What a run's reports say: the facts in one value, and the sentences made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tltool.data.texts.text_length import TextLength
from tltool.evaluation.evaluate import Evaluation, Mistake, excerpt
from tltool.report.wording import count, duration, number, percent, score
from tltool.support.files import size_text
from tltool.tasks.table import TASKS

CLASSES_SHOWN = 20
CONFUSIONS_SHOWN = 5
MISTAKES_SHOWN = 5
CLASS_HEADER = ("Class", "Precision", "Recall", "F1", "Rows")
CLASS_KEYS = ("precision", "recall", "f1")


@dataclass(frozen=True)
class Phase:
    """One phase of training as it went.

    Attributes:
        trained: What was trained, in words: "head", "last 2 groups", "all".
        parameters: Number of trained weights.
        epochs: Epochs that ran.
        learning_rate: Peak learning rate; None where the head was solved exactly.
    """

    trained: str
    parameters: int
    epochs: int
    learning_rate: float | None

    @property
    def length(self) -> str:
        """How long it trained, in words."""
        if self.learning_rate is None:
            return "solved exactly"
        return f"for {count(self.epochs, 'epoch')}"


@dataclass(frozen=True)
class Artifact:
    """An exported model and what its comparison with the Keras model gave.

    Attributes:
        name: Format and precision, such as "LiteRT float32".
        path: As the user would type it.
        size_bytes: Of the file, or of everything in the folder.
        max_difference: Largest difference of any output; None if not compared.
        agreement: Share of rows with the same top class; None for regression.
        passed: Whether it is within the tolerance; None if not compared.
        usage: How to use it, in one sentence; may be empty.
    """

    name: str
    path: str
    size_bytes: int
    max_difference: float | None = None
    agreement: float | None = None
    passed: bool | None = None
    usage: str = ""


@dataclass(frozen=True)
class RunSummary:
    """All that the summary and the model card say about a run.

    Attributes:
        name: Of the run.
        task: A name in `TASKS`.
        backbone: Title of the pretrained model.
        counts: Examples per split, in order.
        phases: In order; empty when nothing was trained.
        evaluation: Metrics and mistakes on `split`.
        baseline: Name and main metric of the simple model, or None.
        artifacts: Exported models.
        run_dir: The run folder, as the user would type it.
        seconds: Wall time of the whole run.
        next_commands: Commands to try, each with what it does.
        skipped: Rows and files left out.
        warnings: Sentences the user should read.
        split: Where `evaluation` was measured; another one than "test" only
            for want of it.
        text_length: How many tokens of a text the model reads; None for images.
        backbone_licence, backbone_source, data_source, data_licence: Empty where unknown.
    """

    name: str
    task: str
    backbone: str
    counts: Mapping[str, int]
    phases: Sequence[Phase]
    evaluation: Evaluation
    run_dir: str
    seconds: float
    baseline: tuple[str, float] | None = None
    artifacts: Sequence[Artifact] = ()
    next_commands: Sequence[tuple[str, str]] = ()
    skipped: int = 0
    warnings: Sequence[str] = ()
    split: str = "test"
    text_length: TextLength | None = None
    backbone_licence: str = ""
    backbone_source: str = ""
    data_source: str = ""
    data_licence: str = ""

    @property
    def metric(self) -> str:
        """Key of the main metric: "accuracy" or "mae"."""
        return TASKS[self.task].metric

    @property
    def value(self) -> float:
        """The main metric on `split`."""
        return float(self.evaluation.metrics[self.metric])

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the main metric; None where it has none."""
        found = self.evaluation.metrics[f"{self.metric}_interval"]
        return None if found is None else (found[0], found[1])

    @property
    def unit(self) -> str:
        """What one example is: "text" or "image"."""
        return TASKS[self.task].modality

    @property
    def measured(self) -> str:
        """What was measured on, such as "3,080 test texts"."""
        name = "training" if self.split == "train" else self.split
        return count(int(self.evaluation.metrics["n"]), f"{name} {self.unit}")


def headline(summary: RunSummary) -> str:
    """What was done, in a sentence."""
    labels = summary.evaluation.metrics.get("labels")
    classes = f" of {count(len(labels), 'class')}" if labels else ""
    phases = ", then ".join(f"{p.trained} {p.length}" for p in summary.phases)
    what = f"Tested {summary.backbone}"
    if phases:
        examples = count(summary.counts.get("train", 0), summary.unit)
        what = f"Fine-tuned {summary.backbone} on {examples}{classes} ({phases}) and tested it"
    return f"{what} on {summary.measured}, in {duration(summary.seconds)}."


def notes(summary: RunSummary) -> list[str]:
    """What the user must know to read the result right."""
    found = []
    if summary.skipped:
        what = "broken row or file was" if summary.skipped == 1 else "broken rows or files were"
        found.append(f"{summary.skipped:,} {what} left out (data.on_error: skip).")
    if summary.text_length is not None and summary.text_length.cuts:
        text = str(summary.text_length)
        found.append(f"{text[:1].upper()}{text[1:]}.")
    if absent := summary.evaluation.metrics.get("classes_without_rows"):
        classes, names = count(len(absent), "class"), ", ".join(absent[:CLASSES_SHOWN])
        found.append(f"No {summary.split} rows for {classes}: {names}.")
    return found


def result_lines(summary: RunSummary) -> list[tuple[str, str]]:
    """Pairs of a short label and a text: the main metric, the baseline, the difference."""
    name, mean = ("Accuracy", "") if summary.metric == "accuracy" else ("Absolute error", "mean, ")
    value = score(summary.metric, summary.value)
    lines = [(name, f"{value} ({mean}{_interval_words(summary)}{summary.measured})")]
    if summary.baseline:
        other, other_value = summary.baseline
        lines.append(("Baseline", f"{score(summary.metric, other_value)} ({other}, same rows)"))
        lines.append(("Difference", _difference(summary, other, other_value)))
    return lines


def class_rows(metrics: Mapping[str, Any]) -> tuple[list[list[str]], int]:
    """Cells of the class table (`CLASS_HEADER`), and how many classes were left out.

    All classes in their order where they are at most 20, else the weakest by F1.
    """
    classes = list(metrics.get("per_class", ()))
    left_out = max(0, len(classes) - CLASSES_SHOWN)
    if left_out:
        classes.sort(key=lambda row: 2.0 if row["f1"] is None else row["f1"])
    return [class_cells(row) for row in classes[:CLASSES_SHOWN]], left_out


def class_cells(row: Mapping[str, Any]) -> list[str]:
    """One class's cells: name, precision, recall, F1, rows."""
    shares = ["–" if row[key] is None else f"{row[key]:.3f}" for key in CLASS_KEYS]
    return [excerpt(row["label"], 40), *shares, f"{row['support']:,}"]


def confusion_lines(metrics: Mapping[str, Any]) -> list[str]:
    """The most frequent confusions in words."""
    rows_of = {row["label"]: row["support"] for row in metrics.get("per_class", ())}
    return [
        f"{excerpt(cell['true'], 60)} taken for {excerpt(cell['predicted'], 60)}: "
        f"{cell['count']:,} of {rows_of[cell['true']]:,} ({percent(cell['share'])})"
        for cell in metrics.get("confusions", ())[:CONFUSIONS_SHOWN]
    ]


def mistakes_title(summary: RunSummary) -> str:
    """Heading of the list of mistakes."""
    return "Most confident mistakes" if summary.metric == "accuracy" else "Largest errors"


def mistake_lines(summary: RunSummary) -> list[str]:
    """The worst mistakes by file or line."""
    return [_mistake_line(mistake) for mistake in summary.evaluation.mistakes[:MISTAKES_SHOWN]]


def file_lines(summary: RunSummary) -> list[str]:
    """Exported models with size and check, and the run folder."""
    return [*map(_artifact_line, summary.artifacts), f"run folder: {summary.run_dir}"]


def check_words(artifact: Artifact) -> str:
    """How an export compares with the Keras model."""
    if artifact.passed is None:
        return "not compared with the Keras model"
    facts = []
    if artifact.max_difference is not None:
        facts.append(f"largest difference {artifact.max_difference:.1e}")
    if artifact.agreement is not None:
        facts.append(f"same class for {percent(artifact.agreement)} of rows")
    verdict = "passed" if artifact.passed else "FAILED"
    return f"comparison with the Keras model {verdict}" + (f": {', '.join(facts)}" if facts else "")


def _interval_words(summary: RunSummary) -> str:
    if summary.interval is None:
        return ""
    low, high = (score(summary.metric, bound) for bound in summary.interval)
    return f"95 % interval {low} to {high}, "


def _difference(summary: RunSummary, other: str, other_value: float) -> str:
    gain = summary.value - other_value
    if summary.metric == "accuracy":
        better, words = gain > 0, f"{100 * gain:+.1f} points {'over' if gain >= 0 else 'against'}"
    elif other_value == 0:
        better, words = False, "no smaller error than"
    else:
        better = gain < 0
        change = percent(abs(gain) / other_value)
        words = f"{change} {'smaller' if gain < 0 else 'larger'} error than"
    if not better:
        return f"{words} {other}: the pretrained model brings nothing here yet"
    low, high = summary.interval or (other_value, other_value)
    doubt = "; the baseline is within the interval" if low <= other_value <= high else ""
    return f"{words} {other}{doubt}"


def _mistake_line(mistake: Mistake) -> str:
    origin = excerpt(mistake.origin, 10_000)
    if mistake.excerpt == excerpt(mistake.origin):  # an image: its file says it all
        where = origin
    else:
        where = f"{origin}: “{mistake.excerpt}”"
    if mistake.confidence is None:
        true, predicted = number(float(mistake.true)), number(float(mistake.predicted))
        return f"{where} is {true}, predicted {predicted}"
    true, predicted = excerpt(str(mistake.true), 60), excerpt(str(mistake.predicted), 60)
    return f"{where} is {true}, predicted {predicted} ({percent(mistake.confidence)} sure)"


def _artifact_line(artifact: Artifact) -> str:
    size = size_text(artifact.size_bytes)
    return f"{artifact.name}: {artifact.path} ({size}), {check_words(artifact)}"
