"""The page of a server: drop an image or type a text, see what the model says."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from urllib.parse import quote

from tltool.serving.exports import ServedExport

_TEMPLATE = Path(__file__).with_name("page.html")
_INLINE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def page(export: ServedExport) -> tuple[str, str]:
    """The page's HTML, and the Content-Security-Policy that lets its own script and style run.

    Nothing else may run, be fetched or be shown but this server's answers and
    the picture that was chosen.

    Args:
        export: Its name and labels are put into the page, escaped.
    """
    facts = {
        "title": export.name,
        "address": f"v1/models/{quote(export.name)}:predict",
        "modality": export.task.spec.modality,
        "labels": json.dumps(export.task.labels),
        "numbers": json.dumps(export.task.target.program().constants.get("NAMES", [])),
    }
    text = _TEMPLATE.read_text(encoding="utf-8")
    hashes: dict[str, str] = {}
    for kind, content in _INLINE.findall(text):
        digest = hashlib.sha256(content.encode("utf-8")).digest()
        hashes[kind] = f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
    for name, value in facts.items():
        text = text.replace(f"[[{name}]]", html.escape(value, quote=True))
    policy = (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "img-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return text, policy
