"""Short programs that run an exported model without tltool, for the README beside it."""

from __future__ import annotations

import json
from string import Template

from tltool.export.contract import Contract
from tltool.export.sidecars.facts import Facts
from tltool.export.sidecars.templates import PYTHON, fill

# Filled by string.Template, since the programs are full of braces.
_SAVED_MODEL = {
    "text": """\
import tensorflow as tf

model = tf.saved_model.load("$file")
texts = tf.constant([$example])
outputs = model.signatures["$signature"]($input=texts)
$show""",
    "image": """\
from pathlib import Path

import tensorflow as tf

model = tf.saved_model.load("$file")
images = tf.constant([Path($example).read_bytes()])
outputs = model.signatures["$signature"]($input=images)
$show""",
}
_KERAS = """\
import tltool

model = tltool.load_artifact("$file")
outputs = model.predict([$example])
$show"""
_SHOW = {
    True: 'print(outputs["label"].numpy()[0].decode(), float(outputs["score"][0]))',
    False: 'print(float(outputs["prediction"][0]))',
}
_SHOW_ARRAY = {
    True: "print(model.task.labels[outputs[0].argmax()], float(outputs[0].max()))",
    False: "print(float(outputs[0]))",
}
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
    ask = "ask_image" if facts.kind == "image" else "ask_text"
    parts = [facts.kind, "runtime", ask, "show"]
    return fill(parts, PYTHON, facts.flags, {**facts.constants, "EXAMPLE": example}).strip()


def saved_model_program(contract: Contract, example: str) -> str:
    """A Python program that does the same with a SavedModel and TensorFlow alone.

    Args:
        contract: Of the SavedModel; it takes raw inputs.
        example: A text, or the path of an image in the export folder.
    """
    return Template(_SAVED_MODEL[contract.task.spec.modality]).substitute(
        file=contract.file,
        signature=contract.signatures[0].name,
        input=contract.inputs[0].name,
        example=json.dumps(example, ensure_ascii=False),
        show=_SHOW[bool(contract.task.labels)],
    )


def keras_program(contract: Contract, example: str) -> str:
    """A Python program that does the same with a `.keras` file and tltool."""
    return Template(_KERAS).substitute(
        file=contract.file,
        example=json.dumps(example, ensure_ascii=False),
        show=_SHOW_ARRAY[bool(contract.task.labels)],
    )


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
