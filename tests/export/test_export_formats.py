"""The table of formats, and what `contract.json` says of the inputs and outputs of each."""

from __future__ import annotations

import json
import shutil
from typing import get_args

import pytest
import trained

from tltool.export.artifact import is_artifact, load_artifact
from tltool.export.contract import CONTENTS, Contract
from tltool.export.formats.base import Exported, ExportTarget
from tltool.export.formats.table import FORMATS, format_of
from tltool.export.package import write_model
from tltool.recipe.export_section import ExportFormat, LiteRTInput, LiteRTLength, LiteRTPrecision
from tltool.support.errors import ExportError
from tltool.support.sums import write_sums


@pytest.fixture(scope="module")
def made():
    return Exported(*trained.text_classifier().parts(), length=12)


@pytest.fixture(scope="module")
def folders(made, tmp_path_factory):
    folders = {name: tmp_path_factory.mktemp(name) for name in ("saved_model", "litert")}
    for name, folder in folders.items():
        write_model(made, ExportTarget(FORMATS[name]), folder)
    return folders


def tensors(signature, way):
    return {t["name"]: (t["dtype"], t["shape"], t["content"]) for t in signature[way]}


def test_the_table_has_every_format_of_a_recipe():
    assert set(FORMATS) == set(get_args(ExportFormat))
    names = [form.file for form in FORMATS.values()]
    assert len(set(names)) == len(names)


def test_the_command_line_has_what_a_recipe_has():
    from tltool.cli import export

    assert [form.value for form in export.Format] == list(get_args(ExportFormat))
    precisions = [precision.value for precision in export.WeightPrecision]
    assert precisions == list(get_args(LiteRTPrecision))
    assert export.Input == LiteRTInput
    assert export.Length == LiteRTLength


def test_a_saved_models_contract_says_what_its_signatures_take(folders):
    contract = json.loads((folders["saved_model"] / "contract.json").read_text())
    serve, model = contract["signatures"]
    assert serve["name"] == "serving_default"
    assert tensors(serve, "inputs") == {"texts": ("string", [None], "text")}
    assert tensors(serve, "outputs") == {
        "probabilities": ("float32", [None, 2], "probabilities"),
        "label": ("string", [None], "label"),
        "score": ("float32", [None], "score"),
    }
    assert set(tensors(model, "inputs")) == {"token_ids", "padding_mask", "segment_ids"}
    assert tensors(model, "outputs") == {"logits": ("float32", [None, 2], "logits")}
    assert contract["length"] is None


def test_a_tflite_files_contract_says_what_it_takes(folders):
    contract = json.loads((folders["litert"] / "contract.json").read_text())
    (serve,) = contract["signatures"]
    names = ("token_ids", "padding_mask", "segment_ids")
    assert tensors(serve, "inputs") == {name: ("int32", [1, 12], name) for name in names}
    assert tensors(serve, "outputs") == {"probabilities": ("float32", [1, 2], "probabilities")}
    for tensor in serve["inputs"]:
        assert tensor["description"] == CONTENTS[tensor["content"]]
    (output,) = serve["outputs"]
    assert output["description"].startswith("the probability of each class")
    assert contract["length"] == 12


def test_a_contract_is_read_as_it_was_written(folders, tmp_path):
    contract = Contract.read(folders["litert"])
    contract.write(tmp_path)
    assert Contract.read(tmp_path) == contract
    written = (tmp_path / "contract.json").read_text()
    assert written == (folders["litert"] / "contract.json").read_text()


def test_a_model_beside_the_contract_of_another_format_is_refused(folders, tmp_path):
    shutil.copy(folders["saved_model"] / "contract.json", tmp_path)
    shutil.copy(folders["litert"] / "model.tflite", tmp_path)
    write_sums(tmp_path)
    with pytest.raises(ExportError, match="is no saved_model model"):
        load_artifact(tmp_path / "model.tflite")


def test_a_contract_that_lacks_the_inputs_is_refused(folders, tmp_path):
    values = json.loads((folders["litert"] / "contract.json").read_text())
    del values["signatures"]
    (tmp_path / "contract.json").write_text(json.dumps(values))
    write_sums(tmp_path)
    with pytest.raises(ExportError, match="signatures: Field required"):
        load_artifact(tmp_path)


def test_formats_are_told_apart(folders, tmp_path):
    assert format_of(folders["saved_model"] / "model") == "saved_model"
    assert format_of(folders["litert"] / "model.tflite") == "litert"
    assert format_of(tmp_path) is None
    assert all(is_artifact(folder) for folder in folders.values())
    assert not is_artifact(tmp_path)
