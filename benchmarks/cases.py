"""What is trained in the speed benchmarks: data, model and schedule, the same for every contender.

`Arena` lays out what a race needs in a temporary folder: tables of the same
training, validation and test rows for all, and a cache for tltool that holds
the backbones and nothing else.
"""

from __future__ import annotations

import csv
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tltool.backbones.catalog import find_card
from tltool.backbones.sources.fetch import fetch_card
from tltool.data.examples import Examples
from tltool.recipe.recipe import Recipe
from tltool.support.files import cache_dir
from tltool.training.preparation import load_data

# Rows of each class that --quick takes.
QUICK_ROWS = {"train": 4, "validation": 1, "test": 1}


@dataclass(frozen=True)
class Case:
    """One thing to train, by every contender alike.

    Attributes:
        title: For the heading.
        modality: "text" or "image".
        dataset: Folder below `--data`.
        train_rows, test_rows: The published splits in it; a tenth of the
            training rows validates.
        backbone: Name of tltool's model card.
        train: What learns, as in a recipe.
        epochs, learning_rate: The rate falls to 0 as a cosine, without warm-up.
        batch_size, dropout, label_smoothing, weight_decay, gradient_clip_norm: As
            in a recipe; the optimizer is AdamW.
    """

    title: str
    modality: str
    dataset: str
    train_rows: str
    test_rows: str
    backbone: str
    train: Any
    epochs: int
    learning_rate: float
    batch_size: int = 32
    dropout: float = 0.1
    label_smoothing: float = 0.1
    weight_decay: float = 0.01
    gradient_clip_norm: float = 1.0

    @property
    def has_frozen_layers(self) -> bool:
        """Whether there is anything that a feature cache can hold."""
        return self.train != "all"


def _text(title: str, **values: Any) -> Case:
    return Case(
        f"all-MiniLM-L6-v2 on banking77, {title}",
        *("text", "banking77", "train.csv", "test.csv", "all-minilm-l6-v2"),
        **values,
    )


def _image(title: str, **values: Any) -> Case:
    return Case(
        f"EfficientNet-Lite0 at 224 px on sign_digits, {title}",
        *("image", "sign_digits", "train", "test", "efficientnet-lite0"),
        **values,
    )


CASES = {
    "text-head": _text("the head, 5 epochs", train="head", epochs=5, learning_rate=1e-2),
    "text-last2": _text(
        "the last two blocks, 5 epochs", train={"last": 2}, epochs=5, learning_rate=3e-4
    ),
    "text-all": _text("everything, 2 epochs", train="all", epochs=2, learning_rate=2e-4),
    "image-head": _image("the head, 5 epochs", train="head", epochs=5, learning_rate=1e-2),
    "image-last": _image(
        "the last stage, 5 epochs", train={"from": "stage7"}, epochs=5, learning_rate=1e-3
    ),
    "image-all": _image("everything, 2 epochs", train="all", epochs=2, learning_rate=1e-4),
}


class Arena:
    """Tables and caches for the contenders; a context that leaves nothing behind.

    Args:
        data: Folder that holds the data sets.
        quick: Take a few rows only.
        per_class: Take at most so many training rows of each class, and a
            ninth of it to validate; None takes all.
    """

    def __init__(self, data: Path, *, quick: bool, per_class: int | None = None) -> None:
        self._data, self._quick = data, quick
        self._limits: dict[str, int] = {}
        if quick:
            self._limits = QUICK_ROWS
        elif per_class is not None:
            self._limits = {"train": per_class, "validation": -(-per_class // 9)}
        self._tables: dict[str, dict[str, str]] = {}
        self.counts: dict[str, Counter[str]] = {}

    def __enter__(self) -> Self:
        """Makes the folder; the backbones are linked from the user's own cache."""
        self._folder = tempfile.TemporaryDirectory(prefix="tltool-race.")
        self.path = Path(self._folder.name)
        models = cache_dir() / "models"
        models.mkdir(parents=True, exist_ok=True)
        self.cache.mkdir()
        (self.cache / "models").symlink_to(models.resolve(), target_is_directory=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    @property
    def cache(self) -> Path:
        """What `TLTOOL_CACHE` is set to for tltool."""
        return self.path / "cache"

    def forget_features(self) -> None:
        """Empties the cache of everything but the backbones."""
        for path in self.cache.iterdir():
            if path.name != "models":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def settings(self, case: Case) -> dict[str, Any]:
        """What a contender is told of a case: its fields, the tables, the weights."""
        fields = asdict(case)
        if self._quick:
            fields["epochs"] = 2
        return {**fields, "tables": self._split(case), "weights": str(weights_folder(case))}

    def _split(self, case: Case) -> dict[str, str]:
        """Tables `input,label` of the three splits, made once for each data set."""
        if case.dataset not in self._tables:
            examples = load_case(case, self._data)
            self._tables[case.dataset] = {
                split: str(self._write(case.dataset, split, examples))
                for split in ("train", "validation", "test")
            }
        return self._tables[case.dataset]

    def _write(self, dataset: str, split: Any, examples: Examples) -> Path:
        chosen = examples.split(split)
        rows = [(os.fspath(x), str(y)) for x, y in zip(chosen.inputs, chosen.targets, strict=True)]
        if split in self._limits:
            rows = first_of_each_label(rows, self._limits[split])
        self.counts.setdefault(dataset, Counter())[split] = len(rows)
        path = self.path / f"{dataset}-{split}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("input", "label"), *rows])
        return path


def load_case(case: Case, data: Path) -> Examples:
    """The rows of a case, a tenth of the published training rows set aside to validate."""
    folder = (data / case.dataset).resolve()
    sources = {"train": str(folder / case.train_rows), "test": str(folder / case.test_rows)}
    recipe = Recipe.of(
        task=f"{case.modality}-classification",
        backbone=case.backbone,
        data={**sources, "validation_fraction": 0.1},
    )
    return load_data(recipe)[0]


def weights_folder(case: Case) -> Path:
    """The folder with the pretrained weights, fetched where it is not cached."""
    card = find_card(case.backbone)
    if card is None:
        raise ValueError(f"tltool has no model card {case.backbone!r}")
    return fetch_card(card)


def first_of_each_label(rows: Sequence[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """The first `count` rows of each label, in their order."""
    seen: Counter[str] = Counter()
    chosen = []
    for row in rows:
        seen[row[1]] += 1
        if seen[row[1]] <= count:
            chosen.append(row)
    return chosen
