"""The memory that `tltool.finetune` takes until the weights are trained, by stage (Linux).

With `texts` among the settings no model is trained: texts are read, divided, tokenized, and
batched for one epoch.
"""

from __future__ import annotations

import re
import tempfile
import threading
from pathlib import Path
from typing import Any

from protocol import read_settings, report
from tltool_finetune import TrainingClock, import_all, recipe_values

import tltool
from tltool.recipe.recipe import Recipe

STATUS = Path("/proc/self/status")
INTERVAL_S = 0.02


class MemoryClock(TrainingClock):
    """Notes the most memory of each stage, too, until training is over.

    `RssAnon` is what the process itself holds, without the pages of files that
    the system may take back at any time; the kernel keeps no peak of it, so it
    is looked at every 20 ms.

    Attributes:
        peaks: Megabytes by name, set when the training is over.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peaks: dict[str, Any] = {}
        self._done = threading.Event()
        self._stages = {"start": megabytes("RssAnon")}
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL_S):
            self._look()

    def _look(self) -> None:
        stage = list(self._stages)[-1]
        self._stages[stage] = max(self._stages[stage], megabytes("RssAnon"))

    def stage(self, title: str) -> None:
        """Begins to note another stage, or ends where it is the evaluation."""
        super().stage(title)
        if self.times and not self.peaks:
            self.end()
        else:
            self._stages.setdefault(title.partition(":")[0].lower(), 0.0)

    def end(self) -> None:
        """Settles the peaks."""
        self._done.set()
        self._watcher.join()
        self._look()
        self.peaks = {
            "peak_rss_mb": megabytes("VmHWM"),
            "peak_anonymous_mb": max(self._stages.values()),
            "stages_mb": self._stages,
        }


def megabytes(field: str) -> float:
    """A field of the process's status, in MB of 10^6 bytes."""
    found = re.search(rf"^{field}:\s*(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{STATUS} has no {field}")
    return int(found[1]) * 1024 / 1e6


def read_texts(settings: dict[str, Any], clock: MemoryClock) -> None:
    """Reads, divides and tokenizes texts, and makes the batches of an epoch."""
    from tltool.data.batches.pipeline import make_dataset
    from tltool.data.preprocessing import WordPiecePreprocessing
    from tltool.data.texts.tokenizing import tokenized
    from tltool.training.preparation import load_data

    data = {"train": settings["texts"], "validation_fraction": 0.01, "test_fraction": 0.01}
    recipe = Recipe.of(task="text-classification", backbone="all-minilm-l6-v2", data=data)
    examples, _ = load_data(recipe, progress=clock)
    contract = WordPiecePreprocessing(
        vocabulary=tuple(settings["vocabulary"]), inputs=("token_ids", "padding_mask")
    )
    clock.stage("Tokens")
    examples = tokenized(examples, contract)
    clock.stage("Batches")
    batches = make_dataset(
        examples.split("train"), contract, targets=None, batch_size=1024, training=True
    )
    for _ in batches:
        pass
    clock.times = clock.read()
    clock.end()


def main() -> None:
    settings = read_settings()
    import_all()
    clock = MemoryClock()
    if "texts" in settings:
        read_texts(settings, clock)
    else:
        with tempfile.TemporaryDirectory() as folder:
            recipe = Recipe.of(**recipe_values(settings), output_dir=folder)
            tltool.finetune(recipe, progress=clock)
    report(**clock.times, **clock.peaks)


if __name__ == "__main__":
    main()
