"""Every way in that takes several inputs refuses one alone, and what is none."""

from __future__ import annotations

import numpy as np
import pytest
import stored

import tltool

TEXTS = ["good film", "bad food"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return stored.write_run(tmp_path_factory.mktemp("runs"), "litert")


@pytest.fixture(scope="module", params=["run", "artifact"])
def predict(request, folder):
    if request.param == "run":
        return tltool.load_run(folder.path).predict
    return tltool.load_artifact(folder.exports / "litert").predict


def test_one_text_is_refused(predict):
    with pytest.raises(tltool.DataError, match=r"inputs: several.*'good film'"):
        predict("good film")


def test_any_order_of_texts_is_taken(predict):
    expected = len(predict(TEXTS))
    assert [len(predict(form)) for form in (tuple(TEXTS), iter(TEXTS), np.array(TEXTS))] == (
        [expected] * 3
    )


def test_what_is_no_text_is_named_with_its_place(predict):
    with pytest.raises(tltool.DataError, match="2 of the inputs") as caught:
        predict(["good", None, ["bad"]])
    assert "item 1: is missing" in caught.value.message
    assert "item 2: is not a single value but a list" in caught.value.message


@pytest.mark.parametrize("data", [("good film", "bad"), (["good film"], "b"), ({"a": 1}, ["a"])])
def test_one_text_or_label_to_measure_on_is_refused(folder, data):
    with pytest.raises(tltool.DataError, match="several are asked for"):
        tltool.load_run(folder.path).evaluate(data)


def test_one_name_or_override_is_refused():
    with pytest.raises(tltool.TltoolError, match=r"backbones: several.*'minilm'"):
        tltool.rank("quickstart", "minilm")
    with pytest.raises(tltool.TltoolError, match=r"overrides: several.*'training\.seed=1'"):
        tltool.Recipe.load("quickstart", "training.seed=1")
