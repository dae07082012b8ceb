"""How to use a SavedModel: a program with TensorFlow alone, and TensorFlow Serving."""

from __future__ import annotations

import json
from string import Template

from tltool.export.contract import RAW_INPUTS, Contract, Example
from tltool.export.sidecars.programs import raw_program
from tltool.export.sidecars.usage import diagnosed

# Filled by string.Template, since JSON is full of braces.
# https://www.tensorflow.org/tfx/serving/api_rest: a string that is no text goes as base64.
_REQUEST = {
    "text": "curl -d '$body' \\\n  http://localhost:8501/v1/models/$file:predict",
    "text_pair": "curl -d '$body' \\\n  http://localhost:8501/v1/models/$file:predict",
    "image": """\
echo '{"inputs": {"$input": [{"b64": "'"$$(base64 < $path | tr -d '\\n')"'"}]}}' |
  curl -d @- http://localhost:8501/v1/models/$file:predict""",
}


def saved_model_usage(contract: Contract, example: Example) -> list[str]:
    """See `Format.usage`."""
    return [
        "Run in this folder, with TensorFlow installed:",
        f"```python\n{raw_program('saved_model', contract, example)}\n```",
        "Any number of inputs may be given at once.",
        *diagnosed(contract),
        "With TensorFlow Serving, which takes the folder "
        f"`{contract.file}` as version 1 (`/models/{contract.file}/1`):",
        f"```sh\n{_serving_request(contract, example)}\n```",
    ]


def _serving_request(contract: Contract, example: Example) -> str:
    """A command that asks TensorFlow Serving for the same; see `raw_program`."""
    names = RAW_INPUTS[contract.task.spec.modality]
    values = [example] if isinstance(example, str) else example
    inputs = {name: [value] for name, value in zip(names, values, strict=True)}
    body = json.dumps({"inputs": inputs}, ensure_ascii=False)
    return Template(_REQUEST[contract.task.spec.modality]).substitute(
        file=contract.file,
        input=names[0],
        path=example,
        # A quote ends the shell's string: it is put between two of them.
        body=body.replace("'", "'\\''"),
    )
