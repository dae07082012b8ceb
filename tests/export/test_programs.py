"""The Python programs in export folders: they prepare inputs exactly as the training did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from ast import literal_eval
from dataclasses import replace

import exported
import numpy as np
import pytest
import tiny
from byte_pairs import trained_contract
from jinja2 import UndefinedError
from odd_texts import ODD_TEXTS

from tltool.data.batches.pipeline import model_inputs
from tltool.evaluation.inference import model_outputs
from tltool.export.artifact import load_artifact
from tltool.export.feeding import prepared_inputs, single_inputs
from tltool.export.formats.base import ExportTarget, LiteRTOptions
from tltool.export.formats.table import FORMATS
from tltool.export.sidecars.templates import PYTHON, fill
from tltool.tasks.target import Program

# What the shipped program may import, beside Python itself: the runtime and what it requires.
ALONE = """
import importlib.metadata, re, sys
required = importlib.metadata.requires("ai-edge-litert") or []
names = {re.match(r"[\\w-]+", line)[0] for line in required if "extra ==" not in line}
modules = {"protobuf": "google", "typing-extensions": "typing_extensions"}
allowed = {modules.get(name, name.replace("-", "_")) for name in names}
allowed |= {"ai_edge_litert", "numpy", "backports", *sys.stdlib_module_names}
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in allowed:
            raise ModuleNotFoundError(f"{name} is not NumPy or ai-edge-litert", name=name)
sys.meta_path.insert(0, Finder())
"""
CONTRACTS = {
    "uncased": {},
    "cased": {"lowercase": False, "strip_accents": False},
    "accents": {"strip_accents": False},
    "cjk together": {"split_cjk": False},
    "short words": {"max_word_characters": 3},
    "two inputs": {"inputs": ("token_ids", "padding_mask")},
}


def wordpiece(**changes):
    words = ["日", "本", "e", "é", "É", "##e", "σ", "ς", "##ς", "##σ", "(", "ı", "i", "Good", "$"]
    vocabulary = (*tiny.TINY_TEXT.vocabulary, *words)
    return tiny.TINY_TEXT.model_copy(update={"vocabulary": vocabulary, **changes})


def namespace(folder, monkeypatch):
    """What the README's program defines, run as it is."""
    monkeypatch.chdir(folder)
    defined = {}
    exec(compile(exported.program_of(folder), "README.md", "exec"), defined)
    return defined


@pytest.mark.parametrize("name", exported.IMAGE_CONTRACTS)
def test_images_become_what_the_training_made_of_them(name, tmp_path, monkeypatch, capsys):
    made = exported.image_model(tmp_path / "pictures", **exported.IMAGE_CONTRACTS[name])
    folder = exported.litert_folder(made, tmp_path / "export")
    program = namespace(folder, monkeypatch)
    for picture in made.held_out.inputs:
        found = program["normalise"](program["resize"](program["read"](picture)))
        expected = model_inputs([picture], made.preprocessing).numpy()
        np.testing.assert_array_equal(found, expected)
    golden = json.loads((folder / "golden.json").read_text())["examples"]
    *_, score = capsys.readouterr().out.split()
    assert float(score) == pytest.approx(max(golden[0]["probabilities"]), abs=1e-6)
    for row in golden:
        resized = np.load(folder / row["resized"])
        found = program["model"](image=program["normalise"](resized))["probabilities"][0]
        np.testing.assert_allclose(found, row["probabilities"], atol=1e-6)


@pytest.mark.parametrize("name", CONTRACTS)
def test_texts_become_the_training_s_tokens(name, tmp_path, monkeypatch, capsys):
    contract = wordpiece(**CONTRACTS[name])
    folder = exported.litert_folder(exported.text_model(contract), tmp_path / "export", length=12)
    program = namespace(folder, monkeypatch)
    texts = [*ODD_TEXTS, *exported.texts(), "ΟΔΟΣ Good İI\u2028日本é", "\u0378a ＄ € ﷼"]
    expected = prepared_inputs(contract, 12)(texts)
    for row, text in enumerate(texts):
        found = program["preprocess"](text)
        assert set(found) == set(contract.inputs)
        for key, values in found.items():
            np.testing.assert_array_equal(values[0], expected[key][row], err_msg=repr(text))
            assert values.dtype == np.int32


def test_a_tokenizer_file_is_used(tmp_path, monkeypatch, capsys):
    contract = trained_contract()
    folder = exported.litert_folder(exported.text_model(contract), tmp_path / "export", length=12)
    program = namespace(folder, monkeypatch)
    expected = prepared_inputs(contract, 12)(list(ODD_TEXTS))
    for row, text in enumerate(ODD_TEXTS):
        for key, values in program["preprocess"](text).items():
            np.testing.assert_array_equal(values[0], expected[key][row], err_msg=repr(text))


@pytest.mark.parametrize("takes", ["uint8", "uint8_any_size"])
def test_pixels_go_in_as_they_are(takes, tmp_path, monkeypatch, capsys):
    made = exported.image_model(tmp_path / "pictures", **exported.IMAGE_CONTRACTS["bgr"])
    folder = exported.litert_folder(made, tmp_path / "export", input=takes)
    program = namespace(folder, monkeypatch)
    content = {"uint8": "resized_image", "uint8_any_size": "image"}[takes]
    expected = single_inputs(made.preprocessing, None, content)(made.held_out.inputs)
    for picture, row in zip(made.held_out.inputs, expected, strict=True):
        pixels = program["read"](picture)
        pixels = program["resize"](pixels) if takes == "uint8" else pixels
        found = program["normalise"](pixels)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, row["image"])
    assert (folder / "snippets" / "model.js").exists() == (takes == "uint8")
    assert (folder / "snippets" / "Model.swift").exists()


@pytest.mark.parametrize("kind", ["vocabulary", "tokenizer"])
def test_texts_of_any_length_are_not_padded(kind, tmp_path, monkeypatch, capsys):
    contract = wordpiece() if kind == "vocabulary" else trained_contract()
    target = ExportTarget(FORMATS["litert"], options=LiteRTOptions(length="free"))
    folder = exported.export_folder(exported.text_model(contract), tmp_path / "export", target)
    program = namespace(folder, monkeypatch)
    texts = [*exported.texts(), "more than fits " * 100]
    expected = list(single_inputs(contract, None, "token_ids")(texts))
    widths = {row["token_ids"].shape[1] for row in expected}
    assert len(widths) > 2
    assert max(widths) == contract.max_length
    for text, row in zip(texts, expected, strict=True):
        for key, values in program["preprocess"](text).items():
            np.testing.assert_array_equal(values, row[key], err_msg=repr(text))
    assert not (folder / "snippets" / "model.js").exists()


@pytest.mark.parametrize("takes", ["float32", "uint8_any_size"])
def test_masks_have_the_size_and_classes_of_the_runs_predictions(
    takes, tmp_path, monkeypatch, capsys
):
    made = exported.mask_model(tmp_path / "pictures")
    pictures, target = made.held_out.inputs, made.task.target
    folder = exported.litert_folder(made, tmp_path / "export", input=takes)
    capsys.readouterr()
    program = namespace(folder, monkeypatch)
    expected = target.predictions(load_artifact(folder).predict(pictures), pictures)
    for picture, row in zip(pictures, expected, strict=True):
        np.testing.assert_array_equal(program["predict"](picture), row.value)
    shares = [line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines()]
    said = {label: float(share) for label, share in shares}
    assert said == pytest.approx(expected[0].probabilities)
    assert (folder / "snippets" / "Model.kt").exists() == (takes == "float32")
    assert (folder / "snippets" / "Model.swift").exists()


FORMS = {
    "litert_float32": ExportTarget(FORMATS["litert"]),
    "litert_float16": ExportTarget(FORMATS["litert"], "float16"),
    "saved_model": ExportTarget(FORMATS["saved_model"]),
    "keras": ExportTarget(FORMATS["keras"]),
}


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Models of each kind of target, one of pictures among them."""
    pictures = tmp_path_factory.mktemp("pictures")
    made = {
        name: exported.text_model(wordpiece(), target) for name, target in exported.TARGETS.items()
    }
    made["labels of pictures"] = exported.image_model(pictures, exported.LABELS_OF_PICTURES)
    made["numbers of pictures"] = exported.image_model(pictures, exported.TARGETS["numbers"])
    return made


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "kind",
    [*exported.TARGETS, *(pytest.param(f"{what} of pictures", marks=pytest.mark.slow)
                          for what in ("labels", "numbers"))],
)  # fmt: skip
def test_programs_say_what_the_golden_file_says(kinds, kind, form, tmp_path, monkeypatch, capsys):
    made, target = kinds[kind], kinds[kind].task.target
    folder = exported.export_folder(made, tmp_path / "export", FORMS[form])
    (golden, *_) = json.loads((folder / "golden.json").read_text())["examples"]
    capsys.readouterr()
    namespace(folder, monkeypatch)
    said = capsys.readouterr().out.strip()
    if target.labels:
        given = dict(zip(target.labels, golden["probabilities"], strict=True))
        given = {name: given[name] for name in golden["labels"]}
        if form.startswith("litert"):
            lines = [line.rsplit(" ", 1) for line in said.split("\n")] if said else []
            assert {name: pytest.approx(float(p), abs=1e-6) for name, p in lines} == given
        else:
            assert sorted(literal_eval(said)) == sorted(given)
        return
    names = target.names if len(target.names) > 1 else [""]
    expected = dict(zip(names, np.ravel(golden["prediction"]), strict=True))
    if form.startswith("litert"):
        lines = [line.rpartition(" ") for line in said.split("\n")]
        found = {name: float(value) for name, _, value in lines}
    else:
        found = literal_eval(said) if len(target.names) > 1 else {"": float(said)}
    assert list(found) == list(expected)
    off = np.abs(np.array([*found.values()]) - np.array([*expected.values()])) / target.units
    assert off.max() < 1e-5


def test_inputs_of_these_programs_have_different_labels(kinds):
    """Otherwise a program that gave the same labels to all would not be found out."""
    for name in ("labels", "labels of pictures"):
        made = kinds[name]
        outputs = model_outputs(made.model, made.held_out, made.task, made.preprocessing)
        given = made.task.target.answers(outputs, made.task.labels)
        assert len(set(given)) > 2


def test_a_template_that_asks_for_what_is_not_known_is_an_error():
    assert "print" in fill("show", PYTHON, Program().flags, {})
    with pytest.raises(UndefinedError, match="tags"):
        fill("show", PYTHON, {}, {})


def run_program(folder, program):
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rsplit(maxsplit=1)


def test_a_text_needs_the_runtime_and_numpy_alone(tmp_path):
    made = exported.text_model(wordpiece())
    folder = exported.litert_folder(made, tmp_path / "export", length=12)
    (golden, *_) = json.loads((folder / "golden.json").read_text())["examples"]
    label, score = run_program(folder, ALONE + exported.program_of(folder))
    assert label == golden["label"]
    assert float(score) == pytest.approx(max(golden["probabilities"]), abs=1e-6)


def test_pixels_need_the_runtime_and_numpy_alone(tmp_path):
    made = exported.image_model(tmp_path / "pictures", **exported.IMAGE_CONTRACTS["bgr"])
    folder = exported.litert_folder(made, tmp_path / "export")
    (golden, *_) = json.loads((folder / "golden.json").read_text())["examples"]
    program = exported.program_of(folder)
    with_pillow = "pixels = resize(read(EXAMPLE))"
    assert with_pillow in program
    program = program.replace(with_pillow, f'pixels = np.load("{golden["resized"]}")')
    label, score = run_program(folder, ALONE + program)
    assert label == golden["label"]
    assert float(score) == pytest.approx(max(golden["probabilities"]), abs=1e-6)


@pytest.mark.parametrize("kind", ["image", "text"])
def test_the_request_to_tensorflow_serving_is_json(kind, tmp_path):
    """The shell command with `curl` replaced by what prints the body."""
    made = (
        exported.text_model(wordpiece())
        if kind == "text"
        else exported.image_model(tmp_path / "pictures")
    )
    folder = exported.export_folder(made, tmp_path / "export", ExportTarget(FORMATS["saved_model"]))
    readme = (folder / "README.md").read_text(encoding="utf-8")
    command = readme.split("```sh\n")[1].split("```")[0]
    shown = 'curl() { if [ "$2" = @- ]; then cat; else printf %s "$2"; fi; }\n' + command
    done = subprocess.run(["bash", "-c", shown], cwd=folder, capture_output=True, check=True)
    ((name, (value,)),) = json.loads(done.stdout)["inputs"].items()
    (golden, *_) = json.loads((folder / "golden.json").read_text())["examples"]
    if kind == "text":
        assert (name, value) == ("texts", golden["input"])
        return
    import base64

    assert name == "images"
    assert base64.b64decode(value["b64"]) == (folder / golden["input"]).read_bytes()


def test_the_pictures_of_these_tests_are_told_apart(tmp_path):
    """Otherwise the tests above would prove little: without its contract the model says other."""
    made = exported.image_model(tmp_path / "pictures", **exported.IMAGE_CONTRACTS["bgr"])
    folder = exported.litert_folder(made, tmp_path / "export")
    right = load_artifact(folder).predict(made.held_out.inputs)
    contract = made.preprocessing.model_copy(update={"channel_order": "rgb"})
    other = exported.litert_folder(replace(made, preprocessing=contract), tmp_path / "other")
    wrong = load_artifact(other).predict(made.held_out.inputs)
    assert np.abs(right - wrong).max() > 0.01
    assert len({int(i) for i in right.argmax(-1)}) > 1
