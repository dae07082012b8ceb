"""A server of a model that gives vectors: of one text, in each form that a request may have."""

from __future__ import annotations

from contextlib import closing

import exported
import numpy as np
from fastapi.testclient import TestClient
from served import LIMITS, export_tiny
from tiny import TINY_TEXT

from tltool.evaluation.inference import model_outputs
from tltool.serving.app import make_app
from tltool.serving.exports import find_export
from tltool.serving.observe import Log
from tltool.serving.service import Service


def test_a_text_is_answered_by_its_vector(tmp_path):
    made = exported.text_model(TINY_TEXT, exported.VECTORS)
    folder = export_tiny(made, tmp_path / "export")
    expected = model_outputs(made.model, made.held_out, made.task, made.preprocessing)[:3]
    texts = made.held_out.inputs[:3]
    with closing(Log(2)) as events:
        service = Service(find_export(folder, name="tiny"), LIMITS, events)
        with TestClient(make_app(service)) as client:
            while client.get("/readyz").status_code == 503:
                assert service.fault is None
            asked = "/v1/models/tiny:predict"
            rows = client.post(asked, json={"instances": texts}).json()["predictions"]
            columns = client.post(asked, json={"inputs": texts}).json()["outputs"]
            np.testing.assert_allclose(rows, expected, atol=1e-5)
            np.testing.assert_allclose(columns, expected, atol=1e-5)
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
            assert client.get("/").status_code == 200
