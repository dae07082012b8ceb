from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tltool.support import processes
from tltool.support.processes import end_with_parent, is_gone, mark


def mark_of_a_child(*, wait: bool) -> tuple[str, subprocess.Popen[str]]:
    code = "import sys; from tltool.support.processes import mark; print(mark(), flush=True); "
    child = subprocess.Popen(
        [sys.executable, "-c", code + "sys.stdin.read()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    text = child.stdout.readline().strip()
    if wait:
        child.communicate()
    return text, child


def test_a_process_is_there_until_it_ends():
    assert is_gone(f".model.keras.{mark()}.abc") is False
    text, child = mark_of_a_child(wait=False)
    assert is_gone(text) is False
    child.kill()
    deadline = time.monotonic() + 10
    while not is_gone(text) and time.monotonic() < deadline:  # a zombie until it is waited for
        time.sleep(0.01)
    assert is_gone(text)
    child.communicate()
    assert is_gone(text)


def test_another_process_under_the_same_number_is_another_one():
    pid, start, machine = mark().split("-")
    assert is_gone(f"{pid}-{start}0-{machine}")


def test_nothing_is_known_without_a_mark_or_of_another_machine():
    assert is_gone(".model.keras.abcdef") is None
    assert is_gone(f"{os.getpid()}-abc-00000000") is None


def test_containers_of_one_name_are_machines_of_their_own(monkeypatch):
    def machine(numbers: str) -> str:
        monkeypatch.setattr(Path, "readlink", lambda path: Path(numbers))
        return processes._machine.__wrapped__()

    assert machine("pid:[1]") != machine("pid:[2]")


def test_nothing_is_known_of_a_process_that_the_system_hides(monkeypatch):
    def hidden(path, *_, **__):
        raise FileNotFoundError

    def forbidden(pid, signal):
        raise PermissionError

    pid, _, machine = mark().split("-")
    monkeypatch.setattr(Path, "read_text", hidden)
    monkeypatch.setattr(os, "kill", forbidden)
    assert is_gone(f"{pid}-abc-{machine}") is None
    monkeypatch.undo()
    assert is_gone(f"{10**30}-abc-{machine}")


def test_on_windows_a_child_does_not_look_for_its_parent(monkeypatch):
    monkeypatch.setenv("TLTOOL_PARENT", "1")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(processes.threading, "Thread", None)
    end_with_parent()
    assert "TLTOOL_PARENT" not in os.environ


def test_a_busy_child_ends_with_its_parent(tmp_path: Path):
    child = (
        "import os, pathlib, time; from tltool.support.processes import *; end_with_parent(); "
        f"pathlib.Path({str(tmp_path / 'mark')!r}).write_text(mark()); time.sleep(60)"
    )
    parent = (
        "import subprocess, sys, time; from tltool.support.processes import child_environment; "
        f"subprocess.Popen([sys.executable, '-c', {child!r}], env=child_environment()); "
        "time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    wait_for(lambda: (tmp_path / "mark").is_file() and (tmp_path / "mark").read_text())
    text = (tmp_path / "mark").read_text()
    assert is_gone(text) is False
    process.kill()
    process.wait()
    wait_for(lambda: is_gone(text))


def wait_for(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
