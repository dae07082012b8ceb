"""What checkpoints cost: the time of an epoch with one at its end, against one without.

    python benchmarks/checkpoints.py --epochs 6

Fine-tunes all weights of a random BERT on random texts. Every other epoch trains while a
checkpoint is copied and written, those between with none. Prints the seconds of both, of wall time
and of all processors together, and the ratio of their medians; exits with 1 where that of wall time
is over 1.03. On a machine that is busy otherwise, only the processors' seconds say something.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "helpers")]

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tiny  # noqa: E402

from tltool.model.freezing import plan_phases  # noqa: E402
from tltool.model.joining import join  # noqa: E402
from tltool.recipe.schema import HeadSection, PhaseSection, TrainingSection  # noqa: E402
from tltool.support.files import size_text  # noqa: E402
from tltool.support.progress import Progress  # noqa: E402
from tltool.tasks.classes import ClassTarget  # noqa: E402
from tltool.tasks.table import TASKS, Task  # noqa: E402
from tltool.training.checkpoint import Checkpoints  # noqa: E402
from tltool.training.data import BatchedData  # noqa: E402
from tltool.training.phase import state_bytes  # noqa: E402
from tltool.training.trainer import train  # noqa: E402


class EveryOther(Checkpoints):
    """Keeps one at the end of every other epoch, while the next epoch trains."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.number = 0

    def keep(self, take, *, surely=False):
        """Every other one."""
        self.number += 1
        if self.number % 2:
            super().keep(take, surely=surely)
        else:
            self.finish()


class Clock(Progress):
    """Notes when each epoch ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def epoch_end(self, row, best):
        """Notes the time."""
        self.ends.append((time.perf_counter(), time.process_time()))


def main() -> int:
    """Runs all and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=6, help="of each kind")
    parser.add_argument("--width", type=int, default=256, help="of the BERT")
    parser.add_argument("--steps", type=int, default=100, help="of an epoch")
    arguments = parser.parse_args()
    task = Task(TASKS["text-classification"], ClassTarget(("a", "b")))
    transfer = join(tiny.tiny_text_backbone(6, arguments.width), HeadSection(), task)
    phase = PhaseSection(train="all", epochs=2 * arguments.epochs + 2)
    plans = plan_phases((phase,), transfer.groups, "text")
    rng = np.random.default_rng(0)
    rows = 16 * arguments.steps
    ids = rng.integers(5, 30, (rows, 16)).astype("int32")
    inputs = {
        "token_ids": ids,
        "segment_ids": np.zeros_like(ids),
        "padding_mask": np.ones_like(ids),
    }
    targets = np.eye(2, dtype="float32")[ids[:, 0] % 2]
    data = BatchedData(tf.data.Dataset.from_tensor_slices((inputs, targets)).batch(16), rows)
    clock, training = Clock(), TrainingSection()
    keras.utils.set_random_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        train(
            transfer,
            plans,
            task,
            training,
            data,
            data,
            strategy=tf.distribute.get_strategy(),
            checkpoint=Path(folder) / "best.safetensors",
            progress=clock,
            checkpoints=EveryOther(Path(folder)),
        )
    # The first epoch compiles. A checkpoint is copied and written after the end of an odd one.
    seconds = np.diff(np.array(clock.ends), axis=0)
    kept, plain = (seconds[first::2][: arguments.epochs] for first in (0, 1))
    size = size_text(state_bytes(transfer, plans, training))
    print(f"checkpoints of up to {size} beside epochs of {arguments.steps} steps")
    ratios = np.median(kept, axis=0) / np.median(plain, axis=0)
    for column, title in enumerate(("wall time", "processors")):
        print(
            f"{title:10}  with {np.median(kept[:, column]):.3f} s, "
            f"without {np.median(plain[:, column]):.3f} s, ratio {ratios[column]:.3f}"
        )
    return int(ratios[0] > 1.03)


if __name__ == "__main__":
    sys.exit(main())
