"""The README of an export folder: what the artifact takes and gives, and a program that uses it."""

from __future__ import annotations

from string import Template
from typing import Literal

from tltool._version import __version__
from tltool.export.programs import usage_program
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


def readme(
    form: Literal["saved_model", "litert"],
    task: Task,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    *,
    title: str,
    example: str,
    length: int | None,
) -> str:
    """The README of an export folder, as Markdown; see `usage_program` for the arguments."""
    image = isinstance(preprocessing, ImagePreprocessing)
    return Template(_README).substitute(
        title=title,
        version=__version__,
        gives=_gives(task),
        files="\n".join(f"| `{name}` | {what} |" for name, what in _files(form, task, image)),
        packages="TensorFlow" if form == "saved_model" else _LITERT_PACKAGES[image],
        program=usage_program(form, task, preprocessing, example, length),
        notes="\n\n".join(_notes(form, preprocessing)),
    )


_LITERT_PACKAGES = {True: "ai-edge-litert, NumPy and Pillow", False: "ai-edge-litert and NumPy"}


def _gives(task: Task) -> str:
    if task.labels:
        return f"It gives the probability of each of {len(task.labels)} classes."
    return "It predicts a number."


def _files(form: str, task: Task, image: bool) -> list[tuple[str, str]]:
    model = (
        ("model/", "SavedModel; takes raw input, preprocessing included")
        if form == "saved_model"
        else ("model.tflite", "LiteRT model; takes one preprocessed input")
    )
    return [
        model,
        *([("labels.txt", "class names in the order of the outputs")] if task.labels else []),
        *([] if image else [("vocab.txt", "the tokenizer's vocabulary; line number = token id")]),
        ("contract.json", "task and preprocessing, exactly"),
        ("golden.json", "a few inputs with the outputs they must give: test your app with them"),
        ("gate.md, gate.json", "how this model compared with the trained one on held-out rows"),
    ]


def _notes(form: str, preprocessing: ImagePreprocessing | TextPreprocessing) -> list[str]:
    if form == "saved_model":
        return ["Any number of inputs may be given at once."]
    if isinstance(preprocessing, TextPreprocessing):
        return ["The model takes one text at a time, padded or cut to the length above."]
    notes = [
        "The model takes one image at a time. Pillow rounds resized pixels to whole numbers,"
        " so outputs differ a little from those in `golden.json`."
    ]
    if not preprocessing.antialias:
        notes.append(
            "The model was trained on images resized without antialiasing, which Pillow cannot"
            " do: expect larger differences on large photographs, or resize with TensorFlow."
        )
    return notes
