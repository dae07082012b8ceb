"""Exports of models that answer with a mean: each within the tolerance of its precision."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import trained
from exported import export_and_check

from tltool.model.averaging import averaging
from tltool.recipe.export_section import ExportSection


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two members that differ in their heads, on pictures and their mirror images."""
    one = trained.image_classifier(tmp_path_factory.mktemp("images"))
    body = keras.Model(one.model.input, one.model.layers[-2].output)
    other = keras.Model(body.input, keras.layers.Dense(2, name="head_outputs")(body.output))
    kernel, bias = one.model.layers[-1].get_weights()
    other.layers[-1].set_weights([0.7 * kernel, bias + np.float32([0.1, -0.1])])
    kind = type(one.task.target)
    return one.with_model(averaging([one.model, other], kind, ["horizontal_flip"]))


def test_every_precision_of_litert_holds_to_the_gate(made, tmp_path):
    precisions = ("float32", "float16", "int8")
    section = ExportSection(formats=("saved_model", "litert"), precisions=precisions)
    reports = export_and_check(
        *made.parts(), made.held_out, tmp_path, section=section, calibration=made.held_out
    )
    assert [report.precision for report in reports] == ["float32", *precisions]
    assert all(report.passed for report in reports)
    assert max(report.max_difference for report in reports[:2]) < 1e-5
    # The runtime that recipes ask for has no logarithm in 8 bits.
    assert "LOG" in reports[-1].kept_float.kinds
