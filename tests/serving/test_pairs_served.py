"""A server of a model of pairs of texts: two named inputs, two fields on the page."""

from __future__ import annotations

import json
import re
from contextlib import closing

import exported
import numpy as np
import pytest
from fastapi.testclient import TestClient
from served import LIMITS, export_tiny
from tiny import TINY_TEXT

from tltool.evaluation.inference import model_outputs
from tltool.serving.app import make_app
from tltool.serving.check import _instance
from tltool.serving.exports import find_export
from tltool.serving.observe import Log
from tltool.serving.service import Service


@pytest.mark.parametrize("form", ["apart", pytest.param("joined", marks=pytest.mark.slow)])
def test_pairs_are_asked_by_the_names_of_their_texts(form, tmp_path):
    made = exported.text_model(TINY_TEXT.model_copy(update={"pair": form}))
    folder = export_tiny(made, tmp_path / "export")
    pairs = made.held_out.inputs
    expected = model_outputs(made.model, made.held_out, made.task, made.preprocessing)
    with closing(Log(2)) as events:
        service = Service(find_export(folder, name="tiny"), LIMITS, events)
        with TestClient(make_app(service)) as client:
            while client.get("/readyz").status_code == 503:
                assert service.fault is None
            rows = [_instance(pair, "text_pair") for pair in pairs]
            assert rows[1] == {"text_a": pairs[1][0], "text_b": pairs[1][1]}

            def ask(**body):
                return client.post("/v1/models/tiny:predict", json=body)

            found = ask(instances=rows).json()["predictions"]
            np.testing.assert_allclose([r["probabilities"] for r in found], expected, atol=1e-5)
            first, second = map(list, zip(*pairs, strict=True))
            columns = ask(inputs={"text_a": first, "text_b": second}).json()["outputs"]
            np.testing.assert_allclose(columns["probabilities"], expected, atol=1e-5)
            assert ask(instances=[{"text_a": "good"}]).status_code == 400
            empty = ask(instances=[{"text_a": "good", "text_b": " "}])
            assert (empty.status_code, "the text is empty" in empty.text) == (400, True)
            uneven = ask(inputs={"text_a": ["a", "b"], "text_b": ["a"]})
            assert "different numbers of rows" in uneven.text
            odd = {name: [[2, 3]] for name in made.preprocessing.inputs}
            odd["segment_ids"], odd["padding_mask"] = [[0, 0]], [[1, 1]]
            raw = ask(signature_name="model", inputs=odd)
            assert raw.status_code == (400 if form == "apart" else 200), raw.text
            page = client.get("/").text
            assert 'data-modality="text_pair"' in page
            assert re.search('<textarea id="second"', page)
            assert json.loads(client.get("/v1/models/tiny/metadata").text)
