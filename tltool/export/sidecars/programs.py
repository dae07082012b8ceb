"""Short programs that run an exported model without tltool, for the README beside it."""

from __future__ import annotations

import json
from string import Template

from tltool.export.contract import Contract
from tltool.export.sidecars.facts import Facts
from tltool.export.sidecars.templates import PYTHON, Value, fill

# Filled by string.Template, since JSON is full of braces.
# https://www.tensorflow.org/tfx/serving/api_rest: a string that is no text goes as base64.
_REQUEST = {
    "text": "curl -d '$body' \\\n  http://localhost:8501/v1/models/$file:predict",
    "image": """\
echo '{"inputs": {"$input": [{"b64": "'"$$(base64 < $path | tr -d '\\n')"'"}]}}' |
  curl -d @- http://localhost:8501/v1/models/$file:predict""",
}


def array_program(facts: Facts, example: str) -> str:
    """A Python program that runs a LiteRT or an ONNX model on one raw input, without tltool.

    Run in the export folder it prints the label and its probability, or the
    number. It needs the runtime and NumPy; for image files Pillow, and
    tokenizers where there is a `tokenizer.json`.

    Args:
        facts: Of the model.
        example: A text, or the path of an image in the export folder.
    """
    constants = {**facts.constants, "EXAMPLE": example}
    return fill(facts.kind, PYTHON, facts.flags, constants).strip()


def saved_model_program(contract: Contract, example: str) -> str:
    """A Python program that does the same with a SavedModel and TensorFlow alone.

    Args:
        contract: Of the SavedModel; it takes raw inputs.
        example: A text, or the path of an image in the export folder.
    """
    return _program("saved_model", contract, example)


def keras_program(contract: Contract, example: str) -> str:
    """A Python program that does the same with a `.keras` file and tltool."""
    return _program("keras", contract, example)


def _program(name: str, contract: Contract, example: str) -> str:
    constants: dict[str, Value] = {
        "MODEL": contract.file,
        "SIGNATURE": contract.signatures[0].name,
        "INPUT": contract.inputs[0].name,
        "EXAMPLE": example,
    }
    task = contract.task
    flags = {"image": task.spec.modality == "image", "labels": bool(task.labels)}
    return fill(name, PYTHON, flags, constants).strip()


def serving_request(contract: Contract, example: str) -> str:
    """A command that asks TensorFlow Serving for the same; see `saved_model_program`."""
    (tensor,) = contract.inputs
    body = json.dumps({"inputs": {tensor.name: [example]}}, ensure_ascii=False)
    return Template(_REQUEST[contract.task.spec.modality]).substitute(
        file=contract.file,
        input=tensor.name,
        path=example,
        # A quote ends the shell's string: it is put between two of them.
        body=body.replace("'", "'\\''"),
    )
