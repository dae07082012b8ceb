"""The most memory that large inputs take: long texts, many rows, many classes.

    python benchmarks/input_memory.py

Each case runs in a process of its own, which may take 8 GB of addresses, on
generated data. What is given is by how much its peak passes what the process
held before the work. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from contest import markdown_table, say
from race import publish, tltool_versions

LIMIT_GB = 8
TIMEOUT_S = 1800
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ("hello", "world", "flight", "delayed", "card")
LONG_TEXT, SHORT_TEXTS = 1_000_000, 3_000
ROWS, KEPT = 1_000_000, 1_000
CLASSES, CLASS_ROWS = 20_000, 60_000
CELL = 100_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a trial: small data, no writing")
    parser.add_argument("--case", choices=list(CASES), help="run one case and print what it took")
    options = parser.parse_args()
    scale = 50 if options.quick else 1
    if options.case:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(CASES[options.case](Path(folder), scale)))
        return
    rows = [[name, *measured(name, quick=options.quick)] for name in CASES]
    publish("input memory", describe(rows), quick=options.quick)


def measured(name: str, *, quick: bool) -> list[str]:
    """What a case took in a process of its own: memory and time, or that it was too much."""
    command = [sys.executable, __file__, "--case", name, *(["--quick"] if quick else [])]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return ["–", f"more than {TIMEOUT_S} s"]
    if done.returncode:
        say(f"{name}: {done.stderr.splitlines()[-1:]}")
        return [f"failed; it may take {LIMIT_GB} GB", "–"]
    found = json.loads(done.stdout.splitlines()[-1])
    say(f"{name}: {found}")
    return [f"{found['mb']:,.0f} MB", f"{found['s']:.0f} s"]


def work(step: Callable[[], Any]) -> dict[str, float]:
    """Growth of the peak and wall time of one step."""
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_GB << 30, LIMIT_GB << 30))
    before, started = _peak_mb(), time.perf_counter()
    result = step()
    found = {"mb": _peak_mb() - before, "s": time.perf_counter() - started}
    del result
    return found


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def long_text(folder: Path, scale: int) -> dict[str, float]:
    from tltool.data.texts.tokenizing import tokens_of

    short = [f"hello world, flight {number} delayed" for number in range(SHORT_TEXTS)]
    examples = _examples([*short, "hello card " * (LONG_TEXT // scale // 11)])
    tokens_of(examples.take([0]), _contract())
    return work(lambda: tokens_of(examples, _contract()))


def _table(folder: Path, scale: int) -> Any:
    from tltool.recipe.recipe import DataSection

    table = folder / "rows.csv"
    with table.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        file.writelines(
            f"the flight number {n} was delayed,class {n % 7}\n" for n in range(ROWS // scale)
        )
    return DataSection(train=str(table))


def reading(folder: Path, scale: int) -> dict[str, float]:
    from tltool.data.reading.sources import load_examples
    from tltool.tasks.table import TASKS

    section = _table(folder, scale)
    return work(lambda: load_examples(section, TASKS["text-classification"]))


def limited(folder: Path, scale: int) -> dict[str, float]:
    from tltool.data.reading.sources import load_examples
    from tltool.data.splits import limit_examples
    from tltool.tasks.table import TASKS

    section = _table(folder, scale)
    spec = TASKS["text-classification"]
    return work(lambda: limit_examples(load_examples(section, spec), KEPT, 0))


def many_classes(folder: Path, scale: int) -> dict[str, float]:
    import keras

    from tltool.evaluation.evaluate import PredictionRows, evaluate_outputs, write_predictions
    from tltool.runs.run import Run
    from tltool.tasks.classes import ClassTarget
    from tltool.tasks.table import TASKS, Task

    labels = tuple(f"class {number}" for number in range(CLASSES // scale))
    task = Task(TASKS["text-classification"], ClassTarget(labels))
    contract = _contract()
    token_ids = keras.Input((None,), dtype="int32", name="token_ids")
    embedded = keras.layers.Embedding(len(contract.vocabulary), 8)(token_ids)
    pooled = keras.layers.GlobalAveragePooling1D()(embedded)
    model = keras.Model({"token_ids": token_ids}, keras.layers.Dense(len(labels))(pooled))
    run = Run(None, None, task, contract, model)
    examples = _examples(
        [f"hello {LETTERS[n % 26]}{LETTERS[n // 26 % 26]}" for n in range(CLASS_ROWS // scale)],
        labels,
    )
    run.outputs(examples.take(range(64)))

    def evaluate() -> Any:
        outputs = run.outputs(examples)
        found = evaluate_outputs(outputs, examples, task)
        write_predictions(PredictionRows(outputs, examples, task), folder / "predictions.csv")
        return found, task.target.picture(
            outputs, task.target.truth(examples.targets), found.metrics
        )

    return work(evaluate)


def many_targets(folder: Path, scale: int) -> dict[str, float]:
    import numpy as np
    import tensorflow as tf

    from tltool.data.batches.pipeline import make_batches
    from tltool.data.batches.source import Source, nothing_to_load
    from tltool.tasks.classes import ClassTarget

    target = ClassTarget(tuple(f"class {number}" for number in range(CLASSES // scale)))
    truth = np.arange(CLASS_ROWS // scale) % len(target.labels)
    source = Source(len(truth), nothing_to_load, lambda _, rows: rows)
    tf.one_hot([0], len(target.labels))

    def epoch() -> int:
        kept, encode = target.packed(truth)
        batches = make_batches(source, targets=kept, encode=encode, batch_size=32, training=True)
        return sum(len(targets) for _, targets, _ in batches)

    return work(epoch)


def long_cell(folder: Path, scale: int) -> dict[str, float]:
    from tltool.data.reading.sources import load_examples
    from tltool.data.texts.tokenizing import tokens_of
    from tltool.recipe.recipe import DataSection
    from tltool.tasks.table import TASKS

    table = folder / "cell.csv"
    rows = [f"hello {number},{number % 2}" for number in range(20)]
    rows.append("hello card " * (CELL // 11) + ",1")
    table.write_text("\n".join(["text,label", *rows, ""]), encoding="utf-8")
    section = DataSection(train=str(table), on_error="skip")
    tokens_of(_examples(["hello"]), _contract())
    spec = TASKS["text-classification"]
    return work(lambda: tokens_of(load_examples(section, spec), _contract()))


def _examples(texts: list[str], labels: tuple[str, ...] = ("class",)) -> Any:
    from tltool.data.examples import Examples

    targets = [labels[number % len(labels)] for number in range(len(texts))]
    return Examples(
        "text", texts, targets, ["test"] * len(texts), [str(n) for n in range(len(texts))]
    )


def _contract() -> Any:
    from tltool.data.preprocessing import WordPiecePreprocessing

    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
    pieces = (*LETTERS, *(f"##{letter}" for letter in LETTERS), *WORDS)
    return WordPiecePreprocessing(vocabulary=(*special, *pieces), inputs=("token_ids",))


CASES: dict[str, Callable[[Path, int], dict[str, float]]] = {
    f"{SHORT_TEXTS:,} short texts and one of {LONG_TEXT:,} characters: their tokens": long_text,
    f"a table of {ROWS:,} rows: read": reading,
    f"the same with `max_examples: {KEPT}`: read and chosen": limited,
    f"{CLASS_ROWS:,} rows of {CLASSES:,} classes: evaluated, predictions written": many_classes,
    f"{CLASS_ROWS:,} rows of {CLASSES:,} classes: the targets of an epoch": many_targets,
    f"a table with a cell of {CELL:,} characters: read, the row left out": long_cell,
}


def describe(rows: list[list[str]]) -> str:
    """Heading, table and conditions."""
    return "\n".join(
        [
            "## Memory that large inputs take",
            "",
            markdown_table(["Case", "Growth of the peak (RSS)", "Wall"], rows),
            "",
            f"Each in a new process on generated data; the peak is counted from what the process "
            f"held before. {tltool_versions()}, {os.cpu_count()} CPUs.",
        ]
    )


if __name__ == "__main__":
    main()
