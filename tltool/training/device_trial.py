"""A short real training on each device of a machine, compared with that on its CPU.

Two small networks with fresh weights, a CNN and a transformer, learn made-up classes from
the same weights and batches everywhere. So it needs no network and no data, and says
whether a device computes what it should, in the precisions that it is used with.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import keras_hub
import numpy as np
import tensorflow as tf

from tltool.backbones.base import Backbone, Features, LayerGroup
from tltool.backbones.networks.layers import MaskedMean
from tltool.data.preprocessing import ImagePreprocessing, WordPiecePreprocessing
from tltool.model.freezing import plan_phases
from tltool.model.joining import join, precision_scope
from tltool.recipe.schema import HeadSection, PhaseSection, Precision, TrainingSection
from tltool.support.errors import TltoolError, first_line
from tltool.support.progress import Progress
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Modality, Task
from tltool.training.data import BatchedData
from tltool.training.distribution import describe_devices, make_strategy
from tltool.training.trainer import train

# Losses begin at log(4) = 1.39 and fall below 0.5. On one CPU those in mixed_bfloat16 differed by
# at most 0.02 from float32; a device that doesn't learn differs by more than 0.5.
EXACT, ROUNDED = 0.02, 0.1
BATCH, STEPS, EPOCHS = 32, 8, 6
_CLASSES, _SIZE_PX, _TOKENS, _VOCABULARY = 4, 64, 32, 500
_HALF: Precision = "mixed_float16"
_BRAIN: Precision = "mixed_bfloat16"
# The first with units for float16 (NVIDIA's Volta).
_TENSOR_CORES = (7, 0)


@dataclass(frozen=True)
class Trial:
    """What the training of one network on some devices gave.

    Attributes:
        network: "image", a CNN, or "text", a transformer.
        devices: Such as "gpu:0", or several that train together.
        precision: Keras dtype policy.
        bound: By how much losses may differ from those of the CPU in float32.
        losses: The training loss of each epoch of `STEPS` steps.
        steps_per_second: In the last epoch.
        difference: The largest of any epoch's loss from that of the CPU; NaN if it failed.
        failure: Why it could not train, or nothing.
    """

    network: Modality
    devices: str
    precision: Precision
    bound: float
    losses: tuple[float, ...] = ()
    steps_per_second: float = 0.0
    difference: float = math.nan
    failure: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the device trains as the CPU does."""
        return self.difference <= self.bound

    def to_json(self) -> dict[str, Any]:
        """For scripts; a difference that is no number is null."""
        return {
            "network": self.network,
            "devices": self.devices,
            "precision": self.precision,
            "agrees": self.agrees,
            "difference": self.difference if math.isfinite(self.difference) else None,
            "bound": self.bound,
            "steps_per_second": self.steps_per_second,
            "losses": list(self.losses),
            "failure": self.failure,
        }


def try_devices(tell: Callable[[str], None]) -> list[Trial]:
    """Trains both networks on each device that TensorFlow sees, the CPU first.

    Args:
        tell: Is told what comes next; a device takes about half a minute.
    """
    found: list[Trial] = []
    for network in (_Network("image"), _Network("text")):
        for trial, training in _trials(network.modality):
            tell(f"training the {network.modality} network on {trial.devices}, {trial.precision}")
            try:
                found.append(_compared(network.train(trial, training), found, network.modality))
            except (TltoolError, ValueError, RuntimeError, tf.errors.OpError) as error:
                found.append(replace(trial, failure=first_line(error)))
    return found


def _compared(trial: Trial, earlier: list[Trial], network: Modality) -> Trial:
    """With the difference from the first trial of its network, which is that of the CPU."""
    first = next((other for other in earlier if other.network == network), trial)
    if len(first.losses) != len(trial.losses):
        return trial
    distances = [abs(a - b) for a, b in zip(first.losses, trial.losses, strict=True)]
    return replace(trial, difference=max(distances))


def _trials(network: Modality) -> Iterator[tuple[Trial, TrainingSection]]:
    """What is tried, and how it is asked for."""

    def trial(
        devices: list[str], precision: Precision, bound: float, **fields: Any
    ) -> tuple[Trial, TrainingSection]:
        named = {} if fields.get("distribution") == "tpu" else {"devices": tuple(devices)}
        training = TrainingSection(batch_size=BATCH, precision=precision, **named, **fields)
        return Trial(network, ", ".join(devices), precision, bound), training

    seen = describe_devices()
    cpu, gpus = seen["CPU"][:1], seen["GPU"]
    yield trial(cpu, "float32", EXACT, jit="never")
    yield trial(cpu, _BRAIN, ROUNDED, jit="never")
    for number, gpu in enumerate(gpus):
        yield trial([gpu], "float32", EXACT)
        if _has_tensor_cores(number):
            yield trial([gpu], _HALF, ROUNDED)
    if len(gpus) > 1:
        # As many of them as can share a batch.
        together = max(count for count in range(1, len(gpus) + 1) if BATCH % count == 0)
        yield trial(gpus[:together], "float32", EXACT)
    if seen["TPU"]:
        # It multiplies float32 in bfloat16 too.
        for precision in ("float32", _BRAIN):
            yield trial(seen["TPU"], precision, ROUNDED, distribution="tpu")


def _has_tensor_cores(number: int) -> bool:
    gpu = tf.config.list_physical_devices("GPU")[number]
    details = tf.config.experimental.get_device_details(gpu)
    return tuple(details.get("compute_capability") or (0, 0)) >= _TENSOR_CORES


class _Network:
    """A network with a head, that begins with the same weights in each training."""

    def __init__(self, modality: Modality) -> None:
        self.modality = modality
        self._weights: list[np.ndarray] | None = None

    def train(self, trial: Trial, training: TrainingSection) -> Trial:
        """Trains the head in one epoch and all layers in those that follow."""
        strategy = make_strategy(training)
        task = Task(TASKS[f"{self.modality}-classification"], ClassTarget(tuple("abcd"[:_CLASSES])))
        keras.utils.set_random_seed(0)
        with strategy.scope(), precision_scope(training.precision):
            backbone = _cnn() if self.modality == "image" else _transformer()
            transfer = join(backbone, HeadSection(dropout=0.0), task)
        # Random numbers differ between kinds of devices.
        self._weights = self._weights or transfer.model.get_weights()
        transfer.model.set_weights(self._weights)
        phases = (
            PhaseSection(learning_rate=0.01),
            PhaseSection(train="all", epochs=EPOCHS - 1, learning_rate=0.001),
        )
        with tempfile.TemporaryDirectory() as folder:
            result = train(
                transfer,
                plan_phases(phases, transfer.groups, self.modality),
                task,
                training,
                BatchedData(self._batches, BATCH * STEPS),
                None,
                strategy=strategy,
                checkpoint=Path(folder) / "best.safetensors",
                progress=Progress(),
            )
        losses, rates = (
            [float(row[key] or 0.0) for row in result.history]
            for key in ("loss", "examples_per_second")
        )
        return replace(
            trial,
            losses=tuple(round(loss, 5) for loss in losses),
            steps_per_second=round(rates[-1] / BATCH, 2),
        )

    @cached_property
    def _batches(self) -> tf.data.Dataset:
        rng, rows = np.random.default_rng(0), BATCH * STEPS
        classes = rng.integers(0, _CLASSES, rows)
        inputs: Any
        if self.modality == "image":
            colours = np.eye(_CLASSES, 3)[classes][:, None, None, :]
            noise = rng.normal(size=(rows, _SIZE_PX, _SIZE_PX, 3))
            inputs = (noise + colours).astype(np.float32)
        else:
            lengths = rng.integers(_TOKENS // 4, _TOKENS + 1, (rows, 1))
            mask = (np.arange(_TOKENS) < lengths).astype(np.int32)
            # A quarter of the tokens are of the few that only texts of their class have.
            own = rng.integers(1, 9, (rows, _TOKENS)) + 8 * classes[:, None]
            other = rng.integers(100, _VOCABULARY, (rows, _TOKENS))
            tokens = np.where(rng.random((rows, _TOKENS)) < 0.25, own, other) * mask
            inputs = {
                "token_ids": tokens.astype(np.int32),
                "padding_mask": mask,
                "segment_ids": np.zeros_like(mask),
            }
        targets = np.eye(_CLASSES, dtype=np.float32)[classes]
        parts = (inputs, targets, np.ones(rows, np.float32))
        return tf.data.Dataset.from_tensor_slices(parts).batch(BATCH, drop_remainder=True)


def _cnn() -> Backbone:
    """Of convolutions whose signals neither die nor grow before BatchNorm has learnt anything."""
    image = x = keras.Input((_SIZE_PX, _SIZE_PX, 3), name="image")
    for number, filters in enumerate((32, 64, 128, 128), start=1):
        x = keras.layers.Conv2D(
            filters,
            3,
            2,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"conv{number}",
        )(x)
        x = keras.layers.BatchNormalization(name=f"norm{number}")(x)
        x = keras.layers.ReLU(name=f"relu{number}")(x)
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(x)
    model = keras.Model(image, pooled)
    return Backbone(
        name="cnn",
        model=model,
        features=Features(pooled=pooled, feature_map=x),
        groups=(LayerGroup("convolutions", tuple(model.variables)),),
        preprocessing=ImagePreprocessing(
            size_px=(_SIZE_PX, _SIZE_PX),
            resize_px=_SIZE_PX,
            interpolation="bilinear",
            mean=(0.0,) * 3,
            std=(1.0,) * 3,
        ),
    )


def _transformer() -> Backbone:
    bert = keras_hub.models.BertBackbone(
        vocabulary_size=_VOCABULARY,
        num_layers=4,
        num_heads=4,
        hidden_dim=128,
        intermediate_dim=512,
        dropout=0.0,
        max_sequence_length=_TOKENS,
    )
    sequence, mask = bert.output["sequence_output"], bert.input["padding_mask"]
    pooled = MaskedMean(name="pooled")(sequence, padding_mask=mask)
    model = keras.Model(bert.input, pooled)
    return Backbone(
        name="transformer",
        model=model,
        features=Features(pooled=pooled, sequence=sequence, mask=mask),
        groups=(LayerGroup("encoder", tuple(model.variables)),),
        preprocessing=WordPiecePreprocessing(
            vocabulary=("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), max_length=_TOKENS
        ),
    )
