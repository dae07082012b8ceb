"""The Swift in export folders is Swift by its grammar; it is neither compiled nor run here."""

from __future__ import annotations

import exported
import pytest
from byte_pairs import trained_contract
from test_programs import CONTRACTS, wordpiece

from tltool.data.preprocessing import ImagePreprocessing
from tltool.export.contract import Contract, ModelSignature, ModelTensor
from tltool.export.sidecars.facts import facts_of
from tltool.export.sidecars.snippets import snippets
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task
from tltool.tasks.unknown.kind import knowing
from tltool.tasks.unknown.settings import Unknown

tree_sitter = pytest.importorskip("tree_sitter")
LABELS = Task(TASKS["image-classification"], ClassTarget(exported.LABELS))


def swift(preprocessing, *inputs: ModelTensor, length=None, task: Task = LABELS) -> str:
    output = ModelTensor(task.target.result_name, "float32", (1, 3), "probabilities")
    contract = Contract(
        form="litert",
        precision="float32",
        file="m.tflite",
        task=task,
        preprocessing=preprocessing,
        length=length,
        signatures=(ModelSignature("serving_default", inputs, (output,)),),
    )
    return snippets(facts_of(contract))["Model.swift"]


def image(dtype="float32", size=12, content="normalized_image", **changes):
    contract = ImagePreprocessing(size_px=(12, 12), resize_px=16, **changes)
    return swift(contract, ModelTensor("image", dtype, (1, size, size, 3), content))


def text(contract, length=12, task=LABELS):
    inputs = [ModelTensor(name, "int32", (1, length), name) for name in contract.inputs]
    return swift(contract, *inputs, length=length, task=task)


def masks(dtype="float32", size=12, content="normalized_image"):
    contract = ImagePreprocessing(size_px=(12, 12), resize_px=12, fit="stretch")
    task = Task(TASKS["image-segmentation"], exported.MASKS)
    return swift(contract, ModelTensor("image", dtype, (1, size, size, 3), content), task=task)


def tagged(contract, target, length=12):
    task = Task(TASKS["token-classification"], target)
    return text(contract.read_by_words(), length, task)


KNOWN = Unknown("energy", 0.9, 0.5, 40, "rows")
PROGRAMS = {
    **{f"image {name}": image(**changes) for name, changes in exported.IMAGE_CONTRACTS.items()},
    "image of pixels": image("uint8", content="resized_image"),
    "image of any size": image("uint8", None, "image"),
    **{f"text {name}": text(wordpiece(**changes)) for name, changes in CONTRACTS.items()},
    "text of any length": text(wordpiece(), None),
    **{f"pair {form}": text(wordpiece(pair=form)) for form in ("joined", "apart")},
    "pair of any length": text(wordpiece(pair="apart"), None),
    **{
        f"text to {name}": text(wordpiece(), task=exported.task_of("text", target))
        for name, target in exported.TARGETS.items()
    },
    "text that may be unknown": text(
        wordpiece(), task=exported.task_of("text", knowing(ClassTarget(exported.LABELS), KNOWN))
    ),
    **{f"text to {name}": tagged(wordpiece(), target) for name, target in exported.TAGS.items()},
    "masks": masks(),
    "masks of any size": masks("uint8", None, "image"),
    "entities in any length": tagged(wordpiece(), exported.TAGS["entities"], None),
}


def faults(program: str) -> list[str]:
    import tree_sitter_swift

    language = tree_sitter.Language(tree_sitter_swift.language())
    root = tree_sitter.Parser(language).parse(program.encode()).root_node
    found, nodes = [], [root]
    while nodes:
        node = nodes.pop()
        if node.is_error or node.is_missing:
            found.append(f"line {node.start_point[0] + 1}: {node.text.decode()[:60]}")
        nodes.extend(node.children)
    return found


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_is_swift(name):
    assert faults(PROGRAMS[name]) == []


@pytest.mark.parametrize("pair", [None, "joined", "apart"])
def test_byte_pairs_are_swift(pair):
    assert faults(text(trained_contract().model_copy(update={"pair": pair}))) == []


def test_words_of_byte_pairs_are_swift():
    program = tagged(trained_contract(), exported.TAGS["entities"])
    assert faults(program) == []
    assert 'spaced ? " " + word : word' in program


def test_a_fault_would_be_found():
    program = PROGRAMS["image bgr"]
    assert faults(program.replace("func mix(", "func mix)")) != []
    assert faults(program.rstrip().removesuffix("}")) != []


def test_what_differs_is_in_it():
    assert "mean[channel]" in PROGRAMS["image bgr"]
    assert "i + 2 - 2 * channel" in PROGRAMS["image bgr"]
    assert "mean" not in PROGRAMS["image of pixels"]
    assert "resizeInput" in PROGRAMS["image of any size"]
    assert "func resize" not in PROGRAMS["image of any size"]
    assert "resizeInput" not in PROGRAMS["text uncased"]
    assert 'private let output = "probabilities"' in PROGRAMS["text uncased"]
    assert "let width = length" in PROGRAMS["text uncased"]
    assert "let width = rows" in PROGRAMS["text of any length"]
    assert "segments" not in PROGRAMS["text two inputs"]
    assert "second: a + 2" in PROGRAMS["pair joined"]
    assert "func join" not in PROGRAMS["pair apart"]
    assert "input: [String]" in PROGRAMS["pair apart"]
    assert "private let thresholds: [Float] = [0.5, 0.4, 0.5]" in PROGRAMS["text to labels"]
    assert 'private let names = ["größe", "$ \\"a\\""]' in PROGRAMS["text to numbers"]
    assert "targetMean" not in PROGRAMS["text to numbers"]
    assert "private let targetMean: [Double] = [1700000000.0]" in PROGRAMS["text to moment"]
    assert "-> [String: Double]" in PROGRAMS["text to moments"]
    assert "throws -> Float {" in PROGRAMS["text to number"]
    for name in ("masks", "masks of any size"):
        assert "private let height = 12" in PROGRAMS[name]
        assert "var probabilities: [[[Float]]]" in PROGRAMS[name]
    assert "func linear" not in PROGRAMS["image bgr"]
    entities = PROGRAMS["text to entities"]
    assert "private let alone: [ClosedRange<UInt32>] = [12352...12543, " in entities
    assert '"word_shapes": values([written])' in entities
    assert "spaced ?" not in entities
    assert "func tokenize" not in entities
    assert "word_shapes" not in PROGRAMS["text uncased"]
    assert "resizeInput" in PROGRAMS["entities in any length"]
    assert 'example["input"] as? [String]' in PROGRAMS["pair apart"]
    assert '"label": found.label, "input": fed]' in PROGRAMS["text uncased"]
    assert "[UInt8](values.data)" in PROGRAMS["image of pixels"]
    assert "goldenAnswers" not in PROGRAMS["masks"] + entities
