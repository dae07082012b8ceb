"""The tutorials run as they stand: their commands, programs and requests, on small data.

The sample data sets are replaced by made ones with the same names and columns, and trainings get
what makes them small. What a page shows as output must be in what was said, but for its numbers.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import runpy
import shlex
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from command import cli, succeed
from presets import write_image_preset, write_text_preset, write_texts
from served import LIMITS, running

from tltool.data.reading import samples
from tltool.serving.exports import find_export

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "tutorials"
# In this order: the last one goes on with the data of the first.
PAGES = ("pictures", "texts", "labels")
_STDERR = 2
SERVED_AT = "http://127.0.0.1:8501/"

# Shape of output ---------------------------------------------------------------------------

_NUMBER = r"[-+]?\d(?:[\d,.]*\d)?(?:e[-+]?\d+)?"
_UNITS = r"(?:k|M|G)?B\b"


def pattern_of(line: str) -> str:
    """A line of output as a regular expression: numbers and spaces are free, `…` is anything."""
    parts = re.split(rf"({_NUMBER}(?: {_UNITS})?|\s+|…)", line.strip())
    return "".join(map(_free, parts))


def _free(part: str) -> str:
    if part == "…":
        return ".*"
    if part.isspace():
        return r"\s+"
    if re.fullmatch(rf"{_NUMBER}(?: {_UNITS})?", part):
        return _NUMBER + (f" {_UNITS}" if " " in part else "")
    return re.escape(part)


def missing(shown: str, said: str) -> list[str]:
    """Lines that a page shows and that were not said."""
    lines = [line for line in shown.splitlines() if line.strip(" …")]
    return [line for line in lines if not re.search(pattern_of(line), said)]


def without_numbers(value):
    """JSON values without their numbers."""
    if isinstance(value, dict):
        return {key: without_numbers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [without_numbers(one) for one in value if not isinstance(one, int | float)]
    return None if isinstance(value, int | float) else value


def test_numbers_and_spaces_of_shown_output_are_free_and_words_are_not():
    said = "Result on the test split\n  Accuracy   98.1 % (95 % interval 1.0 % to 99.2 %, 48 rows)"
    assert missing("Accuracy  7.5 % (95 % interval 82 % to …", said) == []
    assert missing("…\n  Result on the test split\n  …", said) == []
    assert missing("(23 MB), 1.5e-07", "(1,200 kB), 3e-4") == []
    assert missing("difference 0.0081, same", "difference 4.4e-05, same") == []
    for wrong in ("Precision  7.5 %", "Accuracy …, 48 texts)", "Result on a test split", "98.1 MB"):
        assert missing(wrong, said) == [wrong]


# Pages -------------------------------------------------------------------------------------


@dataclass
class Step:
    """A block of a page to run, and the output that the page shows beneath it."""

    language: str
    text: str
    shown: str = ""
    shown_as: str = ""

    def lacks(self, said: str) -> list[str]:
        """What the page shows and was not said."""
        if self.shown_as == "json":
            same = without_numbers(json.loads(self.shown)) == without_numbers(json.loads(said))
            return [] if same else [self.shown]
        return missing(self.shown, said)


def steps(page: str) -> list[Step]:
    text = (FOLDER / f"{page}.md").read_text(encoding="utf-8")
    found: list[Step] = []
    for language, body in re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language in {"sh", "python"}:
            found.append(Step(language, body))
        elif language in {"", "json"}:
            assert not found[-1].shown, f"{page}: two outputs of {found[-1].text}"
            found[-1].shown, found[-1].shown_as = body, language
    return found


@dataclass
class Reader:
    """Does what a page says, in a folder of its own.

    Attributes:
        presets: Tiny backbones by the name that they stand for.
        said: What each page's steps said.
    """

    presets: dict[str, Path]
    said: dict[str, list[str]] = field(default_factory=dict)
    port: int | None = None

    def reads(self, page: str) -> None:
        self.said[page] = []
        with contextlib.ExitStack() as servers:
            for step in steps(page):
                run = self.runs_python if step.language == "python" else self.runs_shell
                self.said[page].append(run(step.text, servers))

    def runs_python(self, text: str, _: contextlib.ExitStack) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(text, "tutorial", "exec"), {"__name__": "tutorial"})
        return out.getvalue()

    def runs_shell(self, text: str, servers: contextlib.ExitStack) -> str:
        said = []
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            match words:
                case ["tltool", "serve", run]:
                    served = running(find_export(Path(run)), LIMITS, _STDERR)
                    self.port = servers.enter_context(served)
                case ["tltool", "diagnose", *arguments]:
                    done = cli("diagnose", *arguments)
                    assert done.code == 1, done
                    said += [done.out, done.err]
                case ["tltool", *arguments]:
                    done = succeed(*arguments, *self.smaller(arguments))
                    said += [done.out, done.err]
                case ["curl", "-s", address, "-d", body]:
                    here = address.replace(SERVED_AT, f"http://127.0.0.1:{self.port}/")
                    assert here != address
                    with urllib.request.urlopen(here, body.encode()) as answer:
                        said.append(answer.read().decode())
                case ["(cd", folder, "&&", "python", program]:
                    with contextlib.chdir(folder):
                        runpy.run_path(program.removesuffix(")"))
                case _:
                    raise AssertionError(f"the test can't run {line!r}")
        return "\n".join(said)

    def smaller(self, arguments: list[str]) -> list[str]:
        """What makes a command of a page small."""
        match arguments:
            case ["finetune", "my_images", *_, "name=digits"]:
                kind, form, precision = "image", "litert", "float16"
            case ["finetune", "my_images", *_, "name=decided"]:
                kind, form, precision = "image", "", "float32"
            case ["finetune", "my_csv", *_]:
                kind, form, precision = "text", "saved_model", "float32"
            case ["data", "audit", *_]:
                return ["--backbone", str(self.presets["image"])]
            case _:
                return []
        return [
            f"backbone={self.presets[kind]}",
            "schedule=[{train: head, solver: exact}]",
            "training.keep=trained",
            f"export.formats=[{form}]",
            f"export.precisions=[{precision}]",
            "--no-audit",
        ]


def make_samples(folder: Path) -> dict[str, Path]:
    """Folders as `fetch_sample` gives them."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for digit in (3, 7):
        (folder / "mnist-5k" / "images" / str(digit)).mkdir(parents=True)
        for number in range(40):
            grey = rng.integers(0, 120, (28, 28), dtype=np.uint8)
            grey[:14] += np.uint8(100 * (digit == 7))
            file = folder / "mnist-5k" / "images" / str(digit) / f"{500 * digit + number}.png"
            Image.fromarray(grey).save(file)
    (folder / "airline-tweets").mkdir()
    write_texts(folder / "airline-tweets" / "tweets.csv", 300)
    return {name: folder / name for name in ("mnist-5k", "airline-tweets")}


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Iterator[Reader]:
    """One who has read all pages, in a folder that has nothing else."""
    folder = tmp_path_factory.mktemp("tutorials")
    presets = {
        "image": write_image_preset(folder / "tiny_resnet"),
        "text": write_text_preset(folder / "tiny_bert"),
    }
    made = make_samples(folder / "samples")
    (folder / "here").mkdir()
    one = Reader(presets)
    with pytest.MonkeyPatch.context() as patch, contextlib.chdir(folder / "here"):
        patch.setattr(samples, "fetch_sample", lambda name: made[name])
        for page in PAGES:
            one.reads(page)
        yield one


def test_every_tutorial_is_run():
    assert {path.stem for path in FOLDER.glob("*.md")} - {"README"} == set(PAGES)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_tutorial_says_what_its_page_shows(reader, page):
    for step, said in zip(steps(page), reader.said[page], strict=True):
        assert step.lacks(said) == [], f"{page}: {step.text}\n{said}"


@pytest.mark.slow
def test_the_report_shows_why_and_what_was_changed(reader):
    """Words of wrong answers where there are any, and the rows that were decided."""
    for run in ("digits", "tweets", "decided"):
        page = Path("runs", run, "1", "report", "index.html").read_text(encoding="utf-8")
        right = json.loads(Path("runs", run, "1", "metrics.json").read_text())["test"]["accuracy"]
        assert ("What each wrong answer rests on" in page) == (right < 1)
        for words in ("What was changed in the data", "Given another label", "labels to look at"):
            assert (words in page) == (run == "decided")
