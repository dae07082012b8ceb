from __future__ import annotations

import os
import time
from types import SimpleNamespace

import pytest

from tltool.cli.app import run as command
from tltool.data.examples import Examples
from tltool.finetuning import resuming
from tltool.finetuning.job import _Begin, finetune, resume
from tltool.finetuning.refitting import FirstTraining
from tltool.finetuning.resuming import Difference
from tltool.finetuning.series import SeriesFolder
from tltool.recipe.recipe import Recipe
from tltool.runs import folder as folders
from tltool.runs.folder import RunFolder
from tltool.runs.run import Run
from tltool.support.errors import RecipeError, RunError
from tltool.training.checkpoint import Position, State

GIVEN = Recipe.of(task="text-classification", backbone="x", name="mine", data={"train": "t.csv"})
ELSEWHERE = "1-0-00000000"


def examples(texts=("good", "bad"), targets=("a", "b")) -> Examples:
    count = len(texts)
    return Examples("text", list(texts), list(targets), ["train"] * count, ["-"] * count)


def facts(recipe=GIVEN, rows=None) -> dict:
    task = SimpleNamespace(to_json=lambda: {"labels": ["a", "b"]})
    prepared = SimpleNamespace(examples=rows or examples(), task=task, lessons=None)
    return resuming.origin(recipe, prepared)


def stopped(tmp_path, status="interrupted", recipe=GIVEN) -> RunFolder:
    folder = RunFolder.create(tmp_path, recipe.name)
    resuming.write_origin(folder, facts(recipe), 1)
    folder.record(status)
    return folder


def changed(*overrides, rows=None) -> list[str]:
    found = resuming.differences(facts(), facts(GIVEN.with_overrides(*overrides), rows))
    return [one.field for one in found]


def test_what_changes_nothing_of_the_training_may_change():
    assert changed() == []
    assert not changed(
        "output_dir=other", "description=new", "export.formats=[keras]", "cache.max_gb=2",
        "evaluation.mistakes=3", "training.checkpoint.steps=5", "training.grace_seconds=5",
    )  # fmt: skip
    assert not changed("data.train=./t.csv")
    assert changed("data.train=other.csv") == ["recipe.data.train"]
    # Without it the linear model can't be kept.
    assert changed("evaluation.baseline=false") == ["recipe.evaluation.baseline"]


def test_what_differs_is_told_by_field():
    fields = changed("training.batch_size=8", "schedule=fine_tune", "head.dropout=0.5")
    assert fields == ["recipe.head.dropout", "recipe.schedule", "recipe.training.batch_size"]
    assert changed(rows=examples(("good", "worse"))) == ["data.content"]
    assert changed(rows=examples(targets=("a", "a"))) == ["data.content"]
    assert changed(rows=examples(("a", "b", "c"), "aba")) == ["data.rows", "data.content"]


def test_another_machine_or_version_is_told(monkeypatch):
    before = facts()
    monkeypatch.setattr(resuming, "_cpu", lambda: "another")
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    versions = {**resuming.environment(), "tltool": "9.9"}
    monkeypatch.setattr(resuming, "environment", lambda: versions)
    found = {one.field for one in resuming.differences(before, facts())}
    assert found == {"machine.cpu", "machine.TF_ENABLE_ONEDNN_OPTS", "versions.tltool"}


def test_differences_are_refused_all_at_once_unless_they_are_wanted(tmp_path):
    folder = stopped(tmp_path)
    now = facts(GIVEN.with_overrides("training.batch_size=8", "training.seed=3"))
    found = resuming.differences(facts(), now)
    with pytest.raises(RunError) as error:
        resuming.check(folder, found, anyway=False)
    assert "recipe.training.batch_size: 32 → 8" in error.value.message
    assert "recipe.training.seed: 0 → 3" in error.value.message
    assert "--resume-anyway" in error.value.hint
    assert error.value.exit_code == 2
    resuming.check(folder, found, anyway=True)
    head = resuming.differences(facts(), facts(GIVEN.with_overrides("head.hidden_units=[4]")))
    with pytest.raises(RunError, match=r"head\.hidden_units") as error:
        resuming.check(folder, head, anyway=True)
    assert "anyway" not in error.value.hint


def test_what_folds_are_measured_by_counts_where_some_are_measured():
    many = Recipe.of(**GIVEN.to_values() | {"task": "text-multi-label"})
    other = many.with_overrides("evaluation.thresholds=0.95", "evaluation.mistakes=3")
    before, now = ({"recipe": recipe.to_values()} for recipe in (many, other))
    assert resuming.differences(before, now) == []
    (one,) = resuming.differences(before, now, measured=True)
    assert str(one) == 'recipe.evaluation.thresholds: "auto" → 0.95'


def test_a_hint_names_what_the_command_can_do(tmp_path):
    folder = stopped(tmp_path)
    folds, space = Difference("folds", 3, 4), Difference("space.head.dropout.high", 0.5, 0.4)
    batch, head = (Difference(f"recipe.{name}", 1, 2) for name in ("training.batch_size", "head"))

    def hint(found, anyway):
        with pytest.raises(RunError) as error:
            resuming.check(folder, found, anyway=anyway, fixed=("folds", "space"))
        return error.value.hint

    both = "folds and space can't change: go on as it was started, or start anew without --resume"
    assert {hint([folds, batch, space], anyway) for anyway in (True, False, None)} == {both}
    # A search has no --resume-anyway, and no checkpoint.
    assert hint([batch], None) == "go on as it was started, or start anew without --resume"
    assert hint([head], None) == hint([batch], None)


def test_a_change_of_a_phase_that_has_been_trained_is_told_to_do_nothing():
    told = [
        resuming.told_of(Difference(f"recipe.{field}", 4, 8), phase=2)
        for field in ("schedule.0.epochs", "schedule.1.epochs", "training.batch_size")
    ]
    assert told == [
        "recipe.schedule.0.epochs: 4 → 8 (does nothing: phase 1 has been trained)",
        "recipe.schedule.1.epochs: 4 → 8",
        "recipe.training.batch_size: 4 → 8",
    ]
    assert (
        resuming.told_of(Difference("recipe.schedule", "a", "b"), 2) == 'recipe.schedule: "a" → "b"'
    )


def test_devices_are_told_and_not_refused():
    assert resuming.replicas_note({"devices": 2}, 2) is None
    assert "2 devices trained, and 1 go on" in resuming.replicas_note({"devices": 2}, 1)
    assert not resuming.differences({**facts(), "devices": 2}, facts())


def test_a_head_that_was_searched_is_not_searched_again(tmp_path):
    given = GIVEN.with_overrides("head.search=true", "training.weight_decay=0.5")
    folder = stopped(tmp_path, recipe=given)
    found = given.with_overrides(
        "head.search=false", "head.hidden_units=[7]", "training.weight_decay=0.25",
        'schedule=[{"train": "head", "learning_rate": 0.125}]',
    )  # fmt: skip
    folder.recipe.write_text(found.to_yaml())
    later = given.with_overrides("export.formats=[keras]")
    settled = resuming.settled(later, folder)
    assert settled == found.with_overrides("export.formats=[keras]")
    assert resuming.settled(GIVEN, folder) is GIVEN


def test_the_newest_run_that_is_not_at_its_end_is_found(tmp_path):
    assert resuming.unfinished(tmp_path, "mine") is None
    runs = [stopped(tmp_path, status) for status in ("interrupted", "failed", "finished")]
    old = RunFolder.create(tmp_path, "mine")
    old.record("interrupted")  # it kept nothing to go on from
    assert resuming.unfinished(tmp_path, "mine") == runs[1]
    assert [run.can_go_on for run in (*runs, old)] == [True, True, False, False]


def test_a_run_that_cannot_go_on_says_why(tmp_path):
    with pytest.raises(RunError, match="is finished"):
        resume(stopped(tmp_path, "finished").path)
    live = stopped(tmp_path, "running")
    with pytest.raises(RunError, match="being trained by another process"):
        resume(live.path)
    without = RunFolder.create(tmp_path, "mine")
    without.record("failed")
    with pytest.raises(RunError, match="kept nothing to go on from"):
        resume(without.path)
    with pytest.raises(RunError, match="There is no run"):
        resume(tmp_path / "nowhere")
    folds = SeriesFolder.create(tmp_path, "mine-folds")
    resuming.write_origin(folds, facts(), 1)
    folds.record("interrupted")
    for path in (folds.path, folds.path.parent):
        with pytest.raises(RunError, match="several trainings") as error:
            resume(path)
        assert "--folds N --resume" in error.value.hint


def test_a_process_on_another_machine_is_waited_for_until_it_is_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "GONE_SECONDS", 0.0)
    folder = stopped(tmp_path, "running")
    folder.record("running", process=ELSEWHERE)
    time.sleep(0.05)
    assert folder.status == "unknown"
    folder.take_over()
    assert folder.is_own
    assert folder.status == "running"
    monkeypatch.setattr(folders, "GONE_SECONDS", 60.0)
    folder.record("running", process=ELSEWHERE)
    assert not folder.is_own

    def beat(seconds):
        os.utime(folder.manifest_path, (time.time() + 5, time.time() + 5))

    monkeypatch.setattr(folders.time, "sleep", beat)
    with pytest.raises(RunError, match="being trained by another process"):
        folder.check_stopped()


def test_a_run_touches_its_manifest_while_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "BEAT_SECONDS", 0.01)
    folder = stopped(tmp_path)
    os.utime(folder.manifest_path, (1, 1))
    with folder.beating():
        end = time.monotonic() + 5
        while folder.manifest_path.stat().st_mtime == 1 and time.monotonic() < end:
            time.sleep(0.01)
    assert folder.manifest_path.stat().st_mtime > 1


def test_checkpoints_are_no_files_of_the_run(tmp_path):
    folder = stopped(tmp_path)
    (folder.path / "checkpoints" / "state-3.safetensors").write_bytes(b"x")
    folder.take_over()
    assert set(folder.manifest()["files"]) == {"checkpoints/origin.json"}


def test_phases_that_were_trained_can_t_be_left_out():
    begin = _Begin(State(Position(2, 1), {}, {}))
    begin.check([None, None])
    with pytest.raises(RunError, match="has 1 phase, and the run is in its phase 2"):
        begin.check([None])
    row = {"phase": "1 head", "epoch": 1}
    second = _Begin(first=FirstTraining((row,), row, {1: 1, 2: 0}))
    second.check([None, None])
    with pytest.raises(RunError, match="has 3 phases, and the first training"):
        second.check([None, None, None])


def test_a_damaged_origin_is_an_error(tmp_path):
    folder = stopped(tmp_path)
    folder.origin.write_text("{")
    with pytest.raises(RunError, match=r"origin\.json is damaged"):
        resume(folder.path)


def test_the_command_line_says_which_runs_can_go_on(tmp_path, capsys):
    stopped(tmp_path)
    stopped(tmp_path, "finished")
    assert command(["runs", "list", "--runs", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert told.count("tltool resume goes on") == 1
    assert command(["resume", str(tmp_path / "mine" / "2")]) == 2
    assert "is finished" in capsys.readouterr().err


def test_nothing_to_resume_begins_a_new_run(tmp_path):
    from tltool.support.progress import Progress

    class Notes(Progress):
        told = ""

        def note(self, text):
            self.told += text

    notes = Notes()
    recipe = GIVEN.with_overrides(f"output_dir={tmp_path}", f"data.train={tmp_path}/none.csv")
    with pytest.raises(Exception, match=r"none\.csv"):
        finetune(recipe, resume=True, progress=notes)
    assert "nothing to resume" in notes.told


def test_a_run_object_goes_on_by_the_job(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr("tltool.finetuning.job.resume", lambda *a, **k: calls.append((a, k)))
    folder = stopped(tmp_path)
    Run(folder, GIVEN, None, None).resume("training.seed=1", anyway=True)
    assert calls == [
        ((folder.path, "training.seed=1"), {"data": None, "anyway": True, "progress": None})
    ]


@pytest.mark.parametrize("value", ["off", "epoch", "{steps: 5}"])
def test_how_often_checkpoints_are_kept(value, tmp_path):
    recipe = GIVEN.with_overrides(f"training.checkpoint={value}")
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.to_yaml())
    assert Recipe.load(file) == recipe
    file.write_text(f"task: text-classification\nbackbone: x\ntraining:\n  checkpoint: {value}\n")
    assert Recipe.load(file).training.checkpoint == recipe.training.checkpoint


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("often", "epoch, {steps: N}, off"),
        ("true", "epoch, {steps: N}, off"),
        ("5", "epoch, {steps: N}, off"),
        ("{steps: 0}", "training.checkpoint.steps: out of range"),
        ("{stepz: 1}", "training.checkpoint.stepz: unknown key"),
    ],
)
def test_other_ways_to_keep_checkpoints_are_refused(value, said):
    with pytest.raises(RecipeError) as error:
        GIVEN.with_overrides(f"training.checkpoint={value}")
    assert said in error.value.message


@pytest.mark.slow
def test_runs_that_are_killed_end_as_undisturbed_ones(capsys):
    import interruptions

    assert interruptions.main(["--moments", "1", "--recipes", "text"]) == 0
    assert "equal 2 of 2" in capsys.readouterr().out
