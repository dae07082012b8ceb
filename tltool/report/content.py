"""What a run's reports say: the facts in one value, and the sentences made from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tltool.data.texts.text_length import TextLength
from tltool.evaluation.evaluate import Evaluation, Mistake
from tltool.report.history import weights_words
from tltool.support.files import size_text
from tltool.support.words import count, duration, excerpt, percent
from tltool.tasks.reports import Score, Table
from tltool.tasks.table import TASKS

NAMES_SHOWN = 20
MISTAKES_SHOWN = 5


@dataclass(frozen=True)
class Phase:
    """One phase of training as it went.

    Attributes:
        trained: What was trained, in words: "head", "last 2 groups", "all".
        parameters: Number of trained weights.
        epochs: Epochs that ran.
        learning_rate: Peak learning rate; None where the head was solved exactly.
        warmup: Share of the steps in which the rate rises to its peak.
    """

    trained: str
    parameters: int
    epochs: int
    learning_rate: float | None
    warmup: float = 0.0

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
        agreement: Share of rows with the same answer; None for numbers.
        passed: Whether it is within the tolerance; None if not compared.
        usage: How to use it, in one sentence; may be empty.
        same: What `agreement` compares, in words.
    """

    name: str
    path: str
    size_bytes: int
    max_difference: float | None = None
    agreement: float | None = None
    passed: bool | None = None
    usage: str = ""
    same: str = "same answer"


@dataclass(frozen=True)
class RunSummary:
    """All that the summary and the model card say about a run.

    Attributes:
        name: Of the run.
        task: A name in `TASKS`.
        backbone: Title of the pretrained model.
        counts: Examples per split, in order.
        given: Splits that the data itself names; the others were drawn.
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
        best: The history row of the epoch whose weights the model has; None if it was not trained.
        refit_rows: Rows of the second training that the model is of; None where there was one.
        training_notes: Sentences on what the model is, where that is not plain from `best`.
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
    baseline: tuple[str, float | None] | None = None
    artifacts: Sequence[Artifact] = ()
    next_commands: Sequence[tuple[str, str]] = ()
    skipped: int = 0
    warnings: Sequence[str] = ()
    given: Sequence[str] = ()
    split: str = "test"
    text_length: TextLength | None = None
    best: Mapping[str, Any] | None = None
    refit_rows: int | None = None
    training_notes: Sequence[str] = ()
    backbone_licence: str = ""
    backbone_source: str = ""
    data_source: str = ""
    data_licence: str = ""

    @property
    def score(self) -> Score:
        """What sums the model up."""
        return self.evaluation.target.headline()

    @property
    def value(self) -> float | None:
        """The main metric on `split`; None where these rows have none."""
        found = self.evaluation.metrics[self.score.key]
        return None if found is None else float(found)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the main metric; None where it has none."""
        found = self.evaluation.metrics.get(f"{self.score.key}_interval")
        return None if found is None else (found[0], found[1])

    @property
    def unit(self) -> str:
        """What one example is: "text", "image" or "text pair"."""
        return TASKS[self.task].modality.replace("_", " ")

    @property
    def measured(self) -> str:
        """What was measured on, such as "3,080 test texts"."""
        name = "training" if self.split == "train" else self.split
        return count(int(self.evaluation.metrics["n"]), f"{name} {self.unit}")


def headline(summary: RunSummary) -> str:
    """What was done, in a sentence."""
    target = summary.evaluation.target
    classes = f" of {target.extent}" if target.extent else ""
    phases = ", then ".join(f"{p.trained} {p.length}" for p in summary.phases)
    what = f"Tested {summary.backbone}"
    if phases:
        examples = count(summary.refit_rows or summary.counts.get("train", 0), summary.unit)
        what = f"Fine-tuned {summary.backbone} on {examples}{classes} ({phases}) and tested it"
    weights = "" if summary.best is None else f" {weights_words(summary.best)}"
    return f"{what} on {summary.measured}, in {duration(summary.seconds)}.{weights}"


def notes(summary: RunSummary) -> list[str]:
    """What the user must know to read the result right."""
    found = list(summary.training_notes)
    if summary.skipped:
        what = "broken row or file was" if summary.skipped == 1 else "broken rows or files were"
        found.append(f"{summary.skipped:,} {what} left out (data.on_error: skip).")
    if summary.text_length is not None and summary.text_length.cuts:
        text = str(summary.text_length)
        found.append(f"{text[:1].upper()}{text[1:]}.")
    if summary.refit_rows is not None:
        found.append(
            "The model was trained twice: first on the training rows, which chose the number of "
            "epochs by the validation rows, then on both together. What is told of validation rows "
            "is of the first training, which had not learnt from them."
        )
    if absent := summary.evaluation.metrics.get("classes_without_rows"):
        noun = summary.evaluation.target.noun
        classes, names = count(len(absent), noun), ", ".join(absent[:NAMES_SHOWN])
        found.append(f"No {summary.split} rows for {classes}: {names}.")
    return found


def result_lines(summary: RunSummary) -> list[tuple[str, str]]:
    """Pairs of a short label and a text: the main metric, the baseline, the difference."""
    score = summary.score
    value = score.text(summary.value)
    unit = summary.evaluation.target.unit(score.key)
    facts = f"{unit}, " * bool(unit) + _interval_words(summary) + summary.measured
    lines = [(score.title, f"{value} ({facts})")]
    if summary.baseline:
        other, other_value = summary.baseline
        lines.append(("Baseline", f"{score.text(other_value)} ({other}, same rows)"))
        if summary.value is not None and other_value is not None:
            lines.append(("Difference", _difference(summary, summary.value, other, other_value)))
    return lines


def tables(summary: RunSummary) -> list[Table]:
    """Tables of the metrics."""
    return summary.evaluation.target.tables(summary.evaluation.metrics)


def remarks(summary: RunSummary) -> list[tuple[str, list[str]]]:
    """Titles and lines on what is worth saying of the metrics."""
    return summary.evaluation.target.remarks(summary.evaluation.metrics)


def mistakes_title(summary: RunSummary) -> str:
    """Heading of the list of mistakes."""
    return summary.evaluation.target.mistakes_title


def mistake_lines(summary: RunSummary) -> list[str]:
    """The worst mistakes by file or line."""
    words = summary.evaluation.target.words
    return [_mistake_line(m, words) for m in summary.evaluation.mistakes[:MISTAKES_SHOWN]]


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
        facts.append(f"{artifact.same} for {percent(artifact.agreement)} of rows")
    verdict = "passed" if artifact.passed else "FAILED"
    return f"comparison with the Keras model {verdict}" + (f": {', '.join(facts)}" if facts else "")


def _interval_words(summary: RunSummary) -> str:
    if summary.interval is None:
        return ""
    low, high = map(summary.score.text, summary.interval)
    return f"95 % interval {low} to {high}, "


def _difference(summary: RunSummary, value: float, other: str, other_value: float) -> str:
    gain = value - other_value
    if summary.score.higher_is_better:
        over = "over" if gain >= 0 else "against"
        better = gain > 0
        words = f"{100 * gain:+.1f} points {over}" if summary.score.share else f"{gain:+.3f} {over}"
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


def _mistake_line(mistake: Mistake, words: Callable[[Any], str]) -> str:
    origin = excerpt(mistake.origin, 10_000)
    if mistake.excerpt == excerpt(mistake.origin):  # an image: its file says it all
        where = origin
    else:
        where = f"{origin}: “{mistake.excerpt}”"
    true, predicted = (excerpt(words(x), 60) for x in (mistake.true, mistake.predicted))
    sure = "" if mistake.confidence is None else f" ({percent(mistake.confidence)} sure)"
    return f"{where} is {true}, predicted {predicted}{sure}"


def _artifact_line(artifact: Artifact) -> str:
    size = size_text(artifact.size_bytes)
    return f"{artifact.name}: {artifact.path} ({size}), {check_words(artifact)}"
