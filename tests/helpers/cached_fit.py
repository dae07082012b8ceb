"""Trains tiny models with the frozen-feature cache; as a program on several logical CPU devices.

    python cached_fit.py cnn|bert DEVICES [gradient|exact [always|never]]

prints the losses as JSON. The last is `training.static_shapes`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tltool.recipe.schema import CacheSection, HeadSection, Last, PhaseSection, TrainingSection

if __name__ == "__main__":
    # Before anything else uses TensorFlow: the CPU is split once.
    from tltool.training.distribution import make_strategy

    devices = tuple(f"cpu:{i}" for i in range(int(sys.argv[2])))
    STRATEGY = make_strategy(TrainingSection(batch_size=8, devices=devices))
else:
    STRATEGY = None

import keras
import numpy as np
import tensorflow as tf
import tiny

from tltool.data.examples import Examples
from tltool.features.cache import FeatureCache
from tltool.features.store import FeatureStore
from tltool.model.freezing import plan_phases
from tltool.model.joining import join
from tltool.support.progress import Progress
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task
from tltool.training.data import ExampleData
from tltool.training.trainer import train

ALWAYS = CacheSection(use="always")
BATCH = 8


class Notes(Progress):
    def __init__(self):
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def tiny_vit():
    import keras_hub

    from tltool.backbones.base import Backbone, Features
    from tltool.backbones.groups import GROUP_RULES, group_layers
    from tltool.backbones.networks.vit import flatten_vit

    vit = keras_hub.models.ViTBackbone(
        image_shape=(32, 32, 3),
        patch_size=8,
        num_layers=3,
        num_heads=2,
        hidden_dim=16,
        mlp_dim=32,
        dropout_rate=0.1,
    )
    model = flatten_vit(vit, "tiny-vit")
    return Backbone(
        name="tiny-vit",
        model=model,
        features=Features(pooled=model.output),
        groups=group_layers(model, GROUP_RULES["vit"], "tiny-vit"),
        preprocessing=tiny.TINY_IMAGE,
    )


def examples_of(kind: str, folder: Path) -> Examples:
    if kind == "bert":
        inputs, labels = tiny.texts(50)
        modality = "text"
    else:
        tiny.write_images(folder, per_class=25)
        inputs = sorted(map(str, folder.rglob("*.jpg")))
        labels = [Path(path).parent.name for path in inputs]
        modality = "image"
    splits = ["validation" if i % 5 == 0 else "train" for i in range(len(inputs))]
    return Examples(modality, inputs, labels, splits, [f"item {i}" for i in range(len(inputs))])


BACKBONES = {
    "cnn": tiny.tiny_image_backbone,
    "bert": tiny.tiny_text_backbone,
    "vit": tiny_vit,
}


def split_data(
    examples, split, contract, seed, augment=None, static=False, batch_size=BATCH
) -> ExampleData:
    part = examples.split(split)
    labels = sorted(set(examples.targets))
    targets = np.eye(len(labels), dtype="float32")[[labels.index(t) for t in part.targets]]
    training = split == "train"
    return ExampleData(
        part,
        contract,
        targets,
        None,
        batch_size,
        training,
        seed,
        augment if training else None,
        static=static,
    )


def fresh(kind):
    """The weights of `fit`'s model before training."""
    keras.utils.set_random_seed(3)
    backbone = BACKBONES[kind]()
    modality = "text" if kind == "bert" else "image"
    task = Task(TASKS[f"{modality}-classification"], ClassTarget(("a", "b")))
    model = join(backbone, HeadSection(dropout=0.2), task).model
    return {v.path: v.numpy() for v in model.variables if "seed" not in v.path}


def fit(
    kind,
    folder,
    phases,
    section,
    *,
    seed=0,
    augment=None,
    strategy=None,
    dropout=0.2,
    validate=True,
    batch_size=BATCH,
    **training,
):
    """Trains a fresh tiny model; returns its weights, the history and what was said."""
    keras.utils.set_random_seed(3)
    strategy = strategy or tf.distribute.get_strategy()
    examples = examples_of(kind, folder / "images")
    task = Task(
        TASKS[f"{examples.modality}-classification"],
        ClassTarget(tuple(sorted(set(examples.targets)))),
    )
    with strategy.scope():
        backbone = BACKBONES[kind]()
        transfer = join(backbone, HeadSection(dropout=dropout), task)
    static = training.get("static_shapes") == "always"
    parts = [
        split_data(examples, split, backbone.preprocessing, seed, augment, static, batch_size)
        for split in ("train", "validation")
    ]
    notes = Notes()
    store = FeatureStore(folder / "features", max_bytes=int(section.max_gb * 10**9))
    cache = FeatureCache(
        section,
        examples,
        backbone.preprocessing,
        augment=augment,
        seed=seed,
        progress=notes,
        store=store,
    )
    result = train(
        transfer,
        plan_phases(
            tuple(PhaseSection(**phase) for phase in phases), transfer.groups, examples.modality
        ),
        task,
        TrainingSection(batch_size=batch_size, **training),
        parts[0],
        parts[1] if validate else None,
        strategy=strategy,
        checkpoint=folder / "best.safetensors",
        progress=notes,
        cache=cache,
    )
    weights = {v.path: v.numpy() for v in transfer.model.variables if "seed" not in v.path}
    return weights, result.history, notes.lines, store


def fit_on_devices(kind: str, devices: int, *options: str) -> dict:
    """Runs this program; what it prints."""
    here = Path(__file__).resolve()
    done = subprocess.run(
        [sys.executable, str(here), kind, str(devices), *options],
        capture_output=True,
        text=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(here.parents[2])},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


PHASES = (
    {"train": "head", "epochs": 2, "learning_rate": 0.01},
    {"train": Last(last=1), "epochs": 2, "learning_rate": 0.003},
)


if __name__ == "__main__":
    # Dropout draws different numbers on each device, so it is off.
    BACKBONES["bert"] = lambda: tiny.tiny_text_backbone(dropout=0)
    with tempfile.TemporaryDirectory() as temporary:
        head = {**PHASES[0], "solver": sys.argv[3]} if sys.argv[3:] else PHASES[0]
        phases = (head, *PHASES[1:])
        # So that both splits have an incomplete batch.
        static = {"static_shapes": sys.argv[4], "batch_size": 12} if sys.argv[4:] else {}
        _, rows, said, _ = fit(
            sys.argv[1], Path(temporary), phases, ALWAYS, strategy=STRATEGY, dropout=0.0, **static
        )
    losses = [row[key] for row in rows for key in ("loss", "val_loss")]
    print(json.dumps({"replicas": STRATEGY.num_replicas_in_sync, "losses": losses, "said": said}))
