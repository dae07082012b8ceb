"""The README of an export folder: what the artifact takes and gives, and a program that uses it."""

from __future__ import annotations

from string import Template

from tltool._version import __version__
from tltool.export.contract import Contract
from tltool.export.formats import FORMATS
from tltool.export.sidecars.programs import usage_program
from tltool.export.sidecars.tokenizer_file import has_tokenizer_file
from tltool.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.tasks import Task

_README = """\
# $title

Made by tltool $version. $gives

| File | What it is |
| --- | --- |
$files

## Use it

Run in this folder, with $packages installed:

```python
$program
```

$notes
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
        packages=_packages(contract),
        program=usage_program(contract, example),
        notes="\n\n".join(_notes(contract)),
    )


def _packages(contract: Contract) -> str:
    if contract.form == "saved_model":
        return "TensorFlow"
    if contract.form == "keras":
        return "tltool"
    runtime = {"litert": "ai-edge-litert", "onnx": "onnxruntime"}[contract.form]
    if isinstance(contract.preprocessing, ImagePreprocessing):
        return f"{runtime}, NumPy and Pillow"
    if has_tokenizer_file(contract.preprocessing):
        return f"{runtime}, NumPy and tokenizers"
    return f"{runtime} and NumPy"


def _gives(task: Task) -> str:
    if task.labels:
        return f"It gives the probability of each of {len(task.labels)} classes."
    return "It predicts a number."


def _files(contract: Contract) -> list[tuple[str, str]]:
    form = FORMATS[contract.form]
    labels = [("labels.txt", "class names in the order of the outputs")]
    return [
        (form.file if form.suffix else f"{form.file}/", form.about),
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


def _notes(contract: Contract) -> list[str]:
    preprocessing = contract.preprocessing
    if contract.form == "saved_model":
        return ["Any number of inputs may be given at once."]
    if contract.form == "keras":
        return [_KERAS_NOTE.substitute(imports="".join(f"import {m}\n" for m in contract.modules))]
    some = "any number of {}s" if contract.form == "onnx" else "one {} at a time"
    if isinstance(preprocessing, TextPreprocessing):
        takes = some.format("text")
        if contract.length is None:
            return [
                f"The model takes {takes}, of any length up to {preprocessing.max_length} tokens."
            ]
        return [f"The model takes {takes}, padded or cut to the length above."]
    taken = some.format("image")
    if contract.takes == "image":
        return [f"The model takes {taken}, of any size; it resizes and crops by itself."]
    notes = [
        f"The model takes {taken}. Pillow rounds resized pixels to whole numbers,"
        " so outputs differ a little from those in `golden.json`."
    ]
    if not preprocessing.antialias:
        notes.append(
            "The model was trained on images resized without antialiasing, which Pillow cannot"
            " do: expect larger differences on large photographs, or resize with TensorFlow."
        )
    return notes
