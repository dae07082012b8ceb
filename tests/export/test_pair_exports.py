"""Exported models of pairs of texts: what goes in, what programs beside them make of two texts."""

from __future__ import annotations

import json
import subprocess
import sys

import exported
import golden_program
import numpy as np
import pytest
from byte_pairs import trained_contract
from exported import export_and_check
from odd_texts import ODD_TEXTS
from test_programs import namespace, wordpiece

from tltool.benchmarking.inputs import ROWS, golden_inputs
from tltool.benchmarking.subjects import subjects_of
from tltool.evaluation.inference import model_outputs
from tltool.export.artifact import load_artifact
from tltool.export.feeding import prepared_inputs, single_inputs
from tltool.export.formats.base import ExportTarget, LiteRTOptions
from tltool.export.formats.table import FORMATS
from tltool.recipe.export_section import ExportSection
from tltool.tasks.numbers import NumbersTarget

PAIRS = exported.pairs([*ODD_TEXTS, *exported.texts()])
CONTRACTS = {
    "joined": wordpiece(pair="joined"),
    "apart": wordpiece(pair="apart"),
    "joined byte pairs": trained_contract().model_copy(update={"pair": "joined"}),
    "apart byte pairs": trained_contract().model_copy(update={"pair": "apart"}),
}


@pytest.mark.parametrize(
    ("name", "length"),
    [
        *((name, 12) for name in CONTRACTS),
        *(
            pytest.param(name, None, marks=pytest.mark.slow)
            for name in ("joined", "apart byte pairs")
        ),
    ],
)
def test_programs_prepare_pairs_as_the_training_does(name, length, tmp_path, monkeypatch, capsys):
    contract = CONTRACTS[name]
    made = exported.text_model(contract)
    options = LiteRTOptions(length="static" if length else "free")
    target = ExportTarget(FORMATS["litert"], options=options)
    folder = exported.export_folder(made, tmp_path / "export", target, length)
    program = namespace(folder, monkeypatch)
    for pair, inputs in zip(
        PAIRS, single_inputs(contract, length, "token_ids")(PAIRS), strict=True
    ):
        found = program["preprocess"](pair)
        assert set(found) == set(contract.inputs)
        for key, values in found.items():
            np.testing.assert_array_equal(values, inputs[key], err_msg=repr(pair))
            assert values.dtype == np.int32
    golden = json.loads((folder / "golden.json").read_text())["examples"]
    *label, score = capsys.readouterr().out.split()
    assert " ".join(label) == golden[0]["label"]
    assert float(score) == pytest.approx(max(golden[0]["probabilities"]), abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["joined", "apart"])
def test_a_saved_model_takes_both_texts_by_name(form, tmp_path):
    target = NumbersTarget(mean=(2.5,), std=(1.5,))
    made = exported.text_model(CONTRACTS[form], target)
    folder = exported.export_folder(made, tmp_path / "export", ExportTarget(FORMATS["saved_model"]))
    artifact = load_artifact(folder)
    assert [tensor.name for tensor in artifact.contract.inputs] == ["text_a", "text_b"]
    few = [tuple(text[:60] for text in pair) for pair in PAIRS[:20]]
    rows = exported.examples("text_pair", few)
    expected = model_outputs(made.model, rows, made.task, made.preprocessing)
    np.testing.assert_allclose(artifact.predict(few), expected, atol=1e-5)
    with pytest.raises(Exception, match="not a pair of texts"):
        artifact.predict(["one text"])
    assert golden_program.difference(folder) < 1e-5
    assert '"text_b": [' in (folder / "README.md").read_text()


def test_a_benchmark_counts_pairs(tmp_path):
    made = exported.text_model(CONTRACTS["apart"])
    folder = exported.litert_folder(made, tmp_path / "export", length=12)
    inputs = golden_inputs(subjects_of(folder, alone=True))
    assert int(inputs[ROWS]) == 2
    assert len(inputs["token_ids"]) == 2 * len(
        json.loads((folder / "golden.json").read_text())["examples"]
    )


@pytest.mark.slow
def test_every_format_passes_the_gate(tmp_path):
    made = exported.text_model(CONTRACTS["apart"])
    section = ExportSection(
        formats=("saved_model", "litert", "keras"),
        precisions=("float32", "float16", "dynamic_int8", "int8"),
    )
    reports = export_and_check(
        *made.parts(), made.held_out, tmp_path, section=section, calibration=made.held_out
    )
    assert len(reports) == 6
    for name in ("saved_model", "litert_float32", "litert_float16", "litert_dynamic_int8"):
        assert golden_program.difference(tmp_path / name) < 0.02, name
    for name in ("saved_model", "keras"):
        program = exported.program_of(tmp_path / name)
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path / name, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        golden = json.loads((tmp_path / name / "golden.json").read_text())["examples"]
        assert float(done.stdout.split()[-1]) == pytest.approx(
            max(golden[0]["probabilities"]), abs=1e-5
        )
    inputs = prepared_inputs(made.preprocessing, None)(made.held_out.inputs)
    assert len(inputs["token_ids"]) == 2 * len(made.held_out)
