"""What `tltool data audit` finds of planted faults, beside cleanlab on the same folds.

    python benchmarks/data_audit.py --data DIR
    python benchmarks/data_audit.py --data DIR --sets sign_digits --trials 3

Of each set it swaps 5 % of the labels, copies 50 training rows with small changes into the test
rows, and lets the length, the file type or the brightness give labels away. It prints how many are
found among as many rows as were swapped, beside cleanlab's own ranking of the same out-of-fold
probabilities; near duplicates; leaks; whether the score without swaps, the score without copies and
the gain of twice the rows, all known by construction, are within their intervals. A whole
measurement goes into RESULTS.md. It needs `cleanlab`.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from cleanlab.rank import get_label_quality_scores
from PIL import Image, ImageEnhance
from results import mean_and_spread, table_row, write_section
from threadpoolctl import threadpool_limits

from tltool.data.labels import make_task
from tltool.finetuning.audit.cost import Costs
from tltool.finetuning.audit.evidence import Evidence
from tltool.finetuning.audit.findings import Estimate
from tltool.finetuning.audit.gathering import gathered
from tltool.finetuning.audit.leaks import leaks
from tltool.finetuning.audit.neighbours import neighbourhood
from tltool.recipe.recipe import Recipe
from tltool.support.errors import TltoolError

SWAPPED = 0.05
COPIES = 50
TRIALS = 10
ROWS = 3000
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Set:
    """A data set, and how faults are planted into a copy of it.

    Attributes:
        words: What it is.
        task: Of its recipe.
        backbone: Whose features are looked at.
        copied: From the data folder, a new folder and a way to plant to `data` of a recipe; what
            was planted is in the names of files, or in a table beside.
    """

    words: str
    task: str
    backbone: str
    copied: Callable[[Path, Path, str], dict[str, Any]]


def pictures(data: Path, folder: Path, fault: str) -> dict[str, Any]:
    """A copy of sign_digits with a fault."""
    source, rng = data / "sign_digits", random.Random(0)
    for part in ("train", "test"):
        shutil.copytree(source / part, folder / part)
    files = sorted((folder / "train").rglob("*.JPG"))
    if fault == "copies":
        for file in rng.sample(files, COPIES):
            changed(file, folder / "test" / file.parent.name / f"copy_{file.stem}.jpg", rng)
    if fault == "leak":
        for file in [*files, *sorted((folder / "test").rglob("*.JPG"))]:
            if int(file.parent.name) < 5:
                with Image.open(file) as image:
                    darker = ImageEnhance.Brightness(image).enhance(0.6)
                darker.save(file, "JPEG", quality=95)
    return {"train": str(folder)}


def changed(source: Path, target: Path, rng: random.Random) -> None:
    """A copy as messengers make it: cropped, smaller, recompressed, brighter or darker."""
    with Image.open(source) as image:
        width, height = image.size
        edge = rng.random() * 0.03
        box = (int(edge * width), int(edge * height), width - int(edge * width),
               height - int(edge * height))  # fmt: skip
        small = image.crop(box).resize((int(0.9 * width), int(0.9 * height)))
    ImageEnhance.Brightness(small).enhance(rng.uniform(0.9, 1.1)).save(target, quality=70)


def questions(data: Path, folder: Path, fault: str) -> dict[str, Any]:
    """Rows of banking77 with a fault, and as many test rows as there are to 3,000 training ones."""
    folder.mkdir(parents=True)
    train = pd.read_csv(data / "banking77" / "train.csv").sample(
        ROWS, random_state=0, ignore_index=True
    )
    test = pd.read_csv(data / "banking77" / "test.csv")
    test = test[test.label.isin(train.label)].sample(ROWS // 3, random_state=0, ignore_index=True)
    rng = random.Random(0)
    if fault == "copies":
        long = train[train.text.str.split().str.len() >= 8].sample(COPIES, random_state=0)
        long["text"] = [reworded(text, rng) for text in long.text]
        test = pd.concat([test, long], ignore_index=True)
        long.to_csv(folder / "copies.csv", index=False)
    if fault == "leak":
        first = sorted(set(train.label))[:20]
        for table in (train, test):
            longer = table.text + " Thanks in advance for any help that you can give me."
            table["text"] = table.text.where(~table.label.isin(first), longer)
    train.to_csv(folder / "train.csv", index=False)
    test.to_csv(folder / "test.csv", index=False)
    return {"train": str(folder / "train.csv"), "test": str(folder / "test.csv")}


def reworded(text: str, rng: random.Random) -> str:
    """A text in capitals or small letters, with a word less or twice, or other marks at its end."""
    words = text.split()
    place = rng.randrange(1, len(words) - 1)
    changes = [
        lambda: " ".join(words).lower().rstrip(".?!"),
        lambda: " ".join([*words[:place], *words[place + 1 :]]),
        lambda: " ".join([*words[:place], words[place], *words[place:]]),
        lambda: f"Hi, {text}",
    ]
    return rng.choice(changes)()


SETS = {
    "sign_digits": Set("500 + 200 photographs of hands, 10 classes", "image-classification",
                       "efficientnet-lite0", pictures),
    "banking77": Set("3,000 + 1,000 questions to a bank, 77 classes", "text-classification",
                     "all-minilm-l6-v2", questions),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the data sets")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=[*SETS])
    parser.add_argument("--trials", type=int, default=TRIALS, help=f"default {TRIALS}")
    arguments = parser.parse_args()
    from tltool.support.quiet import load_tensorflow

    load_tensorflow()
    parts = []
    try:
        with threadpool_limits(1, user_api="blas"):
            for name in arguments.sets:
                parts.append(section(name, SETS[name], arguments.data, arguments.trials))
    except TltoolError as error:
        parser.exit(error.exit_code, f"error: {error}\n")
    text = "\n\n".join(["## What an audit of data finds of planted faults", *parts])
    print(text)
    if list(arguments.sets) == [*SETS] and arguments.trials == TRIALS:
        write_section("data audit", text)


def section(name: str, chosen: Set, data: Path, trials: int) -> str:
    """What is found in one set, as Markdown."""
    with tempfile.TemporaryDirectory() as root:
        plain = read(chosen, data, Path(root) / "plain", "nothing")
        lines = [
            *swaps(plain, trials),
            *copies(chosen, data, Path(root) / "copies", plain),
            *planted_leak(chosen, data, Path(root) / "leak", plain),
            *curves(plain, trials),
        ]
    rows = [table_row(line) for line in (("Planted", "Found"), ("---", "---"), *lines)]
    return "\n".join([f"**{name}**: {chosen.words}, {chosen.backbone}", "", *rows])


def read(chosen: Set, data: Path, folder: Path, fault: str) -> Evidence:
    recipe = Recipe.of(
        task=chosen.task,
        backbone=chosen.backbone,
        data={**chosen.copied(data, folder, fault), "validation_fraction": 0.0},
        schedule="feature_extraction",
    )
    found = gathered(recipe)
    print(f"{folder.name}: {len(found)} rows", file=sys.stderr, flush=True)
    return found


def labelled(evidence: Evidence, targets: Sequence[Any]) -> Evidence:
    """The same rows with other labels."""
    examples = replace(evidence.examples, targets=targets)
    return again(evidence, examples, evidence.features)


def taken(evidence: Evidence, rows: Array) -> Evidence:
    """Some of the rows."""
    return again(evidence, evidence.examples.take(rows.tolist()), evidence.features[rows])


def again(evidence: Evidence, examples: Any, features: Array) -> Evidence:
    task = make_task(evidence.recipe.spec, examples)
    return Evidence.of(evidence.recipe, examples, task, features,
                       given_splits=evidence.given_splits)  # fmt: skip


def swaps(plain: Evidence, trials: int) -> list[tuple[str, str]]:
    """Swapped labels: how many are ranked first, and the score without them."""
    ours: list[float] = []
    theirs: list[float] = []
    inside, rates = 0, 0
    known_score = score_of(plain)
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        true = plain.truth
        wrong = rng.permutation(len(true))[: round(SWAPPED * len(true))]
        labels = plain.task.target.labels
        other = (true[wrong] + rng.integers(1, len(labels), len(wrong))) % len(labels)
        targets = list(plain.examples.targets)
        for row, number in zip(wrong, other, strict=True):
            targets[row] = labels[number]
        noisy = labelled(plain, targets)
        likely = noisy.outputs(noisy.out_of_fold())
        doubts = noisy.task.target.doubts(likely, noisy.truth)
        for found, quality in (
            (ours, doubts.quality),
            (theirs, get_label_quality_scores(noisy.truth, likely.astype(np.float64))),
        ):
            first = np.argsort(quality, kind="stable")[: len(wrong)]
            found.append(len(set(first) & set(wrong)) / len(wrong))
        costs = Costs.of(noisy)
        cost = costs.score(np.arange(len(noisy)), doubts)
        inside += within(cost.if_right, known_score)
        rates += within(cost.wrong_labels, SWAPPED)
    share = f"{100 * SWAPPED:g} %"
    return [
        (f"{share} of labels swapped: precision = recall at {share}, self-confidence",
         f"{mean_and_spread(ours)}; cleanlab {mean_and_spread(theirs)}"),
        ("the score without swaps within its interval", f"{inside} of {trials} draws"),
        (f"{share} within the interval of the share that is wrong", f"{rates} of {trials} draws"),
    ]  # fmt: skip


def score_of(evidence: Evidence) -> float:
    """Of probes on the rows as they are."""
    return Costs.of(evidence).score(np.arange(len(evidence)), None).as_it_is.value


def within(estimate: Estimate | None, value: float) -> bool:
    return estimate is not None and estimate.low <= value <= estimate.high


def copies(chosen: Set, data: Path, folder: Path, plain: Evidence) -> list[tuple[str, str]]:
    """Near duplicates across splits: how many are found, and the score without them."""
    evidence = read(chosen, data, folder, "copies")
    planted = set()
    texts = set()
    if (folder / "copies.csv").is_file():
        texts = set(pd.read_csv(folder / "copies.csv").text)
    for row, value in enumerate(evidence.examples.inputs):
        copied = value in texts and evidence.examples.splits[row] == "test"
        if copied or "copy_" in Path(value).name:
            planted.add(row)
    near = neighbourhood(evidence)
    splits = evidence.examples.splits
    across = [pair for pair in near.pairs if splits[pair.one] != splits[pair.other]]
    found = planted & {row for pair in across for row in (pair.one, pair.other)}
    cost = Costs.of(evidence).score(near.clusters, None)
    known = score_of(plain)
    told = "none" if cost.without_leaks is None else cost.without_leaks
    interval = told if isinstance(told, str) else f"{told.low:.3f} to {told.high:.3f}"
    return [
        (f"{len(planted)} changed copies of training rows among the test rows",
         f"{len(found)} of {len(planted)} found; {len(across) - len(found)} other pairs across "
         "splits"),
        ("the score without copies", f"{known:.3f} known, {interval} told"),
    ]  # fmt: skip


def planted_leak(chosen: Set, data: Path, folder: Path, plain: Evidence) -> list[tuple[str, str]]:
    """Facts that give labels away."""
    found, clean = (
        [leak.fact for leak in leaks(evidence) if leak.named]
        for evidence in (read(chosen, data, folder, "leak"), plain)
    )
    what = "longer texts" if "words" in plain.numbers else "darker pictures"
    return [(f"{what} of some classes", f"named: {', '.join(found) or 'nothing'}; without them: "
             f"{', '.join(clean) or 'nothing'}")]  # fmt: skip


def curves(plain: Evidence, trials: int) -> list[tuple[str, str]]:
    """The gain of twice the rows, told by half of the training rows and measured with all."""
    splits = np.array([str(split) for split in plain.examples.splits])
    test, train = np.flatnonzero(splits == "test"), np.flatnonzero(splits != "test")
    inside, widths = 0, []
    for trial in range(trials):
        order = np.random.default_rng(trial).permutation(train)
        half = np.sort(order[: len(order) // 2])
        part = taken(plain, np.concatenate([half, test]))
        told = Costs.of(part).curve(None, seed=trial)
        whole = replace(plain, l2=part.l2)
        target = plain.task.target
        right = []
        for fitted in (half, train):
            held, raw = whole.judged([(fitted, test)])
            right.append(target.score(whole.outputs(raw), plain.truth[held]))
        gain = right[1] - right[0]
        inside += within(told.gain, gain)
        widths.append(told.gain.high - told.gain.low)
        print(f"curve {trial}: told {told.gain}, measured {gain:.4f}", file=sys.stderr, flush=True)
    return [
        (
            "twice the rows: the measured gain within its interval",
            f"{inside} of {trials} draws; intervals {100 * np.mean(widths):.1f} points wide",
        )
    ]


if __name__ == "__main__":
    main()
