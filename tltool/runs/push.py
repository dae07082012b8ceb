"""A run for others: its card, its exports and its recipe in a repository, without its data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tltool.export.contract import CONTRACT_FILE, Contract
from tltool.export.published import OF_ROWS, published_files
from tltool.report.hub_card import hub_metadata, hub_readme
from tltool.runs.run import Run
from tltool.support.errors import RunError
from tltool.support.hub import PREFIX
from tltool.support.hub_upload import upload_model
from tltool.support.sums import files_in

README = "README.md"
LEFT_OUT = {
    "predictions.csv": "held-out rows with their answers",
    "report/index.html, report/worst/": "pages and pictures of held-out rows",
    f"exports/*/{', '.join(OF_ROWS)}": "held-out rows, or where they came from",
    "data.json": "names of files and lines of the data",
    "metrics.json, history.csv, tensorboard/": "figures of the training; those of the result are "
    "in the card",
    "environment.json, run.json, timings.json": "this machine and its folders",
    "model.keras": "export it with --format keras to have it there",
}
"""What of a run stays where it is, and why."""


@dataclass(frozen=True)
class Publication:
    """What of a run goes into a repository.

    Attributes:
        repo: `org/name`.
        files: By their paths there, where they are, or their content.
        left_out: Paths in the run's folder of what is not uploaded.
        metadata: Of its README.
    """

    repo: str
    files: Mapping[str, Path | bytes]
    left_out: Sequence[str]
    metadata: Mapping[str, Any]

    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {
            path: len(at) if isinstance(at, bytes) else at.stat().st_size
            for path, at in self.files.items()
        }

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "repo": self.repo,
            "files": [{"path": path, "bytes": size} for path, size in self.sizes().items()],
            "left_out": list(self.left_out),
            "metadata": dict(self.metadata),
        }

    def push(self, *, private: bool = False, message: str | None = None) -> str:
        """Uploads it; see `upload_model`."""
        return upload_model(
            self.repo, self.files, private=private, message=message or "A run of tltool"
        )


def publication(run: Run, place: str, *, licence: str | None = None) -> Publication:
    """What a push of a run would upload: nothing of it is a row of the data.

    Args:
        run: That has come to its end.
        place: `hf://org/name`.
        licence: Of the model, as the hub calls it; see `hub_metadata`.

    Raises:
        RunError: The place is none of the hub's, the run has no card, or a file of it is not as
            it was written.
        ExportError: A file of an export is not.
    """
    repo = repo_of(place)
    folder = run.folder
    if run.status != "finished" or not folder.card.is_file():
        raise RunError(
            f"The run {str(run.path)!r} ({run.status}) has no model card to publish.",
            hint="push a finished run: `tltool runs list` shows them",
        )
    plain = [
        file
        for file in (folder.recipe, folder.labels, folder.preprocessing, folder.curves, folder.plot)
        if file.is_file()
    ]
    folder.check(folder.card, folder.metrics, *plain)
    files: dict[str, Path | bytes] = {file.relative_to(run.path).as_posix(): file for file in plain}
    formats = []
    for contract in sorted(folder.exports.glob(f"*/{CONTRACT_FILE}")):
        export = contract.parent
        formats.append(Contract.read(export).form)
        published = published_files(export, run.about().description)
        inside = export.relative_to(run.path).as_posix()
        files |= {f"{inside}/{name}": at for name, at in published.items()}
    metadata = hub_metadata(run.recipe, run.task, run.metrics, formats=formats, licence=licence)
    card = hub_readme(folder.card.read_text(encoding="utf-8"), metadata)
    files = {README: card.encode(), **files}
    left_out = [name for name in files_in(run.path) if name not in files]
    return Publication(repo, files, left_out, metadata)


def repo_of(place: str) -> str:
    """`org/name` of `hf://org/name`.

    Raises:
        RunError: It is not written like this.
    """
    found = re.fullmatch(rf"{PREFIX}([\w-][\w.-]*/[\w-][\w.-]*)", place)
    if found is None or ".." in place or place.startswith("hf://datasets/"):
        raise RunError(
            f"{place!r} names no model repository of the Hugging Face hub.",
            hint="write hf://org/name",
        )
    return found[1]
