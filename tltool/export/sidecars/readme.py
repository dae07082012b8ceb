"""The README of an export folder: what the artifact takes and gives, and programs that use it."""

from __future__ import annotations

from pathlib import Path
from string import Template

from tltool._version import __version__
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.export.contract import Contract
from tltool.export.formats.table import FORMATS
from tltool.export.sidecars.facts import facts_of
from tltool.export.sidecars.programs import (
    array_program,
    keras_program,
    saved_model_program,
    serving_request,
)
from tltool.export.sidecars.snippets import SNIPPETS_FOLDER, snippets
from tltool.export.sidecars.tokenizer_file import has_tokenizer_file
from tltool.support.files import write_text
from tltool.tasks.table import Task

_README = """\
# $title

Made by tltool $version. $gives

| File | What it is |
| --- | --- |
$files

## Use it

$usage
"""

_KERAS_NOTE = Template("""\
That program prepares the input as `contract.json` says. The model itself is loaded so, and takes
what is prepared:

```python
import keras
$imports
model = keras.saving.load_model("model.keras", compile=False)
```""")


def readme(contract: Contract, *, title: str, example: str) -> str:
    """The README of an export folder, as Markdown.

    Args:
        contract: Of the model in it.
        title: Heading.
        example: A text, or the path of an image in the export folder.
    """
    files = _files(contract)
    return Template(_README).substitute(
        title=title,
        version=__version__,
        gives=_gives(contract.task),
        files="\n".join(f"| `{name}` | {what} |" for name, what in files),
        usage="\n\n".join(_USAGE.get(contract.form, _array_usage)(contract, example)),
    )


def _saved_model_usage(contract: Contract, example: str) -> list[str]:
    return [
        "Run in this folder, with TensorFlow installed:",
        f"```python\n{saved_model_program(contract, example)}\n```",
        "Any number of inputs may be given at once.",
        "With TensorFlow Serving, which takes the folder "
        f"`{contract.file}` as version 1 (`/models/{contract.file}/1`):",
        f"```sh\n{serving_request(contract, example)}\n```",
    ]


def _keras_usage(contract: Contract, example: str) -> list[str]:
    return [
        "Run in this folder, with tltool installed:",
        f"```python\n{keras_program(contract, example)}\n```",
        _KERAS_NOTE.substitute(imports="".join(f"import {m}\n" for m in contract.modules)),
    ]


def _array_usage(contract: Contract, example: str) -> list[str]:
    files = ", ".join(_snippets(contract))
    return [
        f"Run in this folder, with {_packages(contract)} installed:",
        f"```python\n{array_program(facts_of(contract), example)}\n```",
        _takes(contract),
        *([f"The same for apps is in `{SNIPPETS_FOLDER}/`: {files}."] if files else []),
    ]


# What says how to use a model, for formats that do not take preprocessed inputs.
_USAGE = {"saved_model": _saved_model_usage, "keras": _keras_usage}


def _snippets(contract: Contract) -> dict[str, str]:
    return snippets(facts_of(contract)) if contract.form == "litert" else {}


def write_snippets(folder: Path, contract: Contract) -> None:
    """Writes code for apps into an export folder of LiteRT; nothing for other formats.

    Args:
        folder: The export folder.
        contract: Of the model in it.
    """
    for name, text in _snippets(contract).items():
        path = folder / SNIPPETS_FOLDER / name
        path.parent.mkdir(exist_ok=True)
        write_text(path, text)


def _packages(contract: Contract) -> str:
    runtime = {"litert": "ai-edge-litert", "onnx": "onnxruntime"}[contract.form]
    if isinstance(contract.preprocessing, ImagePreprocessing):
        return f"{runtime}, NumPy and, to read image files, Pillow"
    if has_tokenizer_file(contract.preprocessing):
        return f"{runtime}, NumPy and tokenizers"
    return f"{runtime} and NumPy"


def _gives(task: Task) -> str:
    if task.labels:
        return f"It gives the probability of each of {len(task.labels)} classes."
    return "It predicts a number."


def _files(contract: Contract) -> list[tuple[str, str]]:
    form = FORMATS[contract.form]
    code = [(f"{SNIPPETS_FOLDER}/", "the same for Android, iOS and browsers")]
    labels = [("labels.txt", "class names in the order of the outputs")]
    return [
        (form.file if form.suffix else f"{form.file}/", form.about),
        *(code if _snippets(contract) else []),
        *(labels if contract.task.labels else []),
        *_tokenizer_files(contract.preprocessing),
        ("contract.json", "task and preprocessing, exactly; what goes in and comes out"),
        ("golden.json", "a few inputs with the outputs they must give: test your app with them"),
        ("gate.md, gate.json", "how this model compared with the trained one on held-out rows"),
    ]


def _tokenizer_files(
    preprocessing: ImagePreprocessing | TextPreprocessing,
) -> list[tuple[str, str]]:
    if isinstance(preprocessing, ImagePreprocessing):
        return []
    if has_tokenizer_file(preprocessing):
        return [("tokenizer.json", "the tokenizer, for Hugging Face's library `tokenizers`")]
    return [("vocab.txt", "the tokenizer's vocabulary; line number = token id")]


def _takes(contract: Contract) -> str:
    some = "any number of {}s" if contract.form == "onnx" else "one {} at a time"
    if isinstance(contract.preprocessing, TextPreprocessing):
        takes, longest = some.format("text"), contract.preprocessing.max_length
        if contract.length is None:
            return f"The model takes {takes}, of any length up to {longest} tokens."
        return f"The model takes {takes}, padded or cut to the length above."
    taken = some.format("image")
    if contract.takes == "image":
        return f"The model takes {taken}, of any size; it resizes and crops by itself."
    return (
        f"The model takes {taken}. `resize` computes what the training computed, to the last bit;"
        " the resize functions of image libraries give other pixels."
    )
