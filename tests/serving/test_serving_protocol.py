"""TensorFlow Serving's JSON: what is read, what is refused, what is written."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tltool.serving.answers import write_answer
from tltool.serving.limits import RefusedError
from tltool.serving.paths import Asked, parse_path
from tltool.serving.tensors import Spec, read_request

SIGNATURES = {
    "serving_default": {"texts": Spec("string", (None,))},
    "pair": {"ids": Spec("int32", (None, None)), "signal": Spec("float32", (None, 2))},
    "flags": {"on": Spec("bool", (None,)), "count": Spec("uint8", (None,))},
    "one": {"signal": Spec("float32", (None, 2))},
}


def read(values, max_rows=8):
    body = values if isinstance(values, bytes) else json.dumps(values).encode()
    return read_request(body, SIGNATURES, max_rows=max_rows)


def test_rows_of_one_input_need_no_name():
    for instances in (["a", "é"], [{"texts": "a"}, {"texts": "é"}], [{"b64": "YQ=="}, "é"]):
        request = read({"instances": instances})
        assert request.inputs["texts"].tolist() == [b"a", "é".encode()]
        assert (request.signature, request.form, request.rows) == ("serving_default", "row", 2)


def test_columns_of_one_input_need_no_name():
    for inputs in (["a", {"b64": "/w=="}], {"texts": ["a", {"b64": "/w=="}]}):
        request = read({"inputs": inputs, "signature_name": ""})
        assert request.inputs["texts"].tolist() == [b"a", b"\xff"]
        assert request.form == "column"


def test_several_inputs_have_names_in_both_forms():
    rows = [{"ids": [1, 2, 3], "signal": [0.5, 1]}, {"ids": [4, 5, 6], "signal": [2, -1e3]}]
    by_row = read({"signature_name": "pair", "instances": rows})
    columns = {name: [row[name] for row in rows] for name in ("ids", "signal")}
    by_column = read({"signature_name": "pair", "inputs": columns})
    for request in (by_row, by_column):
        assert request.inputs["ids"].dtype == np.int32
        assert request.inputs["ids"].tolist() == [[1, 2, 3], [4, 5, 6]]
        assert request.inputs["signal"].dtype == np.float32
        assert request.inputs["signal"].tolist() == [[0.5, 1.0], [2.0, -1000.0]]


def test_numbers_that_are_not_finite_have_names():
    body = b'{"signature_name": "one", "instances": [[NaN, Infinity], [-Infinity, 0]]}'
    assert str(read(body).inputs["signal"].tolist()) == "[[nan, inf], [-inf, 0.0]]"


def test_truths_and_small_numbers():
    columns = {"on": [True, False], "count": [0, 255]}
    request = read({"signature_name": "flags", "inputs": columns})
    assert request.inputs["on"].tolist() == [True, False]
    assert request.inputs["count"].tolist() == [0, 255]


WRONG = {
    "The document is empty": b"",
    "JSON Parse error: Expecting value": b"instances = [1, 2]",
    "JSON Parse error: 'utf-8'": b'{"instances": ["\xff"]}',
    "JSON Parse error: nested": b"[" * 200_000,
    "JSON Parse error: Exceeds": b'{"instances": [' + b"1" * 5000 + b"]}",
    "Is not object": [1],
    "must be a string": {"signature_name": 100, "instances": ["a"]},
    '"nope" not found': {"signature_name": "nope", "instances": ["a"]},
    "only one of": {"instances": ["a"], "inputs": ["a"]},
    "Missing 'inputs' or": {"examples": ["a"]},
    "to be a list": {"instances": "a"},
    "no values in 'instances'": {"instances": []},
    "no values in 'inputs'": {"inputs": []},
    "got list at item 1": {"instances": [{"texts": "a"}, "b"]},
    "got object at item 1": {"instances": ["a", {"texts": "b"}]},
    "keys must be equal to: texts": {"instances": [{"text": "a"}]},
    "instances is a plain list": {"signature_name": "pair", "instances": [1]},
    "inputs is a plain": {"signature_name": "pair", "inputs": [1]},
    "Missing named input: signal": {"signature_name": "pair", "inputs": {"ids": [[1]]}},
    "JSON Value: 1 of input texts is not of expected type: string": {"instances": [1]},
    "JSON Value: True of input signal": {"signature_name": "one", "instances": [[True, 1.0]]},
    "JSON Value: '1' of input signal": {"signature_name": "one", "instances": [["1", 1.0]]},
    "JSON Value: 1.5 of input ids": {
        "signature_name": "pair",
        "inputs": {"ids": [[1.5]], "signal": [[1, 2]]},
    },
    "JSON Value: 256 of input count": {
        "signature_name": "flags",
        "inputs": {"on": [True], "count": [256]},
    },
    "JSON Value: 1 of input on": {"signature_name": "flags", "inputs": {"on": [1], "count": [1]}},
    "16777216 to float32 without loss": {"signature_name": "one", "instances": [[16777216, 0]]},
    "1e+39 to float32 without loss": {"signature_name": "one", "instances": [[1e39, 0]]},
    "unexpected size": {"signature_name": "one", "instances": [[1, 2], [1]]},
    "mixes lists": {"signature_name": "one", "instances": [[1, [2]]]},
    "shape [1,3], the model takes [?,2]": {"signature_name": "one", "instances": [[1, 2, 3]]},
    "shape [1,1], the model takes [?]": {"instances": [["a"]]},
    "shape [1,1,1": b'{"inputs": ' + b"[" * 800 + b"]" * 800 + b"}",
    "shape [], the model takes [?]": {"inputs": "a"},
    "different numbers of rows": {
        "signature_name": "pair",
        "inputs": {"ids": [[1], [2]], "signal": [[1, 2]]},
    },
    "Unable to base64 decode": {"instances": [{"b64": "a"}]},
    "formatted correctly for base64": {"inputs": {"texts": [{"b64": 1}]}},
    "surrogate pair": b'{"instances": ["\\ud800"]}',
}


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_is_refused(message):
    with pytest.raises(RefusedError) as caught:
        read(WRONG[message])
    assert caught.value.status == 400
    assert message in caught.value.message
    assert len(caught.value.message) < 300


def test_too_many_rows_are_refused_in_both_forms():
    for values in ({"instances": ["a"] * 9}, {"inputs": ["a"] * 9}):
        with pytest.raises(RefusedError, match="9 rows; at most 8") as caught:
            read(values)
        assert caught.value.status == 413


def test_numbers_are_written_as_tensorflow_serving_does():
    values = np.array([0.2, 1, 9e6, 3e-5, 1 / 3, 0, -0.0, np.nan, np.inf, -np.inf], np.float32)
    assert write_answer({"out": values}, "column") == (
        b'{"outputs": [0.2, 1.0, 9e+06, 3e-05, 0.333333343, 0.0, -0.0, NaN, Infinity, -Infinity]}'
    )


def test_every_float32_comes_back_the_same():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 20_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)].reshape(1, -1)
    answer = json.loads(write_answer({"out": values}, "row"))
    np.testing.assert_array_equal(np.array(answer["predictions"], np.float32), values)


def test_single_outputs_are_not_named_and_several_are():
    strings = np.array([b'a"', "é".encode()], object)
    numbers = np.array([[[1, 2]], [[3, 4]]], np.int32)
    both = {"word": strings, "numbers": numbers}
    assert json.loads(write_answer({"word": strings}, "row")) == {"predictions": ['a"', "é"]}
    assert json.loads(write_answer({"word": strings}, "column")) == {"outputs": ['a"', "é"]}
    assert json.loads(write_answer(both, "row")) == {
        "predictions": [{"word": 'a"', "numbers": [[1, 2]]}, {"word": "é", "numbers": [[3, 4]]}]
    }
    assert json.loads(write_answer(both, "column")) == {
        "outputs": {"word": ['a"', "é"], "numbers": [[[1, 2]], [[3, 4]]]}
    }
    empty = {"out": np.zeros((2, 0, 3), np.float32)}
    assert json.loads(write_answer(empty, "column")) == {"outputs": [[], []]}


def test_bytes_are_written_in_base64():
    answer = write_answer({"image_bytes": np.array([b"\xff"], object)}, "row")
    assert json.loads(answer) == {"predictions": [{"b64": "/w=="}]}


def test_outputs_without_common_rows_have_no_row_form():
    outputs = {"a": np.zeros(2), "b": np.zeros(3)}
    with pytest.raises(RefusedError, match="ask with 'inputs'"):
        write_answer(outputs, "row")
    assert json.loads(write_answer(outputs, "column"))["outputs"]["b"] == [0, 0, 0]


def test_addresses():
    model = "/v1/models/m"
    assert parse_path("GET", model) == Asked("m", None, None, "status")
    assert parse_path("GET", f"{model}/versions/3") == Asked("m", 3, None, "status")
    assert parse_path("GET", f"{model}/labels/stable/metadata") == Asked(
        "m", None, "stable", "metadata"
    )
    assert parse_path("POST", f"{model}/versions/3:predict") == Asked("m", 3, None, "predict")
    assert parse_path("POST", "/V1/Models/m/labels/a:Classify") == Asked("m", None, "a", "classify")


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("GET", "/v1/models", "Missing model name"),
        ("GET", "/v1/foo", "Malformed request: GET /v1/foo"),
        ("POST", "/v1/models/m", "Malformed"),
        ("GET", "/v1/models/m:predict", "Malformed"),
        ("POST", "/v1/models/m/version/50:predict", "Malformed"),
        ("POST", "/v1/models/m/versions/HELLO:predict", "Malformed"),
        ("POST", "/v1/models/m/versions/²:predict", "Malformed"),
        ("POST", f"/v1/models/m/versions/{2**64}:predict", "Failed to convert version"),
        ("POST", f"/v1/models/m/versions/{'9' * 9999}:predict", "Failed to convert version"),
    ],
)
def test_other_addresses_are_malformed(method, path, message):
    with pytest.raises(RefusedError, match=message) as caught:
        parse_path(method, path)
    assert caught.value.status == 400
