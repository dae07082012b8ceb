"""What the disk, the system and the streams do to a command is told, with no traceback."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile

import pytest
import typer
from command import cli, succeed

from tltool.cli.app import app
from tltool.cli.output import tell_list
from tltool.support import shipped

ERRORS = {
    errno.ENOSPC: "free some space",
    errno.EROFS: "choose another place",
    errno.EACCES: "choose another place",
    errno.ENOTDIR: "choose another path",
    errno.EISDIR: "name a file",
    errno.ENAMETOOLONG: "shorter name",
    errno.EMFILE: "ulimit -n",
    errno.EIO: "fails",
}


class InternalError(Exception):
    """As TensorFlow's, which is not imported for this."""

    __module__ = "tensorflow.python.framework.errors_impl"


def failing(monkeypatch, error):
    def fail(_):
        raise error

    monkeypatch.setattr(shipped, "list_shipped", fail)
    return cli("recipes", "list")


def float_options():
    found = []
    for name, group in typer.main.get_command(app).commands.items():
        for part, command in getattr(group, "commands", {"": group}).items():
            for option in command.params:
                if option.type_descriptor.annotation is float:
                    found.append((list(filter(None, [name, part])), option.opts[0]))
    return found


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(("words", "option"), float_options())
def test_an_option_that_is_a_number_is_a_finite_one(words, option, value):
    """`nan` is within every range, and nothing is over a limit of `nan`."""
    done = cli(*words, f"{option}={value}")
    assert done.code == 2
    assert f"Invalid value for '{option}'" in done.err


@pytest.mark.parametrize("number", ERRORS)
def test_what_the_system_refuses_is_told_with_its_place(monkeypatch, number):
    done = failing(monkeypatch, OSError(number, "x", "some/place"))
    assert done.code == 2
    assert done.err.startswith(f"error: some/place: {os.strerror(number)}\nhint: ")
    assert ERRORS[number] in done.err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError("Can't write data (file write failed: errno = 28, error message = ...)"), "free"),
        (RuntimeError("UNKNOWN: /x/variables: No space left on device"), "free some space"),
        (InternalError("x; Too many open files"), "ulimit"),
        (MemoryError(), "out of memory: MemoryError"),
        (OSError(errno.ENOMEM, "x"), "out of memory"),
        (ValueError("embedded null byte"), "NUL"),
        (UnicodeEncodeError("utf-8", "a\udcff", 1, 2, "surrogates not allowed"), "rename"),
        (FileNotFoundError(2, "No usable temporary directory found in ['/x']"), "TMPDIR"),
    ],
    ids=range(8),
)
def test_other_errors_of_the_machine_are_told(monkeypatch, error, told):
    done = failing(monkeypatch, error)
    assert done.code == 2
    assert told in done.err


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError("ours"),
        UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range(128)"),
        OSError("a reader's own words"),
        KeyError("a column with `errno = 28` in it"),
    ],
)
def test_a_fault_of_our_own_is_short_and_keeps_its_traceback(monkeypatch, tmp_path, error):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    done = failing(monkeypatch, error)
    assert done.code == 1
    assert type(error).__name__ in done.err
    assert "http" not in done.err
    (kept,) = tmp_path.iterdir()
    assert str(kept) in done.err
    assert "in list_recipes" in kept.read_text()


def test_a_fault_shows_its_traceback_where_it_cannot_be_kept(monkeypatch, capsys):
    from tltool.cli.app import run

    def nowhere(**_):
        raise FileNotFoundError(2, "No usable temporary directory found")

    def fail(_):
        raise ZeroDivisionError

    monkeypatch.setattr(tempfile, "mkstemp", nowhere)
    monkeypatch.setattr(shipped, "list_shipped", fail)
    assert run(["recipes", "list"]) == 1
    assert "Traceback" in capsys.readouterr().err


def commands(group=None, path=()):
    """Every command as words, such as ("runs", "list")."""
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_a_misspelt_option_leads_to_the_help_of_its_command(words):
    done = cli(*words, "--no-such-option")
    assert done.code == 2
    assert "No such option: --no-such-option" in done.err
    assert done.err.endswith(f"hint: see tltool {' '.join(words)} --help\n")
    assert succeed(*words, "--help").out


def test_what_is_no_command_leads_to_a_help_that_there_is():
    for words, place in (
        (["finetun"], "tltool"),
        (["runs", "lst"], "tltool runs"),
        (["--"], "tltool"),
    ):
        done = cli(*words)
        assert done.code == 2
        assert done.err.endswith(f"hint: see {place} --help\n")
    assert "'finetune'" in cli("finetun").err
    assert "'list'" in cli("runs", "lst").err
    for words in ([], ["runs"]):
        done = cli(*words)
        assert done.code == 2
        assert done.err.strip().startswith("Usage: tltool")
        assert "hint" not in done.err


def shell(script, **variables):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    done = subprocess.run(
        ["bash", "-c", script.replace("tltool", f"{sys.executable} -m tltool", 1)],
        capture_output=True,
        env=environment,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr
    assert b"Exception ignored" not in done.stderr, done.stderr
    return done


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("script", "code", "told"),
    [
        ("tltool recipes list > /dev/full", 2, b"No space left on device"),
        ("tltool recipes list > /dev/full 2>&1", 2, b""),
        ("tltool nonsense 2> /dev/full", 2, b""),
        ("tltool recipes list | head -0; exit ${PIPESTATUS[0]}", 0, b""),
        ("tltool recipes list >&-", 0, b""),
        ("tltool recipes list <&- >&- 2>&-", 0, b""),
    ],
)
def test_streams_that_are_full_or_closed(script, code, told):
    done = shell(script)
    assert (done.returncode, told in done.stderr) == (code, True)
    assert not told or done.stderr.startswith(b"error: ")


@pytest.mark.skipif(os.name != "posix", reason="names of files are bytes")
@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "cp1252"])
def test_json_is_json_in_any_encoding_and_with_names_that_are_no_text(tmp_path, encoding):
    root = tmp_path / "é→\U0001f600"
    run = root / os.fsdecode(b"\xff") / "1"
    run.mkdir(parents=True)
    (run / "run.json").write_text('{"format": 1, "status": "finished", "created": "now"}')
    done = shell(
        'tltool runs list --json --runs "$FOLDER"', FOLDER=str(root), PYTHONIOENCODING=encoding
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout.decode(encoding.replace("ascii", "utf-8")))
    assert found["run"] == str(run)
    table = shell('tltool runs list --runs "$FOLDER"', FOLDER=str(root), PYTHONIOENCODING=encoding)
    assert table.returncode == 0


HOSTILE = "a\x1b]0;b\x07.jpg"


def test_what_a_stranger_wrote_in_a_manifest_drives_no_terminal(tmp_path):
    facts = {"format": 1, "status": "finished", "created": HOSTILE, "task": HOSTILE}
    facts |= {"metrics": {HOSTILE: 1.0}, "files": {HOSTILE: {"sha256": "", "bytes": 1}}}
    for name, changes in (("good", {}), (HOSTILE, {"status": HOSTILE})):
        folder = tmp_path / name / "1"
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({**facts, **changes}))
    listed = succeed("runs", "list", "--runs", tmp_path)
    shown = succeed("runs", "show", tmp_path / "good" / "1")
    assert "warning: " in listed.err
    for text in (listed.out, listed.err, shown.out):
        assert "a\ufffd]0;b\ufffd.jpg" in text
        assert "\x1b" not in text


def test_names_of_files_that_are_told_drive_no_terminal(capsys):
    tell_list("left out:", [HOSTILE, "one\ntwo"])
    assert capsys.readouterr().err == "left out:\n  a\ufffd]0;b\ufffd.jpg\n  one two\n"


def test_warnings_are_told_once_and_alike_whatever_a_library_sets():
    code = (
        "import logging; from tltool.cli import app; log = logging.getLogger('tltool.data')\n"
        "def run(_): logging.basicConfig(level=0); log.info('no'); "
        f"log.warning('left out: %s', {HOSTILE!r})\n"
        "app.run = run; app.main()"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=environment
    )
    assert done.stderr.decode() == "warning: left out: a\ufffd]0;b\ufffd.jpg\n"


def test_a_tab_is_readable_in_the_help():
    out = succeed("predict", "--help").out
    assert "\t" not in out
    assert r"\t for a tab" in " ".join(out.split())


def test_a_folder_of_runs_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    done = cli("runs", "list", "--runs", tmp_path / "file")
    assert (done.code, done.err.splitlines()[0]) == (2, f"error: {tmp_path / 'file'} is a file.")
    assert "did you mean" not in cli("runs", "show", tmp_path / "file").err


def test_a_working_folder_that_is_gone(tmp_path):
    done = shell(f"mkdir {tmp_path}/gone && cd {tmp_path}/gone && rmdir {tmp_path}/gone && "
                 "tltool recipes copy quickstart")  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(b"error: ")
