from __future__ import annotations

import signal
import threading
from dataclasses import asdict

import numpy as np
import pytest

from tltool.recipe.schema import EverySteps
from tltool.support import stopping
from tltool.support.errors import RunError
from tltool.support.progress import Progress
from tltool.training import checkpoint
from tltool.training.checkpoint import (
    Checkpoints,
    Position,
    State,
    is_between,
    position_in,
    read_state,
    write_state,
)


class Notes(Progress):
    def __init__(self):
        self.told = []

    def note(self, text):
        self.told.append(text)


def state(step: int = 3) -> State:
    tensors = {
        "a": np.arange(6, dtype="float32").reshape(2, 3),
        "count": np.asarray(7, "int64"),
        "seed": np.asarray([1, 2], "uint32"),
        "none": np.zeros((0, 4), "float32"),
    }
    facts = {"history": [{"loss": 0.1, "phase": "1 head", "rate": None}], "inf": float("inf")}
    return State(Position(1, 2, step), tensors, facts)


def files(folder) -> list[str]:
    return sorted(path.name for path in folder.glob("state-*"))


def test_a_checkpoint_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "state-1.safetensors"
    write_state(path, state())
    found = read_state(path)
    assert asdict(found.position) == asdict(state().position) == asdict(position_in(path))
    assert found.facts == state().facts
    for name, value in state().tensors.items():
        assert found.tensors[name].dtype == value.dtype
        np.testing.assert_array_equal(found.tensors[name], value)
        assert found.tensors[name].shape == value.shape


@pytest.mark.parametrize("place", [0.02, 0.3, 0.999])
def test_one_changed_byte_is_damage(tmp_path, place):
    path = tmp_path / "state-1.safetensors"
    write_state(path, state())
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"state-1\.safetensors is damaged"):
        read_state(path)


def test_the_older_one_is_kept_until_the_newer_is_proven(tmp_path, monkeypatch):
    kept, notes = Checkpoints(tmp_path), Notes()
    kept.keep(state)
    kept.finish()
    assert files(tmp_path) == ["state-1.safetensors"]
    seen = []
    prove = checkpoint._prove
    monkeypatch.setattr(checkpoint, "_prove", lambda p: (seen.append(files(tmp_path)), prove(p)))
    kept.keep(lambda: state(4))
    kept.finish()
    assert seen == [["state-1.safetensors", "state-2.safetensors"]]
    assert files(tmp_path) == ["state-2.safetensors"]

    def damaged(path):
        raise RunError("it was not written as it should be")

    monkeypatch.setattr(checkpoint, "_prove", damaged)
    kept = Checkpoints(tmp_path, progress=notes)
    kept.keep(lambda: state(5))
    kept.finish()
    assert files(tmp_path) == ["state-2.safetensors"]
    assert "cannot be written" in notes.told[0]
    assert kept.newest().position.step == 4


def test_a_damaged_one_gives_way_to_the_one_before(tmp_path):
    notes = Notes()
    write_state(tmp_path / "state-9.safetensors", state(1))
    write_state(tmp_path / "state-10.safetensors", state(2))
    kept = Checkpoints(tmp_path, progress=notes)
    assert kept.newest().position.step == 2
    (tmp_path / "state-10.safetensors").write_bytes(b"half")
    assert kept.newest().position.step == 1
    assert "state-10.safetensors is damaged" in notes.told[0]
    kept.remove()
    assert kept.newest() is None


def test_a_full_disk_is_told_once_and_ends_nothing(tmp_path, monkeypatch):
    def full(path, state):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_state", full)
    notes = Notes()
    kept = Checkpoints(tmp_path, progress=notes)
    for _ in range(3):
        kept.keep(state)
        kept.finish()
    assert len(notes.told) == 1
    assert "No space left" in notes.told[0]
    assert not files(tmp_path)


def test_writing_is_beside_training_and_a_slow_one_is_not_waited_for(tmp_path, monkeypatch):
    go, write = threading.Event(), checkpoint.write_state
    monkeypatch.setattr(checkpoint, "write_state", lambda *a: (go.wait(10), write(*a)))
    kept = Checkpoints(tmp_path)
    kept.keep(lambda: state(1))
    kept.keep(lambda: pytest.fail("nothing is copied while another is written"))
    go.set()
    kept.keep(lambda: state(2), surely=True)
    kept.finish()
    assert kept.newest().position.step == 2


def test_the_last_one_is_written_within_the_time_of_grace(tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, "seconds_since_announced", lambda: 31.0)
    notes = Notes()
    kept = Checkpoints(tmp_path, grace_seconds=30.0, progress=notes)
    kept.keep_last(lambda: pytest.fail("there is no time"))
    assert "no time is left" in notes.told[0]
    kept = Checkpoints(tmp_path, grace_seconds=60.0)
    kept.keep_last(state)
    assert kept.newest().position == state().position


def test_the_time_of_grace_begins_with_the_signal():
    with stopping.stoppable(), stopping.in_steps():
        assert stopping.seconds_since_announced() is None
        signal.raise_signal(signal.SIGTERM)
        assert 0 <= stopping.seconds_since_announced() < 5
    with stopping.stoppable(), stopping.in_steps():
        signal.raise_signal(signal.SIGINT)
        assert stopping.seconds_since_announced() is None


def test_a_run_that_another_process_trains_is_left_to_it(tmp_path):
    kept = Checkpoints(tmp_path, owned=lambda: False)
    kept.keep(state)
    with pytest.raises(RunError, match="Another process has gone on"):
        kept.finish()
    assert not files(tmp_path)


def test_steps_between_which_one_is_due():
    assert [done for done in range(1, 16) if is_between(5, done - 1, done)] == [5, 10, 15]
    by_four = [done for done in range(4, 30, 4) if is_between(5, done - 4, done)]
    assert by_four == [8, 12, 16, 20, 28]
    assert not is_between(None, 0, 100)


def test_size_and_time_are_told(tmp_path):
    notes = Notes()
    Checkpoints(tmp_path, EverySteps(steps=5), progress=notes).announce(20_000_000)
    assert notes.told[0].startswith(
        "checkpoints: up to 20 MB after 5 steps and at each epoch's end, about "
    )
