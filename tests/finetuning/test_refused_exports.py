"""A run whose exports do not all pass: everything else of it is there, and says so."""

from __future__ import annotations

import json

import pytest
from presets import write_text_preset, write_texts

from tltool.export.formats.litert.format import LiteRTFormat
from tltool.finetuning.job import finetune
from tltool.recipe.recipe import Recipe
from tltool.runs.run import load_run
from tltool.support.errors import ExportError, GateError


def recipe(folder) -> Recipe:
    return Recipe.of(
        task="text-classification",
        name="strict",
        data={"train": str(write_texts(folder / "texts.csv", 60))},
        backbone=str(write_text_preset(folder / "bert")),
        schedule=[{"train": "head", "solver": "exact"}],
        evaluation={"baseline": False},
        export={
            "formats": ["litert"],
            "precisions": ["float32", "float16"],
            "gate": {"max_difference": {"float16": 1e-12}},
        },
        output_dir=str(folder / "runs"),
    )


def test_a_refused_export_leaves_a_run_with_its_card_and_page(tmp_path):
    with pytest.raises(GateError, match=r"\(float16\): FAILED"):
        finetune(recipe(tmp_path))
    (path,) = (tmp_path / "runs" / "strict").glob("[0-9]*")
    run = load_run(path)
    assert run.folder.manifest()["status"] == "failed"
    card, page = run.folder.card.read_text(), run.folder.page.read_text()
    assert "LiteRT float16: comparison with the Keras model FAILED" in card
    assert "; removed" in card
    assert "FAILED" in page
    assert [one.name for one in (path / "exports").iterdir()] == ["litert_float32"]
    assert json.loads(run.folder.timings.read_text())["export"] > 0


def test_what_cannot_be_made_is_told_in_the_card(tmp_path, monkeypatch):
    def fail(*_args, **_options):
        raise ExportError("no room for it")

    monkeypatch.setattr(LiteRTFormat, "write", fail)
    with pytest.raises(ExportError, match="no room for it"):
        finetune(recipe(tmp_path).with_overrides("export.formats=[litert, keras]"))
    (path,) = (tmp_path / "runs" / "strict").glob("[0-9]*")
    card = (path / "README.md").read_text()
    assert "LiteRT float32: could not be made: no room for it" in card
    assert [one.name for one in (path / "exports").iterdir()] == ["keras"]
