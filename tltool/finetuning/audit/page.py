"""The page on which findings are looked at and decided: one file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tltool.data.images.looks import small_jpeg
from tltool.finetuning.audit.evidence import Evidence
from tltool.finetuning.audit.findings import Found
from tltool.support.files import write_text
from tltool.support.words import harmless

SHOWN = {"label": 300, "duplicate": 200, "outlier": 60}
"""Findings of each kind that the page has, the surest first; the table has all."""
_TEMPLATE = Path(__file__).with_name("page.html")
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)
_SIDE_PX = 192
_CHARACTERS = 1_500


Rows = Iterable[Mapping[str, Any]]
"""Those of the table, one for each finding."""


def write_page(path: Path, found: Found, evidence: Evidence, rows: Rows) -> None:
    """Writes the page, whole or not at all."""
    write_text(path, page(found, evidence, rows))


def page(found: Found, evidence: Evidence, rows: Rows) -> str:
    """The page's HTML. Nothing in it may be fetched, and only its own script runs.

    Names, texts and pictures of the data are put into it as JSON, and shown as text alone.
    """
    counts = dict.fromkeys(SHOWN, 0)
    cards = []
    examples = evidence.examples
    inputs = _Inputs(examples.inputs, pictures=examples.modality == "image")
    told = evidence.task.target.told

    def label_of(row: int, target: Any = None) -> str:
        shown = examples.targets[row] if target is None else target
        return harmless(told(shown, examples.inputs[row]))

    for one, row in zip(found.findings, rows, strict=True):
        counts[one.kind] += 1
        if counts[one.kind] > SHOWN[one.kind]:
            continue
        other = None
        if one.other is not None:
            other = {**inputs.of(one.other), "label": label_of(one.other)}
        suggested = "" if one.suggested is None else label_of(one.row, one.suggested)
        label = label_of(one.row)
        cards.append({"row": row, **inputs.of(one.row), "other": other, "label": label,
                      "suggested": suggested})  # fmt: skip
    left_out = [
        f"{SHOWN[kind]} of {number} findings of the kind {kind} are here; audit.csv has all"
        for kind, number in counts.items()
        if number > SHOWN[kind]
    ]
    title = f"Audit of {harmless(found.data)}"
    facts = {
        "lines": [*found.lines(), *left_out],
        "cards": cards,
        "labels": list(evidence.task.target.labels),
        "key": hashlib.sha256(json.dumps([card["row"] for card in cards]).encode()).hexdigest(),
    }
    text = _TEMPLATE.read_text(encoding="utf-8")
    for kind, content in _INLINE.findall(text):
        digest = base64.b64encode(hashlib.sha256(content.encode("utf-8")).digest()).decode("ascii")
        text = text.replace(f"[[{kind}]]", f"'sha256-{digest}'")
    text = text.replace("[[title]]", html.escape(title))
    return text.replace("[[facts]]", json.dumps(facts, ensure_ascii=False).replace("<", "\\u003c"))


class _Inputs:
    """Texts, and small pictures as addresses that hold them; each is made once."""

    def __init__(self, inputs: Sequence[Any], *, pictures: bool) -> None:
        self._inputs, self._pictures = inputs, pictures
        self._made: dict[int, dict[str, str]] = {}

    def of(self, row: int) -> dict[str, str]:
        if row not in self._made:
            self._made[row] = self._of(self._inputs[row])
        return self._made[row]

    def _of(self, value: Any) -> dict[str, str]:
        if isinstance(value, tuple):
            return {"text": "\n———\n".join(harmless(text)[:_CHARACTERS] for text in value)}
        picture = small_jpeg(value, _SIDE_PX) if self._pictures else None
        if picture is not None:
            return {"picture": f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"}
        return {"text": harmless(value)[:_CHARACTERS] if isinstance(value, str) else "no picture"}
