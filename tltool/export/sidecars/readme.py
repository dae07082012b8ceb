"""The README of an export folder: what the artifact takes and gives, and programs that use it."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from string import Template

from tltool._version import __version__
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.evaluation.drift.file import SKETCH_FILE
from tltool.export.contract import Contract
from tltool.export.sidecars.snippets import SNIPPETS_FOLDER
from tltool.export.sidecars.tokenizer_file import has_tokenizer_file
from tltool.report.wording import markdown

_README = """\
# $title

Made by tltool $version. $origin$gives$runs

| File | What it is |
| --- | --- |
$files

## Use it

$usage
"""


def readme(
    contract: Contract,
    *,
    title: str,
    about: str,
    usage: Iterable[str],
    origin: str = "",
    snippets: Collection[str] = (),
    sketch: bool = False,
    rows: bool = True,
) -> str:
    """The README of an export folder, as Markdown.

    Args:
        contract: Of the model in it.
        title: Heading.
        about: What the model's file is, in a few words.
        origin: What the model was made from, in sentences.
        usage: How to use it, in paragraphs.
        snippets: Files of code for apps that lie in the folder too.
        sketch: Whether a sketch does.
        rows: Whether golden examples and the gate's report, which are of rows of the data, do.
    """
    files = _files(contract, about, snippets, sketch, rows)
    return Template(_README).substitute(
        title=title,
        version=__version__,
        origin=f"{markdown(origin)} " if origin else "",
        gives=contract.task.target.gives(),
        runs=f" It runs in {contract.runtime}." if contract.runtime else "",
        files="\n".join(f"| `{name}` | {what} |" for name, what in files),
        usage="\n\n".join(usage),
    )


def _files(
    contract: Contract, about: str, snippets: Collection[str], sketch: bool, rows: bool
) -> list[tuple[str, str]]:
    code = [(f"{SNIPPETS_FOLDER}/", "the same for Android, iOS and browsers")]
    sketched = [(SKETCH_FILE, "what held-out rows are like, for `tltool monitor`; it has no rows")]
    golden = [
        ("golden.json", "a few inputs with the outputs they must give: test your app with them")
    ]
    gate = [("gate.md, gate.json", "how this model compared with the trained one on held-out rows")]
    labels = [("labels.txt", "names in the order of the outputs")]
    return [
        (contract.file if Path(contract.file).suffix else f"{contract.file}/", about),
        *(code if snippets else []),
        *(labels if contract.task.labels else []),
        *_tokenizer_files(contract.preprocessing),
        ("contract.json", "task and preprocessing, exactly; what goes in and comes out"),
        *(golden if rows else []),
        *(sketched if sketch else []),
        *(gate if rows else []),
    ]


def _tokenizer_files(
    preprocessing: ImagePreprocessing | TextPreprocessing,
) -> list[tuple[str, str]]:
    if isinstance(preprocessing, ImagePreprocessing):
        return []
    if has_tokenizer_file(preprocessing):
        return [("tokenizer.json", "the tokenizer, for Hugging Face's library `tokenizers`")]
    return [("vocab.txt", "the tokenizer's vocabulary; line number = token id")]
