"""TensorFlow Lite metadata: it says what the contract says, and changes nothing of the model."""

from __future__ import annotations

import io
import json
import random
import zipfile
from dataclasses import replace

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import pytest
import tiny
import trained
from mutations import damaged

from tltool.data.preprocessing import BytePairPreprocessing, ImagePreprocessing
from tltool.data.texts.tokenizers.merges import byte_characters
from tltool.export.about import About, about_run
from tltool.export.formats.litert.describe import describe_tflite
from tltool.export.formats.litert.export import export_litert
from tltool.export.formats.litert.file import model_table, read_tflite
from tltool.export.formats.litert.metadata import associated_files, read_metadata, with_metadata
from tltool.export.formats.litert.metadata_values import (
    AssociatedFile,
    BertTokenizer,
    ModelMetadata,
    Normalization,
    OtherUnit,
    ScoreCalibration,
    TensorMetadata,
)
from tltool.recipe.recipe import Recipe
from tltool.support.errors import DamagedError, ExportError
from tltool.tasks.classes import ClassTarget

TORCH = ImagePreprocessing(
    size_px=(32, 32), resize_px=36, mean=(123.0, 116.0, 103.0), std=(58.0, 57.0, 56.0)
)


@pytest.fixture(scope="module")
def image_classifier(tmp_path_factory):
    return trained.image_classifier(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory, image_classifier):
    """Exported files as the converter gave them, without metadata."""
    folder = tmp_path_factory.mktemp("plain")
    made = {
        "text": trained.text_classifier(),
        "image": image_classifier,
        "number": trained.text_regressor(),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "tltool.export.formats.litert.export.with_metadata", lambda content, _: content
        )
        for name, parts in made.items():
            export_litert(*parts.parts(), folder / name, precision="float32")
    return {name: (made[name], (folder / name).read_bytes()) for name in made}


def described(plain, name, **changes):
    """A plain file and what tltool says of it; the contract changed."""
    made, content = plain[name]
    preprocessing = made.preprocessing.model_copy(update=changes)
    return content, describe_tflite(content, made.task, preprocessing, About("a name"))


def outputs(content, inputs):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    run = interpreter.get_signature_runner("serving_default")
    return next(iter(run(**inputs).values()))


def inputs_for(content):
    rng = np.random.default_rng(0)
    return {
        tensor.name: rng.normal(size=tensor.shape).astype("float32")
        if tensor.dtype == "float32"
        else rng.integers(0, 2, tensor.shape, dtype="int32")
        for tensor in read_tflite(content).main.inputs
    }


# What is in the file


@pytest.mark.parametrize("name", ["text", "image", "number"])
def test_the_model_stays_bit_equal_for_an_interpreter(plain, name):
    content, metadata = described(plain, name)
    changed = with_metadata(content, metadata)
    assert read_metadata(content) is None
    assert read_metadata(changed) == metadata
    inputs = inputs_for(content)
    np.testing.assert_array_equal(outputs(changed, inputs), outputs(content, inputs))


def test_old_and_new_content_are_at_aligned_places(plain):
    content, metadata = described(plain, "text")
    for length in range(0, 64, 4):
        changed = with_metadata(content, replace(metadata, description="x" * length))
        assert changed.index(content) % 16 == 0
        assert (changed.index(b"M001") - 4) % 16 == 0


def test_another_reader_finds_the_old_model_and_one_more_buffer(plain):
    """The reader that flatc generates from the schema knows the fields by their numbers."""
    content, metadata = described(plain, "text")
    old, new = (
        schema.ModelT.InitFromObj(schema.Model.GetRootAs(c, 0))
        for c in (content, with_metadata(content, metadata))
    )
    assert new.metadata[-1].name == b"TFLITE_METADATA"
    assert new.metadata[-1].buffer == len(old.buffers) == len(new.buffers) - 1
    assert bytes(new.buffers[-1].data[4:8]) == b"M001"
    assert (new.version, new.description) == (old.version, old.description)
    assert [m.name for m in new.metadata[:-1]] == [m.name for m in old.metadata]
    for before, after in zip(old.buffers, new.buffers[:-1], strict=True):
        np.testing.assert_array_equal(before.data, after.data)
    names = [[tensor.name for tensor in model.subgraphs[0].tensors] for model in (old, new)]
    assert names[0] == names[1]
    assert len(old.signatureDefs) == len(new.signatureDefs) == 1
    assert len(old.operatorCodes) == len(new.operatorCodes)


def test_unzip_finds_the_files_uncompressed(plain):
    made = plain["text"][0]
    with zipfile.ZipFile(io.BytesIO(with_metadata(*described(plain, "text")))) as archive:
        assert archive.testzip() is None
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
        assert sorted(archive.namelist()) == ["labels.txt", "vocab.txt"]
        assert archive.read("labels.txt").decode().splitlines() == list(made.task.labels)
        tokens = archive.read("vocab.txt").decode().removesuffix("\n").split("\n")
    assert tokens == list(made.preprocessing.vocabulary)


def test_the_same_model_gives_the_same_bytes_on_any_day(plain):
    changed = with_metadata(*described(plain, "text"))
    assert changed == with_metadata(*described(plain, "text"))
    with zipfile.ZipFile(io.BytesIO(changed)) as archive:
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_everything_that_can_be_said_is_read_again(plain):
    content, _ = plain["image"][1], None
    calibration = AssociatedFile(
        "scores.csv", "tensor_axis_score_calibration", "", b"1,2,3\n0.5,1,0\n"
    )
    metadata = ModelMetadata(
        name="Großer Name",
        description="What for",
        version="7",
        author="Somebody",
        licence="MIT",
        inputs=(
            TensorMetadata(
                "in",
                "an image",
                "image",
                "grayscale",
                (Normalization((1.0, 2.0, 3.5), (0.25, 0.5, 1.0)),),
                (0.0, -1.0),
                (1.0, 2.0),
            ),
        ),
        outputs=(
            TensorMetadata(
                "out",
                content="feature",
                process_units=(ScoreCalibration("inverse_logistic", 0.25),),
                files=(
                    AssociatedFile("a.txt", "tensor_axis_labels", "in English", b"x\ny\n"),
                    calibration,
                ),
            ),
        ),
        input_process_units=(BertTokenizer(AssociatedFile("v.txt", "vocabulary", "", b"a\n")),),
        files=(AssociatedFile("readme.txt", "descriptions", "", "äöü".encode()),),
    )
    changed = with_metadata(content, metadata)
    assert read_metadata(changed) == metadata
    assert set(associated_files(changed)) == {"a.txt", "scores.csv", "v.txt", "readme.txt"}


def test_the_oldest_fitting_version_of_the_schema_is_asked_for(plain):
    versions = {name: described(plain, name)[1].min_parser_version for name in ("text", "image")}
    assert versions == {"text": "1.1.0", "image": "1.0.0"}
    assert described(plain, "text", lowercase=False)[1].min_parser_version == "1.0.1"


# What is refused


def test_metadata_is_put_in_once(plain):
    content, metadata = described(plain, "image")
    with pytest.raises(ExportError, match="metadata already"):
        with_metadata(with_metadata(content, metadata), metadata)


def test_metadata_of_another_model_is_refused(plain):
    content = plain["text"][1]
    with pytest.raises(ExportError, match="3 inputs, its metadata 1"):
        with_metadata(content, described(plain, "image")[1])


def test_two_files_of_one_name_are_refused(plain):
    content, metadata = described(plain, "image")
    other = AssociatedFile("labels.txt", "descriptions", "", b"something else")
    with pytest.raises(ExportError, match=r"named 'labels\.txt'"):
        with_metadata(content, replace(metadata, files=(other,)))


def test_a_step_that_was_only_read_is_not_written(plain):
    content, metadata = described(plain, "image")
    steps = replace(metadata, input_process_units=(OtherUnit("RegexTokenizerOptions"),))
    with pytest.raises(ExportError, match="RegexTokenizerOptions"):
        with_metadata(content, steps)


def test_a_model_whose_weights_have_absolute_places_is_refused(plain):
    """Those of more than 2 GB lie behind the FlatBuffer, and would be looked for in vain."""
    content, metadata = described(plain, "image")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    moved = next(buffer for buffer in model.buffers if buffer.data is not None)
    moved.offset, moved.size, moved.data = 16, 8, None
    import flatbuffers

    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(ExportError, match="more than 2 GB"):
        with_metadata(bytes(builder.Output()), metadata)


def test_a_missing_file_is_noticed(plain):
    changed = with_metadata(*described(plain, "image"))
    model = changed[: changed.rindex(b"PK\x03\x04")]
    with pytest.raises(DamagedError, match=r"labels\.txt, which is not in it"):
        read_metadata(model)


@pytest.mark.parametrize("name", ["text", "image"])
def test_a_damaged_file_is_read_or_refused_and_nothing_else(plain, name):
    """Cut off anywhere, or overwritten: the interpreter would end the process on some of these."""
    whole = with_metadata(*described(plain, name))
    draw, refused = random.Random(0), 0
    for _ in range(300):
        content = damaged(whole, draw)
        try:
            read_tflite(content)
            read_metadata(content)
        except DamagedError:
            refused += 1
    # Half of them are cut off, and most of what is overwritten is a weight.
    assert 150 <= refused < 300


def test_a_small_file_with_endless_tables_is_refused():
    """Each of two vectors names one table a thousand times: a million tables in 10 kB."""
    import flatbuffers

    from tltool.export.formats.litert.flatbuffer import write_offsets

    builder = flatbuffers.Builder()
    builder.StartObject(8)
    tensor = builder.EndObject()
    tensors = write_offsets(builder, [tensor] * 1000)
    builder.StartObject(4)
    builder.PrependUOffsetTRelativeSlot(0, tensors, 0)
    graph = builder.EndObject()
    graphs = write_offsets(builder, [graph] * 1000)
    builder.StartObject(3)
    buffers = write_offsets(builder, [builder.EndObject()])
    builder.StartObject(10)
    builder.PrependUOffsetTRelativeSlot(2, graphs, 0)
    builder.PrependUOffsetTRelativeSlot(4, buffers, 0)
    builder.Finish(builder.EndObject(), b"TFL3")
    with pytest.raises(DamagedError, match="more tables"):
        read_tflite(bytes(builder.Output()))


# What is said


def test_an_images_normalisation_is_that_of_the_contract(plain):
    (image,) = described(plain, "image")[1].inputs
    assert image.process_units == (Normalization((127.0,), (128.0,)),)
    assert (image.content, image.colour_space) == ("image", "rgb")
    assert (image.minimum, image.maximum) == ((-127 / 128,), (1.0,))


def test_channels_that_differ_are_said_in_the_order_of_the_tensor(plain):
    _, metadata = described(plain, "image", mean=TORCH.mean, std=TORCH.std)
    assert metadata.inputs[0].process_units == (Normalization(TORCH.mean, TORCH.std),)
    changes = {"mean": TORCH.mean, "std": TORCH.std, "channel_order": "bgr"}
    (blue_first,) = described(plain, "image", **changes)[1].inputs
    assert blue_first.colour_space == "unknown"
    assert blue_first.process_units == (Normalization(TORCH.mean[::-1], TORCH.std[::-1]),)
    assert blue_first.maximum[0] == (255 - 103) / 56


@pytest.mark.parametrize(
    ("takes", "size"), [("resized_image", "32×32 pixels"), ("image", "any height and width")]
)
def test_a_model_that_normalises_inside_takes_pixels(plain, takes, size):
    made, content = plain["image"]
    bgr = made.preprocessing.model_copy(update={"channel_order": "bgr"})
    (image,) = describe_tflite(content, made.task, bgr, takes=takes).inputs
    assert image.process_units == (Normalization((0.0,), (1.0,)),)
    assert image.description == f"An image of {size}, RGB."
    assert (image.colour_space, image.minimum, image.maximum) == ("rgb", (0.0,), (255.0,))


def test_the_inputs_of_a_bert_have_the_names_that_mediapipe_knows(plain):
    content, metadata = described(plain, "text")
    names = {"token_ids": "ids", "padding_mask": "mask", "segment_ids": "segment_ids"}
    tensors = read_tflite(content).main.inputs
    assert [names[tensor.name] for tensor in tensors] == [t.name for t in metadata.inputs]
    (tokenizer,) = metadata.input_process_units
    assert isinstance(tokenizer, BertTokenizer)
    largest = {tensor.name: tensor.maximum for tensor in metadata.inputs}
    assert largest["ids"] == (len(tiny.TINY_TEXT.vocabulary) - 1,)
    assert largest["mask"] == (1,)


@pytest.mark.parametrize(
    "changes",
    [
        {"lowercase": False},
        {"start_token": "<s>"},
        {"unknown_token": "<unk>"},
        {"max_word_characters": 200},
        {"vocabulary": ("[UNK]", "[PAD]", *tiny.TINY_TEXT.vocabulary[2:])},
    ],
)
def test_a_tokenizer_that_an_app_would_get_wrong_is_not_named(plain, changes):
    """MediaPipe lower-cases and has its own special tokens, whatever the model was trained on."""
    _, metadata = described(plain, "text", **changes)
    assert metadata.input_process_units == ()
    assert [file.name for file in metadata.files] == ["vocab.txt"]


def test_a_tokenizer_that_is_more_than_a_vocabulary_comes_as_its_own_file(plain):
    made, content = plain["text"]
    tokens = ("<s>", "<pad>", "</s>", "<unk>", *byte_characters())
    contract = BytePairPreprocessing(vocabulary=tokens, merges=())
    metadata = describe_tflite(content, made.task, contract)
    assert metadata.input_process_units == ()
    assert [(file.name, file.kind) for file in metadata.files] == [("tokenizer.json", "unknown")]
    values = json.loads(metadata.files[0].content)
    assert values["model"]["vocab"]["<unk>"] == 3
    assert values["padding"]["strategy"] == {"Fixed": tiny.TINY_TEXT.max_length}


def test_a_number_has_no_labels(plain):
    (number,) = described(plain, "number")[1].outputs
    assert (number.name, number.files, number.maximum) == ("prediction", (), ())


def test_a_label_with_a_line_break_is_refused(plain):
    made, content = plain["image"]
    with pytest.raises(ExportError, match="line break"):
        describe_tflite(
            content, replace(made.task, target=ClassTarget(("a", "b\nc"))), made.preprocessing
        )


# Where it comes from


def recipe(**changes):
    values = {
        "task": "text-classification",
        "name": "tweets",
        "description": "Good or bad",
        "data": {"train": "tweets.csv"},
        "backbone": {"name": "all-minilm-l6-v2"},
    }
    return Recipe.of(**{**values, **changes})


def test_name_origin_and_licence_are_those_of_recipe_and_card():
    about = about_run(recipe(), "3")
    assert (about.name, about.version) == ("tweets", "3")
    assert about.description.startswith("Good or bad. Fine-tuned with tltool ")
    assert "all-MiniLM-L6-v2" in about.description
    assert "sentence-transformers" in about.author
    assert about.licence == "Pretrained weights: Apache-2.0"


def test_the_licence_of_a_sample_is_said_too():
    licence = about_run(recipe(data={"train": "sample:airline-tweets"}), "1").licence
    assert licence.startswith("Pretrained weights: Apache-2.0. Data: MIT")


@pytest.mark.parametrize(
    "backbone", [{"name": "all-minilm-l6-v2", "weights_file": "mine.h5"}, {"name": "./folder"}]
)
def test_nothing_is_said_of_weights_that_no_card_knows(backbone):
    about = about_run(recipe(backbone=backbone), "1")
    assert (about.author, about.licence) == ("", "")


def test_a_files_tables_are_read_as_they_are_written(plain):
    """A name past the first hundred: offsets are followed, not guessed."""
    model = model_table(plain["text"][1])
    names = [tensor["name"] for tensor in model["subgraphs"][0]["tensors"]]
    old = schema.Model.GetRootAs(plain["text"][1], 0).Subgraphs(0)
    assert names == [old.Tensors(i).Name().decode() for i in range(old.TensorsLength())]


def test_export_writes_what_it_is_told(image_classifier, tmp_path):
    about = About("flowers", "Which flower?", "me", "MIT", "12")
    file = tmp_path / "m.tflite"
    export_litert(*image_classifier.parts(), file, precision="dynamic_int8", about=about)
    metadata = read_metadata(file.read_bytes())
    said = (metadata.name, metadata.author, metadata.licence, metadata.version)
    assert said == ("flowers", "me", "MIT", "12")
    assert metadata.description == "Which flower? Runs in TensorFlow Lite 2.4 or newer."
