"""An export folder as it can be given to others: without rows of the data it was measured on."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tltool.evaluation.drift.file import SKETCH_FILE
from tltool.export.contract import GOLDEN_FILE, Contract, Example
from tltool.export.formats.table import FORMATS
from tltool.export.gate.report import GATE_FILE, GATE_PAGE
from tltool.export.package import README_FILE
from tltool.export.sidecars.folder import GOLDEN_FOLDER
from tltool.export.sidecars.readme import readme
from tltool.export.sidecars.usage import diagnosed
from tltool.support.errors import ExportError
from tltool.support.sums import SUMS_FILE, changes_in, files_in, sum_of, sums_text
from tltool.tasks.table import Modality

OF_ROWS = (GOLDEN_FILE, f"{GOLDEN_FOLDER}/", GATE_FILE, GATE_PAGE)
"""What of an export folder has inputs of held-out rows, or says where they came from."""
_EXAMPLES: dict[Modality, Example] = {
    "image": "photo.jpg",
    "text": "type a text here",
    "text_pair": ("type a text here", "and another"),
}


def published_files(folder: Path, origin: str) -> dict[str, Path | bytes]:
    """The files of an export folder that have no rows in them, by their paths in it.

    The README is written anew, since its program has a held-out row for an example, and so is the
    list of sums.

    Args:
        folder: The export folder.
        origin: What the model was made from, in sentences.

    Returns:
        For each where it is, or its content.

    Raises:
        ExportError: A file of it is not as it was written.
    """
    if changed := changes_in(folder):
        raise ExportError(
            "\n  ".join([f"{folder} is not as it was written:", *changed]),
            hint=f"export again; after a change on purpose: tltool runs accept {folder}",
        )
    kept = [name for name in files_in(folder) if not name.startswith((*OF_ROWS, SUMS_FILE))]
    found: dict[str, Path | bytes] = {name: folder / name for name in kept if name != README_FILE}
    sums = {name: sum_of(folder / name) for name in found}
    page = _page(folder, origin).encode()
    sums[README_FILE] = hashlib.sha256(page).hexdigest()
    return {**found, README_FILE: page, SUMS_FILE: sums_text(sums).encode()}


def _page(folder: Path, origin: str) -> str:
    contract = Contract.read(folder)
    form = FORMATS[contract.form]
    about_rows = diagnosed(contract)
    usage = form.usage(contract, _EXAMPLES[contract.task.spec.modality])
    return readme(
        contract,
        title=f"{contract.task.spec.name}: {folder.name}",
        about=form.about,
        origin=origin,
        usage=[part for part in usage if part not in about_rows],
        snippets=form.snippets(contract),
        sketch=(folder / SKETCH_FILE).is_file(),
        rows=False,
    )
