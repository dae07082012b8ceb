"""Files for an app that runs a .tflite model, with nothing to fill in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tltool.export.sidecars.facts import Facts
from tltool.export.sidecars.templates import JAVASCRIPT, KOTLIN, SWIFT, fill
from tltool.support.files import write_text

SNIPPETS = {"model.js": JAVASCRIPT, "Model.kt": KOTLIN, "Model.swift": SWIFT}
"""The language of each file."""
SNIPPETS_FOLDER = "snippets"


def snippets(facts: Facts) -> dict[str, str]:
    """Content of each file of `SNIPPETS`, for one model.

    Only `Model.swift` where the model takes any size: LiteRT for the web and
    the `CompiledModel` of Kotlin refuse inputs whose shape is left open.
    """
    wanted = {SWIFT} if facts.flags["free_shape"] else set(SNIPPETS.values())
    return {
        name: fill(facts.kind, language, facts.flags, facts.constants)
        for name, language in SNIPPETS.items()
        if language in wanted
    }


def write_snippets(folder: Path, texts: Mapping[str, str]) -> None:
    """Writes code for apps into an export folder.

    Args:
        folder: The export folder.
        texts: Content of each file.
    """
    for name, text in texts.items():
        path = folder / SNIPPETS_FOLDER / name
        path.parent.mkdir(exist_ok=True)
        write_text(path, text)
