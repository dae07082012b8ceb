"""A tag for each word: every format, its program and the server's export give the same entities."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace

import exported
import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
from exported import export_and_check

from tltool.data.examples import Examples
from tltool.data.texts.tokenizers.choose import tokenizer_for
from tltool.data.texts.windows import windowed
from tltool.evaluation.inference import model_outputs
from tltool.export.artifact import load_artifact
from tltool.model.joining import join
from tltool.recipe.export_section import ExportSection
from tltool.recipe.schema import HeadSection
from tltool.tasks.table import TASKS, Task
from tltool.tasks.tags.kind import TagsTarget
from tltool.tasks.tags.tagged import Tagged

pytestmark = pytest.mark.slow

FORMATS = ("saved_model", "litert", "keras")
WORDS = ["good", "Bad", "movie", "U.S.", "(film)", "Hello", "O'Neil", "5€", "terrible"]


@pytest.fixture(scope="module")
def made():
    """A model with random weights that are large enough for it to be sure of something."""
    spec = TASKS["token-classification"]
    target = TagsTarget.fit([Tagged((0, 4), (3, 8), ("B-person", "O")),
                             Tagged((0, 4), (3, 8), ("B-place", "I-place"))])  # fmt: skip
    task = Task(spec, target)
    keras.utils.set_random_seed(3)
    backbone = tiny.tiny_text_backbone(layers=1, width=32)
    contract = backbone.preprocessing.read_by_words().model_copy(update={"max_length": 16})
    model = join(replace(backbone, preprocessing=contract), HeadSection(), task).model
    kernel = model.get_layer("head_output").kernel
    kernel.assign(keras.random.normal(kernel.shape, stddev=3.0, seed=1))
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=n)) for n in (1, 2, 3, 5, 8, 13, 40)]
    texts += ["Ada 北京 (é) \U0001f600 x"]
    rows = [Tagged((0,), (len(text.split()[0]),), ("O",)) for text in texts]
    examples = Examples("text", texts, rows, ["test"] * len(texts),
                        [f"item {i}" for i in range(len(texts))], kind=TagsTarget)  # fmt: skip
    return model, task, contract, examples


@pytest.fixture(scope="module")
def folder(made, tmp_path_factory):
    model, task, contract, examples = made
    folder = tmp_path_factory.mktemp("exports")
    section = ExportSection(formats=FORMATS, precisions=("float32",))
    reports = export_and_check(model, task, contract, examples, folder, section=section)
    assert all(report.passed and report.agreement == 1.0 for report in reports)
    return folder


@pytest.mark.parametrize("name", ["saved_model", "litert_float32", "keras"])
def test_every_format_gives_the_entities_of_the_model(made, folder, name):
    model, task, contract, examples = made
    expected = model_outputs(model, examples, task, contract)
    artifact = load_artifact(folder / name)
    found, entities = artifact.predict_with_labels(examples.inputs)
    assert task.target.differences(expected, found).max() < 1e-4
    assert entities == task.target.answers(expected, task.labels)
    assert sum(map(len, entities)) > 5
    assert [row.text for row in found] == examples.inputs
    golden = json.loads((folder / name / "golden.json").read_text())["examples"]
    assert all(len(row["entities"]) or row["word_probabilities"] for row in golden)
    back = task.target.from_golden([row["word_probabilities"] for row in golden])
    places = [examples.inputs.index(row["input"]) for row in golden]
    assert task.target.differences(expected[places], back).max() < 1e-4


def test_the_saved_model_names_entities_with_tensorflow_alone(made, folder):
    model, task, contract, examples = made
    expected = model_outputs(model, examples, task, contract)
    loaded = tf.saved_model.load(str(folder / "saved_model" / "model"))
    outputs = loaded.signatures["serving_default"](texts=tf.constant(examples.inputs))
    for row, scores in enumerate(expected):
        for place, entity in enumerate(task.target.found(scores)):
            assert outputs["entity_text"][row, place].numpy().decode() == entity["text"]
            assert int(outputs["entity_start"][row, place]) == entity["start"]
            assert int(outputs["entity_end"][row, place]) == entity["end"]
            assert outputs["entity_type"][row, place].numpy().decode() == entity["type"]
            assert float(outputs["entity_score"][row, place]) == pytest.approx(
                entity["score"], abs=1e-4
            )


def test_the_program_in_the_readme_finds_the_same_entities(made, folder, monkeypatch):
    model, task, contract, examples = made
    expected = model_outputs(model, examples, task, contract)
    monkeypatch.chdir(folder / "litert_float32")
    defined = {}
    with contextlib.redirect_stdout(io.StringIO()) as said:
        program = exported.program_of(folder / "litert_float32")
        exec(compile(program, "README.md", "exec"), defined)
    for text, scores in zip(examples.inputs, expected, strict=True):
        found = defined["predict"](text)
        entities = task.target.found(scores)
        assert [one[:4] for one in found] == [
            (e["text"], e["start"], e["end"], e["type"]) for e in entities
        ]
        assert [one[4] for one in found] == pytest.approx([e["score"] for e in entities], abs=1e-4)
    golden = json.loads((folder / "litert_float32" / "golden.json").read_text())["examples"]
    assert len(said.getvalue().splitlines()) == len(golden[0]["entities"])


@pytest.mark.parametrize("name", ["saved_model", "litert_float32", "keras"])
def test_the_program_says_where_there_are_no_entities(folder, name, monkeypatch, capsys):
    monkeypatch.chdir(folder / name)
    program = exported.program_of(folder / name)
    program, replaced = re.subn("(?m)^EXAMPLE = .*", 'EXAMPLE = " "', program)
    assert replaced == 1
    exec(compile(program, "README.md", "exec"), {})
    out, err = capsys.readouterr()
    assert not out
    assert "no entities in the text" in err


PROBE = """
import { readFileSync } from "node:fs";
globalThis.fetch = async (path) => ({ ok: true, text: async () => readFileSync(path, "utf8") });
const labels = readFileSync("labels.txt", "utf8").split("\\n").filter(Boolean);
const prepared = await prepare(".");
const value = (id, shape, k) => {
  const wave = Math.sin(id * 12.9 + shape * 3.7 + k * 7.1) * 43758.5;
  return wave - Math.floor(wave);
};
const run = async ({ token_ids, word_shapes }) =>
  Array.from(token_ids.data, (id, place) =>
    labels.map((_, k) => value(id, word_shapes.data[place], k))).flat();
const answers = [];
for (const text of JSON.parse(readFileSync("texts.json", "utf8"))) {
  const characters = Array.from(text);
  const words = await wordProbabilities(characters, prepared, run, labels.length);
  answers.push({ words, entities: entitiesOf(characters, words, labels) });
}
console.log(JSON.stringify(answers));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
def test_the_javascript_cuts_joins_and_decodes_as_python_does(made, folder, tmp_path):
    _, task, contract, examples = made
    for name in ("vocab.txt", "labels.txt"):
        shutil.copy(folder / "litert_float32" / name, tmp_path)
    source = (folder / "litert_float32" / "snippets" / "model.js").read_text(encoding="utf-8")
    lines = [line for line in source.split("\n") if not line.startswith("import ")]
    (tmp_path / "probe.mjs").write_text("\n".join([*lines, PROBE]), encoding="utf-8")
    (tmp_path / "texts.json").write_text(json.dumps(examples.inputs), encoding="utf-8")
    ran = subprocess.run(
        ["node", "probe.mjs"], cwd=tmp_path, check=False, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    found = windowed(examples.inputs, examples.origins, contract)
    tokens = tokenizer_for(contract)(tf.constant(found.inputs)).to_list()
    kinds = np.arange(len(task.labels))

    def values(row):
        ids, shapes = np.array(row, float).T[:, :, None]
        wave = np.sin(ids * 12.9 + shapes * 3.7 + kinds * 7.1) * 43758.5
        return wave - np.floor(wave)

    expected = found.merged([values(row) for row in tokens])
    for row, answer in zip(expected, json.loads(ran.stdout), strict=True):
        assert [word["start"] for word in answer["words"]] == row.starts.tolist()
        assert [word["end"] for word in answer["words"]] == row.ends.tolist()
        probabilities = np.array([word["probabilities"] for word in answer["words"]])
        np.testing.assert_allclose(probabilities.reshape(row.values.shape), row.values, atol=1e-6)
        entities = task.target.found(row)
        assert [{**e, "score": None} for e in answer["entities"]] == [
            {**e, "score": None} for e in entities
        ]
