from __future__ import annotations

import io

import pytest
from rich.console import Console

from tltool.support.progress import PlainProgress, RichProgress
from tltool.support.words import appearance, harmless, one_line


@pytest.mark.parametrize(
    "names",
    [
        ("Red", "red", " red ", "re\u200bd", "r\u00aded", "\ufeffred", "ｒed", "rеd"),
        ("caf\u00e9", "cafe\u0301", "CAFÉ"),
        ("a b", "a\u00a0b", "a  b", "a\u3000b"),
        ("1", "1.0", "01", "１"),
        ("\u2764", "\u2764\ufe0f"),
        ("СО", "CO"),
    ],
)
def test_names_that_a_reader_takes_for_one_look_alike(names):
    assert len({appearance(name) for name in names}) == 1
    assert len(set(names)) == len(names)


def test_names_that_differ_to_the_eye_do_not_look_alike():
    names = ["red", "rad", "résumé", "resume", "1", "1.5", "1_0", "10", "я", "R", "", "-", "α", "a"]
    assert len({appearance(name) for name in names}) == len(names)


def test_control_characters_reach_no_terminal():
    assert one_line("a\x1b[31mb\nc\u2028d\u202e\x9b") == "a\ufffd[31mb c d\ufffd\ufffd"
    assert harmless("a\x1b\n  b\rc") == "a\ufffd\n  b\ufffdc"


@pytest.mark.parametrize("made", [PlainProgress, RichProgress])
def test_progress_says_names_as_they_are_but_for_control_characters(made):
    stream = io.StringIO()
    progress = made(Console(file=stream)) if made is RichProgress else made(stream)
    progress.stage("Data: a[/][red]\x1b[2J.csv")
    progress.note("a[bold]\x07")
    assert "Data: a[/][red]\ufffd[2J.csv" in stream.getvalue()
    assert "  a[bold]\ufffd" in stream.getvalue()


def test_numbers_beyond_what_a_float_holds_do_not_look_alike():
    for names in (("10000000000000000", "10000000000000001"), ("0." + "1" * 40, "0." + "1" * 41)):
        assert appearance(names[0]) != appearance(names[1])
    assert appearance("10000000000000001.0") == appearance("10000000000000001")
    assert appearance("1e9999999") != appearance("sNaN")
