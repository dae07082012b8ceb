"""Files of runs and exports that are not what was written: every command names them."""

from __future__ import annotations

import os
import shutil

import pytest
import stored
from command import cli

from tltool.support.sums import SUMS_FILE

TEXT = "good film"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return stored.write_run(tmp_path_factory.mktemp("runs"), "litert", "keras").path


@pytest.fixture
def run(original, tmp_path):
    return shutil.copytree(original, tmp_path / "runs" / "tiny" / "1")


def refused(*arguments):
    done = cli(*arguments)
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    return done.err


def spoil(file):
    """Another file of the same size and time."""
    before, content = file.stat(), bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_what_was_written_is_taken(run):
    assert cli("predict", run, TEXT).code == 0
    assert cli("predict", run / "exports" / "litert", TEXT).code == 0


@pytest.mark.parametrize(
    "name", ["recipe.yaml", "labels.json", "preprocessing.json", "model.keras"]
)
@pytest.mark.parametrize(
    "command", [("predict", TEXT), ("evaluate",), ("export", "--format", "litert")]
)
def test_a_changed_file_of_a_run_is_named(run, name, command):
    spoil(run / name)
    said = refused(command[0], run, *command[1:])
    assert f"{name} has changed" in said
    assert f"tltool runs accept {run}" in said


def test_all_changes_of_a_run_are_named_at_once(run):
    spoil(run / "labels.json")
    (run / "preprocessing.json").unlink()
    said = refused("predict", run, TEXT)
    assert "labels.json has changed" in said
    assert "preprocessing.json is missing" in said


def test_a_file_that_the_run_does_not_list_was_added(run):
    manifest = run / "run.json"
    manifest.write_text(manifest.read_text().replace('"labels.json"', '"label.json"'))
    assert "labels.json was added" in refused("predict", run, TEXT)


def test_a_recipe_is_compared_only_where_it_is_the_runs_own(run):
    spoil(run / "recipe.yaml")
    assert "recipe.yaml has changed" in refused("runs", "compare", run, run)


def test_what_no_command_reads_may_change(run):
    (run / "README.md").write_text("# My notes")
    (run / "notes.txt").write_text("good one")
    assert cli("predict", run, TEXT).code == 0


def test_a_change_on_purpose_is_accepted(run):
    labels = run / "labels.json"
    labels.write_text(labels.read_text(encoding="utf-8").replace("$mall", "small"), "utf-8")
    refused("predict", run, TEXT)
    assert cli("runs", "accept", run).code == 0
    assert "small" in cli("predict", run, TEXT).out


@pytest.mark.parametrize("name", ["model.tflite", "contract.json", "labels.txt", "golden.json"])
@pytest.mark.parametrize("command", [("predict", TEXT), ("inspect",), ("benchmark",)])
def test_a_changed_file_of_an_export_is_named(run, name, command):
    export = run / "exports" / "litert"
    spoil(export / name)
    said = refused(command[0], export, *command[1:])
    assert f"{name} has changed" in said
    assert f"tltool runs accept {export}" in said


def test_all_changes_of_an_export_are_named_at_once(run):
    export = run / "exports" / "keras"
    spoil(export / "README.md")
    (export / "vocab.txt").unlink()
    (export / "more.txt").write_text("")
    said = refused("predict", export, TEXT)
    for change in ("README.md has changed", "vocab.txt is missing", "more.txt was added"):
        assert change in said
    assert cli("runs", "accept", export).code == 0
    assert cli("predict", export, TEXT).code == 0


def test_an_export_without_sums_is_refused(run):
    (run / "exports" / "litert" / SUMS_FILE).unlink()
    assert f"{SUMS_FILE} is missing" in refused("predict", run / "exports" / "litert", TEXT)
