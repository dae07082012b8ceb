from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tltool.runs.folder import SILENT_SECONDS, RunFolder, list_runs, sweep_leftovers
from tltool.support.errors import RunError
from tltool.support.files import atomic_path, write_json
from tltool.support.processes import mark


def test_runs_of_a_name_are_numbered_and_start_as_running(tmp_path):
    first, second = (RunFolder.create(tmp_path, "a") for _ in range(2))
    assert (first.path.name, second.path.name) == ("1", "2")
    assert first.status == "running"


def test_runs_started_at_the_same_time_get_folders_of_their_own(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: RunFolder.create(tmp_path, "a"), range(16)))
    assert len({folder.path for folder in folders}) == 16


def test_the_manifest_lists_every_file_and_finds_a_changed_one(tmp_path):
    folder = RunFolder.create(tmp_path, "a")
    write_json(folder.metrics, {"accuracy": 1.0})
    folder.record("finished", seconds=3)
    assert set(folder.manifest()["files"]) == {"metrics.json"}
    folder.check(folder.metrics, folder.model)
    folder.metrics.write_text("{}")
    with pytest.raises(RunError, match=r"metrics\.json has changed"):
        folder.check(folder.metrics)


def test_facts_recorded_earlier_stay(tmp_path):
    folder = RunFolder.create(tmp_path, "a")
    folder.record("running", task="text-classification")
    folder.record("finished", seconds=3)
    assert folder.manifest()["task"] == "text-classification"
    assert folder.status == "finished"


def test_only_runs_are_offered_for_a_path_that_is_none(tmp_path):
    run, failed = (RunFolder.create(tmp_path, name) for name in ("reviews", "reviewss"))
    run.exports.mkdir()
    run.model.write_bytes(b"model")
    (tmp_path / "review_notes").mkdir()

    def hint(path):
        with pytest.raises(RunError, match="There is no run in") as error:
            RunFolder.open(path)
        return error.value.hint

    assert hint(run.exports) == hint(run.model) == f"did you mean `{run.path}`?"
    # One with a model before one that has none, and any before what is no run.
    assert hint(tmp_path / "review_s") == f"did you mean `{tmp_path / 'reviews'}`?"
    run.model.unlink()
    assert hint(tmp_path / "reviewsss") == f"did you mean `{tmp_path / 'reviewss'}`?"
    assert "tltool runs list" in hint(tmp_path / "nothing-of-the-kind")
    assert failed.path.is_dir()


def test_a_name_without_models_opens_its_newest_run(tmp_path):
    for _ in range(11):
        RunFolder.create(tmp_path, "a")
    assert RunFolder.open(tmp_path / "a").path.name == "11"


@pytest.mark.parametrize("manifest", ["", "{", "[]", '{"tltool": "1"}', '{"format": 99}'])
def test_a_damaged_manifest_is_an_error(manifest, tmp_path):
    folder = RunFolder.create(tmp_path, "a")
    folder.manifest_path.write_text(manifest)
    with pytest.raises(RunError, match="damaged"):
        RunFolder.open(folder.path)


def test_a_run_of_a_newer_tltool_is_refused(tmp_path):
    folder = RunFolder.create(tmp_path, "a")
    manifest = {**folder.manifest(), "format": 99, "tltool": "9.0"}
    folder.manifest_path.write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"written by tltool 9\.0"):
        RunFolder.open(folder.path)


def test_a_folder_that_is_no_run_offers_the_closest(tmp_path):
    RunFolder.create(tmp_path, "quickstart")
    with pytest.raises(RunError) as error:
        RunFolder.open(tmp_path / "quikstart")
    assert "quickstart" in str(error.value.hint)
    assert list_runs(tmp_path / "nowhere") == []


def test_what_fails_while_writing_leaves_the_earlier_file_and_nothing_else(tmp_path):
    target = tmp_path / "a.json"
    write_json(target, 1)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(target, float("nan"))

    def interrupted():
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "1\n"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_whole(tmp_path):
    target = tmp_path / "export"
    for name in ("old", "new"):
        with atomic_path(target) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [p.name for p in target.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [target]


def test_a_name_opens_its_newest_run_that_has_a_model(tmp_path):
    runs = [RunFolder.create(tmp_path, "a") for _ in range(5)]
    runs[1].model.touch()
    died, running = runs[2], runs[3]
    for folder in (died, running):
        folder.checkpoint.parent.mkdir()
        folder.checkpoint.touch()
    assert RunFolder.open(tmp_path / "a") == runs[1]
    kill(died)
    assert RunFolder.open(tmp_path / "a") == died
    runs[4].manifest_path.write_text("{")
    assert RunFolder.open(tmp_path / "a") == died


def kill(folder):
    """Makes a running run one of a process that is gone: the first one after the last boot."""
    manifest = json.loads(folder.manifest_path.read_text())
    write_json(folder.manifest_path, {**manifest, "process": ended_process()})


def ended_process() -> str:
    pid, start, machine = mark().split("-")
    return f"{pid}-{int(start or '0', 16) + 1:x}-{machine}"


def test_a_run_whose_process_is_gone_has_died(tmp_path):
    folder = RunFolder.create(tmp_path, "a")
    assert folder.status == "running"
    kill(folder)
    assert folder.status == "died"
    folder.record("interrupted")
    assert folder.status == "interrupted"


def test_of_a_process_of_another_machine_nothing_is_known(tmp_path):
    folder = RunFolder.create(tmp_path, "a")
    manifest = {**folder.manifest(), "process": "1-abc-00000000"}
    write_json(folder.manifest_path, manifest)
    assert folder.status == "running"
    folder.checkpoint.parent.mkdir()
    folder.checkpoint.touch()
    long_ago = time.time() - SILENT_SECONDS - 60
    for path in (*folder.path.rglob("*"), folder.path):
        os.utime(path, (long_ago, long_ago))
    assert folder.status == "unknown"
    assert folder.has_model
    folder.checkpoint.touch()
    assert folder.status == "running"
    assert not folder.has_model


@pytest.mark.parametrize(
    "change", [{"metrics": ["x"]}, {"metrics": {"a": "b"}}, {"status": "?"}, {"files": 3}]
)
def test_a_manifest_of_another_shape_is_damaged(change, tmp_path):
    folder = RunFolder.create(tmp_path, "a")
    write_json(folder.manifest_path, {**folder.manifest(), **change})
    with pytest.raises(RunError, match=f"damaged: {next(iter(change))}"):
        RunFolder.open(folder.path)


def test_only_what_ended_processes_left_is_swept(tmp_path):
    run = RunFolder.create(tmp_path, "a").path
    (run / "exports").mkdir()
    for place in (run, run / "exports"):
        for process in (ended_process(), mark(), "1-abc-00000000"):
            (place / f".saved_model.{process}.xyz").mkdir()
        (place / ".keep").mkdir()
    week_old = run / ".old.1-abc-00000000.xyz"
    week_old.mkdir()
    os.utime(week_old, (0, 0))
    sweep_leftovers(tmp_path)
    left = {path.relative_to(run).as_posix() for path in run.rglob(".*")}
    names = {".keep", f".saved_model.{mark()}.xyz", ".saved_model.1-abc-00000000.xyz"}
    assert left == names | {f"exports/{name}" for name in names}


def test_of_folders_that_are_no_runs_nothing_is_swept(tmp_path):
    place = tmp_path / "data" / "1" / f".class.{ended_process()}.xyz"
    place.mkdir(parents=True)
    sweep_leftovers(tmp_path)
    assert place.is_dir()


def test_a_run_that_did_not_end_may_have_more_than_it_lists(tmp_path):
    folder = RunFolder.create(tmp_path, "a")
    write_json(folder.labels, {})
    folder.check(folder.labels)
    folder.record("finished")
    write_json(folder.preprocessing, {})
    with pytest.raises(RunError, match=r"preprocessing\.json was added"):
        folder.check(folder.labels, folder.preprocessing)
