"""Vectors in every format and precision, compared with the trained model's."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import trained
from exported import export_and_check

from tltool.export.artifact import load_artifact
from tltool.export.formats.table import export_targets
from tltool.export.gate.check import check_artifact, reference_of
from tltool.export.sidecars.snippets import SNIPPETS
from tltool.recipe.export_section import ExportSection, GateSection

pytestmark = pytest.mark.slow
PRECISIONS = ("float32", "float16", "dynamic_int8", "int8")


@pytest.mark.parametrize("modality", ["text", "image"])
def test_every_format_and_precision_gives_the_vectors(modality, tmp_path):
    text = modality == "text"
    made = trained.text_embedder() if text else trained.image_embedder(tmp_path / "pictures")
    # Of texts 8 bits take many trials.
    section = ExportSection(
        formats=("saved_model", "litert", "keras"), precisions=PRECISIONS[: 3 if text else 4]
    )
    folder = tmp_path / "exports"
    parts = (*made.parts(), made.held_out, folder)
    reports = export_and_check(*parts, section=section, calibration=made.held_out)
    reference = reference_of(*made.parts()[:1], made.held_out, made.task, made.preprocessing,
                             GateSection())  # fmt: skip
    assert len(reports) == (5 if text else 6)
    for target, report in zip(export_targets(section), reports, strict=True):
        assert report.passed
        assert report.conclusive
        assert report.agreement is None
        artifact = load_artifact(folder / target.folder)
        found = artifact.predict(made.held_out.inputs)
        cosines = np.sum(made.task.target.outputs(found) * reference.outputs, axis=1)
        assert cosines.min() > (0.99999 if report.precision == "float32" else 0.9)
        contract = json.loads((folder / target.folder / "contract.json").read_text())
        assert contract["signatures"][0]["outputs"][0]["name"] == "embedding"
        golden = json.loads((folder / target.folder / "golden.json").read_text())["examples"]
        assert len(golden[0]["embedding"]) == 12
    for name in SNIPPETS:
        assert "similarity" in (folder / "litert_float32" / "snippets" / name).read_text()


def test_vectors_whose_numbers_are_in_another_order_are_refused(tmp_path):
    made = trained.text_embedder()
    section = ExportSection(formats=("litert",), precisions=("float32",))
    export_and_check(*made.parts(), made.held_out, tmp_path, section=section)
    path = tmp_path / "litert_float32" / "model.tflite"
    reference = reference_of(made.model, made.held_out, made.task, made.preprocessing,
                             GateSection())  # fmt: skip
    turned = replace(reference, outputs=reference.outputs[:, ::-1])
    options = {"precision": "float32", "gate": GateSection()}
    assert check_artifact(path, reference, **options).passed
    assert not check_artifact(path, turned, **options).passed
