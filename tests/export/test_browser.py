"""LiteRT for the web, in headless Chromium, says what Keras says of every row.

The page of docs/examples/browser runs each folder's own `snippets/model.js`. Skipped where its
packages are not installed (`make test-browser` installs them).
"""

from __future__ import annotations

import exported
import numpy as np
import pytest
import trained
from browser import ask_browser, installed, outputs_of, run_in_browser
from byte_pairs import trained_contract
from odd_texts import ODD_TEXTS
from real_data import TRASH6, questions, run_with_a_solved_head
from test_programs import wordpiece
from unigrams import SPECIAL, charsmap, train_spm

from tltool.data.preprocessing import UnigramPreprocessing
from tltool.export.artifact import load_artifact
from tltool.export.gate.check import check_artifact, reference_of
from tltool.recipe.export_section import GateSection
from tltool.tasks.tags.word_split import words_of

pytestmark = installed
EVERY_ROW = GateSection(examples=1_000_000)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Export folders with inputs: every branch of the image program, each kind of tokenizer."""
    root = tmp_path_factory.mktemp("exports")
    made = {}
    for name, changes in exported.IMAGE_CONTRACTS.items():
        model = exported.image_model(root / f"pictures {name}", **changes)
        made[name] = (exported.litert_folder(model, root / name), model.held_out.inputs)
    contracts = {
        "uncased": wordpiece(),
        "cased": wordpiece(lowercase=False, strip_accents=False, max_word_characters=5),
        "byte pairs": trained_contract(),
        "unigram": unigram_contract(),
    }
    for name, contract in contracts.items():
        model = exported.text_model(contract)
        folder = exported.litert_folder(model, root / name, length=12)
        # A text field of a page knows one kind of line break only.
        odd = [text[:300] for text in ODD_TEXTS if "\r" not in text]
        texts = exported.texts() + (odd if name != "unigram" else [])
        made[name] = (folder, texts)
    pixels = exported.image_model(root / "pictures of pixels", **exported.IMAGE_CONTRACTS["bgr"])
    folder = exported.litert_folder(pixels, root / "pixels", input="uint8")
    made["pixels"] = (folder, pixels.held_out.inputs)
    number = trained.text_regressor()
    made["number"] = (exported.litert_folder(number, root / "number"), number.held_out.inputs[:5])
    return made


def unigram_contract():
    pieces = {p.piece: p.score for p in train_spm().pieces if p.piece not in ("<unk>",)}
    return UnigramPreprocessing(
        vocabulary=(*SPECIAL, *pieces),
        scores=(*[0.0] * len(SPECIAL), *pieces.values()),
        steps=("character_map",),
        character_map=charsmap(),
        unknown_token="<unk>",
        padding_token="<pad>",
        control_tokens=("[MASK]",),
    )


@pytest.fixture(scope="module")
def answers(folders):
    """What the page says of all of them, in one browser."""
    return dict(zip(folders, ask_browser(folders.values()), strict=True))


@pytest.mark.parametrize(
    "name",
    [*exported.IMAGE_CONTRACTS, "pixels", "uncased", "cased", "byte pairs", "unigram", "number"],
)
def test_the_page_says_what_the_artifact_says(folders, answers, name):
    folder, inputs = folders[name]
    found = answers[name]
    assert not found["failed"], found["status"]
    expected, labels = load_artifact(folder).predict_with_labels(inputs)
    values = outputs_of(found)
    if name == "number":
        values = values[:, 0]
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-6)
    assert [row["label"] for row in found["answers"]] == (labels or ["prediction"] * len(inputs))


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Exports of other kinds of targets, and what their snippets say in one browser."""
    root = tmp_path_factory.mktemp("kinds")
    made = {
        name: exported.text_model(wordpiece(), target) for name, target in exported.TARGETS.items()
    }
    pictures = root / "pictures"
    made["labels of pictures"] = exported.image_model(pictures, exported.LABELS_OF_PICTURES)
    made["numbers of pictures"] = exported.image_model(pictures, exported.TARGETS["numbers"])
    made["vectors"] = exported.text_model(wordpiece(), exported.VECTORS)
    made["may be unknown"] = exported.knowing_model(wordpiece())
    found = {name: (exported.litert_folder(model, root / name), model.held_out.inputs)
             for name, model in made.items()}  # fmt: skip
    said = ask_browser(found.values(), direct=True)
    return {name: (*found[name], answers) for name, answers in zip(found, said, strict=True)}


@pytest.mark.parametrize(
    "name", [*exported.TARGETS, "labels of pictures", "numbers of pictures", "vectors"]
)
def test_other_targets_are_the_artifacts(kinds, name):
    """The page was ready, so it found the golden examples to be answered alike."""
    folder, inputs, said = kinds[name]
    assert not said["failed"], said["status"]
    artifact = load_artifact(folder)
    expected, labels = artifact.predict_with_labels(inputs)
    target, answers = artifact.task.target, said["answers"]
    if target.labels:
        values = [row["probabilities"] for row in answers]
        assert [tuple(row["labels"]) for row in answers] == labels
        assert len(set(labels)) > 1
    elif target.program().vectors:
        values = [row["embedding"] for row in answers]
    elif len(target.names) > 1:
        assert all(tuple(row["prediction"]) == target.names for row in answers)
        values = [list(row["prediction"].values()) for row in answers]
    else:
        values = [row["prediction"] for row in answers]
    assert target.differences(expected, np.array(values)).max() < 1e-5


def test_answers_say_whether_their_input_is_known(kinds):
    folder, inputs, said = kinds["may be unknown"]
    assert not said["failed"], said["status"]
    artifact, answers = load_artifact(folder), said["answers"]
    expected = artifact.predict(inputs)
    np.testing.assert_allclose(
        [row["probabilities"] for row in answers], expected[:, :-1], atol=1e-5
    )
    np.testing.assert_allclose([row["unknownScore"] for row in answers], expected[:, -1], atol=1e-5)
    accepted = artifact.task.target.accepted(expected).tolist()
    assert [row["accepted"] for row in answers] == accepted
    assert len(set(accepted)) == 2


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    """Exports of tagged words, and the entities that their snippets find in one browser."""
    root = tmp_path_factory.mktemp("tags")
    made = {name: exported.tag_model(wordpiece(), t) for name, t in exported.TAGS.items()}
    made["byte pairs"] = exported.tag_model(trained_contract(), exported.TAGS["entities"])
    texts = [*(text[:300] for text in ODD_TEXTS), *exported.texts()]
    found = {name: exported.litert_folder(model, root / name) for name, model in made.items()}
    said = ask_browser([(folder, texts) for folder in found.values()], direct=True)
    shown = ask_browser([(found["word classes"], exported.texts()[:1])])
    return texts, dict(zip(found, zip(found.values(), said, strict=True), strict=True)), shown[0]


@pytest.mark.parametrize("name", [*exported.TAGS, "byte pairs"])
def test_entities_are_the_artifacts(tagged, name):
    texts, found, _ = tagged
    folder, said = found[name]
    assert not said["failed"], said["status"]
    artifact = load_artifact(folder)
    outputs = artifact.predict(texts)
    for text, row, entities in zip(texts, outputs, said["answers"], strict=True):
        expected = artifact.task.target.found(row)
        assert [{**e, "score": 0} for e in entities] == [{**e, "score": 0} for e in expected], text
        scores = [entity["score"] for entity in entities]
        assert scores == pytest.approx([entity["score"] for entity in expected], abs=1e-4)
    assert sum(map(len, said["answers"])) > 20


def test_the_page_shows_entities(tagged):
    *_, shown = tagged
    assert not shown["failed"], shown["status"]
    (answer,) = shown["answers"]
    assert answer["label"] in {"it (noun)", "it (verb)"}
    assert len(answer["values"]) == len(words_of(exported.texts()[0]))


@pytest.mark.parametrize("takes", ["float32", "uint8"])
def test_masks_are_the_artifacts(takes, tmp_path):
    made = exported.mask_model(tmp_path / "pictures")
    pictures = made.held_out.inputs
    folder = exported.litert_folder(made, tmp_path / "export", input=takes)
    said, shown = (ask_browser([(folder, pictures)], direct=direct)[0] for direct in (True, False))
    assert not said["failed"], said["status"]
    artifact = load_artifact(folder)
    target = artifact.task.target
    expected = target.predictions(artifact.predict(pictures), pictures)
    for picture, found, row, table in zip(
        pictures, said["answers"], expected, shown["answers"], strict=True
    ):
        mask = np.array(found["mask"]).reshape(found["height"], found["width"])
        assert mask.shape == row.value.shape
        # Pixels at which two classes are equally probable but for the runtime's rounding.
        assert (mask == row.value).mean() > 0.999, picture
        assert found["shares"] == pytest.approx(row.probabilities, abs=1e-3)
        assert table["values"] == pytest.approx(list(found["shares"].values()))
        assert table["label"] == target.labels[0]


def test_the_page_refuses_a_model_whose_golden_examples_differ(folders, tmp_path):
    """Also shows that the page prepares the input by the folder's own code."""
    import shutil

    broken = tmp_path / "broken"
    shutil.copytree(folders["bgr"][0], broken)
    snippet = broken / "snippets" / "model.js"
    text = snippet.read_text(encoding="utf-8")
    assert "const MEAN = [123.68, 116.779, 103.939]" in text
    snippet.write_text(text.replace("[123.68,", "[23.68,"), encoding="utf-8")
    questions = [(broken, []), (tmp_path / "nothing", [])]
    (differs, absent) = ask_browser(questions)
    assert differs["failed"]
    assert "golden examples differ" in differs["status"]
    assert absent["failed"]
    assert "no export folder" in absent["status"]


@pytest.mark.parametrize("kind", ["image", "text"])
def test_the_gate_passes_in_the_browser(kind, tmp_path):
    made = (
        trained.text_classifier()
        if kind == "text"
        else trained.image_classifier(tmp_path / "pictures")
    )
    folder = exported.litert_folder(made, tmp_path / "export")
    reference = reference_of(made.model, made.held_out, made.task, made.preprocessing, EVERY_ROW)
    report = in_browser(folder, reference)
    assert report.rows == len(made.held_out)


def in_browser(folder, reference):
    report = check_artifact(
        folder / "model.tflite", reference, precision="float32", gate=EVERY_ROW, run=run_in_browser
    )
    print(f"{report.rows} rows, largest difference {report.max_difference:.2g}")
    assert report.passed, report.breaches
    assert report.agreement == 1
    return report


# Real models on real data


def trained_on(folder, **values):
    run = run_with_a_solved_head(folder, **values)
    rows = run.examples("test")
    reference = reference_of(run.model, rows, run.task, run.preprocessing, EVERY_ROW)
    assert len(reference.rows) == len(rows)
    return run.folder.exports / "litert_float32", reference


@pytest.mark.data
@pytest.mark.weights
@pytest.mark.slow
def test_efficientnet_on_every_test_photograph(tmp_path):
    folder, reference = trained_on(
        tmp_path,
        task="image-classification",
        data=TRASH6,
        backbone={"name": "efficientnet-lite0"},
    )
    assert in_browser(folder, reference).rows == 90


@pytest.mark.data
@pytest.mark.weights
@pytest.mark.slow
def test_minilm_on_questions(tmp_path):
    folder, reference = trained_on(
        tmp_path,
        task="text-classification",
        data=questions(tmp_path, intents=20, rows=10),
        backbone={"name": "all-minilm-l6-v2"},
    )
    assert in_browser(folder, reference).rows == 200
