"""The server's application: answers equal to the model's, limits, health, metrics, page."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import html
import io
import json
import os
import re
import shutil
import subprocess
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import trained
from fastapi.testclient import TestClient
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from served import export_tiny

from tltool.evaluation.inference import model_outputs
from tltool.serving.app import make_app
from tltool.serving.exports import find_export
from tltool.serving.limits import Limits, RefusedError
from tltool.serving.model import ServedModel
from tltool.serving.observe import Log
from tltool.serving.page import page
from tltool.serving.paths import parse_path
from tltool.serving.server import listen, names_of
from tltool.serving.service import Service
from tltool.serving.tensors import Spec
from tltool.support.errors import ExportError
from tltool.support.sums import write_sums
from tltool.tasks.classes import ClassTarget

SMALL = Limits(request_bytes=100_000, rows=40, text_bytes=500, image_pixels=2 * 40 * 48)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    made = trained.image_classifier(tmp_path_factory.mktemp("photos"))
    return made, export_tiny(made, tmp_path_factory.mktemp("image") / "export")


@contextmanager
def application(export, limits, log, **options):
    service = Service(export, limits, log, **options)
    with TestClient(make_app(service)) as client:
        yield client, service


@contextmanager
def serving(folder, limits=SMALL, *, name="tiny", ready=True, log=2, labels=(), **options):
    """A client of a server of `folder` in this process, and its service."""
    export = find_export(folder, name=name, version_labels=labels)
    with closing(Log(log)) as events, application(export, limits, events, **options) as found:
        client, service = found
        while ready and client.get("/readyz").status_code == 503:
            assert service.fault is None
            time.sleep(0.01)
        yield client, service


@pytest.fixture(scope="module")
def texts(text):
    made, folder = text
    with serving(folder, labels=("stable",)) as (client, _):
        yield made, folder, client


@pytest.fixture(scope="module")
def images(image):
    made, folder = image
    with serving(folder) as (client, _):
        yield made, folder, client


def predict(client, path="tiny", **body):
    return client.post(f"/v1/models/{path}:predict", json=body)


def expected_of(made):
    return model_outputs(made.model, made.held_out, made.task, made.preprocessing)


def in_base64(content):
    return {"b64": base64.b64encode(content).decode()}


def test_texts_by_row_and_by_column(texts):
    made, _, client = texts
    expected = expected_of(made)
    names = [made.task.labels[i] for i in expected.argmax(1)]
    assert len(set(names)) == 2
    answer = predict(client, instances=made.held_out.inputs)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    rows = answer.json()["predictions"]
    assert [row["label"] for row in rows] == names
    assert [max(row["probabilities"]) for row in rows] == [row["score"] for row in rows]
    found = [row["probabilities"] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    columns = predict(client, inputs={"texts": made.held_out.inputs}).json()["outputs"]
    assert columns["label"] == names
    assert columns["probabilities"] == found


def test_images_are_sent_as_their_files(images):
    made, _, client = images
    files = [Path(file).read_bytes() for file in made.held_out.inputs]
    answer = predict(client, instances=[in_base64(file) for file in files])
    found = [row["probabilities"] for row in answer.json()["predictions"]]
    np.testing.assert_allclose(found, expected_of(made), atol=1e-6)
    named = predict(client, instances=[{"images": in_base64(files[0])}]).json()
    assert named["predictions"][0]["probabilities"] == pytest.approx(found[0], abs=1e-6)


def test_the_other_signature_takes_preprocessed_inputs(images):
    made, _, client = images
    pixels = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32").round(2)
    answer = predict(client, signature_name="model", instances=pixels.tolist()).json()
    expected = made.model(pixels, training=False)
    # A single output is not named.
    np.testing.assert_allclose(answer["predictions"], expected, atol=1e-5)
    answer = predict(client, signature_name="model", inputs={"image": pixels.tolist()}).json()
    np.testing.assert_allclose(answer["outputs"], expected, atol=1e-5)


def test_numbers_are_in_the_targets_units_and_not_named(tmp_path):
    made = trained.text_regressor()
    with serving(export_tiny(made, tmp_path / "export")) as (client, _):
        found = predict(client, instances=made.held_out.inputs).json()["predictions"]
    np.testing.assert_allclose(found, expected_of(made), rtol=1e-5)


@pytest.mark.parametrize("kind", ["text", "image"])
def test_several_labels_are_given_with_empty_texts_after_them(kind, tmp_path):
    made = trained.text_tagger() if kind == "text" else trained.image_tagger(tmp_path / "pictures")
    inputs = made.held_out.inputs
    rows = inputs if kind == "text" else [in_base64(Path(file).read_bytes()) for file in inputs]
    with serving(export_tiny(made, tmp_path / "export")) as (client, _):
        parts = [rows[at : at + 8] for at in range(0, len(rows), 8)]
        answers = [predict(client, instances=part).json() for part in parts]
        columns = predict(client, inputs=rows[:3]).json()["outputs"]
    found, expected = [r for one in answers for r in one["predictions"]], expected_of(made)
    np.testing.assert_allclose([row["probabilities"] for row in found], expected, atol=1e-6)
    width = len(made.task.labels)
    for row, outputs in zip(found, expected, strict=True):
        given = [label for label in row["labels"] if label]
        assert row["labels"] == given + [""] * (width - len(given))
        assert set(given) == set(made.task.target.given(outputs))
        values = [outputs[made.task.labels.index(label)] for label in given]
        assert values == sorted(values, reverse=True)
    assert columns["labels"] == [row["labels"] for row in found[:3]]
    assert {sum(map(bool, row["labels"])) for row in found} >= {0, 1, 2}


def test_several_numbers_are_one_list_a_row(tmp_path):
    made = trained.text_rater()
    with serving(export_tiny(made, tmp_path / "export")) as (client, _):
        found = predict(client, instances=made.held_out.inputs[:32]).json()["predictions"]
        alone = predict(client, instances=made.held_out.inputs[:1]).json()["predictions"]
    expected = expected_of(made)[:32]
    assert np.shape(found) == (32, 2)
    assert np.abs((np.array(found) - expected) / made.task.target.std).max() < 1e-4
    assert alone == [pytest.approx(found[0], rel=1e-5)]


def test_numbers_of_double_precision_keep_their_digits(tmp_path):
    made = trained.text_clock()
    with serving(export_tiny(made, tmp_path / "export")) as (client, _):
        answer = predict(client, instances=made.held_out.inputs)
        definitions = client.get("/v1/models/tiny/metadata").json()["metadata"]
    found = np.array(answer.json()["predictions"])
    np.testing.assert_allclose(found, expected_of(made), rtol=0, atol=0.01)
    assert np.ptp(found) < 1000  # float32 would tell apart seven of these
    assert len(set(np.round(found))) > 10
    main = definitions["signature_def"]["signature_def"]["serving_default"]
    assert main["outputs"]["prediction"]["dtype"] == "DT_DOUBLE"


def test_status_and_metadata(texts):
    _, folder, client = texts
    state = {"version": "1", "state": "AVAILABLE"}
    state["status"] = {"error_code": "OK", "error_message": ""}
    for path in ("tiny", "tiny/versions/1", "tiny/labels/stable"):
        assert client.get(f"/v1/models/{path}").json() == {"model_version_status": [state]}
        metadata = client.get(f"/v1/models/{path}/metadata").json()
        assert metadata["model_spec"] == {"name": "tiny", "signature_name": "", "version": "1"}
    definitions = metadata["metadata"]["signature_def"]["signature_def"]
    loaded = tf.saved_model.load(str(folder / "model"))
    for name, function in loaded.signatures.items():
        inputs = {
            key: (f"DT_{spec.dtype.name.upper()}", [str(size or -1) for size in spec.shape])
            for key, spec in function.structured_input_signature[1].items()
        }
        written = {
            key: (info["dtype"], [size["size"] for size in info["tensor_shape"]["dim"]])
            for key, info in definitions[name]["inputs"].items()
        }
        assert written == inputs
        assert definitions[name]["outputs"].keys() == function.structured_outputs.keys()
        assert definitions[name]["method_name"] == "tensorflow/serving/predict"
    assert len(loaded.signatures) == 2


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/models/other", 404, "Could not find any versions of model other"),
        ("GET", "/v1/models/tiny/versions/2", 404, "Could not find version 2 of model tiny"),
        ("GET", "/v1/models/tiny/labels/x", 400, "Unrecognized servable version label: x"),
        ("GET", "/v1/models/other/metadata", 404, "Servable not found for request: Latest(other)"),
        ("POST", "/v1/models/other:predict", 404, "Latest(other)"),
        ("POST", "/v1/models/tiny/versions/2:predict", 404, "Specific(tiny, 2)"),
        ("POST", "/v1/models/tiny/labels/x:predict", 400, "Unrecognized servable version label"),
        ("POST", "/v1/models/tiny:classify", 400, "method_name to be tensorflow/serving/classify"),
        ("POST", "/v1/models/tiny:regress", 400, "method_name to be tensorflow/serving/regress"),
        ("GET", "/v1/models", 400, "Missing model name in request"),
        ("POST", "/v1/foo", 400, "Malformed request: POST /v1/foo"),
        ("DELETE", "/v1/models/tiny", 405, "Method Not Allowed"),
        ("GET", "/favicon.ico", 404, "Not Found"),
        ("GET", "/docs", 404, "Not Found"),
    ],
)
def test_addresses_that_lead_nowhere(texts, method, path, status, message):
    answer = texts[2].request(method, path)
    assert answer.status_code == status
    assert answer.json().keys() == {"error"}
    assert message in answer.json()["error"]


def test_a_request_that_does_not_fit_says_why(texts):
    answer = predict(texts[2], instances=[1])
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert "not of expected type: string" in answer.json()["error"]


TOKENS = {"token_ids": [[2, 5, 3]], "padding_mask": [[1, 1, 1]], "segment_ids": [[0, 0, 0]]}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"padding_mask": [[1, 1]]}, "padding_mask: 2, segment_ids: 3, token_ids: 3"),
        ({"padding_mask": [[1]]}, "as long as each other"),
        ({"token_ids": [[2, -5, 3]]}, "row 0: token_ids has -5; send 0 to "),
        ({"token_ids": [[2, 10_000, 3]]}, "row 0: token_ids has 10000; send 0 to "),
        ({"padding_mask": [[0, 0, 0]]}, "row 0: padding_mask hides every token"),
        ({"padding_mask": [[1, 2, 1]]}, "row 0: padding_mask has 2; send 0 to 1"),
        ({"segment_ids": [[0, -1, 0]]}, "row 0: segment_ids has -1; send 0 to 0"),
        ({name: [[1] * 17] for name in TOKENS}, "rows of 17 tokens; send 1 to 16"),
        ({name: [[]] for name in TOKENS}, "rows of 0 tokens; send 1 to 16"),
    ],
)
def test_tokens_that_would_be_answered_wrongly_are_refused(texts, changed, told):
    assert predict(texts[2], signature_name="model", inputs=TOKENS).status_code == 200
    answer = predict(texts[2], signature_name="model", inputs={**TOKENS, **changed})
    assert answer.status_code == 400
    assert told in answer.json()["error"]


@pytest.mark.parametrize("empty", ["", " \t\n", {"b64": ""}])
def test_an_empty_text_is_refused(texts, empty):
    for body in ({"instances": ["good", empty]}, {"inputs": {"texts": ["good", empty]}}):
        answer = predict(texts[2], **body)
        assert answer.status_code == 400
        assert "row 1: the text is empty" in answer.json()["error"]


def test_rows_are_computed_in_groups_within_the_limit_of_tokens(text, monkeypatch):
    made, folder = text
    with serving(folder, replace(SMALL, tokens=35)) as (client, _):
        sizes, run = [], ServedModel._run

        def counted(self, signature, inputs):
            sizes.append(len(next(iter(inputs.values()))))
            return run(self, signature, inputs)

        monkeypatch.setattr(ServedModel, "_run", counted)
        answer = predict(client, instances=made.held_out.inputs[:5]).json()["predictions"]
        ids = {name: rows * 3 for name, rows in TOKENS.items()}
        assert predict(client, signature_name="model", inputs=ids).status_code == 200
    assert sizes == [2, 2, 1, 3]  # a text may have 16 tokens; these rows have 3
    found = [row["probabilities"] for row in answer]
    np.testing.assert_allclose(found, expected_of(made)[:5], atol=1e-5)


@pytest.mark.parametrize(
    ("content", "headers", "status", "told"),
    [
        (gzip.compress(b'{"instances": ["good"]}', mtime=0), {}, 400, "it looks like gzip"),
        (b"{}", {"content-encoding": "gzip"}, 415, "Content-Encoding 'gzip' is not read"),
        (b"--x\r\nContent-Disposition: form-data", {}, 400, "it looks like multipart form data"),
        (b"instances=good", {}, 400, "it looks like form data"),
        (b"\xff\xd8\xff\xe0", {"content-type": "image/jpeg"}, 400, "it looks like JPEG"),
        ('{"instances": ["é"]}'.encode("utf-16"), {}, 400, "'utf-8' codec can't decode"),
        (b'{"instances": ["a"], "instances": ["b"]}', {}, 400, "'instances' is given twice"),
        (b'{"instances": [{"texts": "a", "texts": "b"}]}', {}, 400, "'texts' is given twice"),
    ],
)
def test_what_is_no_json_is_told_what_to_send(texts, content, headers, status, told):
    answer = texts[2].post("/v1/models/tiny:predict", content=content, headers=headers)
    assert answer.status_code == status
    assert told in answer.json()["error"]
    assert "JSON" in answer.json()["error"]


def test_who_only_looks_is_answered_without_a_body(texts):
    for path in ("/", "/healthz", "/readyz", "/metrics", "/v1/models/tiny"):
        answer = texts[2].head(path)
        assert (answer.status_code, answer.content) == (200, b"")
        options = texts[2].options(path)
        assert options.status_code == 405
        assert "GET" in options.headers["allow"]


def test_a_server_of_this_machine_is_not_asked_by_other_names(text):
    with listen("127.0.0.1", 0) as here, listen("0.0.0.0", 0) as everywhere:
        local = names_of(here, "127.0.0.1", [])
        assert names_of(everywhere, "0.0.0.0", []) is None
        assert names_of(here, "127.0.0.1", ["*"]) is None
        assert names_of(everywhere, "0.0.0.0", ["Models.example"]) == {"models.example"}
    with closing(Log()) as log:
        service = Service(find_export(text[1], name="tiny"), SMALL, log, load=ready_model)
        client = TestClient(make_app(service, names=local), base_url="http://localhost:8501")
        for known in ("localhost:8501", "LocalHost", "127.0.0.1:1", "[::1]:8501"):
            assert client.get("/healthz", headers={"host": known}).status_code == 200
        for other in ("evil.example", "localhost.evil.example:8501", "[::1", "", "127.0.0.1.x"):
            answer = client.get("/healthz", headers={"host": other})
            assert answer.status_code == 421
            assert "--allowed-host" in answer.json()["error"]


def test_a_log_that_cannot_be_written_stops_nothing(text):
    with (
        Path("/dev/full").open("wb") as full,
        serving(text[1], load=ready_model, ready=False, log=full.fileno()) as (client, _),
    ):
        assert client.get("/healthz").status_code == 200


def test_more_than_the_limits_is_refused(texts):
    client = texts[2]
    assert predict(client, instances=["good"] * SMALL.rows).status_code == 200
    assert predict(client, instances=["good"] * (SMALL.rows + 1)).status_code == 413
    assert predict(client, instances=["x" * SMALL.text_bytes]).status_code == 200
    answer = predict(client, instances=["good", "x" * (SMALL.text_bytes + 1)])
    assert answer.status_code == 413
    assert "connection" not in answer.headers  # it was read, and the next one may follow
    assert "row 1: a text of 501 bytes, allowed 500" in answer.json()["error"]


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_that_is_too_large_is_refused_and_not_kept(texts, announced):
    def body():
        for _ in range(50):
            yield b" " * 10_000

    content = b" " * 500_000 if announced else body()
    answer = texts[2].post("/v1/models/tiny:predict", content=content)
    assert answer.status_code == 413
    assert answer.json() == {"error": "the request's body is larger than 100000 bytes"}
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("announced", [None, 10**9])
def test_a_body_that_does_not_end_is_cut_off(text, announced):
    taken = 0

    async def body():
        nonlocal taken
        while True:
            taken += 10_000
            yield b" " * 10_000

    async def upload(service):
        await service.start(lambda: None)
        asked = parse_path("POST", "/v1/models/tiny:predict")
        with pytest.raises(RefusedError) as caught:
            await service.predict(asked, announced, body())
        assert caught.value.status == 413
        await service.stop()

    with closing(Log()) as log:
        export = find_export(text[1], name="tiny")
        asyncio.run(upload(Service(export, SMALL, log, load=ready_model)))
    assert taken <= (0 if announced else 10 * SMALL.request_bytes)


def test_a_body_that_does_not_arrive_is_given_up_and_its_place_is_free_again(text):
    async def body():
        yield b"{"
        await asyncio.sleep(60)

    async def upload():
        limits = replace(SMALL, upload_seconds=0.05, in_flight=1)
        service = Service(find_export(text[1], name="tiny"), limits, log, load=ready_model)
        await service.start(lambda: None)
        for _ in range(2):
            with pytest.raises(RefusedError) as caught:
                await service.predict(parse_path("POST", "/v1/models/tiny:predict"), None, body())
            assert caught.value.status == 408
        await service.stop()

    with closing(Log()) as log:
        asyncio.run(upload())


def test_an_image_larger_than_the_limit_is_not_decoded(images, monkeypatch):
    _, _, client = images
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    assert len(file.getvalue()) < SMALL.request_bytes / 1.4

    def decoded(*_):
        raise AssertionError("400 million pixels were given to the decoder")

    monkeypatch.setattr(ServedModel, "_run", decoded)
    answer = predict(client, instances=[in_base64(file.getvalue())])
    assert answer.status_code == 413
    assert "row 0: an image of 400000000 pixels, allowed 3840" in answer.json()["error"]


def test_images_are_decoded_in_groups_within_the_limit(images, monkeypatch):
    made, _, client = images
    sizes, run = [], ServedModel._run

    def counted(self, signature, inputs):
        sizes.append(len(inputs["images"]))
        return run(self, signature, inputs)

    monkeypatch.setattr(ServedModel, "_run", counted)
    files = [in_base64(Path(file).read_bytes()) for file in made.held_out.inputs[:5]]
    answer = predict(client, instances=files).json()["predictions"]
    assert sizes == [2, 2, 1]  # two of these images are as many pixels as one may have
    found = [row["probabilities"] for row in answer]
    np.testing.assert_allclose(found, expected_of(made)[:5], atol=1e-6)


def test_a_damaged_image_is_named_by_its_row(images):
    made, _, client = images
    good = Path(made.held_out.inputs[0]).read_bytes()
    for bad, reason in (
        (good[: len(good) // 2], "row 1: "),
        (b"%PDF-1.7", "row 1: not a JPEG, PNG, GIF, BMP or WebP file"),
        (b"", "row 1: not a JPEG"),
    ):
        answer = predict(client, instances=[in_base64(good), in_base64(bad)])
        assert answer.status_code == 400
        assert reason in answer.json()["error"]
        assert "{{" not in answer.json()["error"]


class SlowModel:
    """Answers once it is let go."""

    def __init__(self):
        self.signatures = {"serving_default": {"texts": Spec("string", (None,))}}
        self.begun, self.go = threading.Semaphore(0), threading.Event()

    def predict(self, request):
        self.begun.release()
        assert self.go.wait(60)
        return {"out": np.ones(request.rows, np.float32)}


def ready_model(*_):
    return SlowModel()


def test_health_answers_while_the_model_computes_and_more_requests_are_turned_away(text):
    slow, answers = SlowModel(), []
    limits = replace(SMALL, in_flight=3, concurrency=1)
    with serving(text[1], limits, load=lambda *_: slow) as (client, _):
        threads = [
            threading.Thread(target=lambda: answers.append(predict(client, instances=["a"])))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        assert slow.begun.acquire(timeout=60)
        while metric(client, "tltool_predict_in_flight") < 3:
            time.sleep(0.01)
        assert not slow.begun.acquire(timeout=0.1)  # one at a time is computed
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").status_code == 200
        refused = predict(client, instances=["a"])
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        slow.go.set()
        for thread in threads:
            thread.join()
        assert [answer.json() for answer in answers] == [{"predictions": [1.0]}] * 3
        assert metric(client, "tltool_predict_in_flight") == 0
        assert predict(client, instances=["a"]).status_code == 200


def metric(client, name, **labels):
    families = text_string_to_metric_families(client.get("/metrics").text)
    found = [
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return sum(found)


def test_a_server_is_not_ready_before_its_model_is(text):
    go = threading.Event()

    def load(*_):
        assert go.wait(60)
        return SlowModel()

    with serving(text[1], load=load, ready=False) as (client, _):
        assert client.get("/healthz").status_code == 200
        for answer in (client.get("/readyz"), predict(client, instances=["a"])):
            assert answer.status_code == 503
            assert int(answer.headers["retry-after"]) > 0
            assert "LOADING" in answer.json()["error"]
        status = client.get("/v1/models/tiny").json()["model_version_status"]
        assert status[0]["state"] == "LOADING"
        assert metric(client, "tltool_model_ready") == 0
        go.set()
        while client.get("/readyz").status_code == 503:
            time.sleep(0.01)
        assert metric(client, "tltool_model_ready") == 1


def test_a_model_that_answers_its_golden_examples_otherwise_is_not_served(tmp_path):
    folder = export_tiny(trained.text_classifier(), tmp_path / "export")
    golden = json.loads((folder / "golden.json").read_text())
    golden["examples"][0]["probabilities"].reverse()
    (folder / "golden.json").write_text(json.dumps(golden))
    write_sums(folder)
    with pytest.raises(ExportError, match="golden examples otherwise"):
        ServedModel(find_export(folder), SMALL)
    (folder / "golden.json").unlink()
    write_sums(folder)
    with pytest.raises(ExportError, match=r"golden\.json cannot be used"):
        ServedModel(find_export(folder), SMALL)


def test_a_model_that_cannot_be_loaded_stops_the_server(text):
    def load(*_):
        raise ExportError("broken")

    stopped = []
    with closing(Log()) as log:
        service = Service(find_export(text[1]), SMALL, log, load=load)
        with TestClient(make_app(service, on_fault=lambda: stopped.append(True))) as client:
            while not stopped:
                time.sleep(0.01)
            status = client.get("/v1/models/export").json()["model_version_status"][0]
    assert (status["state"], status["status"]["error_message"]) == ("END", "broken")
    assert isinstance(service.fault, ExportError)


def test_that_the_model_is_ready_is_told_once_it_is(text):
    states = []
    with closing(Log()) as log:
        service = Service(find_export(text[1]), SMALL, log, load=ready_model,
                          on_ready=lambda: states.append(service.state))  # fmt: skip
        with TestClient(make_app(service)):
            while not states:
                time.sleep(0.01)
    assert states == ["AVAILABLE"]


def test_a_fault_of_ours_is_an_answer_too_and_is_logged(text, tmp_path):
    class Broken(SlowModel):
        def predict(self, request):
            raise ZeroDivisionError("inside")

    log = tmp_path / "log"
    with (
        log.open("wb") as file,
        serving(text[1], load=lambda *_: Broken(), log=file.fileno()) as (client, _),
    ):
        answer = predict(client, instances=["a"])
        assert client.get("/healthz").status_code == 200
    assert answer.status_code == 500
    assert "inside" not in answer.text
    events = {line["event"]: line for line in map(json.loads, log.read_text().splitlines())}
    assert "ZeroDivisionError: inside" in events["fault"]["traceback"]


def test_requests_are_logged_and_counted(text, tmp_path):
    log = tmp_path / "log"
    with log.open("wb") as file, serving(text[1], log=file.fileno()) as (client, _):
        good = predict(client, instances=["good", "bad", "nice"])
        predict(client, instances=[1])
        client.get("/v1/models/tiny%0A{}")
        assert metric(client, "tltool_requests_total", route="predict", code="200") == 1
        assert metric(client, "tltool_requests_total", route="predict", code="400") == 1
        assert metric(client, "tltool_request_seconds_count", route="predict") == 2
        assert metric(client, "tltool_model_seconds_count") == 1
        assert metric(client, "tltool_predict_rows_sum") == 3
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    first, second = (line for line in lines if line.get("path") == "/v1/models/tiny:predict")
    assert (first["method"], first["status"], first["bytes_out"]) == (
        "POST",
        200,
        len(good.content),
    )
    assert first["bytes_in"] == len(good.request.content)
    assert first["ms"] > 0
    assert "not of expected type" in second["error"]
    assert "/v1/models/tiny\n{}" in [line.get("path") for line in lines]  # in one line
    assert [line["event"] for line in lines].count("ready") == 1


def test_the_log_outlives_what_holds_stderr_back(tmp_path):
    from tltool.support.quiet import quiet

    with (tmp_path / "log").open("wb") as file:
        keep = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            log = Log()
            with quiet():
                log("kept")
        finally:
            os.dup2(keep, 2)
            os.close(keep)
    log.close()
    assert '"event": "kept"' in (tmp_path / "log").read_text()


def test_the_page_runs_its_own_script_and_no_other(texts):
    answer = texts[2].get("/")
    policy = answer.headers["content-security-policy"]
    for kind in ("script", "style"):
        (content,) = re.findall(f"<{kind}>(.*?)</{kind}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert not re.search(r"\b(src|href)=|https?:|style=|\son\w+=", answer.text)
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_the_page_escapes_names_and_labels(text):
    made, folder = text
    nasty = ('</body><script>alert("1")</script>', "'\"&[[title]]")
    export = replace(
        find_export(folder), name="<b>&'", task=replace(made.task, target=ClassTarget(nasty))
    )
    found, _ = page(export)
    assert found.count("<script>") == 1
    assert "<b>" not in found
    (labels,) = re.findall('data-labels="(.*?)"', found)
    assert tuple(json.loads(html.unescape(labels))) == nasty
    assert 'data-modality="text"' in found


def test_the_page_asks_its_model_whatever_its_name(text):
    model = SlowModel()
    with serving(text[1], name="é?a=b#c&<", load=lambda *_: model) as (client, _):
        model.go.set()
        (address,) = re.findall('data-address="(.*?)"', client.get("/").text)
        answer = client.post("/" + html.unescape(address), json={"instances": ["a"]})
        assert answer.json() == {"predictions": [1.0]}


def test_the_page_shows_what_it_needs_to_those_who_cannot_see_it(texts):
    found = texts[2].get("/").text
    controls = set(re.findall(r'<(?:input|textarea)[^>]* id="(\w+)"', found))
    assert controls == set(re.findall(r'<label for="(\w+)"', found)) == {"file", "text", "second"}
    assert 'role="alert"' in found
    assert 'role="status"' in found
    assert '<html lang="en">' in found
    assert all(' alt="' in picture for picture in re.findall("<img[^>]*>", found))


# Stands in for a browser: what the page's script needs of one, and what it then shows.
DOCUMENT = """
const node = (name) => ({
  name, textContent: "", children: [], files: [],
  append(...more) { this.children.push(...more); },
  replaceChildren(...more) { this.children = more; },
  addEventListener() {}, setAttribute() {},
});
const made = {};
const document = {
  body: { dataset: FACTS }, addEventListener() {},
  getElementById: (id) => (made[id] ??= node(id)), createElement: node,
};
const text = ({ textContent, children }) =>
  [textContent, ...children.map(text)].flat().filter(Boolean);
const show_all = (show, predictions) => console.log(JSON.stringify(predictions.map((one) => {
  show(one);
  return text(document.getElementById("answer"));
})));
"""


def shown(folder, answers) -> list[list[str]]:
    """The texts that the page shows for each of a model's answers."""
    content, _ = page(find_export(folder))
    facts = dict(re.findall(r'data-(\w+)="(.*?)"', content))
    facts = {name: html.unescape(value) for name, value in facts.items()}
    (script,) = re.findall("<script>(.*?)</script>", content, re.DOTALL)
    script = script.replace('"use strict";', "") + f"\nshow_all(show, {json.dumps(answers)});"
    # In a function of its own: the page's script names things as the stand-in does.
    program = DOCUMENT.replace("FACTS", json.dumps(facts)) + f"(() => {{{script}}})();"
    done = subprocess.run(["node", "-e", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js runs the page's script")
def test_the_page_shows_labels_that_are_given_and_numbers_by_name(text, tmp_path):
    row = {"probabilities": [0.05, 0.9, 0.7], "labels": ["food", "praise", ""]}
    none = {"probabilities": [0.05, 0.1, 0.2], "labels": ["", "", ""]}
    folder = export_tiny(trained.text_tagger(), tmp_path / "labels")
    given, nothing = shown(folder, [row, none])
    assert given == ["food, praise", "food", "90.0 %", "praise", "70.0 %", "film", "5.0 %"]
    assert nothing[0] == "no label"
    folder = export_tiny(trained.text_rater(), tmp_path / "numbers")
    assert shown(folder, [[4.5, 250_000.25]]) == [["stars: 4.5", "price: 250000.25"]]
    folder = export_tiny(trained.text_clock(), tmp_path / "moment")
    assert shown(folder, [1_700_000_031.25]) == [["Prediction: 1700000031.25"]]
    one = {"probabilities": [0.2, 0.8], "label": "positive", "score": 0.8}
    assert shown(text[1], [one])[0][:3] == ["positive", "positive", "80.0 %"]
