"""A server that watches what it is asked: windows, metrics, the page, and that answers stay."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import closing, contextmanager

import pytest
import tiny
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from tltool.data.examples import Examples
from tltool.export.artifact import load_artifact
from tltool.export.sidecars.sketch import sketch_facts, sketch_rows
from tltool.serving.app import make_app
from tltool.serving.exports import find_export
from tltool.serving.limits import Limits
from tltool.serving.observe import Log
from tltool.serving.service import Service
from tltool.support.errors import ExportError
from tltool.support.sums import write_sums

WINDOW = 80
PATIENCE = 120.0


@pytest.fixture(scope="module")
def export(text, tmp_path_factory):
    """The export of a tiny model with a sketch of other texts of the same kind."""
    made, folder = text
    copy = shutil.copytree(folder, tmp_path_factory.mktemp("watched") / "export")
    texts, labels = tiny.texts(150, seed=3)
    rows = Examples("text", texts, labels, ["test"] * 150, [str(i) for i in range(150)])
    outputs = load_artifact(copy).predict_with_labels(texts)
    sketch_rows(copy, made.task.target, rows, sketch_facts(rows), outputs)
    write_sums(copy)
    return find_export(copy, name="text")


def metrics_of(client):
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("tltool_drift") and not sample.name.endswith("_created")
    }


def ask(client, texts, size=20):
    for start in range(0, len(texts), size):
        body = {"instances": texts[start : start + size]}
        assert client.post("/v1/models/text:predict", json=body).status_code == 200


def counted(client, rows):
    """The metrics once so many rows are counted."""
    end = time.monotonic() + PATIENCE
    while (found := metrics_of(client))[("tltool_drift_rows_total",)] < rows:
        assert time.monotonic() < end, found
        time.sleep(0.02)
    return found


@contextmanager
def watching(export, file, **options):
    """A client of a server that watches, its log in a file, and the server."""
    with file.open("w") as stream, closing(Log(stream.fileno())) as log:
        service = Service(export, Limits(), log, **options)
        with TestClient(make_app(service)) as client:
            while service.state != "AVAILABLE":
                time.sleep(0.01)
            yield client, service


def test_a_window_like_the_held_out_rows_raises_no_alarm_and_another_does(export, tmp_path):
    with watching(export, tmp_path / "log", window=WINDOW) as (client, _):
        assert client.get("/drift").status_code == 404
        ask(client, tiny.texts(60, seed=8)[0])
        found = counted(client, 60)
        assert found[("tltool_drift_windows_total",)] == 0
        ask(client, tiny.texts(20, seed=9)[0])
        found = counted(client, 80)
        assert found[("tltool_drift_windows_total",)] == 1
        assert found[("tltool_drift_found", "inputs")] == 0
        assert "No drift was found" in client.get("/drift").text
        ask(client, ["where is the parcel that was sent on monday last week please"] * 80)
        found = counted(client, 160)
        assert found[("tltool_drift_windows_total",)] == 5
        assert found[("tltool_drift_found", "inputs")] == 1
        assert found[("tltool_drift_p_value", "inputs", "words")] < 0.01
        assert "The inputs have drifted" in client.get("/drift").text
    told = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [one for one in told if one["event"] == "drift"][-1]["of"][0] == "inputs"


def test_preprocessed_rows_are_left_out(export, tmp_path):
    with watching(export, tmp_path / "log", window=WINDOW) as (client, service):
        name = next(n for n in service._model.signatures if n != "serving_default")
        row = {"token_ids": [2, 5, 3], "segment_ids": [0, 0, 0], "padding_mask": [1, 1, 1]}
        body = {"signature_name": name, "instances": [row]}
        answer = client.post("/v1/models/text:predict", json=body)
        assert answer.status_code == 200, answer.text
        assert metrics_of(client)[("tltool_drift_rows_left_out_total",)] == 1


def test_rows_that_cannot_be_counted_are_answered_all_the_same(export, monkeypatch, tmp_path):
    def broken(*_):
        raise ValueError("no such thing")

    monkeypatch.setattr("tltool.serving.drift.facts_of", broken)
    with watching(export, tmp_path / "log", window=WINDOW) as (client, _):
        ask(client, ["good film"])
        end = time.monotonic() + PATIENCE
        while not metrics_of(client)[("tltool_drift_rows_left_out_total",)]:
            assert time.monotonic() < end
            time.sleep(0.02)
    assert "no such thing" in (tmp_path / "log").read_text()


def test_without_a_sketch_it_does_not_begin(text):
    with pytest.raises(ExportError, match=r"no sketch\.json"):
        Service(find_export(text[1], name="text"), Limits(), print, window=WINDOW)


def test_a_server_that_does_not_watch_has_no_such_metrics(export, tmp_path):
    with watching(export, tmp_path / "log") as (client, _):
        assert metrics_of(client) == {}
        assert client.get("/drift").status_code == 404
