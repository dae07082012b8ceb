"""Pages of HTML: one file each, which opens without a network, on a phone, in the dark.

All text is escaped: the parts are `Markup`, which escapes whatever is put into it that is not
`Markup` itself. Pages have landmarks, headings, captions and names for who does not see them, and
let nothing be fetched (Content-Security-Policy).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markupsafe import Markup

from tltool._version import __version__
from tltool.support.words import excerpt, harmless

_LONGEST = 10_000
# Of PNG and JPEG files; nothing else is put into a page.
_TYPES = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"))


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        key: Its anchor, unique on the page: lower case letters, digits and hyphens.
        title: Its heading.
        body: What it has; a section without is left out.
    """

    key: str
    title: str
    body: Markup


def page(
    title: str,
    sections: Sequence[Section],
    *,
    lead: Markup | None = None,
    style: str = "",
    script: str = "",
) -> str:
    """A whole page, to be written with `write_text`.

    Args:
        title: The heading of the page.
        sections: In order; those with a body are listed at the top.
        lead: What stands between heading and list.
        style: CSS after that of all pages; trusted.
        script: JavaScript at the end of the page; trusted. Nothing else runs.
    """
    shown = [section for section in sections if section.body]
    text = _PAGE.format(
        policy=_policy(script),
        title=_line(title),
        style=Markup(_style() + style),
        lead=lead or Markup(""),
        links=join(
            Markup('<li><a href="#{}">{}</a></li>').format(s.key, _line(s.title)) for s in shown
        ),
        sections=join(map(_section, shown)),
        version=__version__,
        script=Markup("<script>{}</script>").format(Markup(script)) if script else Markup(""),
    )
    return str(text)


def join(parts: Iterable[Markup], between: str = "\n") -> Markup:
    """Parts one after the other."""
    return Markup(between).join(parts)


def paragraph(text: str, kind: str = "") -> Markup:
    """A paragraph; `kind` is a class of page.css: "soft", "notice", "good", "bad"."""
    return Markup('<p class="{}">{}</p>').format(kind, _line(text)) if text else Markup("")


def heading(text: str) -> Markup:
    """A heading within a section."""
    return Markup("<h3>{}</h3>").format(_line(text))


def bullets(lines: Iterable[str | Markup]) -> Markup:
    """A list; empty for no lines."""
    items = join(Markup("<li>{}</li>").format(_line(line)) for line in lines)
    return Markup("<ul>{}</ul>").format(items) if items else Markup("")


def terms(pairs: Iterable[tuple[str, str | Markup]]) -> Markup:
    """Names and what they are, side by side."""
    items = join(
        Markup("<dt>{}</dt><dd>{}</dd>").format(_line(name), _line(value)) for name, value in pairs
    )
    return Markup('<dl class="terms">{}</dl>').format(items) if items else Markup("")


def code(text: str) -> Markup:
    """A word of code in a line."""
    return Markup("<code>{}</code>").format(_line(text))


def block(text: str) -> Markup:
    """Lines of code."""
    return Markup("<pre><code>{}</code></pre>").format(harmless(text))


def table(
    caption: str,
    header: Sequence[str],
    rows: Iterable[Sequence[str | Markup]],
    *,
    texts: int = 1,
) -> Markup:
    """A table that scrolls by itself where it is too wide; empty without rows.

    Args:
        caption: What it shows.
        header: Names of the columns.
        rows: Cells; the first of each row names it.
        texts: How many columns, from the left, are text; the others are numbers.
    """
    kinds = ["" if i < texts else "number" for i in range(len(header))]
    head = join(
        Markup('<th scope="col" class="{}">{}</th>').format(kind, _line(name))
        for kind, name in zip(kinds, header, strict=True)
    )
    body = join(_row(row, kinds) for row in rows)
    return _TABLE.format(caption=_line(caption), head=head, body=body) if body else Markup("")


def image(data: bytes, description: str) -> Markup:
    """A PNG or JPEG file inside the page.

    Args:
        data: The file.
        description: For who does not see it.

    Raises:
        ValueError: It is neither.
    """
    kind = next((name for start, name in _TYPES if data.startswith(start)), None)
    if kind is None:
        raise ValueError(f"neither PNG nor JPEG: {data[:4]!r}")
    content = base64.b64encode(data).decode("ascii")
    return Markup('<img src="data:image/{};base64,{}" alt="{}">').format(
        kind, Markup(content), _line(description)
    )


def figure(body: Markup, caption: str) -> Markup:
    """A picture with a line beneath it."""
    return Markup("<figure>{}<figcaption>{}</figcaption></figure>").format(body, _line(caption))


def cards(items: Iterable[Markup]) -> Markup:
    """Small boxes in a grid; empty for none."""
    boxes = join(Markup("<li>{}</li>").format(item) for item in items)
    return Markup('<ul class="cards">{}</ul>').format(boxes) if boxes else Markup("")


def disclosure(summary: str, body: Markup) -> Markup:
    """What opens where it is asked for; empty without a body."""
    if not body:
        return Markup("")
    return Markup("<details><summary>{}</summary>{}</details>").format(_line(summary), body)


def opens(key: str, text: str, name: str, body: Markup) -> tuple[Markup, Markup]:
    """A button, and the box that it opens above the page; Escape closes it, no script is needed.

    Args:
        key: Unique on the page, as a section's.
        text: On the button.
        name: What the button is for who does not see where it stands, and the box's heading.
        body: In the box.
    """
    button = _BUTTON.format(key=key, name=_line(f"{text}: {name}"), text=_line(text))
    return button, _BOX.format(key=key, name=_line(name), body=body)


_PAGE = Markup("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header><h1>{title}</h1>
{lead}</header>
<nav aria-label="On this page"><ul>
{links}
</ul></nav>
<main id="content">
{sections}
</main>
<footer>Written by tltool {version}. This file needs no network and sends nothing.</footer>
{script}</body>
</html>
""")

_TABLE = Markup("""<div class="wide" role="region" aria-label="{caption}" tabindex="0"><table>
<caption>{caption}</caption>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody></table></div>""")

_BUTTON = Markup(
    '<button type="button" class="cell" popovertarget="{key}" aria-label="{name}">{text}</button>'
)

_BOX = Markup("""<div class="pop" id="{key}" popover role="dialog" aria-labelledby="{key}-name">
<h3 id="{key}-name">{name}</h3>
{body}
<button type="button" popovertarget="{key}" popovertargetaction="hide">Close</button></div>""")


def _section(section: Section) -> Markup:
    text = '<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{title}</h2>\n'
    return (Markup(text) + Markup("{body}</section>")).format(
        key=section.key, title=_line(section.title), body=section.body
    )


def _row(cells: Sequence[str | Markup], kinds: Sequence[str]) -> Markup:
    first, *others = zip(cells, kinds, strict=True)
    name = Markup('<th scope="row" class="{1}">{0}</th>').format(_line(first[0]), first[1])
    rest = (Markup('<td class="{1}">{0}</td>').format(_line(cell), kind) for cell, kind in others)
    return Markup("<tr>{}{}</tr>").format(name, join(rest, ""))


def _line(text: str | Markup) -> str | Markup:
    """A text without what could reorder or hide parts of the page; a part as it is."""
    return text if isinstance(text, Markup) else excerpt(text, _LONGEST)


def _policy(script: str) -> str:
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    runs = f"script-src 'sha256-{digest}'; " if script else ""
    return (
        f"default-src 'none'; {runs}style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _style() -> str:
    return Path(__file__).with_name("page.css").read_text(encoding="utf-8")
