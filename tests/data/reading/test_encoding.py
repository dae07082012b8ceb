"""Bytes become texts, and texts lines, the same way wherever they come from."""

from __future__ import annotations

import pytest

from tltool.data.reading.encoding import decode_bytes, lines_of


def test_a_named_encoding_under_which_utf8_reads_wrong_is_told(caplog):
    data = "плохо".encode()
    assert decode_bytes(data, "a.csv", "cp1251") == data.decode("cp1251")
    assert "a.csv was read as cp1251, as asked, but looks like UTF-8" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso2022_jp", "shift_jis"])
def test_a_right_encoding_is_not_questioned(encoding, caplog):
    assert decode_bytes("日本".encode(encoding), "a.csv", encoding) == "日本"
    assert not caplog.text


def test_lines_end_at_line_breaks_alone():
    assert lines_of("a\x0cb\u2028c\u0085d\x0b\x1ce\r\nf\rg\n") == [
        "a\x0cb\u2028c\u0085d\x0b\x1ce",
        "f",
        "g",
        "",
    ]
