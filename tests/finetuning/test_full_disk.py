"""What a run keeps where the disk is full, and what it tells before it trains."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
from presets import write_text_preset

import tltool
from tltool.finetuning import job
from tltool.support.errors import RunError
from tltool.support.progress import Progress
from tltool.training import phase


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    return write_text_preset(tmp_path_factory.mktemp("presets") / "bert")


def recipe(preset, folder) -> tltool.Recipe:
    return tltool.Recipe.of(
        task="text-classification",
        backbone=str(preset),
        name="full",
        output_dir=str(folder),
        data={"validation_fraction": 0.2, "test_fraction": 0.2},
        schedule=[{"train": "all", "epochs": 5, "learning_rate": 0.002, "curve": "constant"}],
        training={"monitor": "loss"},
        evaluation={"baseline": False},
        export={"formats": []},
    )


class Notes(Progress):
    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("why", ["full", "a file"])
def test_a_model_that_there_is_no_room_for_is_told_before_training(
    why, preset, tmp_path, monkeypatch
):
    place = tmp_path / "runs"
    if why == "full":
        monkeypatch.setattr(os, "posix_fallocate", full)
    else:
        place.write_text("")
    with pytest.raises(RunError, match="output_dir: the trained model can't be kept") as error:
        tltool.finetune(recipe(preset, place), data=tiny.texts(60), audit=False)
    assert "choose another place with output_dir" in error.value.hint
    assert not place.is_dir() or not list(place.iterdir())


@pytest.mark.parametrize(("refit", "states"), [(False, 2), (True, 3)])
def test_there_must_be_room_for_the_checkpoints_of_both_trainings(
    refit, states, preset, tmp_path, monkeypatch
):
    """Of a second training two, while one is replaced, beside the last one of the first."""
    asked = []
    monkeypatch.setattr(job, "probe_room", lambda folder, sizes: asked.extend(sizes))
    monkeypatch.setattr(phase, "weight_bytes", lambda *_: (30, 20))
    monkeypatch.setattr(phase, "state_bytes", lambda *_: 70)
    own = recipe(preset, tmp_path).with_overrides(f"training.refit={refit}")
    prepared = SimpleNamespace(transfer=None, plans=())
    job._check_room(SimpleNamespace(recipe=own, prepared=prepared, progress=Progress()))
    assert asked.count(70) == states


def test_a_limit_of_the_process_on_files_is_room_too(tmp_path):
    code = (
        "import pathlib, sys; from tltool.support.files import probe_room\n"
        "try: probe_room(pathlib.Path(sys.argv[1]), [900, 900, 1100])\n"
        "except OSError as error: print(error.strerror)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )
    assert done.stdout == os.strerror(errno.EFBIG) + "\n"
    assert not list(tmp_path.iterdir())


def test_where_the_disk_fills_while_it_trains_the_weights_are_kept(preset, tmp_path, monkeypatch):
    """The first epoch's weights are on the disk, and nothing can be written after it."""
    from tltool.training import best_weights
    from tltool.training.callbacks import EpochEnd

    notes, saved = Notes(), best_weights.save_file
    after_epoch = EpochEnd.on_epoch_end

    def fill(self, epoch, logs=None):
        after_epoch(self, epoch, logs)
        monkeypatch.setattr(best_weights, "save_file", full)
        monkeypatch.setattr("keras.Model.save", full)
        monkeypatch.setattr("tltool.runs.folder.write_json", full)

    monkeypatch.setattr(EpochEnd, "on_epoch_end", fill)
    with pytest.raises(RunError, match=r"can't be written to .*model\.keras") as error:
        tltool.finetune(recipe(preset, tmp_path), data=tiny.texts(60), progress=notes, audit=False)
    assert "epoch 1 of phase 1 (all) are kept" in error.value.hint
    path = tmp_path / "full" / "1"
    assert json.loads((path / "run.json").read_text())["status"] == "running"
    monkeypatch.setattr(best_weights, "save_file", saved)
    assert len(tltool.load_run(path).predict(["good film"])) == 1
    assert sum("best.safetensors cannot be written" in line for line in notes.lines) == 1
    assert not [p for p in path.rglob(".*") if p.name.startswith(".")]


def test_a_cache_that_cannot_be_used_stops_no_run(preset, tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("no folder")
    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path / "cache"))
    notes = Notes()
    values = recipe(preset, tmp_path / "runs").to_values()
    values["schedule"] = [{"train": "head", "epochs": 1}, {"train": {"last": 1}, "epochs": 1}]
    run = tltool.finetune(
        tltool.Recipe.of(**values), data=tiny.texts(60), progress=notes, audit=False
    )
    assert run.status == "finished"
    assert sum("features can't be used" in line for line in notes.lines) == 1


def test_free_space_that_the_exports_need_is_a_warning(preset, tmp_path, monkeypatch):
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))

    class EnoughError(Exception):
        pass

    class Stop(Notes):
        def note(self, text):
            super().note(text)
            if "the exports take up to" in text:
                raise EnoughError

    values = recipe(preset, tmp_path).to_values()
    values["export"] = {"formats": ["keras"]}
    with pytest.raises(EnoughError):
        tltool.finetune(
            tltool.Recipe.of(**values), data=tiny.texts(60), progress=Stop(), audit=False
        )
    assert not Path(tmp_path / "full").exists()
