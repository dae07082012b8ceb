"""Pages: what is put into them is shown as it is, and nothing is fetched or run."""

from __future__ import annotations

import base64
import hashlib
import io
from html.parser import HTMLParser

import pytest
from markupsafe import Markup
from PIL import Image

from tltool.report import page as pages

EVIL = "<script>alert(1)</script> \"quoted\" & 'single' \u202eback\x00"


class Outline(HTMLParser):
    """Elements with their attributes, the texts, and which elements were left open."""

    VOID = frozenset({"meta", "img", "br", "input", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def named(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (200, 10, 10)).save(file, "JPEG")
    return file.getvalue()


def whole() -> str:
    button, box = pages.opens("cell-1", "3", f"dogs taken for {EVIL}", pages.bullets([EVIL]))
    body = pages.join(
        [
            pages.paragraph(EVIL, "notice"),
            pages.heading(EVIL),
            pages.terms([(EVIL, EVIL)]),
            pages.table(EVIL, (EVIL, EVIL, "Rows"), [(EVIL, button, "3")], texts=2),
            pages.figure(pages.image(jpeg(), EVIL), EVIL),
            pages.cards([pages.code(EVIL)]),
            pages.disclosure(EVIL, pages.block(EVIL)),
            box,
        ]
    )
    sections = [pages.Section("one", EVIL, body), pages.Section("none", "Empty", Markup(""))]
    return pages.page(EVIL, sections, lead=pages.paragraph(EVIL))


def test_texts_are_shown_and_never_run():
    text = whole()
    outline = Outline(text)
    assert outline.open == []
    assert outline.named("script") == []
    assert "alert(1)" in text
    assert "\u202e" not in text
    assert "\x00" not in text
    assert outline.named("img")[0]["alt"].startswith("<script>alert(1)")
    policy = outline.named("meta")[2]["content"]
    assert policy.startswith("default-src 'none'; style-src")


def test_a_page_has_landmarks_headings_and_names():
    outline = Outline(whole())
    for landmark in ("header", "nav", "main", "footer", "h1"):
        assert len(outline.named(landmark)) == 1, landmark
    ids = [attrs["id"] for _, attrs in outline.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in outline.elements:
        for reference in ("aria-labelledby", "popovertarget"):
            assert attrs.get(reference, ids[0]) in ids
        if str(attrs.get("href", "")).startswith("#"):
            assert attrs["href"][1:] in ids
    assert [attrs["href"] for attrs in outline.named("a")] == ["#content", "#one"]
    (button, _) = outline.named("button")
    assert button["aria-label"].startswith("3: dogs taken for")


def test_an_empty_part_is_left_out():
    assert "Empty" not in whole()
    assert pages.table("t", ("a", "b"), []) == ""
    assert pages.bullets([]) == pages.cards([]) == pages.terms([]) == ""
    assert pages.disclosure("more", Markup("")) == ""


def test_the_one_script_of_a_page_is_allowed_by_its_sum():
    script = 'document.title = "a < b && c";'
    text = pages.page("t", [], script=script)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"<script>{script}</script>" in text
    assert f"script-src 'sha256-{digest}'" in Outline(text).named("meta")[2]["content"]


def test_an_image_is_png_or_jpeg():
    with pytest.raises(ValueError, match="neither PNG nor JPEG"):
        pages.image(b"<svg/>", "x")
