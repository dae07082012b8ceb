"""How a program without tltool uses a model that takes preprocessed arrays, for its README."""

from __future__ import annotations

from collections.abc import Iterable

from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.export.contract import Contract, Example
from tltool.export.sidecars.facts import facts_of
from tltool.export.sidecars.programs import array_program
from tltool.export.sidecars.snippets import SNIPPETS_FOLDER
from tltool.export.sidecars.tokenizer_file import has_tokenizer_file


def array_usage(
    contract: Contract, example: Example, *, runtime: str, snippets: Iterable[str] = ()
) -> list[str]:
    """How to use a model that takes preprocessed arrays, in paragraphs of Markdown.

    Args:
        contract: Of the model.
        example: A text, or the path of an image in the export folder.
        runtime: The Python package that runs it.
        snippets: Files of code for apps in the export folder.
    """
    files = ", ".join(snippets)
    return [
        f"Run in this folder, with {_packages(contract, runtime)} installed:",
        f"```python\n{array_program(facts_of(contract), example)}\n```",
        _takes(contract),
        *diagnosed(contract),
        *([f"The same for apps is in `{SNIPPETS_FOLDER}/`: {files}."] if files else []),
    ]


def diagnosed(contract: Contract) -> list[str]:
    """How to find out why an app answers otherwise, in paragraphs; none where that is not known."""
    if not contract.task.target.diagnosable:
        return []
    return [
        "An app that answers otherwise: have it run the golden examples with its own code, write "
        "what `write_answers` (in apps `goldenAnswers`) writes, and ask `tltool diagnose` with "
        "this folder and that file."
    ]


def _packages(contract: Contract, runtime: str) -> str:
    if isinstance(contract.preprocessing, ImagePreprocessing):
        return f"{runtime}, NumPy and, to read image files, Pillow"
    if has_tokenizer_file(contract.preprocessing):
        return f"{runtime}, NumPy and tokenizers"
    return f"{runtime} and NumPy"


def _takes(contract: Contract) -> str:
    some = "one {} at a time" if contract.inputs[0].shape[0] else "any number of {}s"
    if isinstance(contract.preprocessing, TextPreprocessing):
        pair = contract.preprocessing.pair
        takes, longest = some.format("pair" if pair else "text"), contract.preprocessing.max_length
        if pair == "apart":
            takes += ", each text of it a row, the second after the first"
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
