"""What happens after training: evaluation, baseline, export, plots, model card, summary."""

from __future__ import annotations

import math
import shlex
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import yaml

from tltool.data.examples import SPLITS, Examples, Split
from tltool.support import stopping
from tltool.support.errors import EvaluationError
from tltool.support.files import atomic_path, write_json, write_text
from tltool.support.progress import Progress
from tltool.support.stopwatch import Stopwatch

if TYPE_CHECKING:
    from tltool.evaluation.baseline import BaselineResult
    from tltool.evaluation.evaluate import Evaluation
    from tltool.export.gate.report import GateReport
    from tltool.report.content import Artifact, Phase, RunSummary
    from tltool.runs.run import Run
    from tltool.tasks.table import Modality
    from tltool.training.preparation import Prepared
    from tltool.training.trainer import TrainingResult


@dataclass(frozen=True)
class _Measured:
    """What the held-out examples gave.

    Attributes:
        split: The split they are.
        examples: The rows.
        outputs: What the model says of them.
        evaluation: Metrics and mistakes.
        baseline: The simple model's result on the same rows, or None.
        by: The run whose model said it.
    """

    split: Split
    examples: Examples
    outputs: Any
    evaluation: Evaluation
    baseline: BaselineResult | None
    by: Run


def conclude(
    run: Run,
    prepared: Prepared,
    result: TrainingResult,
    *,
    started: float,
    progress: Progress,
    keep_failed: bool = False,
    clock: Stopwatch | None = None,
) -> None:
    """Measures, exports and documents a trained run, and sets `run.summary`.

    Args:
        run: Its folder gets every file; its manifest is closed as finished.
        prepared: Data, task and backbone.
        result: What training gave.
        started: `time.perf_counter()` at the start of the whole run.
        progress: Is told what happens.
        keep_failed: Keep an exported artifact that differs too much.
        clock: Counts the time of evaluation, baseline, export and report.

    Raises:
        GateError: An artifact differs too much; metrics and predictions are
            written all the same.
    """
    clock = clock or Stopwatch()
    stopping.check()
    held_out, warnings = _held_out(prepared, result)
    progress.stage(f"Evaluation on the {held_out} examples")
    with clock.measure("evaluation"):
        measured = _measure(run, prepared, result, held_out, progress, clock)
    stopping.check()
    with clock.measure("report"):
        picture = _draw(run, result, measured)
    with clock.measure("export"):
        training = prepared.examples.split("train")
        reports = _export(run, measured.examples, training, progress, keep_failed)
    write_json(run.folder.timings, {k: round(v, 3) for k, v in clock.seconds.items()})
    summary = _summary(run, prepared, result, measured, reports)
    run.summary = replace(
        summary,
        warnings=[*warnings, *_resumed(run), *prepared.data_summary["warnings"]],
        seconds=time.perf_counter() - started,
    )
    _write_card(run, run.summary, picture)
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


def _held_out(prepared: Prepared, result: TrainingResult) -> tuple[Split, list[str]]:
    """The split to measure on: test, or the next best there is, with a warning."""
    counts = {split: len(prepared.examples.split(split)) for split in SPLITS}
    if counts["test"]:
        return "test", []
    if counts["validation"] and result.refit_rows is not None:
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
    run: Run,
    prepared: Prepared,
    result: TrainingResult,
    held_out: Split,
    progress: Progress,
    clock: Stopwatch,
) -> _Measured:
    """Evaluates the validation and the held-out split, writes metrics and predictions."""
    from tltool.evaluation.evaluate import (
        PredictionRows,
        evaluate_outputs,
        with_units,
        write_predictions,
    )

    settings = run.recipe.evaluation
    metrics: dict[str, Any] = {}
    validation = prepared.examples.split("validation")
    first = run if result.refit_rows is None else _of_first_training(run)
    if len(validation) and held_out != "validation":
        outputs = first.outputs(validation)
        metrics["validation"] = evaluate_outputs(outputs, validation, run.task).metrics
    examples = prepared.examples.split(held_out)
    by = first if held_out == "validation" else run
    outputs = by.outputs(examples)
    evaluation = evaluate_outputs(outputs, examples, run.task, mistakes=settings.mistakes)
    metrics[held_out] = evaluation.metrics
    write_predictions(PredictionRows(outputs, examples, run.task), run.folder.predictions)
    with clock.measure("baseline"):
        baseline = _baseline(run, prepared, held_out, progress) if settings.baseline else None
    if baseline is not None:
        told = with_units(baseline.metrics, run.task.target)
        metrics["baseline"] = {"name": baseline.name, "split": held_out, **told}
    if result.refit_rows is not None:
        metrics["refit"] = {"rows": result.refit_rows, "validation": "of the first training"}
    write_json(run.folder.metrics, metrics)
    return _Measured(held_out, examples, outputs, evaluation, baseline, by)


def _of_first_training(run: Run) -> Run:
    """The run with the model that chose the epochs, which has not learnt from validation rows."""
    from tltool.runs.run import Run

    return Run(run.folder, run.recipe, run.task, run.preprocessing, run.best_model())


def _baseline(
    run: Run, prepared: Prepared, held_out: Split, progress: Progress
) -> BaselineResult | None:
    """A simple model on the same rows: what the pretrained weights have to beat.

    None where there can be none, which is told.
    """
    try:
        return _fitted_baseline(run, prepared, held_out)
    except EvaluationError as error:
        progress.note(f"warning: there is no baseline: {error.message}")
        return None


def _fitted_baseline(run: Run, prepared: Prepared, held_out: Split) -> BaselineResult:
    from tltool.backbones.load import load_backbone
    from tltool.evaluation.baseline import features_baseline, kind_baseline, text_baseline
    from tltool.evaluation.inference import raw_outputs

    train, test = prepared.examples.split("train"), prepared.examples.split(held_out)
    contract = prepared.backbone.preprocessing
    if (own := kind_baseline(train, test, run.task, contract)) is not None:
        return own
    if run.task.target.baseline_features:
        return _pretrained_features(run, test)
    if run.task.spec.modality != "image":
        return text_baseline(train, test, run.task)
    section = run.recipe.backbone
    untrained = load_backbone(
        section.name,
        modality="image",
        image_size_px=section.image_size_px,
        image_fit=run.recipe.spec.target.image_fit or section.image_fit,
        weights="random",
    )
    return features_baseline(
        raw_outputs(untrained.model, train, untrained.preprocessing),
        train.targets,
        raw_outputs(untrained.model, test, untrained.preprocessing),
        test.targets,
        run.task,
        groups=train.groups,
    )


def _pretrained_features(run: Run, test: Examples) -> BaselineResult:
    """The backbone's own features as they come."""
    from tltool.evaluation.baseline import as_they_come
    from tltool.evaluation.inference import raw_outputs
    from tltool.training.preparation import backbone_of

    model = backbone_of(run.recipe).model
    return as_they_come(raw_outputs(model, test, run.preprocessing), test, run.task)


def _draw(run: Run, result: TrainingResult, measured: _Measured) -> str:
    """Draws the curves of training and what the held-out rows gave; returns what that shows."""
    from tltool.report.plots import draw, learning_curves

    target = run.task.target
    learning_curves(
        result.history, run.folder.curves, target.headline(), target.training_units, result.best
    )
    truth = target.truth(measured.examples.targets)
    picture = target.picture(measured.outputs, truth, measured.evaluation.metrics)
    draw(picture, run.folder.plot)
    if target.draws_worst:
        _draw_worst(measured, truth)
    return picture.title


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
) -> tuple[GateReport, ...]:
    section = run.recipe.export
    if not section.formats:
        return ()
    progress.stage(f"Export: {', '.join(section.formats)}")
    reports = run.export_all(section, data=held_out, calibration=training, keep_failed=keep_failed)
    for report in reports:
        progress.note(
            f"{report.artifact} ({report.precision}) differs from the model by at most "
            f"{report.max_difference:.1e} on {report.rows} rows"
        )
    return reports


def _summary(
    run: Run,
    prepared: Prepared,
    result: TrainingResult,
    measured: _Measured,
    reports: tuple[GateReport, ...],
) -> RunSummary:
    from tltool.report.content import RunSummary

    baseline = measured.baseline
    return RunSummary(
        name=run.recipe.name,
        task=run.recipe.task,
        backbone=run.recipe.backbone.name,
        counts={name: n for name in SPLITS if (n := len(prepared.examples.split(name)))},
        given=prepared.data_summary["given_splits"],
        phases=_phases(prepared, result),
        split=measured.split,
        evaluation=measured.evaluation,
        baseline=(baseline.name, baseline.value) if baseline else None,
        artifacts=_artifacts(run, reports),
        run_dir=str(run.path),
        seconds=0.0,
        next_commands=_next_commands(run),
        skipped=len(prepared.examples.skipped),
        text_length=prepared.text_length,
        best=result.best,
        refit_rows=result.refit_rows,
        training_notes=result.notes,
        backbone_licence=prepared.backbone.licence,
        backbone_source=prepared.backbone.source,
        **_data_source(run),
    )


def _phases(prepared: Prepared, result: TrainingResult) -> list[Phase]:
    from tltool.report.content import Phase

    of = None if result.best is None else result.best.get("training")
    epochs = [str(row["phase"]) for row in result.history if row.get("training") == of]
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


def _artifacts(run: Run, reports: tuple[GateReport, ...]) -> list[Artifact]:
    from tltool.export.formats.table import export_targets
    from tltool.report.content import Artifact

    artifacts = []
    for target, report in zip(export_targets(run.recipe.export), reports, strict=True):
        path = run.folder.exports / target.folder / target.file
        artifacts.append(
            Artifact(
                name=target.title,
                path=str(path),
                size_bytes=report.size_bytes,
                max_difference=report.max_difference,
                agreement=report.agreement,
                same=run.task.target.same_answer,
                passed=report.passed,
            )
        )
    return artifacts


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

    source = run.recipe.data.train or "Python objects"
    if not source.startswith(SAMPLE_PREFIX):
        return {"data_source": source, "data_licence": ""}
    found = sample(source.removeprefix(SAMPLE_PREFIX))
    return {"data_source": f"{found.title}: {found.source}", "data_licence": found.licence}


# Scores of a run that its manifest keeps.
_HEADLINES = 3


def _headline(measured: _Measured) -> dict[str, Any]:
    """The few numbers that `tltool runs list` shows, kept in the manifest."""
    numbers, scores = measured.evaluation.metrics, measured.evaluation.target.scores
    headline = {score.key: numbers[score.key] for score in scores[:_HEADLINES]}
    return {**headline, "baseline": measured.baseline.value if measured.baseline else None}


def _write_card(run: Run, summary: RunSummary, picture: str) -> None:
    from tltool.report.model_card import model_card
    from tltool.runs.folder import environment

    versions = {"tltool": environment()["tltool"], **environment()["packages"]}
    plot, curves = (
        path.relative_to(run.path).as_posix() for path in (run.folder.plot, run.folder.curves)
    )
    card = model_card(
        summary, run.recipe.to_values(), versions, plot=plot, plot_title=picture, curves=curves
    )
    write_text(run.folder.card, card)
