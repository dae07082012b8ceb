"""What a run's reports say: the facts in one value, and the sentences made from them."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tltool.data.texts.text_length import TextLength
from tltool.evaluation.comparison import Comparison
from tltool.evaluation.evaluate import Evaluation, Mistake
from tltool.report.history import weights_words
from tltool.support.files import size_text
from tltool.support.words import count, duration, excerpt, percent
from tltool.tasks.reports import Score, Table
from tltool.tasks.table import TASKS

NAMES_SHOWN = 20
MISTAKES_SHOWN = 5
_LINEAR, _HEAD = "Linear model", "head"
_FEW_ROWS = 2_000
"""Training rows below which more of them are the likeliest help."""


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
        path: As the user would type it; empty where there is none: it was refused and removed, or
            could not be made.
        size_bytes: Of the file, or of everything in the folder; 0 of what could not be made.
        max_difference: Largest difference of any output; None if not compared.
        agreement: Share of rows with the same answer; None for numbers.
        passed: Whether it is within the tolerance; None if not compared.
        usage: How to use it, in one sentence; may be empty.
        same: What `agreement` compares, in words.
        fault: Why it could not be made; empty where it was.
    """

    name: str
    path: str
    size_bytes: int
    max_difference: float | None = None
    agreement: float | None = None
    passed: bool | None = None
    usage: str = ""
    same: str = "same answer"
    fault: str = ""


@dataclass(frozen=True)
class Baseline:
    """A simple model on the same rows.

    Attributes:
        title: A short name for people, such as "Linear model".
        name: What it is, such as "logistic regression on the frozen features".
        value: Its main metric; None where these rows have none.
    """

    title: str
    name: str
    value: float | None


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
        baselines: Simple models on the same rows, first the one that training has to beat.
        gain: How much better than the first of them the model is; None where they were not
            compared.
        linear_kept: Of the fine-tuned network with the linear model on validation rows, where the
            latter is what the run keeps; else None.
        artifacts: Exported models.
        run_dir: The run folder, as the user would type it.
        page: The page of the run in it; empty without one.
        seconds: Wall time of the whole run.
        next_commands: Commands to try, each with what it does.
        skipped: Rows and files left out.
        warnings: Sentences the user should read.
        split: Where `evaluation` was measured; another one than "test" only
            for want of it.
        text_length: How many tokens of a text the model reads; None for images.
        best: The history row of the epoch whose weights the network has; None if it was not
            trained.
        refit_rows: Rows of the second training that the model is of; None where there was one.
        calibration: What became of its confidences, in words; empty where it has none.
        taught: Who taught it, and how, in a sentence; empty without a teacher.
        decided: What a table of decisions changed of the data; empty without one.
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
    page: str = ""
    baselines: Sequence[Baseline] = ()
    gain: Comparison | None = None
    linear_kept: Comparison | None = None
    artifacts: Sequence[Artifact] = ()
    next_commands: Sequence[tuple[str, str]] = ()
    skipped: int = 0
    warnings: Sequence[str] = ()
    given: Sequence[str] = ()
    split: str = "test"
    text_length: TextLength | None = None
    best: Mapping[str, Any] | None = None
    refit_rows: int | None = None
    calibration: str = ""
    taught: str = ""
    training_notes: Sequence[str] = ()
    decided: str = ""
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
    def weights(self) -> str:
        """Which weights the model has, in a sentence; empty if it was not trained."""
        if self.linear_kept is not None:
            return "The model is the pretrained backbone with the linear model as its head."
        return "" if self.best is None else weights_words(self.best)

    @property
    def unit(self) -> str:
        """What one example is: "text", "image" or "text pair"."""
        return TASKS[self.task].modality.replace("_", " ")

    @property
    def is_linear(self) -> bool:
        """Whether training did nothing but solve the head exactly."""
        solved = [phase.learning_rate is None for phase in self.phases]
        return bool(solved) and all(solved)

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
        tested = "it" if summary.linear_kept is None else "a linear model in its place"
        done = "Trained a linear head for" if summary.is_linear else "Fine-tuned"
        what = f"{done} {summary.backbone} on {examples}{classes} ({phases}) and tested {tested}"
    sentence = f"{what} on {summary.measured}, in {duration(summary.seconds)}."
    return f"{sentence} {summary.weights}".rstrip()


def notes(summary: RunSummary) -> list[str]:
    """What the user must know to read the result right."""
    found = [*filter(None, [summary.decided, summary.taught]), *summary.training_notes]
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
    """Pairs of a short label and a text: the main metric, baselines, what training gained."""
    score = summary.score
    value = score.text(summary.value)
    unit = summary.evaluation.target.unit(score.key)
    facts = f"{unit}, " * bool(unit) + _interval_words(summary) + summary.measured
    lines = [(score.title, f"{value} ({facts})")]
    lines += [(b.title, f"{score.text(b.value)} ({b.name}, same rows)") for b in summary.baselines]
    if gained := gain_words(summary):
        lines.append(("Gain", gained))
    if summary.calibration:
        lines.append(("Calibration", summary.calibration))
    return lines


def gain_words(summary: RunSummary) -> str:
    """What fine-tuning gained over the first of the baselines, and what to try where it did not.

    Empty where they were not compared.
    """
    if (kept := summary.linear_kept) is not None:
        values = " against ".join(map(summary.score.text, (kept.value, kept.other)))
        rows = count(kept.rows, f"validation {summary.unit}")
        found = f"{summary.score.title} {values} on {rows}, {amount(kept, summary.score)}"
        return f"no better than the linear model, which is kept: {found}. {_next_step(summary)}"
    if summary.gain is None or not summary.baselines:
        return ""
    first = summary.baselines[0]
    other = "the linear model" if first.title == _LINEAR else first.name
    if summary.is_linear and first.title == _LINEAR:
        return f"none, since it is a linear model itself. {_next_step(summary)}"
    found = amount(summary.gain, summary.score)
    if summary.gain.is_better:
        return f"{found}, over {other}"
    doubt = "not clearly better" if summary.gain.gain > 0 else "no better"
    return f"{doubt} than {other}: {found}. {_next_step(summary)}"


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
    """Exported models with size and check, the page to look at, and the run folder."""
    page = [f"report: {summary.page}"] if summary.page else []
    return [*map(_artifact_line, summary.artifacts), *page, f"run folder: {summary.run_dir}"]


def check_words(artifact: Artifact) -> str:
    """How an export compares with the Keras model, or why there is none."""
    if artifact.fault:
        return f"could not be made: {artifact.fault}"
    if artifact.passed is None:
        return "not compared with the Keras model"
    facts = []
    if artifact.max_difference is not None:
        facts.append(f"largest difference {artifact.max_difference:.1e}")
    if artifact.agreement is not None:
        facts.append(f"{artifact.same} for {percent(artifact.agreement)} of rows")
    verdict = "passed" if artifact.passed else "FAILED"
    removed = "" if artifact.path else "; removed"
    told = f": {', '.join(facts)}" if facts else ""
    return f"comparison with the Keras model {verdict}{told}{removed}"


def amount(gain: Comparison, score: Score) -> str:
    """`+3.6 points (95 % interval +1.5 to +5.8, paired)`; of errors how much smaller they are."""

    def signed(value: float) -> str:
        # Without the minus of a zero that was rounded.
        return f"{round(100 * value, 1) + 0.0:+.1f}" if score.share else f"{value + 0.0:+.3g}"

    what, of = f"{signed(gain.gain)} points" if score.share else signed(gain.gain), ""
    if not score.higher_is_better:
        size = f"{abs(gain.gain):.3g}"
        part = f" or {percent(abs(gain.gain) / gain.other)}" if gain.other else ""
        what = f"error {size}{part} {'smaller' if gain.gain >= 0 else 'larger'}"
        of = " of the reduction"
    if gain.interval is None:
        return what
    low, high = map(signed, gain.interval)
    return f"{what} (95 % interval{of} {low} to {high}, paired)"


METRIC_HEADER = ("Metric", "Value", "95 % interval")
PHASE_HEADER = ("Phase", "Trained", "Parameters", "Epochs", "Learning rate", "Warm-up")


def metric_rows(summary: RunSummary) -> list[list[str]]:
    """Rows of a table of every score, and of the baselines' main one; see `METRIC_HEADER`."""
    metrics, target = summary.evaluation.metrics, summary.evaluation.target
    rows = [_metric_row(s, target.unit(s.key), metrics) for s in target.scores if s.key in metrics]
    return rows + [
        [f"{b.title}: {b.name}", summary.score.text(b.value), "–"] for b in summary.baselines
    ]


def phase_rows(summary: RunSummary) -> list[list[str]]:
    """Rows of a table of the phases of training; see `PHASE_HEADER`."""
    return [
        [
            str(i),
            p.trained,
            f"{p.parameters:,}",
            *(
                ("solved", "", "")
                if p.learning_rate is None
                else (str(p.epochs), f"{p.learning_rate:g}", percent(p.warmup))
            ),
        ]
        for i, p in enumerate(summary.phases, start=1)
    ]


def limits(summary: RunSummary) -> list[str]:
    """What the scores do not say, and where the model fails, in sentences."""
    found = [
        *summary.warnings,
        f"The scores come from {summary.measured}; on other data they may be lower. The interval "
        "covers the sampling of those rows only, not the choice of data or the training seed.",
    ]
    if summary.text_length is not None and not summary.text_length.windows:
        found.append(
            f"The model reads the first {summary.text_length.max_length} tokens of a text; what "
            "follows does not count."
        )
    return [*found, *summary.evaluation.target.limits(summary.evaluation.metrics)]


def licences(summary: RunSummary) -> tuple[str, str]:
    """Those of the pretrained weights, and of the data."""
    source = f" ({summary.backbone_source})" if summary.backbone_source else ""
    return (
        f"{summary.backbone_licence or 'not known'}{source}",
        summary.data_licence or "not known; ask its owner before publishing",
    )


def _metric_row(score: Score, unit: str, metrics: Mapping[str, Any]) -> list[str]:
    title = f"{score.title} ({unit})" if unit else score.title
    value, interval = metrics[score.key], metrics.get(f"{score.key}_interval")
    if value is None:
        return [title, metrics.get(f"{score.key}_note") or "undefined", "–"]
    bounds = " to ".join(map(score.text, interval)) if interval else "–"
    return [title, score.text(value), bounds]


def _interval_words(summary: RunSummary) -> str:
    if summary.interval is None:
        return ""
    low, high = map(summary.score.text, summary.interval)
    return f"95 % interval {low} to {high}, "


def _next_step(summary: RunSummary) -> str:
    """What is likeliest to help where fine-tuning brings nothing, as a sentence."""
    if all(phase.trained == _HEAD for phase in summary.phases):
        recipe = shlex.quote(f"{summary.run_dir}/recipe.yaml")
        return f"Next, train the backbone too: tltool finetune {recipe} schedule=fine_tune"
    epochs = sum(phase.epochs for phase in summary.phases)
    solved = summary.phases[-1].learning_rate is None  # at once, so that no epoch could follow
    best = summary.best if summary.counts.get("validation") else None  # else the last one is kept
    if not solved and best is not None and best.get("total_epoch") == epochs:
        return "Next, train longer: its last epoch was its best"
    if summary.counts.get("train", 0) < _FEW_ROWS:
        return "Next, label more rows, or try another backbone: tltool rank"
    return "Next, try another backbone (tltool rank) or another learning rate (tltool lr-find)"


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
    if not artifact.path:
        return f"{artifact.name}: {check_words(artifact)}"
    size = size_text(artifact.size_bytes)
    return f"{artifact.name}: {artifact.path} ({size}), {check_words(artifact)}"
