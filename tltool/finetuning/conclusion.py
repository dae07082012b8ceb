"""What happens after training: evaluation, baseline, export, plots, model card, summary."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import yaml

from tltool.data.examples import SPLITS, Examples, Split
from tltool.finetuning.showing import explained_mistakes
from tltool.support import stopping
from tltool.support.errors import EvaluationError, ExportError
from tltool.support.files import atomic_path, write_json, write_text
from tltool.support.progress import Progress
from tltool.support.stopwatch import Stopwatch

if TYPE_CHECKING:
    from tltool.evaluation.baseline import BaselineResult
    from tltool.evaluation.calibration import Calibration
    from tltool.evaluation.comparison import Comparison
    from tltool.evaluation.evaluate import Evaluation
    from tltool.evaluation.explaining.explanation import Explanation
    from tltool.export.formats.base import ExportTarget
    from tltool.export.gate.report import GateReport
    from tltool.finetuning.keep import Kept
    from tltool.finetuning.linear_model import LinearModel
    from tltool.report.content import Artifact, Phase, RunSummary
    from tltool.runs.run import Run
    from tltool.tasks.reports import Picture
    from tltool.tasks.table import Modality
    from tltool.tasks.target import Target
    from tltool.training.preparation import Prepared
    from tltool.training.trainer import TrainingResult


@dataclass(frozen=True)
class Trained:
    """What training gave, and which model is kept of it.

    Attributes:
        run: With the model that is kept.
        result: Of the training.
        first: With the model that has not learnt from validation rows: `run`, or where it was
            trained again on all rows, what the first training gave.
        validation: Gives what `first` says of the validation rows, as `Run.outputs`; once.
        linear: The linear model on the frozen features, or None.
        kept: Which of the two `run` has, and why.
        calibration: The temperature that its logits are divided by; None where none was looked for.
    """

    run: Run
    result: TrainingResult
    first: Run
    validation: Callable[[], Any]
    linear: LinearModel | None
    kept: Kept
    calibration: Calibration | None = None

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The history row of the epoch whose weights the model has; None where it is linear."""
        return None if self.kept.linear else self.result.best

    @property
    def refit_rows(self) -> int | None:
        """Rows of the second training that the model is of; None where there was none."""
        return None if self.kept.linear else self.result.refit_rows


@dataclass(frozen=True)
class _Measured:
    """What the held-out examples gave.

    Attributes:
        split: The split they are.
        examples: The rows.
        outputs: What the model says of them.
        evaluation: Metrics and mistakes.
        baselines: Simple models on the same rows, first the one that training has to beat.
        gain: How much better than the first the model is; None where it is that one itself.
        by: The run whose model said it.
        errors: How far confidences are off, without the temperature and with it; None where the
            model has none.
    """

    split: Split
    examples: Examples
    outputs: Any
    evaluation: Evaluation
    baselines: tuple[BaselineResult, ...]
    gain: Comparison | None
    by: Run
    errors: tuple[float, float] | None = None


def conclude(
    trained: Trained,
    prepared: Prepared,
    *,
    started: float,
    progress: Progress,
    keep_failed: bool = False,
    clock: Stopwatch | None = None,
) -> None:
    """Measures, exports and documents a trained run, and sets `run.summary`.

    Args:
        trained: The folder of its run gets every file; the manifest is closed as finished.
        prepared: Data, task and backbone.
        started: `time.perf_counter()` at the start of the whole run.
        progress: Is told what happens.
        keep_failed: Keep an exported artifact that differs too much.
        clock: Counts the time of evaluation, baseline, export and report.

    Raises:
        GateError, ExportError: An artifact differs too much, or cannot be made; all else is
            written all the same, and card and page say so.
    """
    from tltool.export.package import require_passed

    clock, run = clock or Stopwatch(), trained.run
    stopping.check()
    held_out, warnings = _held_out(prepared, trained.refit_rows)
    progress.stage(f"Evaluation on the {held_out} examples")
    with clock.measure("evaluation"):
        measured = _measure(trained, prepared, held_out, progress, clock)
    stopping.check()
    with clock.measure("report"):
        picture = _draw(trained, measured)
    with clock.measure("export"):
        training = prepared.examples.split("train")
        outcomes = _export(run, measured.examples, training, progress, keep_failed)
    with clock.measure("report"):
        explained = explained_mistakes(
            measured.by, measured.examples, measured.evaluation, progress
        )
    write_json(run.folder.timings, {k: round(v, 3) for k, v in clock.seconds.items()})
    artifacts = [_artifact(run, *found, keep_failed) for found in outcomes.items()]
    summary = _summary(trained, prepared, measured, artifacts)
    run.summary = replace(
        summary,
        warnings=[*warnings, *_resumed(run), *prepared.data_summary["warnings"]],
        seconds=time.perf_counter() - started,
    )
    _write_card(run, run.summary, picture.title)
    if run.recipe.evaluation.report:
        _write_page(trained, prepared, measured, picture, explained)
    require_passed(outcomes, run.folder.exports if keep_failed else None)
    stopping.check()
    run.folder.record(
        "finished", metrics=_headline(measured), seconds=round(run.summary.seconds, 1)
    )


def _resumed(run: Run) -> list[str]:
    """A sentence for each time that the run went on as another one than it was."""
    return [
        f"The run stopped and went on at {one['at']} with changes, so that the result is neither "
        f"the one's nor the other's: {'; '.join(one['changes'])}."
        for one in run.folder.manifest().get("resumed", ())
        if one["changes"]
    ]


def _held_out(prepared: Prepared, refit_rows: int | None) -> tuple[Split, list[str]]:
    """The split to measure on: test, or the next best there is, with a warning."""
    counts = {split: len(prepared.examples.split(split)) for split in SPLITS}
    if counts["test"]:
        return "test", []
    if counts["validation"] and refit_rows is not None:
        return "validation", [
            "There is no test split: what is told of the validation rows is of the first training, "
            "whose best epoch they chose. The model itself has learnt from them since, and is "
            "measured on nothing."
        ]
    if counts["validation"]:
        return "validation", [
            "There is no test split: measured on the validation split, which also chose the "
            "best epoch, so expect a little less on new data."
        ]
    return "train", [
        "There is neither a test nor a validation split: measured on the training data, which "
        "says nothing about new data."
    ]


def _measure(
    trained: Trained, prepared: Prepared, held_out: Split, progress: Progress, clock: Stopwatch
) -> _Measured:
    """Evaluates the validation and the held-out split, writes metrics and predictions."""
    from tltool.evaluation.evaluate import PredictionRows, evaluate_outputs, write_predictions

    run = trained.run
    settings = run.recipe.evaluation
    metrics: dict[str, Any] = {}
    validation = prepared.examples.split("validation")
    if len(validation) and held_out != "validation":
        metrics["validation"] = evaluate_outputs(trained.validation(), validation, run.task).metrics
    examples = prepared.examples.split(held_out)
    by = trained.first if held_out == "validation" else run
    outputs = trained.validation() if held_out == "validation" else run.outputs(examples)
    evaluation = evaluate_outputs(outputs, examples, run.task, mistakes=settings.mistakes)
    metrics[held_out] = evaluation.metrics
    write_predictions(PredictionRows(outputs, examples, run.task), run.folder.predictions)
    baselines: tuple[BaselineResult, ...] = ()
    gain = None
    if settings.baseline:
        with clock.measure("baseline"):
            baselines = tuple(_baselines(trained, prepared, held_out, progress))
            gain = _gain(trained, baselines, outputs, examples)
    metrics |= _told_of_baselines(trained, baselines, gain, held_out)
    if trained.refit_rows is not None:
        metrics["refit"] = {"rows": trained.refit_rows, "validation": "of the first training"}
    errors = _calibration_errors(trained, outputs, examples)
    if (found := trained.calibration) is not None:
        before, after = errors or (None, None)
        told = {"split": held_out, "error_before": before, "error_after": after}
        metrics["calibration"] = {**found.to_json(), **told}
    write_json(run.folder.metrics, metrics)
    return _Measured(held_out, examples, outputs, evaluation, baselines, gain, by, errors)


def _calibration_errors(
    trained: Trained, outputs: Any, examples: Examples
) -> tuple[float, float] | None:
    """How far confidences are off without the temperature, which is undone, and with it."""
    import numpy as np

    found, target = trained.calibration, trained.run.task.target
    if found is None or not found.kept or outputs.dtype.names:
        return None
    truth = target.truth(examples.targets, examples.origins)
    plain = target.log_odds(outputs)
    if plain is None:
        return None
    before, after = (
        target.calibration_error(values, truth)
        for values in (np.asarray(target.outputs(plain * found.temperature)), outputs)
    )
    return None if before is None or after is None else (before, after)


def _gain(
    trained: Trained, baselines: Sequence[BaselineResult], outputs: Any, examples: Examples
) -> Comparison | None:
    """How much better the model is than the first baseline; None where it is that one itself."""
    from tltool.evaluation.comparison import compare

    if trained.kept.linear or not baselines:
        return None
    target = trained.run.task.target
    truth = target.truth(examples.targets, examples.origins)
    return compare(outputs, baselines[0].outputs, truth, target)


def _told_of_baselines(
    trained: Trained,
    baselines: Sequence[BaselineResult],
    gain: Comparison | None,
    split: Split,
) -> dict[str, Any]:
    """What `metrics.json` says of baselines; of all but the first only their scores."""
    from tltool.evaluation.evaluate import with_units

    if not baselines:
        return {}
    (first, *others), target = baselines, trained.run.task.target
    told: dict[str, Any] = {
        "baseline": {"name": first.name, "split": split, **with_units(first.metrics, target)}
    }
    if others:
        told["other_baselines"] = [
            {"name": other.name, "split": split, **_scores(other.metrics, target)}
            for other in others
        ]
    told["gain"] = gain and {"over": first.name, "split": split, **gain.to_json()}
    if trained.linear is not None:
        told["kept"] = trained.kept.to_json()
    return told


def _scores(metrics: Mapping[str, Any], target: Target) -> dict[str, Any]:
    return {score.key: metrics[score.key] for score in target.scores if score.key in metrics}


def _baselines(
    trained: Trained, prepared: Prepared, held_out: Split, progress: Progress
) -> Iterator[BaselineResult]:
    """Simple models on the same rows, first the one that fine-tuning has to beat.

    One that cannot be fitted is told of and left out.
    """
    from tltool.evaluation.baseline import constant_baseline, kind_baseline, text_baseline
    from tltool.finetuning.linear_model import has_linear_model

    run = trained.run
    task, linear = run.task, trained.linear
    train, test = prepared.examples.split("train"), prepared.examples.split(held_out)
    ways: list[Callable[[], BaselineResult | None]] = [
        lambda: None if linear is None else linear.result(test, held_out, task),
        lambda: kind_baseline(train, test, task, prepared.backbone.preprocessing),
    ]
    if task.target.baseline_features:
        ways.append(lambda: _pretrained_features(run, test))
    elif task.spec.modality != "image" and has_linear_model(task.target):
        ways.append(lambda: text_baseline(train, test, task))
    ways.append(lambda: constant_baseline(train, test, task))
    for way in ways:
        try:
            found = way()
        except EvaluationError as error:
            progress.note(f"warning: a baseline is left out: {error.message}")
            continue
        if found is not None:
            yield found


def _pretrained_features(run: Run, test: Examples) -> BaselineResult:
    """The backbone's own features as they come."""
    from tltool.evaluation.baseline import as_they_come
    from tltool.evaluation.inference import raw_outputs
    from tltool.training.preparation import backbone_of

    model = backbone_of(run.recipe).model
    return as_they_come(raw_outputs(model, test, run.preprocessing), test, run.task)


def _draw(trained: Trained, measured: _Measured) -> Picture:
    """Draws the curves of training and what the held-out rows gave, which it returns."""
    from tltool.report.plots import draw, learning_curves

    run, history = trained.run, trained.result.history
    target = run.task.target
    learning_curves(
        history, run.folder.curves, target.headline(), target.training_units, trained.best
    )
    truth = target.truth(measured.examples.targets)
    picture = target.picture(measured.outputs, truth, measured.evaluation.metrics)
    draw(picture, run.folder.plot)
    if target.draws_worst:
        _draw_worst(measured, truth)
    return picture


def _draw_worst(measured: _Measured, truth: Any) -> None:
    """A picture of each of the worst rows, the worst first."""
    run, examples = measured.by, measured.examples
    target = run.task.target
    rows = target.worst(measured.outputs, truth)[: run.recipe.evaluation.mistakes].tolist()
    if not rows:
        return
    worst = examples.take(rows)
    outputs = run.outputs(replace(worst, targets=[None] * len(rows)))
    folder = run.folder.worst
    folder.mkdir(parents=True, exist_ok=True)
    for number, output in enumerate(outputs):
        content = target.drawn(worst.inputs[number], worst.targets[number], output)
        with atomic_path(folder / f"{number + 1}.png") as temporary:
            temporary.write_bytes(content)


def _export(
    run: Run, held_out: Examples, training: Examples, progress: Progress, keep_failed: bool
) -> Mapping[ExportTarget, GateReport | ExportError]:
    section = run.recipe.export
    if not section.formats:
        return {}
    progress.stage(f"Export: {', '.join(section.formats)}")
    outcomes = run.export_outcomes(
        section, data=held_out, calibration=training, keep_failed=keep_failed
    )
    for target, found in outcomes.items():
        if isinstance(found, ExportError):
            progress.note(f"{target.title} could not be made: {found.message}")
        else:
            refused = "" if found.passed else ": refused"
            progress.note(
                f"{found.artifact} ({found.precision}) differs from the model by at most "
                f"{found.max_difference:.1e} on {found.rows} rows{refused}"
            )
    return outcomes


def _summary(
    trained: Trained,
    prepared: Prepared,
    measured: _Measured,
    artifacts: Sequence[Artifact],
) -> RunSummary:
    from tltool.report.content import Baseline, RunSummary

    run, linear = trained.run, trained.kept.linear
    return RunSummary(
        name=run.recipe.name,
        task=run.recipe.task,
        backbone=run.recipe.backbone.name,
        counts={name: n for name in SPLITS if (n := len(prepared.examples.split(name)))},
        given=prepared.data_summary["given_splits"],
        phases=_phases(prepared, trained.result),
        split=measured.split,
        evaluation=measured.evaluation,
        # The linear model is no baseline of itself.
        baselines=[Baseline(b.title, b.name, b.value) for b in measured.baselines[linear:]],
        gain=measured.gain,
        linear_kept=trained.kept.comparison if linear else None,
        artifacts=artifacts,
        run_dir=str(run.path),
        page=str(run.folder.page) if run.recipe.evaluation.report else "",
        seconds=0.0,
        next_commands=_next_commands(run),
        skipped=len(prepared.examples.skipped),
        text_length=prepared.text_length,
        best=trained.result.best,
        refit_rows=trained.refit_rows,
        calibration=_calibration_words(trained, measured),
        taught="" if linear else _taught(run, prepared),
        training_notes=() if linear else trained.result.notes,
        decided="" if prepared.examples.decided is None else f"{prepared.examples.decided}.",
        backbone_licence=prepared.backbone.licence,
        backbone_source=prepared.backbone.source,
        **_data_source(run),
    )


def _calibration_words(trained: Trained, measured: _Measured) -> str:
    """What became of the confidences, in words; empty where nothing was looked for."""
    from tltool.support.words import percent

    if trained.calibration is None:
        return ""
    if measured.errors is None:
        return trained.calibration.words
    before, after = map(percent, measured.errors)
    return f"{trained.calibration.words}; off by {after} on average, {before} without it"


def _taught(run: Run, prepared: Prepared) -> str:
    """Who taught the network, in a sentence; empty without a teacher."""
    if prepared.lessons is None or run.recipe.teacher is None:
        return ""
    return prepared.lessons.words(run.recipe.teacher, run.task.target)


def _phases(prepared: Prepared, result: TrainingResult) -> list[Phase]:
    from tltool.report.content import Phase

    of = None if result.best is None else result.best.get("training")
    # Of an ensemble those of its first member.
    own = [row for row in result.history if row.get("member") in (None, 1)]
    epochs = [str(row["phase"]) for row in own if row.get("training") == of]
    return [
        Phase(
            trained=plan.title,
            parameters=plan.num_trainable,
            epochs=epochs.count(f"{plan.number} {plan.title}"),
            learning_rate=None if plan.phase.solver == "exact" else plan.phase.learning_rate,
            warmup=plan.phase.warmup_share,
        )
        for plan in prepared.plans
        if of is None or f"{plan.number} {plan.title}" in epochs
    ]


def _artifact(
    run: Run, target: ExportTarget, found: GateReport | ExportError, keep_failed: bool
) -> Artifact:
    from tltool.report.content import Artifact

    if isinstance(found, ExportError):
        return Artifact(name=target.title, path="", size_bytes=0, fault=found.message)
    path = run.folder.exports / target.folder / target.file
    return Artifact(
        name=target.title,
        path=str(path) if found.passed or keep_failed else "",
        size_bytes=found.size_bytes,
        max_difference=found.max_difference,
        agreement=found.agreement,
        same=run.task.target.same_answer,
        passed=found.passed,
    )


# What to predict, the recipe for data of one's own, and what that is called.
_EXAMPLES: dict[Modality, tuple[str, str, str]] = {
    "image": ("photo.jpg", "my_images", "your_photos/"),
    "text": ('"type a text here"', "my_csv", "your.csv"),
    "text_pair": ('"type a text here" "and another"', "my_pairs", "your.csv"),
}


def _next_commands(run: Run) -> list[tuple[str, str]]:
    spec = run.task.spec
    example, *own = _EXAMPLES[spec.modality]
    recipe, data = spec.target.own_recipes.get(spec.modality, own)
    alike = [
        (f"tltool search {run.path} my.index --build {data}", "find in your data what is alike")
    ]
    return [
        (f"tltool predict {run.path} {example}", "try the model"),
        *(alike if run.task.target.program().vectors else []),
        (f"tltool export {run.path} --format litert --precision float16", "make a smaller file"),
        (
            shlex.join(["tltool", "finetune", recipe, f"data.train={data}", *_columns(run)]),
            "train on your own data",
        ),
    ]


def _columns(run: Run) -> list[str]:
    """Overrides that name the columns of rows of several texts, without which there is one text."""
    section = run.recipe.data
    if not run.task.spec.target.of_texts or section.input_columns is None:
        return []
    # In flow style on one line, however long the names are.
    names = yaml.safe_dump(
        list(section.input_columns), default_flow_style=True, allow_unicode=True, width=math.inf
    )
    label = section.label_column
    return [f"data.input_columns={names.strip()}",
            *([] if label is None else [f"data.label_column={label}"])]  # fmt: skip


def _data_source(run: Run) -> dict[str, str]:
    from tltool.data.reading.samples import sample
    from tltool.data.reading.sources import SAMPLE_PREFIX

    section = run.recipe.data
    source, more = section.train or "Python objects", ", ".join(section.added)
    added = f"; added: {more}" if more else ""
    if not source.startswith(SAMPLE_PREFIX):
        return {"data_source": source + added, "data_licence": ""}
    found = sample(source.removeprefix(SAMPLE_PREFIX))
    licence = "" if more else found.licence
    return {"data_source": f"{found.title}: {found.source}{added}", "data_licence": licence}


# Scores of a run that its manifest keeps.
_HEADLINES = 3


def _headline(measured: _Measured) -> dict[str, Any]:
    """The few numbers that `tltool runs list` shows, kept in the manifest."""
    numbers, scores = measured.evaluation.metrics, measured.evaluation.target.scores
    headline = {score.key: numbers[score.key] for score in scores[:_HEADLINES]}
    first = next(iter(measured.baselines), None)
    return {**headline, "baseline": None if first is None else first.value}


def _versions() -> dict[str, str]:
    from tltool.runs.folder import environment

    found = environment()
    return {"tltool": found["tltool"], **found["packages"]}


def _write_card(run: Run, summary: RunSummary, picture: str) -> None:
    from tltool.report.model_card import model_card

    plot, curves = (
        path.relative_to(run.path).as_posix() for path in (run.folder.plot, run.folder.curves)
    )
    card = model_card(
        summary, run.recipe.to_values(), _versions(), plot=plot, plot_title=picture, curves=curves
    )
    write_text(run.folder.card, card)


def _write_page(
    trained: Trained,
    prepared: Prepared,
    measured: _Measured,
    picture: Picture,
    explained: Mapping[int, Explanation],
) -> None:
    """The run's page, of what is at hand."""
    from tltool.finetuning.showing import write_page
    from tltool.report.rows import Rows
    from tltool.report.run_page import Course, Seen
    from tltool.report.thumbnails import Thumbnails

    run, target = trained.run, trained.run.task.target
    listed = [mistake.row for mistake in measured.evaluation.mistakes]
    drawn = {row: str(run.folder.worst / f"{i}.png") for i, row in enumerate(listed, start=1)}
    rows = Rows(
        measured.examples,
        measured.outputs,
        target,
        Thumbnails(prepared.backbone.preprocessing),
        drawn if target.draws_worst else {},
    )
    truth = target.truth(measured.examples.targets)
    write_page(
        run,
        Seen(rows, truth, picture, explained),
        Course(trained.result.history, trained.best, target.training_units),
        prepared.examples.decided,
        _versions(),
    )
