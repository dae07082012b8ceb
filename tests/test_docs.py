"""The documentation is true: links lead somewhere, recipes are valid, the example runs."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from presets import write_text_preset, write_texts

from tltool.recipe.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("", "docs", "docs/tutorials", "docs/wrong")
PAGES = sorted(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md"))


def python(*arguments, **options):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_recipe_reference_is_up_to_date():
    done = python(ROOT / "docs" / "make_reference.py", "--check", cwd=ROOT)
    assert done.returncode == 0, "run: python docs/make_reference.py" + done.stderr


def test_every_field_of_a_recipe_is_described():
    text = (ROOT / "docs" / "recipe_reference.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert not [row for row in rows if re.search(r"\|\s*\|", row)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        linked = (page.parent / file) if file else page
        assert linked.exists(), f"{page.name} links to {target}"
        if anchor:
            titles = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {_anchor(title) for title in titles}, f"{page.name}: {target}"


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")


@pytest.fixture
def hooks():
    spec = importlib.util.spec_from_file_location("site_links", ROOT / "docs" / "site_links.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("host", "recipe"),
    [("", "recipes"), ("https://host/main", "[recipes](https://host/main/recipes/my_csv.yaml)")],
)
def test_links_of_the_site_lead_to_files_that_are_on_it_or_to_the_host(
    hooks, host, recipe, monkeypatch
):
    """A file that MkDocs knows and leaves out is not on it."""
    monkeypatch.setattr(hooks, "HOST", host)
    left_out = {"api.md": False, "examples/custom_head.py": False, "make_reference.py": True}
    files = [
        SimpleNamespace(
            abs_src_path=str(ROOT / "docs" / name),
            inclusion=SimpleNamespace(is_excluded=lambda left=left: left),
        )
        for name, left in left_out.items()
    ]
    page = SimpleNamespace(file=SimpleNamespace(abs_src_path=str(ROOT / "docs" / "api.md")))
    targets = ("head](examples/custom_head.py", "made](make_reference.py",
               "recipes](../recipes/my_csv.yaml")  # fmt: skip
    text = " ".join(f"[{target})" for target in targets)
    found = hooks.on_page_markdown(text, page, {}, files)
    made = f"[made]({host}/docs/make_reference.py)" if host else "made"
    assert found == f"[head](examples/custom_head.py) {made} {recipe}"


def test_a_link_of_the_built_site_that_leads_nowhere_is_found(hooks, tmp_path):
    (tmp_path / "wrong").mkdir()
    (tmp_path / "index.html").write_text(
        '<a href="wrong/a%20b.html#x">1</a> <a href="#here">2</a> <a href="https://x/y.html">3</a>'
        '<a href="/index.html">4</a> <img src="data:image/png;base64,AA=="> '
        '<a href="gone.html">5</a>'
    )
    (tmp_path / "wrong" / "a b.html").write_text('<a href="../index.html">1</a><img src="no.png">')
    assert hooks.dead_links(tmp_path) == ["index.html: gone.html", "wrong/a b.html: no.png"]
    with pytest.raises(hooks.DeadLinksError, match=r"index.html: gone.html"):
        hooks.on_post_build({"site_dir": str(tmp_path)})


def test_whole_recipes_in_the_pages_are_valid():
    found = [
        yaml.safe_load(block)
        for page in PAGES
        for block in blocks(page, "yaml")
        if re.search(r"^task:", block, re.MULTILINE)
    ]
    assert len(found) >= 2
    for values in found:
        Recipe.of(**values)


def test_parts_of_recipes_in_the_pages_are_valid():
    whole = {"task": "image-classification", "backbone": "efficientnet-lite0"}
    for page in PAGES:
        for block in blocks(page, "yaml"):
            values = yaml.safe_load(block)
            if "task" not in values:
                Recipe.of(**whole, **{k: v for k, v in values.items() if k not in whole})


def test_python_in_the_pages_compiles():
    for page in PAGES:
        for block in blocks(page, "python"):
            compile(block, str(page), "exec")


def test_commands_in_the_pages_exist():
    """Every `tltool …` command line names a command, a recipe and options that exist."""
    from typer.main import get_command

    from tltool.cli.app import app

    root = get_command(app)
    commands = [words for page in PAGES for words in _commands(page)]
    assert len(commands) > 40
    for words in commands:
        command, rest = root, words[1:]
        while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
            assert rest[0] in command.commands, " ".join(words)
            command, rest = command.commands[rest[0]], rest[1:]
        named = [p.opts + p.secondary_opts for p in command.params]
        known = {opt for opts in named for opt in opts} | {"--help"}
        assert not {word for word in rest if word.startswith("--")} - known, " ".join(words)


def _commands(page: Path) -> list[list[str]]:
    """Command lines of tltool in shell blocks and in the text, as words."""
    text = page.read_text(encoding="utf-8")
    shell = [line for block in blocks(page, "sh") for line in block.splitlines()]
    inline = re.findall(r"`(tltool [^`]*)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = [line.partition("  #")[0] for line in shell + inline]
    found = [line[line.index("tltool ") :].split() for line in lines if "tltool " in line]
    return [words for words in found if words[1] != "COMMAND"]


@pytest.mark.slow
def test_the_custom_head_example_runs(tmp_path):
    preset = write_text_preset(tmp_path / "preset")
    data = write_texts(tmp_path / "texts.csv", count=80)
    example = ROOT / "docs" / "examples" / "custom_head.py"
    arguments = ["--backbone", preset, "--data", data, "--runs", tmp_path / "runs"]
    done = python(example, *arguments, cwd=tmp_path, env=_environment())
    assert done.returncode == 0, done.stderr
    # The tiny backbone is random and frozen, so that any accuracy will do.
    assert re.search(r"accuracy [01]\.\d{3}, run in", done.stdout)
    assert (tmp_path / "runs/custom-head/1/exports/litert_float32/model.tflite").is_file()


def _environment() -> dict[str, str]:
    import os

    # The example must also run from a checkout that is not installed.
    return {**os.environ, "PYTHONPATH": str(ROOT)}
