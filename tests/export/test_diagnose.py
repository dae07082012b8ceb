"""`tltool diagnose`: other kinds of answers, files that do not fit, and what it prints."""

from __future__ import annotations

import json

import exported
import faulty_apps as apps
import numpy as np
import pytest
from test_programs import wordpiece
from typer.testing import CliRunner

from tltool.cli.app import app
from tltool.export.diagnosis.diagnosis import diagnose
from tltool.export.diagnosis.search import Explanation, Limits, search
from tltool.export.diagnosis.text import diagnosis_json
from tltool.export.formats.base import ExportTarget
from tltool.export.formats.table import FORMATS
from tltool.support.errors import DataError, ExportError
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget

LABELS = ("b", "a", "d", "c")
TARGETS = {
    "classes": ClassTarget(LABELS),
    "labels": ClassSetTarget(LABELS, (0.5,) * 4),
    "number": NumbersTarget(mean=(250.0,), std=(50.0,)),
    "numbers": NumbersTarget(("x", "y"), (3.0, 250.0), (2.0, 50.0)),
    "moment": NumbersTarget(mean=(1.7e9,), std=(60.0,), offset_outside=True),
    "vectors": exported.VECTORS,
}


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """A folder of each kind of target."""
    folder = tmp_path_factory.mktemp("exports")
    return {
        name: exported.litert_folder(
            exported.text_model(wordpiece(), target), folder / name, length=12
        )
        for name, target in TARGETS.items()
    }


def golden(folder):
    """The right answers."""
    target = json.loads((folder / "golden.json").read_text())
    (key,) = {"probabilities", "prediction", "embedding"} & set(target["examples"][0])
    return np.array([example[key] for example in target["examples"]])


def said(folder, tmp_path, outputs, **more):
    """What is found of outputs."""
    rows = [{"outputs": row} for row in np.asarray(outputs).tolist()]
    for name, values in more.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    file = tmp_path / "answers.json"
    file.write_text(json.dumps({"answers": rows}))
    return diagnosis_json(diagnose(folder, file))


def keys(found):
    """Of the first explanation."""
    return [fault["fault"] for fault in found["explanations"][0]["faults"]]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def logit(p):
    return np.log(p / (1 - p))


MISREAD = [
    ("classes", "softmax_missing", lambda p: np.log(p) + 3.5),
    ("classes", "softmax_twice", apps.softmax),
    ("classes", "sigmoid_on_top", sigmoid),
    ("classes", "sigmoid_for_softmax", lambda p: sigmoid(np.log(p) + 1.5)),
    ("classes", "percent", lambda p: 100 * p),
    ("classes", "label_order", lambda p: np.roll(p, 1, axis=1)),
    ("classes", "label_order", lambda p: p[:, np.argsort(LABELS)]),
    ("labels", "sigmoid_missing", logit),
    ("labels", "softmax_for_sigmoid", lambda p: apps.softmax(logit(p))),
    ("labels", "sigmoid_on_top", sigmoid),
    ("labels", "softmax_twice", apps.softmax),
    ("labels", "label_order", lambda p: p[:, ::-1]),
    ("number", "scale_not_undone", lambda x: (x - 250) / 50),
    ("number", "scale_undone_twice", lambda x: x * 50 + 250),
    ("numbers", "scale_not_undone", lambda x: (x - [3, 250]) / [2, 50]),
    ("numbers", "label_order", lambda x: x[:, ::-1]),
    ("moment", "scale_not_undone", lambda x: (x - 1.7e9) / 60),
]


@pytest.mark.parametrize(("kind", "key", "misread"), MISREAD)
def test_what_is_made_of_answers_is_found(kind, key, misread, exports, tmp_path):
    found = said(exports[kind], tmp_path, misread(golden(exports[kind])))
    assert (found["verdict"], keys(found)) == ("fault", [key])


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("faults", [{}, {"types": 1}, {"special": False}])
def test_every_kind_is_diagnosed(kind, faults, exports, tmp_path):
    folder = exports[kind]
    found = apps.answers(folder, apps.litert(folder), apps.TextApp(folder, **faults))
    outputs = np.array([row["outputs"] for row in found["answers"]])
    if kind == "moment":
        outputs = outputs * 60 + 1.7e9
    found = said(folder, tmp_path, outputs)
    expected = {"types": "token_types", "special": "special_tokens"}
    if faults:
        assert (found["verdict"], keys(found)) == ("fault", [expected[key] for key in faults])
    else:
        assert found["verdict"] == "sound"


@pytest.mark.parametrize("kind", TARGETS)
def test_programs_of_every_kind_write_sound_answers(kind, exports, tmp_path, monkeypatch):
    apps.program_answers(exports[kind], tmp_path / "answers.json", monkeypatch)
    assert diagnose(exports[kind], tmp_path / "answers.json").sound


@pytest.mark.parametrize("stored", [lambda p: np.round(256 * p), lambda p: np.round(256 * p) - 128])
def test_bytes_that_are_not_dequantised_are_found(stored, tmp_path):
    made = exported.text_model(wordpiece(), TARGETS["classes"])
    target = ExportTarget(FORMATS["litert"], "int8")
    folder = exported.export_folder(made, tmp_path / "export", target, 12)
    found = said(folder, tmp_path, stored(golden(folder)))
    assert (found["verdict"], keys(found)) == ("fault", ["not_dequantised"])


def test_names_of_sound_outputs_are_compared(exports, tmp_path):
    folder, right = exports["classes"], golden(exports["classes"])
    best = right.argmax(axis=1)
    assert said(folder, tmp_path, right, label=[LABELS[i] for i in best])["verdict"] == "sound"
    found = said(folder, tmp_path, right, label=[sorted(LABELS)[i] for i in best])
    assert (found["verdict"], keys(found)) == ("fault", ["label_order"])
    for name, words in (("nothing of it", "no label"), (LABELS[0], "several outputs have one")):
        with pytest.raises(DataError, match=words):
            said(folder, tmp_path, right, label=[name] * len(best))


def test_outputs_may_have_names(exports, tmp_path):
    folder, right = exports["classes"], golden(exports["classes"])
    rows = [dict(zip(LABELS, row.tolist(), strict=True)) for row in right]
    file = tmp_path / "answers.json"
    file.write_text(json.dumps({"answers": [{"outputs": row} for row in rows]}))
    assert diagnose(folder, file).sound


def test_faults_with_equal_numbers_are_not_told_apart():
    rng = np.random.default_rng(0)
    one, two, other = rng.normal(size=(3, 12))
    right = Explanation((), np.zeros(12), one)
    same = [Explanation((fault("a"),), one, one - one), Explanation((fault("b"),), one, one - one)]
    level = [*same, Explanation((fault("c"),), two, one - two)]
    found = search(right, [lambda: level], Limits(1e-4, 1e-4))
    assert (found.verdict, [e.keys for e in found.best]) == ("several", [("a",), ("b",)])
    found = search(right, [lambda: level[2:]], Limits(1e-4, 1e-4))
    assert found.verdict == "none"
    small = Explanation((), np.zeros(12), 1e-3 * other)
    hardly = [Explanation((fault("d"),), 1e-3 * two, 1e-3 * (other - two))]
    assert search(small, [lambda: hardly], Limits(1e-4, 1e-2)).verdict == "sound"


def fault(key):
    from tltool.export.diagnosis.faults import Fault

    return Fault(key, key, "", {})


BAD = {
    "[1]": "holds no answers",
    "{": "cannot be read",
    '{"answers": [{"outputs": [1, 2, 3, 4]}]}': "has 1 answer; golden.json has 3 examples",
    '{"answers": [{"outputs": [1]}, {"outputs": [1]}, {"outputs": [1]}]}': "the model gives 4",
    '{"answers": [{"outputs": "a"}, {"outputs": "a"}, {"outputs": "a"}]}': "answers.0.outputs",
    '{"answers": [{"outputs": {"e": 1}}, {"outputs": 1}, {"outputs": 1}]}': "names 'e'",
    '{"answers": [{"outputs": {"a": 1}}, {"outputs": 1}, {"outputs": 1}]}': "lacks 'b', 'd', 'c'",
}


@pytest.mark.parametrize("text", BAD)
def test_answers_that_do_not_fit_are_refused(text, exports, tmp_path):
    file = tmp_path / "answers.json"
    file.write_text(text)
    with pytest.raises(DataError, match=BAD[text]) as caught:
        diagnose(exports["classes"], file)
    assert caught.value.hint


def test_tensors_of_another_size_are_refused(exports, tmp_path):
    right, tensor = golden(exports["classes"]), {"token_ids": [1], "padding_mask": [1]}
    rows = [{**tensor, "segment_ids": [0]}] * len(right)
    with pytest.raises(DataError, match="not of the model's size"):
        said(exports["classes"], tmp_path, right, input=rows)
    with pytest.raises(DataError, match="the model takes"):
        said(exports["classes"], tmp_path, right, input=[tensor] * len(right))


def test_tags_are_refused(tmp_path):
    made = exported.tag_model(wordpiece(), exported.TAGS["entities"])
    folder = exported.litert_folder(made, tmp_path / "export", length=12)
    with pytest.raises(ExportError, match="token-classification cannot be diagnosed"):
        diagnose(folder, tmp_path / "answers.json")


def test_the_command_says_what_to_change(exports, tmp_path):
    folder, right = exports["classes"], golden(exports["classes"])
    assert said(folder, tmp_path, apps.softmax(right))["verdict"] == "fault"
    file = str(tmp_path / "answers.json")
    done = CliRunner().invoke(app, ["diagnose", str(folder), file])
    assert done.exit_code == 1
    assert "Found: a softmax is taken of the model's probabilities." in done.stdout
    assert "in the app: leave out the app's softmax" in done.stdout
    done = CliRunner().invoke(app, ["diagnose", str(folder), file, "--json"])
    assert json.loads(done.stdout)["explanations"][0]["faults"][0]["fault"] == "softmax_twice"
    said(folder, tmp_path, right)
    done = CliRunner().invoke(app, ["diagnose", str(folder), file])
    assert (done.exit_code, "Sound" in done.stdout) == (0, True)
