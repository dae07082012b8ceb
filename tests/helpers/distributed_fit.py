"""Fits a tiny model on one or several logical CPU devices and prints the losses as JSON.

    python distributed_fit.py cnn|bert DEVICES ROWS

Gradients are clipped hard, and one phase trains everything: what differs
between devices when it is done wrong. With ROWS no multiple of 8 the last
batch is partial.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

kind, count, rows = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

from tltool.recipe.schema import HeadSection, PhaseSection, TrainingSection  # noqa: E402
from tltool.training.distribution import make_strategy  # noqa: E402

training = TrainingSection(
    batch_size=8, gradient_clip_norm=0.1, devices=tuple(f"cpu:{i}" for i in range(count))
)
strategy = make_strategy(training)

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
import tiny  # noqa: E402

from tltool.model.freezing import plan_phases  # noqa: E402
from tltool.model.joining import join  # noqa: E402
from tltool.support.progress import Progress  # noqa: E402
from tltool.tasks.classes import ClassTarget  # noqa: E402
from tltool.tasks.table import TASKS, Task  # noqa: E402
from tltool.training.data import BatchedData  # noqa: E402
from tltool.training.trainer import train  # noqa: E402

ROWS = 30
keras.utils.set_random_seed(0)
rng = np.random.default_rng(0)
targets = np.eye(2, dtype="float32")[rng.integers(0, 2, ROWS)]
task = Task(
    TASKS["image-classification" if kind == "cnn" else "text-classification"],
    ClassTarget(("a", "b")),
)
with strategy.scope():
    # Dropout draws different numbers on each device, so it is off.
    make = tiny.tiny_image_backbone if kind == "cnn" else lambda: tiny.tiny_text_backbone(dropout=0)
    transfer = join(make(), HeadSection(dropout=0.0), task)
if kind == "cnn":
    inputs = rng.normal(size=(ROWS, 32, 32, 3)).astype("float32")
else:
    ids = rng.integers(5, 30, (ROWS, 9)).astype("int32")
    mask = (np.arange(9) < rng.integers(3, 10, (ROWS, 1))).astype("int32")
    inputs = {"token_ids": ids * mask, "padding_mask": mask, "segment_ids": 0 * ids}
dataset = tf.data.Dataset.from_tensor_slices((inputs, targets)).take(rows).batch(8)
phases = (
    PhaseSection(epochs=1, learning_rate=0.01),
    PhaseSection(train="all", epochs=3, learning_rate=0.01, group_decay=0.5, warmup_fraction=0.3),
)
with tempfile.TemporaryDirectory() as folder:
    result = train(
        transfer,
        plan_phases(phases, transfer.groups, task.spec.modality),
        task,
        training,
        BatchedData(dataset, rows),
        BatchedData(dataset, rows),
        strategy=strategy,
        checkpoint=Path(folder) / "best.safetensors",
        progress=Progress(),
    )
losses = [row[key] for row in result.history for key in ("loss", "val_loss")]
print(json.dumps({"replicas": strategy.num_replicas_in_sync, "losses": losses}))
