"""The Kotlin in export folders is compiled, and prepares inputs exactly as the training does.

Android and LiteRT are stood in for by the declarations in `kotlin/`: the model itself is not run.
Where the program works on what the model gives, the model's answers in Python are played back.
Skipped where the compiler is not installed (`make test-kotlin` installs it) or there is no Java.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import struct
import subprocess
from pathlib import Path

import exported
import numpy as np
import pytest
from byte_pairs import trained_contract
from odd_texts import ODD_TEXTS
from test_programs import CONTRACTS, wordpiece

from tltool.data.batches.pipeline import model_inputs, resized_images
from tltool.data.images.preprocessor import decode_image
from tltool.data.texts.tokenizers.choose import tokenizer_for
from tltool.export.feeding import prepared_inputs

HERE = Path(__file__).with_name("kotlin")
LIBRARY = HERE / "node_modules" / "kotlin-compiler" / "lib"
pytestmark = pytest.mark.skipif(
    shutil.which("java") is None or not LIBRARY.is_dir(),
    reason="`make test-kotlin` installs what this needs",
)
TEXTS = [*(text[:300] for text in ODD_TEXTS), *exported.texts(), "ΟΔΟΣ Good 日本é", "＄ € ﷼"]
LENGTH = 12
FORMS = ("joined", "apart")
PAIRS = exported.pairs([text for text in TEXTS if "\x01" not in text])
PLAYED_BACK = {"tags", "tags of a library", "masks"}
IMPORT = "import com.google.ai.edge.litert.CompiledModel as model"
KINDS = {
    "image": """
    main.images(at) { colours, width, height -> {package}.preprocess(colours, width, height) }
    {package}.Model(main.context(at)).use { main.say(at, it.predict(main.bitmap())) }""",
    "wordpiece": """
    val tokenizer = {package}.WordPiece(main.lines(at, "vocab.txt"))
    main.texts(at) { {package}.inputsOf(listOf(tokenizer.tokenize(it)), tokenizer.padding) }
    {package}.Model(main.context(at)).use { main.say(at, it.predict("good")) }""",
    "joined": """
    val tokenizer = {package}.WordPiece(main.lines(at, "vocab.txt"))
    main.texts(at) {
        val (first, second) = it.split("\\u0001").map { text -> tokenizer.pieces(text) }
        {package}.join(first, second, tokenizer.start, tokenizer.end, tokenizer.padding)
    }
    {package}.Model(main.context(at)).use { main.say(at, it.predict(listOf("a", "b"))) }""",
    "apart": """
    val tokenizer = {package}.WordPiece(main.lines(at, "vocab.txt"))
    main.texts(at) {
        val rows = it.split("\\u0001").map { text -> tokenizer.tokenize(text) }
        {package}.inputsOf(rows, tokenizer.padding)
    }
    {package}.Model(main.context(at)).use { main.say(at, it.predict(listOf("a", "b"))) }""",
    "joined tokens": """
    main.tokens(at) { {package}.preprocess(it, it.reversedArray()) }
    val encode: {package}.Encode = { longArrayOf(5, 6) }
    {package}.Model(main.context(at), encode).use { main.say(at, it.predict(listOf("a", "b"))) }""",
    "tokenizer": """
    main.tokens(at) { {package}.preprocess(it) }
    val encode: {package}.Encode = { longArrayOf(5, 6) }
    {package}.Model(main.context(at), encode).use { main.say(at, it.predict("a")) }""",
    "tags": """
    main.answerAsRecorded(at)
    {package}.Model(main.context(at)).use { ENTITIES }""",
    "tags of a library": """
    main.answerAsRecorded(at)
    {package}.Model(main.context(at), main.recordedPieces(at)).use { ENTITIES }""",
    "masks": """
    main.answerAsRecorded(at)
    {package}.Model(main.context(at)).use { model ->
        main.images(at) { colours, width, height ->
            val found = model.predict(android.graphics.Bitmap(colours, width, height))
            check(found.width == width && found.height == height)
            mapOf("mask" to found.numbers, "shares" to found.shares.values.toFloatArray()) }
        main.say(at, {package}.goldenDifference(model, main.context(at).assets)) }""",
}
ENTITIES = """model ->
        main.entities(at) { text -> model.predict(text).map {
            main.Found(it.text, it.start, it.end, it.type, it.score) } }
        main.say(at, {package}.goldenDifference(model, main.context(at).assets))
"""


# Targets of models that can say "unknown".
UNKNOWN = {"may be unknown": None, "labels that may be unknown": exported.TARGETS["labels"]}


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Export folders and their contracts, with what Kotlin made of the inputs beside them."""
    root = tmp_path_factory.mktemp("exports")
    made = {}
    for name, changes in exported.IMAGE_CONTRACTS.items():
        made[name] = "image", exported.image_model(root / f"pictures {name}", **changes)
    for name in CONTRACTS:
        made[name] = "wordpiece", exported.text_model(wordpiece(**CONTRACTS[name]))
    made["byte pairs"] = "tokenizer", exported.text_model(trained_contract())
    for form in FORMS:
        made[form] = form, exported.text_model(wordpiece(pair=form))
    contract = trained_contract().model_copy(update={"pair": "joined"})
    made["joined byte pairs"] = "joined tokens", exported.text_model(contract)
    for name, target in exported.TARGETS.items():
        made[name] = "wordpiece", exported.text_model(wordpiece(), target)
    for name, target in UNKNOWN.items():
        made[name] = "wordpiece", exported.knowing_model(wordpiece(), target)
    made["pixels"] = made["bgr"]
    for name, target in exported.TAGS.items():
        made[name] = "tags", exported.tag_model(wordpiece(), target)
    target = exported.TAGS["entities"]
    made["tagged byte pairs"] = "tags of a library", exported.tag_model(trained_contract(), target)
    made["masks"] = made["masks of pixels"] = "masks", exported.mask_model(root / "scenes")
    found = {}
    for name, (kind, model) in made.items():
        length = None if kind in {"image", "masks"} else LENGTH
        takes = "uint8" if "pixels" in name else "float32"
        folder = exported.litert_folder(model, root / name, length=length, input=takes)
        found[name] = kind, folder, model
        write_inputs(*found[name])
        if kind in PLAYED_BACK:
            inputs = model.held_out.inputs if kind == "masks" else TEXTS
            np.save(folder / "answers.npy", np.array([None, *record(folder, inputs)], object))
    compile_and_run(found, root)
    return found


def write_inputs(kind, folder, model):
    """The inputs as `Main.kt` reads them, big-endian."""
    if kind in {"image", "masks"}:
        rows = []
        for file in model.held_out.inputs:
            pixels = decode_image(Path(file).read_bytes()).numpy().astype(">u4")
            colours = 0xFF000000 | pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
            height, width = colours.shape
            rows.append(struct.pack(">ii", width, height) + colours.astype(">u4").tobytes())
    elif kind in FORMS:
        rows = [struct.pack(">i", len(t := "\x01".join(pair).encode())) + t for pair in PAIRS]
    elif kind == "wordpiece" or kind in PLAYED_BACK:
        rows = [struct.pack(">i", len(t.encode())) + t.encode() for t in TEXTS]
    else:
        tokens = tokenizer_for(model.preprocessing).tokenize(TEXTS).to_list()
        rows = [struct.pack(f">i{len(ids)}i", len(ids), *ids) for ids in tokens]
    content = struct.pack(">i", len(rows)) + b"".join(rows)
    (folder / "inputs.bin").write_bytes(content)


def record(folder, inputs):
    """What the Python program says of raw inputs.

    What it asked the model, and a tokenizer, with their answers is written for `Main.kt`.
    """
    program, asked, pieces = {}, [], []
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        exec(compile(exported.program_of(folder), "README.md", "exec"), program)
    model, pieces_of = program["model"], program.get("pieces_of")

    def ask(**inputs):
        outputs = model(**inputs)
        tensors = [inputs[name] for name in sorted(inputs)]
        content = b"".join(one.astype(one.dtype.newbyteorder(">")).tobytes() for one in tensors)
        answer = outputs[program["OUTPUT"]].astype(">f4")
        asked.append(with_length(content) + with_length(answer.tobytes(), answer.size))
        return outputs

    def split(word):
        ids = pieces_of(word)
        numbers = struct.pack(f">{len(ids)}i", *ids)
        pieces.append(with_length(word.encode()) + with_length(numbers, len(ids)))
        return ids

    program["model"], program["pieces_of"] = ask, split
    found = [program["predict"](one) for one in inputs]
    for name, rows in (("answers", asked), ("pieces", pieces)):
        content = struct.pack(">i", len(rows)) + b"".join(rows)
        (folder / f"{name}.bin").write_bytes(content)
    return found


def with_length(content, length=None):
    return struct.pack(">i", len(content) if length is None else length) + content


def compile_and_run(cases, root):
    sources = [*HERE.glob("*.kt"), root / "Cases.kt"]
    calls = []
    for number, (kind, folder, model) in enumerate(cases.values()):
        package = f"case{number}"
        snippet = (folder / "snippets" / "Model.kt").read_text(encoding="utf-8")
        sources.append(root / f"{package}.kt")
        sources[-1].write_text(f"package {package}\n\n{snippet}", encoding="utf-8")
        body = KINDS[kind].replace("ENTITIES", ENTITIES).replace("{package}", package)
        answer = f"model.answer = {{ model.ANSWER.copyOf({model.task.num_outputs}) }}"
        calls.append(f'run {{\n    val at = "{folder}"\n    {answer}{body}\n}}')
    program = [IMPORT, "fun main() {", *calls, "}", ""]
    (root / "Cases.kt").write_text("\n".join(program), encoding="utf-8")
    java("org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", "kotlin-compiler", root / "classes", [
        *("-no-stdlib", "-no-reflect", "-Werror", "-cp", LIBRARY / "kotlin-stdlib.jar"),
        *("-d", root / "classes", *sources),
    ])  # fmt: skip
    java("CasesKt", "kotlin-stdlib", root / "classes", [])


def java(main, library, classes, arguments):
    path = f"{LIBRARY / library}.jar:{LIBRARY}/*:{classes}"
    command = ["java", "-Xmx1g", "-Dfile.encoding=UTF-8", "-cp", path, main, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


@pytest.mark.parametrize("name", exported.IMAGE_CONTRACTS)
def test_images_become_what_the_training_made_of_them(cases, name):
    _, folder, model = cases[name]
    expected = model_inputs(model.held_out.inputs, model.preprocessing).numpy()
    found = np.fromfile(folder / "outputs.bin", ">f4").reshape(expected.shape)
    np.testing.assert_array_equal(found, expected)


def test_pixels_go_in_as_they_are(cases):
    _, folder, model = cases["pixels"]
    expected = resized_images(model.held_out.inputs, model.preprocessing)
    found = np.fromfile(folder / "outputs.bin", np.uint8).reshape(expected.shape)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", [*CONTRACTS, "byte pairs", *exported.TARGETS])
def test_texts_become_the_trainings_tokens(cases, name):
    _, folder, model = cases[name]
    inputs = prepared_inputs(model.preprocessing, LENGTH)(TEXTS)
    expected = np.stack([inputs[key] for key in sorted(inputs)], axis=1)
    found = np.fromfile(folder / "outputs.bin", ">i4").reshape(expected.shape)
    different = [text for i, text in enumerate(TEXTS) if (found[i] != expected[i]).any()]
    assert different == []


@pytest.mark.parametrize("form", FORMS)
def test_pairs_become_the_trainings_tokens(cases, form):
    _, folder, model = cases[form]
    inputs = prepared_inputs(model.preprocessing, LENGTH)(PAIRS)
    rows = [inputs[key].reshape(len(PAIRS), -1) for key in sorted(inputs)]
    found = np.fromfile(folder / "outputs.bin", ">i4").reshape(len(PAIRS), len(rows), -1)
    np.testing.assert_array_equal(found, np.stack(rows, axis=1))


def test_ids_of_a_library_are_joined(cases):
    _, folder, model = cases["joined byte pairs"]
    tokenizer = tokenizer_for(model.preprocessing)
    ids = tokenizer.tokenize(TEXTS)
    joined, _ = tokenizer.join(ids, ids[:, ::-1], max_length=LENGTH)
    found = np.fromfile(folder / "outputs.bin", ">i4").reshape(len(TEXTS), 2, LENGTH)
    expected = joined.to_tensor(tokenizer.padding_id, shape=(None, LENGTH))
    np.testing.assert_array_equal(found[:, 1], expected)


@pytest.mark.parametrize("name", [*exported.TAGS, "tagged byte pairs"])
def test_words_are_joined_to_the_entities_of_the_python_program(cases, name):
    _, folder, _ = cases[name]
    _, *expected = np.load(folder / "answers.npy", allow_pickle=True)
    content = io.BytesIO((folder / "outputs.bin").read_bytes())

    def text():
        return content.read(*struct.unpack(">i", content.read(4))).decode()

    for row, entities in enumerate(expected):
        (count,) = struct.unpack(">i", content.read(4))
        found = [(*struct.unpack(">iif", content.read(12)), text(), text()) for _ in range(count)]
        named = [(said, start, end, kind) for start, end, _, kind, said in found]
        assert named == [entity[:4] for entity in entities], TEXTS[row]
        scores = [score for _, _, score, _, _ in found]
        assert scores == pytest.approx([entity[4] for entity in entities], abs=1e-6)
    assert content.read() == b""
    different, _ = (folder / "said.txt").read_text(encoding="utf-8").split("\n")
    assert float(different) < 1e-6
    if name != "word classes":
        long = [entity for row in expected for entity in row if " " in entity[0]]
        assert len({kind for *_, kind, _ in long}) == 2
        assert len(set(map(len, expected))) > 3


@pytest.mark.parametrize("name", ["masks", "masks of pixels"])
def test_masks_are_those_of_the_python_program(cases, name):
    _, folder, _ = cases[name]
    _, *expected = np.load(folder / "answers.npy", allow_pickle=True)
    content = (folder / "outputs.bin").read_bytes()
    for mask in expected:
        found = np.frombuffer(content, ">i4", mask.size).reshape(mask.shape)
        np.testing.assert_array_equal(found, mask)
        content = content[4 * mask.size :]
        shares = np.bincount(mask.ravel(), minlength=len(exported.LABELS)) / mask.size
        np.testing.assert_allclose(np.frombuffer(content, ">f4", len(shares)), shares, rtol=1e-6)
        content = content[4 * len(shares) :]
    assert content == b""
    different, _ = (folder / "said.txt").read_text(encoding="utf-8").split("\n")
    assert float(different) < 1e-6
    assert all(len(np.unique(mask)) == len(exported.LABELS) for mask in expected)


# What is said of the answer in `kotlin/LiteRt.kt`: 0.125, 0.75, 0.125.
SAID = {
    "labels": f"Prediction(labels=[{exported.LABELS[1]}], probabilities=",
    "number": "0.125",
    "numbers": '{größe=0.125, $ "a"=0.75}',
    "moment": "1.7000000075E9",
    "moments": "{from=1.7000000075E9, to=1.80000045E9}",
}
ASKED = ["bgr", "pixels", "uncased", "two inputs", "byte pairs", *FORMS, "joined byte pairs"]


@pytest.mark.parametrize("name", [*ASKED, *SAID])
def test_the_model_is_asked_by_the_names_of_its_signature(cases, name):
    _, folder, model = cases[name]
    said, asked = (folder / "said.txt").read_text(encoding="utf-8").split("\n")
    names = ["image"] if name in {"bgr", "pixels"} else sorted(model.preprocessing.inputs)
    output = model.task.target.result_name
    assert asked == f"model.tflite serving_default [{', '.join(names)}] [{output}]"
    assert said.startswith(SAID.get(name, f"Prediction(label={exported.LABELS[1]}, score=0.75,"))


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_answer_says_whether_its_input_is_known(cases, name):
    _, folder, _ = cases[name]
    said, asked = (folder / "said.txt").read_text(encoding="utf-8").split("\n")
    assert said.endswith("unknownScore=0.5, accepted=true)")
    assert asked.endswith("[accepted, probabilities, unknown_score]")
