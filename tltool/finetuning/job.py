"""The main job: a recipe and labelled data in, a trained, measured and exported run out.

Each stage is one function that hands its result to the next:
data → backbone + head → plan → training → evaluation → export → report.
"""

from __future__ import annotations

import gc
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.images.decoded import keeping_decoded
from tltool.finetuning.loggers import check_loggers, log_run
from tltool.finetuning.members import (
    Member,
    read_members,
    remove_states,
    state_folder,
    together,
    write_members,
)
from tltool.finetuning.refitting import FirstTraining, refit_folder, remove_second
from tltool.finetuning.resuming import (
    check,
    differences,
    origin,
    read_origin,
    replicas_note,
    settled,
    told_of,
    unfinished,
    write_origin,
)
from tltool.finetuning.teaching import check_teacher, facts_of, taught
from tltool.recipe.recipe import Recipe
from tltool.runs.folder import MANIFEST, RunFolder, Status, environment, sweep_leftovers
from tltool.support import stopping
from tltool.support.errors import RunError, TrainingError, first_line
from tltool.support.files import probe_room, size_text
from tltool.support.progress import Progress
from tltool.support.spread import Spread
from tltool.support.stopwatch import Stopwatch
from tltool.support.words import count
from tltool.training.preparation import Prepared, assemble, prepare, with_head
from tltool.training.workers import Workers, examples_digest, joined

if TYPE_CHECKING:
    import keras

    from tltool.finetuning.conclusion import Trained
    from tltool.finetuning.keep import Kept
    from tltool.finetuning.linear_model import LinearModel
    from tltool.model.freezing import PhasePlan
    from tltool.runs.run import Run
    from tltool.search.few_examples import Choice
    from tltool.search.head_tuning import HeadSearchResult
    from tltool.tasks.target import Target
    from tltool.training.best_weights import HistoryRow
    from tltool.training.checkpoint import Checkpoints, State
    from tltool.training.trainer import TrainingResult


_RUN_FOLDER = "the run's folder"
_CHECKPOINT = "where it goes on"
_REPLACED = "whether the linear model is kept"
# For metrics, predictions, plots and what else is small.
_ROOM_FOR_THE_REST = 10_000_000


@dataclass(frozen=True)
class _Job:
    """What the stages after the data have in common; see `finetune`."""

    recipe: Recipe
    prepared: Prepared
    progress: Progress
    clock: Stopwatch
    workers: Workers
    started: float
    keep_failed: bool
    spread: Spread | None
    after_epoch: Callable[[Path, HistoryRow], None] | None

    def with_recipe(self, recipe: Recipe) -> _Job:
        """The same with another head or schedule."""
        return replace(self, recipe=recipe, prepared=with_head(recipe, self.prepared))

    def of_member(self, number: int) -> _Job:
        """The training of a member of an ensemble, counted from 1: of another seed.

        The first one has the model that is there; others get one of their own, so that each is,
        to the bit, what a run with its seed would be.
        """
        from tltool.training.ensemble import member_recipe

        recipe, prepared = member_recipe(self.recipe, number), self.prepared
        if number > 1:
            own = assemble(recipe, prepared.examples, prepared.data_summary)
            prepared = replace(own, pool=prepared.pool, lessons=prepared.lessons)
        return replace(self, recipe=recipe, prepared=prepared)


def finetune(
    recipe: Recipe | str | Path,
    *,
    data: Any = None,
    progress: Progress | None = None,
    keep_failed: bool = False,
    audit: bool = True,
    clock: Stopwatch | None = None,
    spread: Spread | None = None,
    resume: bool = False,
    resume_anyway: bool = False,
    after_epoch: Callable[[Path, HistoryRow], None] | None = None,
) -> Run:
    """Fine-tunes a pretrained model as a recipe says.

    Args:
        recipe: A recipe, a recipe file, or the name of one of tltool's own.
        data: Labelled data in place of the recipe's `data.train`: a pair
            (inputs, labels), a pandas DataFrame, a `tf.data.Dataset` of pairs,
            or a mapping from "train", "validation" and "test" to any of these.
        progress: Is told what happens; None is silent.
        keep_failed: Keep an exported artifact that differs too much.
        audit: Try before training whether the model can be exported as the
            recipe asks.
        clock: Counts the seconds of each stage; they are kept in `timings.json`.
        spread: Where frozen layers run and heads are searched, such as `spread_over("auto")`
            gives it; None takes this machine. The trained model is the same.
        resume: Go on with the newest run of the recipe's name that has not come to
            its end; where there is none, begin one.
        resume_anyway: Do so with another recipe, data or machine too.
        after_epoch: Is given the run's folder and the epoch's row of the history, once the
            epoch's checkpoint is written; by every worker, and all wait for it.

    Returns:
        The run: trained, evaluated, exported and checked, its files written. Of several workers
        (`training.distribution: multi_worker`) the chief writes them; the others return the same
        run once it has, without `summary`.
        After Ctrl-C while it trains, a run with the best epoch so far, marked
        as interrupted. SIGTERM and SIGHUP do the same and then end the process;
        a handler of your own for any of them stays in place.

    Raises:
        TltoolError: One of its kinds, if the recipe, the data, the backbone or
            the machine doesn't allow it, or an artifact fails the gate. Faults
            of recipe and data, and operators that an exported model could not
            have, are found before anything is written.
        KeyboardInterrupt: Ctrl-C before training, or after it.
    """
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    progress, clock = progress or Progress(), clock or Stopwatch()
    with stopping.stoppable(pass_on=True), joined(recipe, _versions()) as workers:
        told, folder = workers.voice(progress), None
        if (resume or resume_anyway) and workers.is_chief:
            folder = unfinished(recipe.output_dir, recipe.name)
            if folder is None:
                place = Path(recipe.output_dir) / recipe.name
                told.note(f"nothing to resume in {place}: a new run begins")
        return _finetune(
            recipe, data, told, keep_failed, audit, clock, spread, workers, folder, resume_anyway,
            after_epoch,
        )  # fmt: skip


def resume(
    run: str | Path,
    *overrides: str,
    data: Any = None,
    progress: Progress | None = None,
    keep_failed: bool = False,
    audit: bool = True,
    clock: Stopwatch | None = None,
    spread: Spread | None = None,
    anyway: bool = False,
) -> Run:
    """Goes on with a run that stopped.

    On the same machine the result is, to the bit, that of a run that never did.

    Args:
        run: Its folder, or `runs/NAME` for the newest one that has not come to its end.
        overrides: Changes to its recipe, as `key=value`.
        data: As for `finetune`, where it was given from Python.
        progress, keep_failed, audit, clock, spread: As for `finetune`.
        anyway: Also with another recipe, data or machine; that is told in the model card.

    Returns:
        As `finetune` does.

    Raises:
        TltoolError: As in `finetune`; a `RunError` that lists all that differs, where
            something does; or that the run is finished, or another process trains it.
    """
    path = Path(run)
    given = None if (path / MANIFEST).is_file() else unfinished(path.parent, path.name)
    folder = given or RunFolder.open(path)
    if not folder.origin.is_file():
        folder.check_stopped()
    recipe = Recipe.of(**read_origin(folder)["recipe"]).with_overrides(*overrides)
    progress, clock = progress or Progress(), clock or Stopwatch()
    with stopping.stoppable(pass_on=True), joined(recipe, _versions()) as workers:
        told = workers.voice(progress)
        return _finetune(
            recipe, data, told, keep_failed, audit, clock, spread, workers,
            folder if workers.is_chief else None, anyway,
        )  # fmt: skip


def _versions() -> dict[str, Any]:
    found = environment()
    return {"tltool": found["tltool"], "python": found["python"], **found["packages"]}


@keeping_decoded()
def _finetune(
    recipe: Recipe,
    data: Any,
    progress: Progress,
    keep_failed: bool,
    audit: bool,
    clock: Stopwatch,
    spread: Spread | None,
    workers: Workers,
    folder: RunFolder | None,
    anyway: bool,
    after_epoch: Callable[[Path, HistoryRow], None] | None = None,
) -> Run:
    started = time.perf_counter()
    if folder is not None:
        if folder.status == "running":
            progress.note(f"{folder.path}: looking whether another process still trains it")
        folder.check_stopped()
    teacher = check_teacher(recipe)
    prepared = prepare(recipe, data=data, progress=progress, clock=clock, teacher=teacher)
    workers.compare("the data", examples_digest(prepared.examples))
    if recipe.teacher is not None:
        helped = spread if workers.is_chief else None
        prepared = taught(recipe, prepared, progress=progress, spread=helped, clock=clock)
        workers.compare("what the teacher says", facts_of(prepared))
    job = _Job(
        recipe, prepared, progress, clock, workers, started, keep_failed, spread, after_epoch
    )
    if not workers.is_chief:
        return _help(replace(job, spread=None))
    return _lead(job, folder, audit, anyway)


@keeping_decoded()
def finetune_prepared(
    recipe: Recipe,
    prepared: Prepared,
    *,
    progress: Progress,
    clock: Stopwatch | None = None,
    spread: Spread | None = None,
    resume: bool = False,
    anyway: bool = False,
) -> Run:
    """One of several trainings in this process, of data that is read and a model that is built.

    Args:
        recipe: The recipe, which asks for one worker.
        prepared: Of that recipe, with pretrained weights.
        progress, clock, spread: As for `finetune`.
        resume: Go on with the newest run of the recipe's name that has not come to its end.
        anyway: As `resume_anyway` of `finetune`.

    Returns:
        As `finetune` does.

    Raises:
        TltoolError: As in `finetune`.
    """
    folder = unfinished(recipe.output_dir, recipe.name) if resume else None
    if folder is not None:
        folder.check_stopped()
    started = time.perf_counter()
    job = _Job(
        recipe, prepared, progress, clock or Stopwatch(), Workers(), started, False, spread, None
    )
    return _lead(job, folder, audit=False, anyway=anyway)


def _lead(job: _Job, folder: RunFolder | None, audit: bool, anyway: bool) -> Run:
    """What the chief does once all is prepared: a new run, or the rest of one that stopped."""
    recipe, prepared = job.recipe, job.prepared
    workers, clock, progress = job.workers, job.clock, job.progress
    check_loggers(recipe)
    if recipe.unknown is not None:
        from tltool.finetuning.knowing import check_features

        check_features(recipe, prepared)
    if audit:
        with clock.measure("audit"):
            _audit(recipe, prepared, progress)
    facts = origin(recipe, prepared)
    if folder is not None:
        return _go_on(job, folder, facts, anyway)
    search = None
    if recipe.head.search:
        with clock.measure("head search"):
            search = _search_head(job)
        job = job.with_recipe(search.recipe)
    choice = None
    if recipe.schedule == "few_examples":
        with clock.measure("choice of a schedule"):
            choice = _choose_schedule(job)
        job = job.with_recipe(choice.recipe)
    stopping.check()
    sweep_leftovers(recipe.output_dir)
    _check_room(job)
    folder = _open_folder(job)
    _tell_helpers(workers, folder, _Begin())
    with recording(folder, workers):
        if search is not None:
            search.write(folder.head_search)
        if choice is not None:
            choice.write(folder.few_examples)
        if recipe.training.checkpoint != "off":
            write_origin(folder, facts, prepared.strategy.num_replicas_in_sync)
        return _train_and_conclude(job, folder, _Begin())


def _go_on(job: _Job, folder: RunFolder, facts: dict[str, Any], anyway: bool) -> Run:
    """Takes over a run that stopped, if it is the same one, and goes on from its checkpoint."""
    from tltool.support.files import write_text
    from tltool.training.checkpoint import Position
    from tltool.training.course import UnfitError

    progress = job.progress
    before = read_origin(folder)
    found = differences(before, facts)
    check(folder, found, anyway=anyway)
    recipe = settled(job.recipe, folder)
    if recipe != job.recipe:
        job = job.with_recipe(recipe)
    stopping.check()
    sweep_leftovers(recipe.output_dir)
    _check_room(job)
    begin = _Begin.of(folder, recipe, progress)
    begin.check(job.prepared.plans)
    position = str(Position(1) if begin.state is None else begin.state.position)
    if begin.first is not None:
        position += " of the training on all labelled rows"
    if 0 < len(begin.members) < recipe.ensemble.seeds:
        position += f" of model {len(begin.members) + 1} of {recipe.ensemble.seeds}"
    elif begin.members:
        position = "the end of its training"
    progress.note(f"going on with {folder.path} at {position}")
    devices = job.prepared.strategy.num_replicas_in_sync
    notes = [note] if (note := replicas_note(before, devices)) is not None else []
    reached = 1 if begin.state is None else begin.state.position.phase
    changes = [*(told_of(one, reached) for one in found), *notes]
    for line in changes:
        progress.note(f"warning: {line}")
    earlier = folder.manifest().get("resumed", [])
    folder.take_over(error=None, resumed=[*earlier, {"at": position, "changes": changes}])
    _tell_helpers(job.workers, folder, begin)
    described = (folder.recipe, folder.labels, folder.preprocessing, folder.environment,
                 folder.data_summary, folder.origin)  # fmt: skip
    as_it_was = {file: file.read_text(encoding="utf-8") for file in described if file.is_file()}
    with recording(folder, job.workers):
        _describe(folder, recipe, job.prepared)
        write_origin(folder, facts, devices)
        try:
            return _train_and_conclude(job, folder, begin)
        except UnfitError:  # nothing was trained: the run can go on as it was started
            for file, text in as_it_was.items():
                write_text(file, text)
            folder.record("failed", resumed=earlier)
            raise


@contextmanager
def recording(folder: RunFolder, workers: Workers) -> Iterator[None]:
    """While open, the run goes on; notes how it ended where it didn't come to its end."""
    try:
        with folder.beating():
            yield
    except BaseException as error:
        why = workers.explained(error)
        interrupted = isinstance(why, KeyboardInterrupt) or stopping.exit_code() is not None
        with suppress(OSError, RunError):  # the disk may be full: then the run says that it died
            if folder.is_own:
                folder.record("interrupted" if interrupted else "failed", error=str(why))
        if why is error:
            raise
        raise why from error
    workers.dismiss()


@dataclass(frozen=True)
class _Begin:
    """Where a run's training begins.

    Attributes:
        state: What it goes on from; None is the begin of the training.
        first: What the first of two trainings found, where the second one begins or goes on.
        members: What members of an ensemble found that came to their end.
    """

    state: State | None = None
    first: FirstTraining | None = None
    members: tuple[Member, ...] = ()

    @classmethod
    def of(cls, folder: RunFolder, recipe: Recipe, progress: Progress | None = None) -> _Begin:
        """What a stopped run kept; without `refit`, of a second training nothing counts."""
        from tltool.training.checkpoint import Checkpoints

        first = FirstTraining.read(folder) if recipe.training.refit else None
        members = read_members(folder)
        place = state_folder(folder, len(members) + 1) if first is None else refit_folder(folder)
        return cls(Checkpoints(place, progress=progress).newest(), first, members)

    def check(self, plans: Sequence[PhasePlan]) -> None:
        """Raises RunError where the schedule lacks phases that were trained, or their epochs."""
        trained = 0 if self.state is None else self.state.position.phase
        if trained > len(plans):
            raise RunError(
                f"The schedule has {count(len(plans), 'phase')}, and the run is in its phase "
                f"{trained}.",
                hint="leave the phases in the schedule, or train anew without --resume",
            )
        if self.first is not None and len(self.first.epochs) != len(plans):
            raise RunError(
                f"The schedule has {count(len(plans), 'phase')}, and the first training, whose "
                f"epochs the second one repeats, had {len(self.first.epochs)}.",
                hint="leave the schedule as it was, or train anew without --resume",
            )

    def facts(self) -> dict[str, Any]:
        """What tells it from others, ready for JSON."""
        position = None if self.state is None else asdict(self.state.position)
        return {"position": position, "second": self.first is not None}


def _train_and_conclude(job: _Job, folder: RunFolder, begin: _Begin) -> Run:
    from tltool.training.checkpoint import Checkpoints

    training = job.recipe.training
    checkpoints = None
    if training.checkpoint != "off":
        checkpoints = Checkpoints(
            folder.origin.parent,
            training.checkpoint,
            training.grace_seconds,
            job.progress,
            lambda: folder.is_own,
        )
    try:
        trained = _train(job, folder, checkpoints, begin)
        run = trained.run
        if not trained.result.interrupted:
            from tltool.finetuning.conclusion import conclude

            conclude(
                trained,
                job.prepared,
                started=job.started,
                progress=job.progress,
                keep_failed=job.keep_failed,
                clock=job.clock,
            )
            if checkpoints is not None:
                checkpoints.remove()
            remove_second(folder)
            remove_states(folder)
            folder.origin.unlink(missing_ok=True)
            folder.record("finished")
            log_run(folder, job.recipe, trained.result.history, job.progress)
    finally:
        if checkpoints is not None:
            checkpoints.finish()
    return run


def _tell_helpers(workers: Workers, folder: RunFolder, begin: _Begin) -> None:
    """Tells the other workers which run they train, and from where."""
    workers.told(_RUN_FOLDER, str(folder.path))
    workers.told(_CHECKPOINT, begin.facts())


def _help(job: _Job) -> Run:
    """What a worker does that is not the chief: it trains, and waits until all is written."""
    from tltool.runs.run import Run

    workers = job.workers
    folder = RunFolder(Path(workers.told(_RUN_FOLDER)))
    begin = _Begin()
    if (wanted := workers.told(_CHECKPOINT)) != begin.facts():
        begin = _Begin.of(folder, job.recipe)
        if begin.facts() != wanted:
            raise RunError(
                f"The chief goes on from a checkpoint in {str(folder.path)!r}, and this worker "
                "finds another one there, or none.",
                hint="give `output_dir` a folder that all workers share",
            )
    _fit(job, folder, None, begin)
    workers.dismiss()
    return Run(folder, job.recipe, job.prepared.task, job.prepared.backbone.preprocessing)


def plan(recipe: Recipe | str | Path, *, data: Any = None) -> tuple[PhasePlan, ...]:
    """The freezing plan of a recipe: what each phase would train. Trains nothing."""
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    return prepare(recipe, data=data, teacher=check_teacher(recipe)).plans


def _audit(recipe: Recipe, prepared: Prepared, progress: Progress) -> None:
    from tltool.export.audit.audit import audit_export
    from tltool.training.ensemble import mean_graph

    progress.stage("Audit: can it be exported?")
    found = audit_export(
        mean_graph(prepared.transfer.model, recipe, prepared.task),
        prepared.task,
        prepared.backbone.preprocessing,
        recipe.export,
    )
    found.raise_problems()
    for line in found.lines():
        progress.note(line)


def _search_head(job: _Job) -> HeadSearchResult:
    from tltool.search.head_tuning import search_head

    return search_head(job.recipe, job.prepared, job.progress, spread=job.spread)


def _choose_schedule(job: _Job) -> Choice:
    from tltool.search.few_examples import choose_schedule

    return choose_schedule(job.recipe, job.prepared, job.progress)


def _check_room(job: _Job) -> None:
    """Refuses a run whose trained weights could not be kept; warns where its exports could not.

    Raises:
        RunError: There is no room in the recipe's `output_dir`, or it can't be written.
    """
    from tltool.export.formats.table import export_targets
    from tltool.training.phase import state_bytes, weight_bytes

    recipe, prepared = job.recipe, job.prepared
    model, changing = weight_bytes(prepared.transfer, prepared.plans)
    others = (recipe.ensemble.seeds - 1) * changing
    model += others
    # The weights of the best epoch are there twice while they are replaced.
    sizes = [changing, changing, others, model, _ROOM_FOR_THE_REST]
    if recipe.training.checkpoint != "off":  # and so is a checkpoint
        # The first training's last one stays beside those of a second.
        states = 3 if recipe.training.refit else 2
        sizes += states * [state_bytes(prepared.transfer, prepared.plans, recipe.training)]
    folder = Path(recipe.output_dir)
    try:
        probe_room(folder, sizes)
    except OSError as error:
        raise RunError(
            f"output_dir: the trained model can't be kept in {str(folder)!r}: {error.strerror}.",
            hint=f"It takes {size_text(sum(sizes))} there; make "
            "room, or choose another place with output_dir=…",
        ) from error
    exports = model * len(export_targets(recipe.export))
    for place, needed in ((folder, sum(sizes) - _ROOM_FOR_THE_REST + exports),
                          (Path(tempfile.gettempdir()), model if exports else 0)):  # fmt: skip
        free = shutil.disk_usage(place).free
        if free < needed:
            job.progress.note(
                f"warning: {size_text(free)} are free in {place}, but the exports take up to "
                f"{size_text(needed)}: they may fail, the trained model is kept"
            )


def _open_folder(job: _Job) -> RunFolder:
    folder = RunFolder.create(job.recipe.output_dir, job.recipe.name)
    _describe(folder, job.recipe, job.prepared)
    lessons = job.prepared.lessons
    told = {} if lessons is None else {"teacher": {"by": lessons.title, **lessons.facts}}
    if (decided := job.prepared.examples.decided) is not None:
        told["decisions"] = decided.counted()
    folder.record("running", **told)
    return folder


def _describe(folder: RunFolder, recipe: Recipe, prepared: Prepared) -> None:
    """Writes what is known of a run before it trains."""
    from tltool.data.labels import save_task
    from tltool.support.files import write_json, write_text

    write_text(folder.recipe, recipe.to_yaml())
    save_task(prepared.task, folder.labels, prepared.examples)
    write_text(folder.preprocessing, prepared.backbone.preprocessing.model_dump_json() + "\n")
    write_json(folder.environment, environment())
    write_json(folder.data_summary, prepared.data_summary)


def _train(job: _Job, folder: RunFolder, checkpoints: Checkpoints | None, begin: _Begin) -> Trained:
    linear = _fit_linear_model(job)
    with stopping.in_steps():
        result = _fit(job, folder, checkpoints, begin, linear)
        if result.interrupted:  # a system that asked for it may not wait for the model
            folder.record("interrupted")
        with job.clock.measure("saving"):
            trained = _save_model(job, folder, result, linear)
    if result.interrupted:
        return trained
    return _able_to_refuse(job, _calibrated(job, _keep_better(job, trained)))


def _fit_linear_model(job: _Job) -> LinearModel | None:
    """What the trained model is compared with, while the backbone is as it was pretrained."""
    from tltool.finetuning.linear_model import fit_linear_model

    if not job.recipe.evaluation.baseline:
        return None
    with job.clock.measure("baseline"):
        return fit_linear_model(
            job.recipe, job.prepared, job.progress, spread=job.spread, workers=job.workers
        )


def _fit(
    job: _Job,
    folder: RunFolder,
    checkpoints: Checkpoints | None,
    begin: _Begin,
    linear: LinearModel | None = None,
) -> TrainingResult:
    from tltool.training.phase import state_bytes

    prepared, training = job.prepared, job.recipe.training
    job.progress.stage("Training")
    if units := prepared.task.target.training_units:
        job.progress.note(units)
    if checkpoints is not None:
        checkpoints.announce(state_bytes(prepared.transfer, prepared.plans, training))
    if training.refit:
        return _fit_twice(job, folder, checkpoints, begin, linear)
    if job.recipe.ensemble.seeds > 1:
        return _fit_members(job, folder, checkpoints, begin)
    return _fit_once(job, folder, checkpoints, begin.state)


def _fit_twice(
    job: _Job,
    folder: RunFolder,
    checkpoints: Checkpoints | None,
    begin: _Begin,
    linear: LinearModel | None,
) -> TrainingResult:
    """Trains on the training rows, and then anew on the validation rows too.

    Of a network that the linear model replaces a second training would be for nothing.
    """
    import keras

    from tltool.training.refit import StartingPoint, kept_epochs, stopped, with_all_rows
    from tltool.training.trainer import rule_of

    prepared, training = job.prepared, job.recipe.training
    first, state, start = begin.first, begin.state, None
    if first is None:
        start = StartingPoint(prepared.transfer, prepared.plans)
        result = _fit_once(job, folder, checkpoints, state)
        if result.interrupted or result.best is None:
            return result
        rule = rule_of(training, prepared.task, validated=True)
        epochs = kept_epochs(result.history, prepared.plans, rule)
        first, state = FirstTraining(result.history, result.best, epochs), None
        if job.workers.is_chief:
            first.write(folder)
    replaced = job.workers.is_chief and _is_replaced(job, folder, linear)
    if job.workers.told(_REPLACED, replaced):
        job.progress.note("the linear model is no worse: there is no training on all labelled rows")
        return first.alone()
    if start is not None:
        start.restore()
    keras.utils.set_random_seed(training.seed)
    again = with_all_rows(prepared, stopped(prepared.plans, first.epochs))
    rows = sum(split == "train" for split in again.examples.splits)
    job.progress.stage(f"Training again, on all {rows:,} labelled rows")
    kept = None if checkpoints is None else checkpoints.within(refit_folder(folder))
    try:
        second = _fit_once(replace(job, prepared=again), folder, kept, state, settled=True)
    finally:
        if kept is not None:
            kept.finish()
    return first.followed_by(second, rows)


def _fit_members(
    job: _Job, folder: RunFolder, checkpoints: Checkpoints | None, begin: _Begin
) -> TrainingResult:
    """Trains the members of an ensemble one after the other, but for those that are done."""
    done, state, seeds = list(begin.members), begin.state, job.recipe.ensemble.seeds
    for number in range(len(done) + 1, seeds + 1):
        own = job.of_member(number)
        job.progress.stage(f"Model {number} of {seeds}, seed {own.recipe.training.seed}")
        kept = checkpoints
        if checkpoints is not None and number > 1:
            kept = checkpoints.within(state_folder(folder, number))
        try:
            result = _fit_once(own, folder, kept, state, member=number)
        finally:
            if kept is not None:
                kept.finish()
        if result.interrupted or result.best is None:
            return together(job.recipe, done, result)
        done.append(Member(result.history, result.best, result.notes))
        write_members(folder, done)
        state = None
        # A model holds itself in circles, and the next one needs its memory.
        del own
        gc.collect()
    return together(job.recipe, done)


def _fit_once(
    job: _Job,
    folder: RunFolder,
    checkpoints: Checkpoints | None,
    begin: State | None,
    *,
    settled: bool = False,
    member: int = 1,
) -> TrainingResult:
    """Trains; where it is `settled`, as `train` has it, the file of the best weights stays.

    `member` is the number of the one of an ensemble that is trained, whose file it is.
    """
    from tltool.training.inputs import example_data, make_feature_cache
    from tltool.training.trainer import train

    recipe, prepared = job.recipe, job.prepared
    data = example_data(recipe, prepared, "train")
    validation = example_data(recipe, prepared, "validation")
    cache = make_feature_cache(recipe, prepared, data, job.progress, job.spread)
    kept = job.workers.is_chief and not settled
    weights = folder.member_weights(member) if kept else None
    with stopping.in_steps():
        result = train(
            prepared.transfer,
            prepared.plans,
            prepared.task,
            recipe.training,
            data,
            validation if validation.num_examples else None,
            strategy=prepared.strategy,
            checkpoint=weights,
            progress=job.progress,
            cache=cache,
            clock=job.clock,
            workers=job.workers,
            checkpoints=checkpoints,
            begin=begin,
            after_epoch=None if job.after_epoch is None else partial(job.after_epoch, folder.path),
            settled=settled,
        )
    if result.best is None and not result.interrupted:
        raise TrainingError("Training ended without completing an epoch.")
    return result


def _save_model(
    job: _Job, folder: RunFolder, result: TrainingResult, linear: LinearModel | None
) -> Trained:
    from tltool.finetuning.conclusion import Trained
    from tltool.finetuning.keep import Kept
    from tltool.report.history import write_history
    from tltool.runs.run import Run

    recipe, prepared = job.recipe, job.prepared
    model, notes = _answering(job, folder, result)
    result = replace(result, notes=(*result.notes, *notes))
    # Of a second training that was interrupted nothing is kept, and there may have been none: the
    # run has the first one's model.
    second = recipe.training.refit and folder.first_training.is_file()
    whole = result.best is not None and not (second and result.refit_rows is None)
    if whole:
        _write_model(folder, model)
    events = folder.events if "tensorboard" in recipe.training.loggers else None
    write_history(result.history, folder.history, events)
    # What several workers trained is of all of them: the chief goes on with the file's model.
    own = model if result.best is None or (whole and not job.workers.are_several) else None
    run = Run(folder, recipe, prepared.task, prepared.backbone.preprocessing, own)
    if second and not whole and not result.interrupted:
        run = _of_first_training(run)
    first = run if result.refit_rows is None else _of_first_training(run)
    validation = prepared.examples.split("validation")
    trained = Trained(run, result, first, cache(lambda: first.outputs(validation)), linear, Kept())
    if result.best is not None:
        _settle(trained, prepared)
    status: Status = "interrupted" if result.interrupted else "running"
    folder.record(status, task=recipe.task, backbone=recipe.backbone.name, best=result.best)
    return trained


def _answering(
    job: _Job, folder: RunFolder, result: TrainingResult
) -> tuple[keras.Model, list[str]]:
    """The model that answers, in float32, and what to say of it."""
    from tltool.model.joining import to_float32
    from tltool.model.lora import merge_adapters
    from tltool.training.ensemble import cost_note, mean_graph, rebuilt

    recipe, prepared, members = job.recipe, job.prepared, 1
    merge_adapters(prepared.transfer.model)
    one = to_float32(prepared.transfer.model)
    if recipe.ensemble.is_one or result.best is None:
        return one, []
    if recipe.ensemble.seeds > 1:
        files = folder.kept_weights()
        contract, members = prepared.backbone.preprocessing, len(files)
        job.progress.stage(f"The mean of {count(members, 'model')}")
        model = rebuilt(recipe, prepared.task, contract, files)
    else:
        model = mean_graph(one, recipe, prepared.task)
    note = cost_note(model, one, members, recipe.ensemble.test_time_augmentation)
    job.progress.note(note)
    return model, [note]


def _of_first_training(run: Run) -> Run:
    """The run with the model that chose the epochs, which has not learnt from validation rows."""
    from tltool.runs.run import Run

    return Run(run.folder, run.recipe, run.task, run.preprocessing, run.best_model())


def _write_model(folder: RunFolder, model: keras.Model) -> None:
    from tltool.support.files import atomic_path

    try:
        with atomic_path(folder.model) as temporary:
            model.save(temporary)
    except OSError as error:
        raise RunError(
            f"The trained model can't be written to {folder.model}: {first_line(error)}.",
            hint=_what_is_kept(folder),
        ) from error


def _chosen(
    job: _Job, target: Target, linear: LinearModel | None, outputs: Callable[[], Any]
) -> Kept:
    """Which model is kept, by what the trained one says of the validation rows."""
    from tltool.finetuning.keep import choose

    validation = job.prepared.examples.split("validation")
    solved = all(plan.phase.solver == "exact" for plan in job.prepared.plans)
    with job.clock.measure("evaluation"):
        return choose(job.recipe, target, validation, linear, outputs, solved)


def _is_replaced(job: _Job, folder: RunFolder, linear: LinearModel | None) -> bool:
    """Whether the linear model takes the place of what the first of two trainings gave."""
    from tltool.runs.run import Run

    recipe, prepared = job.recipe, job.prepared
    validation = prepared.examples.split("validation")
    target = prepared.task.target.settled(recipe.evaluation.thresholds, None)
    task = replace(prepared.task, target=target)
    run = Run(folder, recipe, task, prepared.backbone.preprocessing)

    def outputs() -> Any:
        return _of_first_training(run).outputs(validation)

    return _chosen(job, target, linear, outputs).linear


def _keep_better(job: _Job, trained: Trained) -> Trained:
    """Puts the linear model into the trained one's place where that is no better."""
    from tltool.runs.run import Run

    prepared, linear, run = job.prepared, trained.linear, trained.run
    validation = prepared.examples.split("validation")
    kept = _chosen(job, run.task.target, linear, trained.validation)
    if linear is None:
        return trained
    model = "the linear model" if kept.linear else "the trained network"
    job.progress.note(f"{model} is kept: {kept.reason}")
    trained = replace(trained, kept=kept)
    if kept.linear:
        with job.clock.measure("saving"):
            network = linear.network(job.recipe, prepared)
            _write_model(run.folder, network)
        own = Run(run.folder, job.recipe, prepared.task, run.preprocessing, network)
        said = cache(lambda: own.outputs(validation))
        trained = replace(trained, run=own, first=own, validation=said)
        _settle(trained, prepared)
    run.folder.record("running", best=trained.best, kept=kept.to_json())
    return trained


def _calibrated(job: _Job, trained: Trained) -> Trained:
    """Gives the model its temperature, and chooses anew what depends on its confidences."""
    from tltool.finetuning.calibrating import calibrated

    with job.clock.measure("evaluation"):
        trained = calibrated(job.recipe, job.prepared, trained, job.progress)
    if (found := trained.calibration) is None:
        return trained
    if found.kept:
        with job.clock.measure("saving"):
            _write_model(trained.run.folder, trained.run.model)
        _settle(trained, job.prepared)
    trained.run.folder.record("running", calibration=found.to_json())
    return trained


def _able_to_refuse(job: _Job, trained: Trained) -> Trained:
    """Gives the model a score of how unknown an input is, where the recipe asks for one."""
    from tltool.data.labels import save_task
    from tltool.finetuning.knowing import able_to_refuse

    if job.recipe.unknown is None:
        return trained
    with job.clock.measure("evaluation"):
        trained = able_to_refuse(job.recipe, job.prepared, trained, job.progress)
    run = trained.run
    with job.clock.measure("saving"):
        _write_model(run.folder, run.model)
        save_task(run.task, run.folder.labels, job.prepared.examples)
    run.folder.record("running")
    return trained


def _what_is_kept(folder: RunFolder) -> str:
    if not folder.checkpoint.is_file():
        return "Make room, or choose another output_dir, and train again."
    from tltool.report.history import epoch_words
    from tltool.training.best_weights import best_row

    return (
        f"The weights of {epoch_words(best_row(folder.checkpoint))} are kept: evaluate, predict "
        f"and export take them from {folder.path}, once there is room."
    )


def _settle(trained: Trained, prepared: Prepared) -> None:
    """Chooses what the target leaves open until the model is trained, and keeps it."""
    from tltool.data.labels import save_task

    held_out, run = prepared.examples.split("validation"), trained.run
    target = run.task.target

    def measured() -> tuple[Any, Any]:
        return trained.validation(), target.truth(held_out.targets, held_out.origins)

    thresholds = run.recipe.evaluation.thresholds
    settled = target.settled(thresholds, measured if len(held_out) else None)
    if (coverage := run.recipe.evaluation.sets) is not None:
        settled = settled.with_sets(coverage, *measured())
    if settled != target:
        run.task = trained.first.task = replace(run.task, target=settled)
        save_task(run.task, run.folder.labels, prepared.examples)
