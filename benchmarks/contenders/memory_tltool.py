"""The memory that one call of `tltool.finetune` takes until the weights are trained (Linux)."""

from __future__ import annotations

import re
import tempfile
import threading
from pathlib import Path

from protocol import read_settings, report
from tltool_finetune import TrainingClock, import_all, recipe_values

import tltool
from tltool.recipe.recipe import Recipe

STATUS = Path("/proc/self/status")
INTERVAL_S = 0.02


class MemoryClock(TrainingClock):
    """Notes the memory, too, when training is over.

    `RssAnon` is what the process itself holds, without the pages of files that
    the system may take back at any time; the kernel keeps no peak of it, so it
    is looked at every 20 ms.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peaks: dict[str, float] = {}
        self._done = threading.Event()
        self._anonymous = 0.0
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def _watch(self) -> None:
        while not self._done.wait(INTERVAL_S):
            self._anonymous = max(self._anonymous, megabytes("RssAnon"))

    def stage(self, title: str) -> None:
        """Notes time and memory where the stage is the evaluation."""
        super().stage(title)
        if self.times and not self.peaks:
            self._done.set()
            self._watcher.join()
            self.peaks = {"peak_rss_mb": megabytes("VmHWM"), "peak_anonymous_mb": self._anonymous}


def megabytes(field: str) -> float:
    """A field of the process's status, in MB of 10^6 bytes."""
    found = re.search(rf"^{field}:\s*(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{STATUS} has no {field}")
    return int(found[1]) * 1024 / 1e6


def main() -> None:
    settings = read_settings()
    import_all()
    with tempfile.TemporaryDirectory() as folder:
        clock = MemoryClock()
        recipe = Recipe.of(**recipe_values(settings), output_dir=folder)
        tltool.finetune(recipe, progress=clock)
    report(**clock.times, **clock.peaks)


if __name__ == "__main__":
    main()
