"""One written function for all LiteRT precisions: the same files, and nothing left behind."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import trained

from tltool.export.formats.base import LiteRTOptions
from tltool.export.formats.litert import conversion
from tltool.export.formats.litert.export import export_litert
from tltool.recipe.export_section import Int8Section

UINT8 = LiteRTOptions(input="uint8")


@pytest.fixture
def written(monkeypatch):
    """The folders that a function was written into."""
    folders = []
    write = conversion._Converter.write

    def counted(self, folder):
        folders.append(folder)
        return write(self, folder)

    monkeypatch.setattr(conversion._Converter, "write", counted)
    return folders


def exported(made, file, precision, once=None, **options):
    if precision == "int8":
        options |= {"calibration": made.held_out, "int8": Int8Section(max_trials=3)}
    export_litert(*made.parts(), file, precision=precision, once=once, **options)
    return file.read_bytes()


def test_precisions_of_one_model_are_written_once_and_are_what_each_alone_is(tmp_path, written):
    made, once = trained.text_classifier(), {}
    file = tmp_path / "m.tflite"
    precisions = ("float32", "float16", "dynamic_int8", "int8")
    together = {one: exported(made, file, one, once) for one in precisions}
    assert len(written) == 1
    for one in precisions:
        assert exported(made, file, one) == together[one], one
    assert len({*map(len, together.values())}) == len(precisions)


def test_another_input_or_length_is_another_function(tmp_path, written):
    made, once = trained.text_classifier(), {}
    for length in (8, 12, 8):
        exported(made, tmp_path / "m.tflite", "float32", once, length=length)
    assert len(written) == 2


def test_levels_that_8_bits_make_of_floats_are_another_function(tmp_path, written):
    made, once = trained.image_classifier(tmp_path / "images"), {}
    for precision in ("float32", "int8", "float16"):
        exported(made, tmp_path / "m.tflite", precision, once, options=UINT8)
    assert len(written) == 2


def test_what_was_written_goes_with_its_function(tmp_path, written):
    once = {}
    exported(trained.text_classifier(), tmp_path / "m.tflite", "float32", once)
    assert Path(written[0]).is_dir()
    once.clear()
    gc.collect()
    assert not Path(written[0]).exists()


def test_a_tensorflow_that_writes_nothing_converts_all_the_same(tmp_path, monkeypatch):
    made, file = trained.text_classifier(), tmp_path / "m.tflite"
    expected = exported(made, file, "float32")
    monkeypatch.delattr(conversion._Converter, "_convert_concrete_functions_to_saved_model")
    once = {}
    assert [exported(made, file, "float32", once) for _ in range(2)] == [expected] * 2
