"""Hooks of MkDocs: links to files that the site lacks lead to its host, and none leads nowhere.

On a git host the links of the pages are relative to the file. Where the file lies outside of
`docs/`, or is a folder in it, the site has no such page.
"""

from __future__ import annotations

import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
HOST = os.environ.get("TLTOOL_REPOSITORY", "")
"""Where the project's files can be looked at, such as `https://host/org/tltool/blob/main`."""

_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")


class DeadLinksError(Exception):
    """Links of the built site lead nowhere."""


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Rewrites the links of a page before it is rendered."""
    folder = Path(page.file.abs_src_path).parent
    # MkDocs knows the files that it leaves out too.
    there = {Path(file.abs_src_path) for file in files if not file.inclusion.is_excluded()}

    def replaced(match: re.Match[str]) -> str:
        text, target = match.groups()
        file, _, anchor = target.partition("#")
        path = (folder / file).resolve()
        if not file or "://" in file or path in there or not path.exists():
            return match.group(0)
        if not HOST:
            return text
        place = path.relative_to(ROOT).as_posix()
        return f"[{text}]({HOST}/{place}{'#' + anchor if anchor else ''})"

    return _LINK.sub(replaced, markdown)


def on_post_build(config: Any) -> None:
    """Looks for every file that a page of the site links to.

    Raises:
        DeadLinksError: Some are not there.
    """
    if dead := dead_links(Path(config["site_dir"])):
        raise DeadLinksError("\n  ".join(["links of the site lead nowhere:", *dead]))


def dead_links(site: Path) -> list[str]:
    """`PAGE: TARGET` of each link between files of a site whose target is not there."""
    found = []
    for page in sorted(site.rglob("*.html")):
        links = _Links()
        links.feed(page.read_text(encoding="utf-8"))
        for target in sorted(links.targets):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or not parts.path:
                continue
            base = site if parts.path.startswith("/") else page.parent
            if not (base / unquote(parts.path).lstrip("/")).exists():
                found.append(f"{page.relative_to(site)}: {target}")
    return found


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.targets |= {value for name, value in attrs if name in {"href", "src"} and value}
