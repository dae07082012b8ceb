"""Seeded inputs that nobody meant to give, given to tltool in processes that are watched.

The inputs are made by `tests/helpers/mutations.py`; each follows from its kind and its seed alone.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

from contest import markdown_table, say
from forks import Forks

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))

ACCEPTED, REFUSED = "accepted", "refused"
TRACEBACK, HANG, CRASH, MEMORY = "traceback", "hang", "crash", "memory"
CONTROL = -1
"""In place of a seed: the inputs of a kind as they are, each of which must be accepted."""
SECONDS = 30.0
"""Within which an input must be accepted or refused."""
SETUP_SECONDS = 300.0
GROWTH = 1_500_000_000
"""Bytes by which an input may let the peak of the resident memory grow."""

Give = Callable[[Random], str]
Controls = Iterator[Callable[[], str]]


@dataclass(frozen=True)
class Given:
    """One input and what became of it.

    Attributes:
        kind: What it is an input of.
        seed: Makes it, together with the kind; or `CONTROL`.
        outcome: `ACCEPTED`, `REFUSED`, or one of the faults.
        fault: What went wrong, or empty.
        seconds: What it took.
        growth: Of the resident memory, bytes.
    """

    kind: str
    seed: int
    outcome: str
    fault: str = ""
    seconds: float = 0.0
    growth: int = 0

    def __str__(self) -> str:
        seed = f" --seed {self.seed}" if self.seed != CONTROL else ""
        again = f"python benchmarks/abuse.py inputs --kinds {self.kind}{seed} --count 1"
        return f"{self.outcome.upper()} {self.kind} {self.seed}: {self.fault}\n    again: {again}"

    @property
    def is_fault(self) -> bool:
        """Whether it was neither accepted nor refused."""
        return self.outcome not in {ACCEPTED, REFUSED}


def give_all(root: Path, counts: dict[str, int], first_seed: int) -> list[Given]:
    """Gives inputs of each kind, and tells of faults as they are found.

    Args:
        root: An empty folder.
        counts: How many of each kind.
        first_seed: Seed of the first of each kind; the others follow.
    """
    forks = Forks(root)
    found: list[Given] = []
    for kind, count in counts.items():
        for given in _give(forks, kind, [CONTROL, *range(first_seed, first_seed + count)]):
            found.append(given)
            if given.is_fault:
                say(str(given))
        say(f"{kind}: {count}")
    return found


def table(found: Sequence[Given]) -> str:
    """The outcomes, a row for each kind of input."""
    rows = []
    for kind in dict.fromkeys(given.kind for given in found):
        own = [given for given in found if given.kind == kind and given.seed != CONTROL]
        outcomes = [given.outcome for given in own]
        told = (ACCEPTED, REFUSED, TRACEBACK, HANG, CRASH, MEMORY)
        rows.append([
            kind, f"{len(own):,}", *(f"{outcomes.count(one):,}" for one in told),
            f"{sum(given.seconds for given in own):.0f}",
            f"{max(given.seconds for given in own):.1f}",
            f"{max(given.growth for given in own) / 1e6:.0f}",
        ])  # fmt: skip
    head = ["Kind", "Inputs", "Accepted", "Refused", "Tracebacks", "Hangs", "Crashes",
            "Too much memory", "Seconds", "Slowest (s)", "Largest growth (MB)"]  # fmt: skip
    return markdown_table(head, rows)


def _give(forks: Forks, kind: str, seeds: Sequence[int]) -> Iterator[Given]:
    """Gives one input after the other, in a new process after one that did not end well."""
    folder = forks.root / kind
    folder.mkdir()
    while seeds:
        done = 0
        for given in _of_one_process(forks, kind, folder, seeds):
            yield given
            done += 1
        if not done:
            raise RuntimeError(f"{kind} could not be set up: {forks.last_words(0)}")
        seeds = seeds[done:]


def _of_one_process(forks: Forks, kind: str, folder: Path, seeds: Sequence[int]) -> Iterator[Given]:
    read, write = os.pipe()
    child = forks.start(lambda: _work(kind, folder, seeds, write))
    os.close(write)
    seed: int | None = None
    began, buffer = time.monotonic(), b""
    with os.fdopen(read, "rb", buffering=0) as pipe:
        while True:
            patience = SETUP_SECONDS if seed in {None, CONTROL} else SECONDS
            if select.select([pipe], [], [], 0.2)[0]:
                part = pipe.read(65_536)
                if not part:
                    break
                *lines, buffer = (buffer + part).split(b"\n")
                for line in lines:
                    told = json.loads(line)
                    seed, began = told["seed"], time.monotonic()
                    if "outcome" in told:
                        yield Given(kind, **told)
                        following = seeds[seeds.index(told["seed"]) + 1 :]
                        seed = following[0] if following else None
            elif time.monotonic() - began > patience or _resident(child) > 3 * GROWTH:
                outcome = HANG if time.monotonic() - began > patience else MEMORY
                os.kill(child, signal.SIGKILL)
                forks.wait(child)
                if seed is not None:
                    took = time.monotonic() - began
                    yield Given(kind, seed, outcome, forks.last_words(child), took)
                return
    code = forks.wait(child)
    if seed is not None:
        yield Given(kind, seed, CRASH, f"exit code {code}: {forks.last_words(child)}")


def _resident(process: int) -> int:
    """Bytes of resident memory."""
    with suppress(OSError, IndexError):
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    return 0


def _peak() -> int:
    """The peak of this process's resident memory since `_forget_peak`, bytes."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024


def _forget_peak() -> int:
    """Returns the resident memory."""
    Path("/proc/self/clear_refs").write_text("5")
    return _resident(os.getpid())


def _work(kind: str, folder: Path, seeds: Sequence[int], pipe: int) -> int:
    """Gives inputs and tells of each, and of its beginning, by a line in a pipe."""

    def tell(**facts: Any) -> None:
        os.write(pipe, json.dumps(facts).encode() + b"\n")

    give, controls = KINDS[kind].begin(folder)
    for seed in seeds:
        before = _forget_peak()
        tell(seed=seed)
        began, fault = time.monotonic(), ""
        try:
            outcome = give(Random(f"{kind} {seed}")) if seed != CONTROL else _accepted(controls)
        except Exception as error:
            outcome = HANG if isinstance(error, TimeoutError) else TRACEBACK
            fault = "".join(traceback.format_exception(error)[-4:])[-1500:]
        took, growth = time.monotonic() - began, _peak() - before
        if growth > GROWTH and not fault:
            outcome, fault = MEMORY, f"{growth / 1e6:,.0f} MB"
        tell(seed=seed, outcome=outcome, fault=fault, seconds=took, growth=growth)
    return 0


def _accepted(controls: Controls) -> str:
    """Gives what was not changed; RuntimeError where one of it is refused."""
    for number, control in enumerate(controls, start=1):
        if control() != ACCEPTED:
            raise RuntimeError(f"control {number} is refused, though nothing was changed")
    return ACCEPTED


def _called(call: Callable[[], Any]) -> str:
    """Calls what a command would; as the command line does, tells errors from faults."""
    from tltool.support.machine import known_error

    try:
        call()
    except Exception as error:
        if known_error(error) is not None:
            return REFUSED
        raise
    return ACCEPTED


def _command(*arguments: str | Path) -> str:
    """Runs a command; RuntimeError with what it said where that is a fault."""
    from command import cli

    done = cli(*arguments)
    kept = re.search(r"traceback is kept in (\S+)", done.err)
    if kept or done.code not in {0, 1, 2} or (done.code and "error: " not in done.err):
        told = Path(kept[1]).read_text().splitlines()[-8:] if kept else [done.err, done.out]
        raise RuntimeError(f"exit code {done.code}: " + "\n".join(told))
    return REFUSED if done.code else ACCEPTED


def _recipes(folder: Path) -> tuple[Give, Controls]:
    """`tltool validate FILE`; what is accepted is read again as it is kept in a run."""
    from mutations import mutated_recipe

    from tltool.recipe.recipe import Recipe
    from tltool.support.shipped import list_shipped

    texts = [file.read_text(encoding="utf-8") for file in list_shipped("recipes")]

    def given(content: bytes) -> str:
        file, kept = folder / "recipe.yaml", folder / "kept.yaml"
        file.write_bytes(content)
        if _command("validate", file) == REFUSED:
            return REFUSED
        recipe = Recipe.load(file)
        kept.write_text(recipe.to_yaml(), encoding="utf-8")
        if Recipe.load(kept) != recipe:
            raise RuntimeError("what is kept of the recipe is another one")
        return ACCEPTED

    def give(draw: Random) -> str:
        return given(mutated_recipe(draw.choice(texts), draw))

    return give, (partial(given, text.encode()) for text in texts)


def _overrides(folder: Path) -> tuple[Give, Controls]:
    """`tltool validate RECIPE FIELD=VALUE …`."""
    from mutations import mutated_override

    from tltool.recipe.recipe import Recipe
    from tltool.support.shipped import list_shipped

    fields = {file: list(Recipe.load(file).to_values()) for file in list_shipped("recipes")}

    def give(draw: Random) -> str:
        file = draw.choice(list(fields))
        changes = [mutated_override(fields[file], draw) for _ in range(draw.randint(1, 2))]
        return _command("validate", "--", file, *changes)

    return give, (partial(_command, "validate", "--", file, "training.seed=7") for file in fields)


def _tables(folder: Path) -> tuple[Give, Controls]:
    """What `finetune` and `predict` read of a table before any model is asked."""
    import numpy as np
    import tiny
    from mutations import mutated_table, plain_table

    from tltool.data.labels import Task
    from tltool.recipe.recipe import Recipe
    from tltool.runs.predict import Predictions, collect_inputs
    from tltool.tasks.classes import ClassTarget
    from tltool.training.preparation import load_data

    texts, labels = tiny.texts(24)
    forms = ("csv", "tsv", "jsonl", "parquet")
    answers = {
        "text-classification": labels,
        "text-regression": [f"{number}.5" for number in range(24)],
        "text-multi-label": [draw_labels(number) for number in range(24)],
    }

    def give(draw: Random) -> str:
        task, form = draw.choice(list(answers)), draw.choice(forms)
        file = folder / f"table.{form}"
        file.write_bytes(mutated_table(rows_of(task), form, draw))
        data: dict[str, Any] = {"train": str(file), "on_error": draw.choice(("stop", "skip"))}
        for field, values in (
            ("delimiter", (",", ";")), ("encoding", ("utf-8", "latin-1", "utf-16")),
            ("quoting", ("none", "minimal")), ("max_examples", (3,)),
        ):  # fmt: skip
            if draw.random() < 0.15:
                data[field] = draw.choice(values)
        recipe = Recipe.of(task=task, backbone="minilm", data=data)
        return trained(recipe) if draw.random() < 0.7 else predicted(recipe)

    def rows_of(task: str) -> list[tuple[str, ...]]:
        return [("text", "label"), *zip(texts, answers[task], strict=True)]

    def trained(recipe: Recipe) -> str:
        return _called(lambda: load_data(recipe))

    def predicted(recipe: Recipe) -> str:
        found = Task(recipe.spec, ClassTarget(("a", "b")))
        return _called(
            lambda: list(
                Predictions(
                    collect_inputs([str(recipe.data.train)], "text", recipe.data),
                    lambda examples: np.full((len(examples), 2), 0.5, "float32"),
                    found,
                    on_error=recipe.data.on_error,
                )
            )
        )

    def controls() -> Controls:
        for task, form in product(answers, forms):
            file = folder / f"table.{form}"
            file.write_bytes(plain_table(rows_of(task), form))
            recipe = Recipe.of(task=task, backbone="minilm", data={"train": str(file)})
            yield from (partial(trained, recipe), partial(predicted, recipe))

    return give, controls()


def draw_labels(number: int) -> str:
    """A cell with some of three labels."""
    return ";".join(name for bit, name in enumerate(("x", "y", "z")) if number >> bit & 1)


def _pictures(folder: Path) -> tuple[Give, Controls]:
    """Class folders with one such picture: the checks, then the decoder that training uses."""
    import image_zoo
    import tiny
    from mutations import damaged_picture

    from tltool.data.batches.source import CACHE_BYTES, example_source
    from tltool.recipe.recipe import Recipe
    from tltool.support.errors import DataError
    from tltool.training.preparation import load_data

    pictures = list(image_zoo.files().values())
    tiny.write_images(folder / "data", per_class=3)
    file = folder / "data" / "red" / "mutated"

    def read(recipe: Recipe, cache_bytes: int) -> None:
        examples, _ = load_data(recipe)
        source = example_source(examples, tiny.TINY_IMAGE, cache_bytes=cache_bytes)
        _read(source, len(examples))
        if examples.skipped:
            raise DataError("left out")

    def given(content: bytes, suffix: str, on_error: str, cache_bytes: int) -> str:
        for other in (".jpg", ".png"):
            file.with_suffix(other).unlink(missing_ok=True)
        file.with_suffix(suffix).write_bytes(content)
        data = {"train": str(folder / "data"), "on_error": on_error}
        recipe = Recipe.of(task="image-classification", backbone="efficientnet-lite0", data=data)
        return _called(lambda: read(recipe, cache_bytes))

    def give(draw: Random) -> str:
        content = damaged_picture(draw.choice(pictures), draw)
        suffix, on_error = draw.choice((".jpg", ".png")), draw.choice(("stop", "skip"))
        return given(content, suffix, on_error, draw.choice((0, CACHE_BYTES)))

    kept = product(pictures, (0, CACHE_BYTES))
    return give, (partial(given, content, ".png", "stop", size) for content, size in kept)


def _read(source: Any, count: int) -> None:
    """All rows of a source, in one batch."""
    import tensorflow as tf

    order = tf.range(count, dtype=tf.int64)
    rows = tf.data.Dataset.from_tensor_slices(order)
    loaded = source.load(rows, order).batch(count)
    for batch in loaded:
        source.finish(tf.constant(0, tf.int64), *(batch if isinstance(batch, tuple) else (batch,)))


def _models(folder: Path) -> tuple[Give, Controls]:
    """One file of a run or of an export, its sum renewed or not; then what a user does with it."""
    import exported
    import stored

    forms, runs = ("litert", "keras", "saved_model"), folder / "original"
    if not runs.exists():
        stored.write_run(runs / "text", *forms)
        stored.write_run(runs / "image", *forms, made=exported.image_model(folder / "pictures"))
    inputs = {"text": "good film", "image": str(folder / "pictures" / "0.jpg")}

    run = folder / "run"

    def copied(modality: str) -> None:
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(runs / modality / "tiny" / "1", run)

    def give(draw: Random) -> str:
        modality = draw.choice(list(inputs))
        copied(modality)
        place = draw.choice((run, *sorted((run / "exports").iterdir())))
        file = draw.choice([
            file for file in sorted(place.rglob("*"))
            if file.is_file() and file.stat().st_size and file.suffix not in {".md", ".txt"}
            and "exports" not in file.relative_to(place).parts
        ])  # fmt: skip
        file.write_bytes(_changed(file, draw))
        if draw.random() < 0.7 and _command("runs", "accept", place) == REFUSED:
            return REFUSED
        told = ("runs", "show", run) if place == run else ("inspect", place)
        return _command(*draw.choice((told, ("predict", place, inputs[modality]))))

    def controls() -> Controls:
        for modality, text in inputs.items():
            copied(modality)
            yield from (partial(_command, "runs", command, run) for command in ("accept", "show"))
            yield partial(_command, "predict", run, text)
            for export in sorted((run / "exports").iterdir()):
                yield partial(_command, "inspect", export)
                yield partial(_command, "predict", export, text)

    return give, controls()


def _changed(file: Path, draw: Random) -> bytes:
    from mutations import damaged, damaged_zip, mutated_json, mutated_recipe

    content = file.read_bytes()
    if draw.random() < 0.8:
        match file.suffix:
            case ".json":
                return mutated_json(content.decode(), draw).encode()
            case ".yaml":
                return mutated_recipe(content.decode(), draw)
            case ".keras":
                return damaged_zip(content, draw)
    return damaged(content, draw)


def _requests(folder: Path) -> tuple[Give, Controls]:
    """Requests to a server over a plain socket; what it logs of each is looked at."""
    import served
    import stored
    from mutations import BODIES, mutated_request, post

    from tltool.serving.exports import find_export

    run = folder / "runs" / "tiny" / "1"
    if not run.exists():
        stored.write_run(folder / "runs", "saved_model")
    log = (folder / "log").open("ab+")
    server = served.running(find_export(run, name="tiny"), served.LIMITS, log.fileno())
    port = server.__enter__()
    atexit.register(server.__exit__, None, None, None)

    def given(request: bytes) -> str:
        log.seek(0, os.SEEK_END)
        status = served.status_of(served.asked(port, request))
        events = [json.loads(line) for line in log.read().splitlines()]
        faults = [event for event in events if event["event"] == "fault"]
        if faults or status not in served.STATUSES:
            raise RuntimeError(f"status {status}: {faults}; {request[:500]!r}")
        return ACCEPTED if status == 200 else REFUSED

    def give(draw: Random) -> str:
        return given(mutated_request(draw))

    return give, (partial(given, post(body)) for body in BODIES)


@dataclass(frozen=True)
class Kind:
    """A kind of input.

    Attributes:
        count: How many are given, unless asked otherwise.
        begin: From a folder to what gives one input, and what gives each unchanged one.
    """

    count: int
    begin: Callable[[Path], tuple[Give, Controls]]


KINDS = {
    "recipes": Kind(700, _recipes),
    "overrides": Kind(300, _overrides),
    "tables": Kind(600, _tables),
    "pictures": Kind(600, _pictures),
    "models": Kind(250, _models),
    "requests": Kind(400, _requests),
}
