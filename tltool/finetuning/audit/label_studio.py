"""Findings as tasks of Label Studio, and its answers as decisions.

The format of tasks with pre-annotations is https://labelstud.io/guide/predictions, that of answers
https://labelstud.io/guide/export (JSON).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from tltool.data.decisions import COLUMNS
from tltool.finetuning.audit.evidence import Evidence
from tltool.finetuning.audit.findings import Found
from tltool.support.errors import DataError
from tltool.support.files import read_json, write_json, write_text
from tltool.support.words import listed
from tltool.tasks.label_studio import results_of
from tltool.tasks.values import BadValueError

TASKS, CONFIG = "label_studio.json", "label_studio.xml"
_LOCAL_FILES = "/data/local-files/?d="
_DECISIONS = ("keep", "drop", "relabel")


def write_tasks(
    folder: Path, found: Found, evidence: Evidence, rows: Iterable[Mapping[str, Any]]
) -> None:
    """Writes the tasks and the labelling interface that they need, each whole or not at all.

    Pictures are named as Label Studio's local files below the root of the disk
    (LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=/).

    Args:
        folder: Gets `label_studio.json` and `label_studio.xml`.
        found: The audit.
        evidence: What it looked at.
        rows: Of the table of decisions, one for each finding.

    Raises:
        DataError: The pictures are no files.
    """
    target = evidence.task.target
    if target.by_words:
        raise DataError(
            "Findings about words are not written as tasks of Label Studio.",
            hint="leave out --label-studio, and decide in audit.html",
        )
    several = target.program().sets
    tasks = []
    for finding, row in zip(found.findings, rows, strict=True):
        task: dict[str, Any] = {
            "data": {
                **_input(evidence.examples.inputs[finding.row], evidence.examples.modality),
                "told": _told(row),
                "several": several,
                "row": dict(row),
            }
        }
        if finding.suggested is not None and target.labels:
            names = list(finding.suggested) if several else [finding.suggested]
            result = {"from_name": "label", "to_name": "input", "type": "choices",
                      "value": {"choices": names}}  # fmt: skip
            task["predictions"] = [{"model_version": "tltool data audit", "result": [result]}]
        tasks.append(task)
    write_json(folder / TASKS, tasks)
    write_text(folder / CONFIG, _config(evidence.examples.modality, target.labels, several))


def decisions_of(file: Path) -> list[dict[str, Any]]:
    """Rows of a table of decisions, of Label Studio's answers; tasks without one are left out.

    A label without a decision is one to relabel, or to keep where it is the label there was.

    Args:
        file: Label Studio's export in JSON.

    Raises:
        DataError: It is no such export of an audit's tasks.
    """
    try:
        tasks = read_json(file)
    except (OSError, ValueError) as error:
        raise DataError(f"{file} can't be read: {error}.", hint="export JSON, not CSV") from error
    if not isinstance(tasks, list):
        raise DataError(f"{file} is no list of tasks.", hint="export JSON from Label Studio")
    return list(_decided(file, tasks))


def _decided(file: Path, tasks: Sequence[Any]) -> Iterator[dict[str, Any]]:
    for number, task in enumerate(tasks, start=1):
        found = task.get("data") if isinstance(task, dict) else None
        data = found if isinstance(found, dict) else {}
        row = data.get("row")
        if not isinstance(row, dict) or not {"origin", "sha256", "label"} <= row.keys():
            raise DataError(
                f"{file}: task {number} is none of an audit's.",
                hint="import what `tltool data audit --label-studio` wrote, and export that",
            )
        try:
            answers = {one["from_name"]: one["value"] for _, one in results_of(task)}
        except (BadValueError, LookupError, TypeError):
            continue  # nobody has answered it
        if decided := _decision(file, number, answers, row, several=bool(data.get("several"))):
            known = {name: row.get(name, "") for name in COLUMNS}
            yield {**known, **decided}


def _decision(
    file: Path, number: int, answers: Mapping[str, Any], row: Mapping[str, Any], *, several: bool
) -> dict[str, str] | None:
    chosen = answers["decision"].get("choices") if "decision" in answers else None
    what = chosen[0] if chosen else ""
    if what and what not in _DECISIONS:
        raise DataError(
            f"{file}: task {number} has the decision {what!r}; there are {listed(_DECISIONS)}.",
            hint="use the labelling interface of label_studio.xml",
        )
    value = answers.get("label")
    label = None if value is None else _cell(value, several=several)
    if label is None and what == "relabel":
        label = str(row.get("suggested", ""))
    if not what:
        if label is None:
            return None
        what = "keep" if label == row["label"] else "relabel"
    return {"decision": what, "new_label": label or "" if what == "relabel" else ""}


def _cell(value: Mapping[str, Any], *, several: bool) -> str:
    """The cell of a label, of what Label Studio says of it."""
    choices = value.get("choices")
    if choices is None:
        text = value.get("text", value.get("number", ""))
        return str(text[0] if isinstance(text, list) and text else text)
    return json.dumps(choices, ensure_ascii=False) if several else str(choices[0])


def _input(value: Any, modality: str) -> dict[str, str]:
    if isinstance(value, tuple):
        return {"text": "\n———\n".join(value)}
    if modality != "image":
        return {"text": value}
    if not isinstance(value, str):
        raise DataError(
            "Pictures that were given as arrays have no file that Label Studio could show.",
            hint="leave out --label-studio",
        )
    return {"image": _LOCAL_FILES + quote(str(Path(value).resolve()).lstrip("/"))}


def _told(row: Mapping[str, Any]) -> str:
    said = {
        "label": f"labelled {row['label']}, perhaps {row['suggested']}",
        "duplicate": f"labelled {row['label']}, near duplicate of {row['other']}",
        "outlier": f"labelled {row['label']}, like no other row",
    }
    return said[str(row["finding"])]


def _config(modality: str, labels: Sequence[str], several: bool) -> str:
    """The labelling interface (https://labelstud.io/tags)."""
    shown = "Image" if modality == "image" else "Text"
    choice = "multiple" if several else "single"
    label = (
        [f'  <Choices name="label" toName="input" choice="{choice}">',
         *(f"    <Choice value={quoteattr(name)}/>" for name in labels), "  </Choices>"]
        if labels
        else ['  <TextArea name="label" toName="input" maxSubmissions="1"/>']
    )  # fmt: skip
    lines = [
        "<View>",
        f'  <{shown} name="input" value="${shown.lower()}"/>',
        '  <Header value="$told"/>',
        '  <Choices name="decision" toName="input" choice="single">',
        *(f'    <Choice value="{name}"/>' for name in _DECISIONS),
        "  </Choices>",
        '  <Header value="New label"/>',
        *label,
        "</View>",
    ]
    return "\n".join([*lines, ""])
