"""Fine-tunes a tiny CNN on two logical CPU devices and says of its exports what a test needs.

    python mirrored_export.py RESNET PHOTOS FOLDER

BatchNorm trains, so each device has moving statistics of its own while it does.
Prints JSON: how far the devices' statistics were apart at the end of the last
epoch, how far they are in the trained model, how sure that model is, and, for the
model in `model.keras` and each export, the largest difference from it on all photos.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

resnet, photos, folder = sys.argv[1:]

import numpy as np  # noqa: E402

import tltool  # noqa: E402
from tltool.training import trainer  # noqa: E402

apart: list[float] = []


def distance(model) -> float:
    """Largest difference of a moving statistic between two devices."""
    statistics = [v.value for v in model.variables if v.name.startswith("moving_")]
    return max(
        float(np.abs(value.values[0].numpy() - value.values[1].numpy()).max())
        for value in statistics
    )


class Watched(trainer.BestWeights):
    """Takes down how far the devices are apart before the best epoch is restored."""

    def __init__(self, model, *options, **named):
        super().__init__(model, *options, **named)
        self.watched = model

    def restore(self):
        apart.append(distance(self.watched))
        super().restore()
        apart.append(distance(self.watched))


trainer.BestWeights = Watched
phase = {"train": "all", "epochs": 2, "learning_rate": 5e-4, "batch_norm": "train"}
run = tltool.finetune(
    tltool.Recipe.of(
        task="image-classification",
        backbone=resnet,
        data={"train": photos, "validation_fraction": 0.2, "test_fraction": 0.2},
        schedule=[phase],
        training={"batch_size": 8, "devices": ["cpu:0", "cpu:1"]},
        evaluation={"baseline": False},
        export={"precisions": ["float32", "float16", "dynamic_int8", "int8"]},
        output_dir=folder,
    ),
    keep_failed=True,
)
files = sorted(map(str, Path(photos).rglob("*.jpg")))
columns = list(run.task.labels)


def said(model) -> np.ndarray:
    return np.array([[p.probabilities[c] for c in columns] for p in model.predict(files)])


trained = said(run)
differences = {"model.keras": float(np.abs(said(tltool.load_run(run.path)) - trained).max())}
for artifact in sorted(run.folder.exports.iterdir()):
    outputs = tltool.load_artifact(artifact).predict(files)
    differences[artifact.name] = float(np.abs(outputs - trained).max())
sure = float(trained.max(1).mean())
print(json.dumps({"apart": apart, "sure": sure, "differences": differences, "run": str(run.path)}))
