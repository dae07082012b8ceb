"""RoBERTa's folders: the network's and the tokenizer's peculiarities, and a whole recipe.

That the features are those of the library, test_transformers_folder.py shows.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tiny
from byte_pairs import reference, trained_contract
from golden_folders import golden
from odd_texts import ODD_TEXTS
from roberta_folder import SIZE, write_roberta, write_tokenizer_json, write_two_files
from safetensors.numpy import load_file, save_file

import tltool
from tltool.backbones import check
from tltool.backbones.check import TOLERANCE, chosen_features, seeded_features
from tltool.backbones.load import load_backbone
from tltool.data.texts.tokenizers.choose import tokenizer_for
from tltool.recipe.recipe import Recipe
from tltool.support.errors import BackboneError

CASE = golden("transformers")["roberta"]
POSITIONS = "embeddings.position_embeddings.weight"
SEGMENTS = "embeddings.token_type_embeddings.weight"


def off_by(folder, change):
    """How far the features are from the library's where a tensor is changed."""
    check.write_seeded_folder(folder, CASE)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    features = seeded_features(load_backbone(str(folder)))
    off = np.abs(chosen_features(features) - np.array(CASE["features"])).max()
    return off / CASE["largest"]


def test_the_row_of_the_token_type_counts(tmp_path):
    assert off_by(tmp_path, lambda _: None) <= TOLERANCE
    assert off_by(tmp_path, lambda tensors: tensors[SEGMENTS].fill(0)) > 1e-3


def test_positions_begin_at_the_third_row(tmp_path):
    def unused(tensors):
        tensors[POSITIONS][:2] = 100

    def shifted(tensors):
        tensors[POSITIONS] = np.roll(tensors[POSITIONS], 1, axis=0)

    def wild_end(tensors):
        # Texts of 12 tokens take the rows 2 to 13.
        tensors[POSITIONS][14:] = 100

    assert off_by(tmp_path, unused) <= TOLERANCE
    assert off_by(tmp_path, wild_end) <= TOLERANCE
    assert off_by(tmp_path, shifted) > 1e-3


def test_two_positions_fewer_than_rows_are_to_be_had(tmp_path):
    write_roberta(tmp_path)
    backbone = load_backbone(str(tmp_path))
    assert backbone.preprocessing.max_length == 18
    assert backbone.preprocessing.inputs == ("token_ids", "padding_mask")
    ids = np.full((1, 18), 9, "int32")
    assert np.isfinite(backbone.model({"token_ids": ids, "padding_mask": ids * 0 + 1})).all()
    with pytest.raises(BackboneError, match="reaches 18 tokens"):
        load_backbone(str(tmp_path), max_length=19)


def test_weights_of_half_precision_are_added_in_full(tmp_path):
    half, full = tmp_path / "half", tmp_path / "full"
    for folder in (half, full):
        write_roberta(folder)
    tensors = load_file(half / "model.safetensors")
    tensors = {key: value.astype("float16") for key, value in tensors.items()}
    save_file(tensors, half / "model.safetensors")
    tensors = {key: value.astype("float32") for key, value in tensors.items()}
    save_file(tensors, full / "model.safetensors")
    features = [seeded_features(load_backbone(str(folder))) for folder in (half, full)]
    np.testing.assert_array_equal(*features)


def test_heads_of_task_models_are_left_out(tmp_path):
    write_roberta(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    named = {f"roberta.{key}": value for key, value in tensors.items() if "pooler" not in key}
    head = np.zeros((48, 48), "float32")
    named |= {"lm_head.dense.weight": head, "lm_head.decoder.weight": head}
    save_file(named, tmp_path / "model.safetensors")
    backbone = load_backbone(str(tmp_path))
    # Without a pooler it is the class token.
    np.testing.assert_array_equal(
        seeded_features(backbone), seeded_features(replace(backbone, model=first_token(backbone)))
    )


def first_token(backbone):
    import keras

    return keras.Model(backbone.model.input, backbone.features.sequence[:, 0])


# --- tokenizers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", [False, True])
def test_either_form_of_the_files_gives_the_same_contract(prefix, tmp_path):
    settings = {"add_prefix_space": prefix, "tokenizer_class": "RobertaTokenizer"}
    contract = write_roberta(tmp_path, settings=settings).model_copy(
        update={"add_prefix_space": prefix, "max_length": 18}
    )
    two_files = load_backbone(str(tmp_path)).preprocessing
    assert two_files == contract
    write_tokenizer_json(tmp_path, contract)
    assert load_backbone(str(tmp_path)).preprocessing == contract
    ids = tokenizer_for(contract)(list(ODD_TEXTS)).to_list()
    theirs = reference(contract)
    assert ids == [theirs.encode(text).ids for text in ODD_TEXTS]


def test_a_folder_without_settings_has_robertas(tmp_path):
    contract = write_roberta(tmp_path)
    assert load_backbone(str(tmp_path)).preprocessing == contract.model_copy(
        update={"max_length": 18}
    )


def test_the_mask_token_may_stand_outside_the_trained_ones(tmp_path):
    contract = write_roberta(tmp_path, settings={})
    words = [token for token in contract.vocabulary if token != "<mask>"]
    ids = {token: number for number, token in enumerate(words)}
    (tmp_path / "vocab.json").write_text(json.dumps(ids))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<mask>": len(words)}))
    two_files = load_backbone(str(tmp_path)).preprocessing
    assert two_files.vocabulary == (*words, "<mask>")
    write_tokenizer_json(tmp_path, two_files)
    assert load_backbone(str(tmp_path)).preprocessing == two_files
    (tmp_path / "tokenizer.json").unlink()
    write_two_files(tmp_path, two_files)
    decoder = {str(len(words)): {"content": "<mask>", "special": True}}
    settings = {"added_tokens_decoder": decoder, "mask_token": {"content": "<mask>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert load_backbone(str(tmp_path)).preprocessing == two_files


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"tokenizer_class": "BertTokenizer"}, "only a RobertaTokenizer .* 'BertTokenizer'"),
        ({"tokenizer_class": "XLMRobertaTokenizer"}, r"sentencepiece\.bpe\.model cannot be read"),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, "'PreTrainedTokenizerFast'"),
        ({"unk_token": "[UNK]"}, r"unk_token '\[UNK\]' is not in the vocabulary"),
        ({"pad_token": "<unk>"}, "padding token is 3 by the tokenizer and 1"),
        ({"added_tokens_decoder": {"9": {"content": "covid"}}}, "'covid' was added"),
        ({"added_tokens_decoder": {"9": {"content": "<s>", "special": True}}}, "the ids 0 and 9"),
        ({"added_tokens_decoder": {"999": {"content": "<x>", "special": True}}}, "ids are not all"),
    ],
)
def test_another_tokenizer_is_refused(settings, named, tmp_path):
    write_roberta(tmp_path, settings=settings)
    with pytest.raises(BackboneError, match=named):
        load_backbone(str(tmp_path))


def lower_case(content):
    content["normalizer"] = {"type": "Lowercase"}


def other_split(content):
    content["pre_tokenizer"] = {"type": "Whitespace"}


def no_split(content):
    content["pre_tokenizer"] = None


def other_pattern(content):
    content["pre_tokenizer"]["use_regex"] = False


def dropout(content):
    content["model"]["dropout"] = 0.1


def other_model(content):
    content["model"] = {"type": "WordPiece", "vocab": {}}


def whole_words(content):
    content["model"]["ignore_merges"] = True


def no_ends(content):
    content["post_processor"] = {"type": "ByteLevel"}


def other_ends(content):
    content["post_processor"]["cls"] = ["</s>", 2]


def prefix_space(content):
    content["pre_tokenizer"]["add_prefix_space"] = True


def added_word(content):
    content["added_tokens"].append({"id": 9, "content": "covid", "special": False})


def missing_merge(content):
    content["model"]["merges"].append(["zq", "zq"])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lower_case, "normalizer is .*Lowercase"),
        (other_split, "pre_tokenizer.type is 'Whitespace'"),
        (no_split, "pre_tokenizer.type is None"),
        (other_pattern, "use_regex is False"),
        (dropout, r"model\.dropout is 0\.1"),
        (other_model, "model.type is 'WordPiece'"),
        (whole_words, "ignore_merges is True"),
        (no_ends, "does not put one token before and one behind"),
        (other_ends, r"puts \('</s>', '</s>'\) around a text"),
        (prefix_space, "add_prefix_space is True, but False"),
        (added_word, "'covid' was added"),
        (missing_merge, "needs 'zq'"),
    ],
)
def test_a_tokenizer_json_that_splits_otherwise_is_refused(change, named, tmp_path):
    contract = write_roberta(tmp_path)
    write_tokenizer_json(tmp_path, contract, change)
    with pytest.raises(BackboneError, match=named):
        load_backbone(str(tmp_path))


def test_a_generic_class_is_read_by_its_tokenizer_json(tmp_path):
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    contract = write_roberta(tmp_path, settings=settings)

    def as_template(content):
        prefix_space(content)
        start, end = (
            {"SpecialToken": {"id": token, "type_id": 0}}
            for token in (contract.start_token, contract.end_token)
        )
        single = [start, {"Sequence": {"id": "A", "type_id": 0}}, end]
        content["post_processor"] = {"type": "TemplateProcessing", "single": single}

    write_tokenizer_json(tmp_path, contract, as_template)
    assert load_backbone(str(tmp_path)).preprocessing.add_prefix_space


def test_texts_that_the_library_would_lower_are_refused(tmp_path):
    write_roberta(tmp_path)
    sentence = tmp_path / "sentence_bert_config.json"
    sentence.write_text('{"max_seq_length": 12, "do_lower_case": false}')
    assert load_backbone(str(tmp_path)).preprocessing.max_length == 12
    sentence.write_text('{"max_seq_length": 12, "do_lower_case": true}')
    with pytest.raises(BackboneError, match="do_lower_case is True"):
        load_backbone(str(tmp_path))


# --- relatives ----------------------------------------------------------------------------------


def test_camembert_is_a_roberta_with_another_tokenizer(tmp_path):
    case = {**CASE, "config": {**CASE["config"], "model_type": "camembert"}}
    check.write_seeded_folder(tmp_path, case)
    (tmp_path / "vocab.txt").unlink()
    (tmp_path / "tokenizer_config.json").unlink()
    check.write_preprocessing(tmp_path, {**CASE["config"], "model_type": "xlm-roberta"})
    backbone = load_backbone(str(tmp_path))
    assert backbone.preprocessing.kind == "unigram"
    features = seeded_features(backbone)
    off = np.abs(chosen_features(features) - np.array(CASE["features"])).max()
    assert off / CASE["largest"] <= TOLERANCE


# --- a whole recipe -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    write_roberta(folder / "roberta", whole=True)
    texts, labels = tiny.texts(80)
    # Texts whose tokens an app could get wrong: spaces, capitals, accents, emoji.
    texts = [f"{text} It's  Ünï 😀\n{i}" for i, text in enumerate(texts)]
    rows = [json.dumps({"text": t, "label": label}) for t, label in zip(texts, labels, strict=True)]
    (folder / "texts.jsonl").write_text("\n".join(rows), encoding="utf-8")
    recipe = Recipe.of(
        task="text-classification",
        backbone={"name": str(folder / "roberta"), "max_length": 16},
        data={"train": str(folder / "texts.jsonl"), "test_fraction": 0.2},
        schedule=[
            {"train": "head", "epochs": 1},
            {"train": "all", "epochs": 1, "learning_rate": 1e-3},
        ],
        evaluation={"baseline": False},
        export={"formats": ["saved_model", "litert"]},
        output_dir=str(folder / "runs"),
    )
    return tltool.finetune(recipe)


@pytest.mark.slow
def test_roberta_is_trained_and_its_exports_take_strings_and_ids(run):
    rows = run.examples("test")
    expected = run.outputs(rows)
    for name in ("saved_model", "litert_float32"):
        found = tltool.load_artifact(run.folder.exports / name).predict(rows.inputs)
        np.testing.assert_allclose(found, expected, atol=1e-4, err_msg=name)
    signature = interpreter(run.folder.exports / "litert_float32")
    assert sorted(signature.get_input_details()) == ["padding_mask", "token_ids"]


def interpreter(folder):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(folder / "model.tflite")).get_signature_runner("serving_default")


@pytest.mark.slow
@pytest.mark.parametrize("folder_name", ["saved_model", "litert_float32"])
def test_the_readmes_program_gives_the_golden_output(run, folder_name):
    folder = run.folder.exports / folder_name
    golden_row = json.loads((folder / "golden.json").read_text())["examples"][0]
    (program,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    banned = ["keras", "tltool"] + (["tensorflow"] if "litert" in folder_name else [])
    guard = f"import sys\nfor name in {banned}: sys.modules[name] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", guard + program],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    label, number = done.stdout.split()
    assert label == golden_row["label"]
    assert float(number) == pytest.approx(max(golden_row["probabilities"]), abs=1e-4)
    assert not (folder / "vocab.txt").exists()
    readme = (folder / "README.md").read_text()
    assert "| `tokenizer.json` |" in readme


@pytest.mark.slow
def test_the_exported_tokenizer_gives_the_golden_ids(run):
    from tokenizers import Tokenizer

    folder = run.folder.exports / "litert_float32"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for row in json.loads((folder / "golden.json").read_text())["examples"]:
        encoding = tokenizer.encode(row["input"])
        assert encoding.ids[: sum(encoding.attention_mask)] == row["model_input"]["token_ids"]
        assert len(encoding.ids) == 16


def test_the_small_vocabulary_has_merges():
    # Otherwise the tests above would prove little.
    assert len(trained_contract(SIZE).merges) > 100
