"""A search over whole recipes: what is tried, what is found, and what `best.yaml` trains."""

from __future__ import annotations

import csv
import json
import signal
import sqlite3

import pytest
from command import cli, succeed
from together import write_recipe

pytest.importorskip("optuna")

import tltool
from tltool.finetuning import trials as trials_module
from tltool.finetuning.trials import Item, Job, _PrunedError, _Watched
from tltool.finetuning.tuning import importance_of
from tltool.recipe.recipe import Recipe
from tltool.support import stopping
from tltool.support.errors import BackboneError, DataError, RecipeError, RunError, TrainingError
from tltool.support.progress import Progress

SPACE = {
    "schedule.0.learning_rate": {"low": 1e-5, "high": 1e-2, "log": True},
    "schedule.0.epochs": {"low": 1, "high": 3},
    "training.label_smoothing": {"choices": [0.0, 0.1]},
}

# Which phases there are is nothing to a search.
HEAD_ALONE = ["schedule=[{train: head, epochs: 2, learning_rate: 0.002}]"]


class Notes(Progress):
    """Keeps what it is told; asks for a stop once a trial has ended, where it shall."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.notes: list[str] = []
        self._stop_after = stop_after

    def note(self, text):
        self.notes.append(text)
        if len(self.trials) == self._stop_after:
            stopping.ask(signal.SIGINT)

    @property
    def trials(self) -> list[str]:
        return [note for note in self.notes if note.startswith("trial ")]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Recipe:
    found = Recipe.load(write_recipe(tmp_path_factory.mktemp("tune"), "text"), HEAD_ALONE)
    return Recipe.of(**found.to_values() | {"tune": SPACE})


@pytest.fixture(scope="module")
def found(recipe):
    return tltool.tune(recipe, trials=3)


def history(run) -> list[dict[str, str]]:
    with (run.path / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def accuracy_of_the_best_epoch(run) -> float:
    """Which the loss chooses, so that another epoch's may be higher."""
    best = str(run.folder.manifest()["best"]["total_epoch"])
    (row,) = [row for row in history(run) if row["total_epoch"] == best]
    return float(row["val_accuracy"])


def test_the_recipe_as_it_stands_is_the_first_trial(found, recipe):
    own = found.own
    assert own.settings == {
        "schedule.0.learning_rate": 0.002, "schedule.0.epochs": 2, "training.label_smoothing": 0.0
    }  # fmt: skip
    run = tltool.finetune(recipe, audit=False)
    assert own.value == accuracy_of_the_best_epoch(run)


def test_the_trials_are_within_the_space_and_the_best_comes_first(found):
    assert sorted(trial.number for trial in found.trials) == [0, 1, 2]
    for trial in found.trials:
        assert 1e-5 <= trial.settings["schedule.0.learning_rate"] <= 1e-2
        assert trial.settings["schedule.0.epochs"] in {1, 2, 3}
    complete = [trial.value for trial in found.trials if trial.state == "complete"]
    assert complete == sorted(complete, reverse=True)
    assert found.metric == "val_accuracy"  # the loss itself is searched


@pytest.mark.slow
def test_the_best_recipe_trains_the_best_trial_again(found, recipe):
    best = Recipe.load(found.path / "best.yaml")
    assert best.export == recipe.export
    assert best.tune == {}
    run = tltool.finetune(best, audit=False)
    assert found.best.value == accuracy_of_the_best_epoch(run)


def test_the_folder_has_a_study_and_the_table(found):
    told = json.loads((found.path / "tune.json").read_text())
    assert told["best"]["value"] == found.best.value
    assert len(told["trials"]) == 3
    with sqlite3.connect(found.path / "study.db") as study:
        ((count,),) = study.execute("select count(*) from trials")
    study.close()
    assert count == 3
    assert not [*found.path.rglob("*.keras"), *found.path.rglob("*.safetensors")]


def test_what_decides_is_told_from_what_does_not():
    import optuna

    study = optuna.create_study()
    for place in range(20):
        space = {name: optuna.distributions.FloatDistribution(0, 1) for name in ("rate", "idle")}
        params = {"rate": place / 20, "idle": place % 3 / 3}
        study.add_trial(
            optuna.create_trial(params=params, distributions=space, value=params["rate"] ** 2)
        )
    shares = importance_of(study, 0)
    assert shares["rate"] > 0.9
    assert sum(shares.values()) == pytest.approx(1, abs=1e-3)
    assert importance_of(optuna.create_study(), 0) == {}


@pytest.mark.parametrize(
    ("fields", "values"), [("ab", [0.5]), ("ab", [0.5, 0.5, 0.5]), ("a", [0.5, 0.6, 0.9])]
)
def test_differences_that_are_not_there_have_no_reason(fields, values):
    import optuna

    study = optuna.create_study()
    space = {name: optuna.distributions.FloatDistribution(0, 1) for name in fields}
    for place, value in enumerate(values):
        params = {name: (place + number) / 5 for number, name in enumerate(fields)}
        study.add_trial(optuna.create_trial(params=params, distributions=space, value=value))
    assert importance_of(study, 0) == {}


def test_a_time_too_short_for_a_trial_is_told(recipe):
    with pytest.raises(RecipeError, match="hours: the time was over") as error:
        tltool.tune(recipe.model_copy(update={"name": "short"}), trials=2, hours=1e-9)
    assert error.value.exit_code != 0
    assert "give more hours" in error.value.hint


def test_a_class_with_fewer_rows_than_folds_is_refused_as_by_a_cross_validation(recipe, tmp_path):
    data = tmp_path / "rare.csv"
    rows = [f"good film number {n},good\n" for n in range(20)] + ["bad one,bad\n", "bad two,bad\n"]
    data.write_text("text,label\n" + "".join(rows))
    own = recipe.with_overrides(f"data.train={data}", "data.test_fraction=0", "name=rare")
    for search in (tltool.tune, tltool.cross_validate):
        with pytest.raises(DataError, match=r"have 'bad' \(2\)\.") as error:
            search(own, folds=3)
        assert "take 2 folds" in error.value.hint


@pytest.mark.slow
def test_a_stopped_search_goes_on_and_tries_what_one_that_never_stopped_does(found, recipe):
    own = recipe.model_copy(update={"name": "stopped"})
    first = tltool.tune(own, trials=3, progress=Notes(stop_after=2))
    assert not first.finished
    assert first.recipe is not None
    assert len(first.trials) == 2
    with pytest.raises(RunError, match=r"training\.batch_size"):
        tltool.tune(own.with_overrides("training.batch_size=8"), trials=3, resume=True)
    progress = Notes()
    again = tltool.tune(own, trials=3, resume=True, progress=progress)
    assert len(progress.trials) == 1
    assert [(t.number, t.value, t.settings) for t in again.trials] == [
        (t.number, t.value, t.settings) for t in found.trials
    ]
    more = tltool.tune(own, trials=4, resume=True)
    assert more.path == again.path
    assert len(more.trials) == 4


@pytest.mark.slow
def test_a_stop_within_a_trial_leaves_it_for_the_next_time(found, recipe, monkeypatch):
    own = recipe.model_copy(update={"name": "within"})
    end_epoch = _Watched.end_epoch

    def stop(self, row):
        end_epoch(self, row)
        stopping.ask(signal.SIGINT)

    monkeypatch.setattr(_Watched, "end_epoch", stop)
    first = tltool.tune(own, trials=2)
    assert not first.finished
    assert first.recipe is None
    assert first.trials == ()
    monkeypatch.undo()
    second = tltool.tune(own, trials=2, resume=True)
    assert second.finished
    assert len(second.trials) == 2
    assert second.own.value == found.own.value


@pytest.mark.slow
def test_trials_are_measured_by_the_mean_over_folds(recipe, monkeypatch):
    measured = []
    trained = trials_module._trained

    def note(*given):
        value = trained(*given)
        rows = given[2].examples
        measured.append((len(rows.split("train")), len(rows.split("validation")), value))
        return value

    monkeypatch.setattr(trials_module, "_trained", note)
    found = tltool.tune(recipe.model_copy(update={"name": "folded"}), trials=1, folds=3)
    assert [rows[:2] for rows in measured] == [(48, 24)] * 3  # the 18 test rows are in none
    assert found.best.value == pytest.approx(sum(rows[2] for rows in measured) / 3)


@pytest.mark.slow
def test_a_trial_whose_training_fails_is_told_and_the_search_goes_on(recipe, monkeypatch):
    trained = trials_module._trained

    def fail(job, recipe, *given):
        if recipe.schedule[0].epochs != 2:
            raise TrainingError("The loss is nan.")
        return trained(job, recipe, *given)

    monkeypatch.setattr(trials_module, "_trained", fail)
    found = tltool.tune(recipe.model_copy(update={"name": "failing"}), trials=4)
    failed = [trial for trial in found.trials if trial.state == "failed"]
    assert failed
    assert {trial.reason for trial in failed} == {"The loss is nan."}
    assert found.best.settings["schedule.0.epochs"] == 2
    monkeypatch.setattr(
        trials_module, "_trained", lambda *_: (_ for _ in ()).throw(TrainingError("no memory"))
    )
    with pytest.raises(TrainingError, match="Every trial failed, the first: no memory"):
        tltool.tune(recipe.model_copy(update={"name": "hopeless"}), trials=2)


def test_a_fault_of_the_user_s_ends_the_search(recipe, monkeypatch):
    def fail(*_):
        raise BackboneError("There is no such backbone.")

    monkeypatch.setattr(trials_module, "_trained", fail)
    with pytest.raises(BackboneError, match="no such backbone"):
        tltool.tune(recipe.model_copy(update={"name": "faulty"}), trials=3)
    assert not trials_module.GROUNDS  # data and backbone


def job(**changes) -> Job:
    given = {"recipe": None, "data": None, "folds": None, "metric": "val_accuracy",
             "higher_is_better": True, "most_epochs": 5, "trials": 10}  # fmt: skip
    return Job(**{**given, **changes})


def ended(values, direction="maximize"):
    import optuna

    study = optuna.create_study(direction=direction)
    for value in values:
        trial = study.ask()
        trial.report(value, 1)
        study.tell(trial, value)
    return tuple(study.get_trials())


def watched(recipe, others, **changes) -> _Watched:
    return _Watched(job(**changes), Item(recipe, others))


def row(epoch, **values):
    return {"total_epoch": epoch, **values}


def test_a_trial_worse_than_the_median_is_ended(recipe):
    others = ended([0.5, 0.6, 0.7, 0.8, 0.9])
    watched(recipe, others).end_epoch(row(1, val_accuracy=0.75))
    with pytest.raises(_PrunedError):
        watched(recipe, others).end_epoch(row(1, val_accuracy=0.55))
    # One of a smaller loss is the better one.
    smaller = {"metric": "val_loss", "higher_is_better": False}
    losses = ended([0.5, 0.6, 0.7, 0.8, 0.9], "minimize")
    watched(recipe, losses, **smaller).end_epoch(row(1, val_loss=0.55))
    with pytest.raises(_PrunedError):
        watched(recipe, losses, **smaller).end_epoch(row(1, val_loss=0.85))


def test_a_trial_is_not_ended_at_its_last_epoch_nor_before_others_have_ended(recipe):
    watched(recipe, ended([0.9, 0.9])).end_epoch(row(1, val_accuracy=0.1))
    others = ended([0.9] * 5)
    watched(recipe, others).end_epoch(row(3, val_accuracy=0.1))  # of three epochs
    watched(recipe, others).end_epoch(row(1, loss=0.5))  # a contrastive one measures nothing


def test_hyperband_takes_over_where_there_is_enough_to_cut():
    assert type(job(trials=30, most_epochs=9).pruner()).__name__ == "HyperbandPruner"
    assert type(job(trials=30, most_epochs=4).pruner()).__name__ == "MedianPruner"
    assert type(job(trials=30, most_epochs=9, folds=3).pruner()).__name__ == "MedianPruner"


@pytest.mark.parametrize(
    ("overrides", "options", "message"),
    [
        ((), {"trials": 0}, "trials: at least 1"),
        ((), {"hours": 0.0}, "hours: a number above 0"),
        ((), {"folds": 1}, "folds: at least 2"),
        (("head.search=true", "tune={}"), {}, "head.search"),
        (("schedule=few_examples", "tune={}"), {}, "few_examples"),
        (("training.distribution=multi_worker",), {}, "trains in one process"),
        (("data.validation_fraction=0",), {}, "no validation rows"),
        (('tune={"schedule.0.train": {choices: [all, {last: 99}]}}',), {}, "more layer groups"),
    ],
)
def test_what_can_t_be_searched_is_refused_before_anything_is_trained(
    recipe, overrides, options, message
):
    own = recipe.with_overrides("name=refused", *overrides)
    with pytest.raises(tltool.TltoolError, match=message) as error:
        tltool.tune(own, **options)
    assert error.value.exit_code == 2


def test_without_optuna_the_extra_is_named(recipe, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(RecipeError, match="Optuna is not installed") as error:
        tltool.tune(recipe, trials=1)
    assert "tltool[tune]" in error.value.hint


@pytest.mark.slow
def test_the_command_prints_a_table_and_how_to_train_the_best(tmp_path):
    file = write_recipe(tmp_path, "text")
    tuned = 'tune={"head.dropout": {low: 0.0, high: 0.5}}'
    told = succeed("tune", file, tuned, *HEAD_ALONE, "--trials", "2")
    best = tmp_path / "runs" / "text-tune" / "1" / "best.yaml"
    for shown in ("val_loss", "head.dropout", "The recipe as it stands", f"tltool finetune {best}"):
        assert shown in told.out
    assert "trial 1: val_loss" in told.err
    assert succeed("validate", best)
    found = succeed("tune", file, tuned, *HEAD_ALONE, "--trials", "2", "--resume",
                    "--json").json()  # fmt: skip
    assert found["folder"] == str(best.parent)
    assert len(found["trials"]) == 2
    failed = cli("tune", file, 'tune={"head.dropuot": {low: 0.0, high: 0.5}}')
    assert failed.code == 2
    assert "did you mean `dropout`" in failed.err


@pytest.mark.slow
def test_another_backbone_is_loaded_for_the_trials_that_ask_for_it(recipe):
    own = recipe.with_overrides("name=rates", 'tune={"backbone.dropout": {choices: [0.0, 0.5]}}')
    found = tltool.tune(own, trials=4)
    assert {trial.settings["backbone.dropout"] for trial in found.trials} == {0.0, 0.5}
    by_rate = {}
    for trial in found.trials:
        if trial.state == "complete":
            by_rate.setdefault(trial.settings["backbone.dropout"], set()).add(trial.value)
    # Each starts from the same weights, whatever was tried before it.
    assert all(len(values) == 1 for values in by_rate.values())
