"""A hook of MkDocs: links to files of the project that are no page of the site lead to its host.

On a git host the links of the pages are relative to the file. Where the file lies outside of
`docs/`, or is a program in it, the site has no such page.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HOST = os.environ.get("TLTOOL_REPOSITORY", "")
"""Where the project's files can be looked at, such as `https://host/org/tltool/blob/main`."""

_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Rewrites the links of a page before it is rendered."""
    folder = Path(page.file.abs_src_path).parent
    pages = {Path(file.abs_src_path) for file in files}

    def replaced(match: re.Match[str]) -> str:
        text, target = match.groups()
        file, _, anchor = target.partition("#")
        path = (folder / file).resolve()
        if not file or "://" in file or path in pages or not path.exists():
            return match.group(0)
        if not HOST:
            return text
        place = path.relative_to(ROOT).as_posix()
        return f"[{text}]({HOST}/{place}{'#' + anchor if anchor else ''})"

    return _LINK.sub(replaced, markdown)
