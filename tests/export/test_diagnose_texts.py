"""`tltool diagnose` finds every fault that apps make with texts; see `faulty_apps`."""

from __future__ import annotations

import examined
import exported
import faulty_apps as apps
import keras
import numpy as np
import pytest
import tiny
import trained
from byte_pairs import trained_contract

from tltool.backbones.networks.layers import MaskedMean
from tltool.export.diagnosis.diagnosis import Examiner
from tltool.export.diagnosis.text import diagnosis_json
from tltool.export.diagnosis.texts import TextPreparation, text_tensors
from tltool.export.feeding import prepared_inputs
from tltool.export.formats.base import ExportTarget
from tltool.export.formats.table import FORMATS

TEXTS = [
    "Good café, the FILM was très nice!",
    "unhappy with the bad service, the price, É the food and its awful film, a very good film",
    "Is é E?",
]
WORDS = ("e", "é", "É", "##e", "Good", "FILM", "caf", "café", "##é", "un", "##happy", "with", "and")
TARGETS = {
    "float32": ExportTarget(FORMATS["litert"]),
    "int8": ExportTarget(FORMATS["litert"], "int8"),
    "saved_model": ExportTarget(FORMATS["saved_model"]),
}


def model():
    """A random BERT that any token makes a difference to."""
    import keras_hub

    contract = tiny.TINY_TEXT.model_copy(
        update={"vocabulary": (*tiny.TINY_TEXT.vocabulary, *WORDS)}
    )
    keras.utils.set_random_seed(0)
    bert = keras_hub.models.BertBackbone(
        vocabulary_size=len(contract.vocabulary),
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        dropout=0.0,
        max_sequence_length=16,
    )
    for variable in bert.variables:
        if "norm" not in variable.path:
            variable.assign(keras.random.normal(variable.shape, stddev=0.5))
    mask = bert.input["padding_mask"]
    pooled = MaskedMean(name="pooled")(bert.output["sequence_output"], padding_mask=mask)
    task = exported.task_of("text", None)
    outputs = keras.layers.Dense(task.num_outputs)(pooled)
    rows = exported.examples("text", TEXTS)
    return trained.TinyTrained(keras.Model(bert.input, outputs), task, contract, rows)


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A folder of each kind, what runs the model in it, and what diagnoses its apps."""
    folder, made = tmp_path_factory.mktemp("exports"), model()
    found = {}
    for name, target in TARGETS.items():
        export = exported.export_folder(made, folder / name, target, length=16)
        runs = apps.saved_model if name == "saved_model" else apps.litert
        found[name] = (export, runs(export), Examiner(export))
    return found


def found(exports, kind, tmp_path, **faults):
    """What is found of an app with faults."""
    return examined.found(apps.TextApp, *exports[kind], tmp_path, **faults)


@pytest.mark.parametrize("name", apps.TEXT_FAULTS)
@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_a_planted_fault_is_found(kind, name, exports, tmp_path):
    key, faults = apps.TEXT_FAULTS[name]
    said = found(exports, kind, tmp_path, **faults)
    assert (said["verdict"], examined.first(said)) == ("fault", [key])


@pytest.mark.parametrize("name", ["case", "accents", "no special tokens", "last tokens kept"])
def test_a_fault_is_found_of_a_saved_model(name, exports, tmp_path):
    key, faults = apps.TEXT_FAULTS[name]
    said = found(exports, "saved_model", tmp_path, **faults)
    assert (said["verdict"], examined.first(said)) == ("fault", [key])


@pytest.mark.parametrize("name", apps.TEXT_FAULTS)
def test_a_fault_is_found_in_the_tensors_alone(name, exports, tmp_path):
    key, faults = apps.TEXT_FAULTS[name]
    said = found(exports, "float32", tmp_path, tensors=True, **faults)
    assert (said["verdict"], examined.first(said)) == ("fault", [key])


@pytest.mark.parametrize("tensors", [True, False])
@pytest.mark.parametrize("kind", TARGETS)
def test_sound_answers_are_sound(kind, tensors, exports, tmp_path):
    said = found(exports, kind, tmp_path, tensors=tensors)
    assert (said["verdict"], said["explanations"]) == ("sound", [])


@pytest.mark.parametrize("kind", TARGETS)
def test_the_program_beside_an_export_writes_sound_answers(kind, exports, tmp_path, monkeypatch):
    folder, _, examiner = exports[kind]
    apps.program_answers(folder, tmp_path / "answers.json", monkeypatch)
    said = diagnosis_json(examiner(tmp_path / "answers.json"))
    assert (said["verdict"], said["difference"] < 1e-6) == ("sound", True)


def test_two_faults_are_found_together(exports, tmp_path):
    said = found(exports, "float32", tmp_path, lower=False, mask=1)
    assert said["verdict"] == "fault"
    assert sorted(examined.first(said)) == ["case", "mask"]


def test_noise_is_none_of_these(exports, tmp_path):
    rng = np.random.default_rng(0)
    said = found(exports, "float32", tmp_path, read=lambda p: rng.dirichlet(np.ones(3), len(p)))
    assert (said["verdict"], said["explanations"]) == ("none", [])


def test_what_does_not_show_is_said(exports, tmp_path):
    said = found(exports, "float32", tmp_path, lower=False)
    assert said["not_visible"] == ["the padding is token 1"]  # the mask leaves it out


PAIRS = {
    "single": (tiny.TINY_TEXT, TEXTS),
    "joined": (tiny.TINY_TEXT.model_copy(update={"pair": "joined"}), exported.pairs(TEXTS)),
    "apart": (tiny.TINY_TEXT.model_copy(update={"pair": "apart"}), exported.pairs(TEXTS)),
    "byte pairs": (trained_contract(), TEXTS),
}


@pytest.mark.parametrize("name", PAIRS)
def test_without_faults_the_tensors_are_the_trainings(name):
    contract, texts = PAIRS[name]
    for text in texts:
        given = text_tensors(text, TextPreparation(), contract, 16)
        expected = prepared_inputs(contract, 16)([text])
        assert set(given) == set(expected)
        for key, values in expected.items():
            np.testing.assert_array_equal(given[key], values)
