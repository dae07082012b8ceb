"""Which devices train: turns a recipe's wish into a TensorFlow distribution strategy.

`keras.distribution` is not for the TensorFlow backend; `tf.distribute` is.
Batch sizes are global: each of N devices gets 1/N of every batch.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

import tensorflow as tf

from tltool.data.batches.mapped import leave_devices_untuned
from tltool.recipe.schema import TrainingSection
from tltool.support.errors import DeviceError, did_you_mean, first_line
from tltool.training.static_shapes import has_static_shapes
from tltool.training.workers import current


def make_strategy(training: TrainingSection) -> tf.distribute.Strategy:
    """The strategy in whose scope the model is built and fitted.

    Args:
        training: `distribution` and `devices` choose; `batch_size` and
            `tokens_per_batch` are checked against the number of devices.

    Raises:
        DeviceError: This machine lacks a device, or the batch can't be divided.
    """
    devices = _devices(training.devices)
    strategy = _strategy(training.distribution, devices)
    replicas = strategy.num_replicas_in_sync
    if replicas > 1:
        leave_devices_untuned()
    if training.tokens_per_batch is not None and has_static_shapes(training, strategy):
        raise DeviceError(
            f"training.tokens_per_batch: {training.tokens_per_batch} tokens make batches of "
            "different numbers of texts, and training.static_shapes asks for equally many.",
            hint="Use `training.batch_size` instead, or `training.static_shapes: never`.",
        )
    if training.gradient_accumulation_steps > 1 and has_static_shapes(training, strategy):
        raise DeviceError(
            "training.gradient_accumulation_steps: batches of few shapes, as TPUs take them, can't "
            "be taken in parts.",
            hint="Use a larger training.batch_size, and 1 here.",
        )
    if training.tokens_per_batch is not None and replicas > 1:
        raise DeviceError(
            f"training.tokens_per_batch: {training.tokens_per_batch} tokens make batches of "
            f"different numbers of texts, which can't be divided over {replicas} devices.",
            hint="Use `training.batch_size` instead, or one device: `training.distribution: none`.",
        )
    if training.batch_size % replicas:
        lower = training.batch_size // replicas * replicas
        raise DeviceError(
            f"training.batch_size: {training.batch_size} examples can't be divided over "
            f"{replicas} devices.",
            hint=f"Use a multiple of {replicas}, such as {lower or replicas}.",
        )
    return strategy


def claim_devices(training: TrainingSection) -> None:
    """Checks the devices that a recipe names, and makes them ready.

    A TPU is initialised, and the CPU is split where parts of it are named. Both are
    possible only before TensorFlow computes anything, reading data included.

    Raises:
        DeviceError: This machine lacks a device.
    """
    if training.distribution == "tpu":
        _tpu_system()
    _devices(training.devices)


def describe_devices() -> dict[str, list[str]]:
    """Names of the logical devices by kind, e.g. {"CPU": ["cpu:0"], "GPU": []}.

    Raises:
        DeviceError: The environment names a TPU that cannot be reached.
    """
    if _tpu_variable() or tf.config.list_physical_devices("TPU"):
        _tpu_system()
    return {kind: _names(kind) for kind in ("CPU", "GPU", "TPU")}


def _strategy(distribution: str, devices: list[str] | None) -> tf.distribute.Strategy:
    match distribution:
        case "auto":
            chosen = devices if devices is not None else _names("GPU")
            return _mirrored(chosen) if len(chosen) > 1 else _single(chosen)
        case "none":
            if devices is not None and len(devices) > 1:
                raise DeviceError(
                    f"training.devices: {len(devices)} devices given, but "
                    "`training.distribution: none` uses one.",
                    hint="Use `training.distribution: mirrored`.",
                )
            return _single(devices or [])
        case "mirrored":
            chosen = devices if devices is not None else _names("GPU")
            if not chosen:
                raise DeviceError(
                    "training.distribution: mirrored needs GPUs, and this machine has none "
                    f"(devices: {', '.join(_names('CPU'))}).",
                    hint="Use `auto` or `none`, or name devices in `training.devices`; "
                    "`tltool doctor` shows what TensorFlow sees.",
                )
            return _mirrored(chosen)
        case "multi_worker":
            return _multi_worker()
        case _:
            return _tpu(devices)


def _single(devices: list[str]) -> tf.distribute.Strategy:
    """One device: that which TensorFlow takes by itself needs no strategy.

    Another gets its batches as they are. `OneDeviceStrategy` would fetch them by an iterator of
    several devices, whose buffer ended the process now and then as an epoch ended (a
    segmentation fault of TensorFlow 2.21: it still reads from what was freed).
    """
    if not devices or devices[0] == (_names("GPU") or _names("CPU"))[0]:
        return tf.distribute.get_strategy()
    strategy = tf.distribute.OneDeviceStrategy(devices[0])
    strategy.experimental_distribute_dataset = lambda dataset, options=None: dataset
    return strategy


def _mirrored(devices: list[str]) -> tf.distribute.Strategy:
    # NCCL exists for GPUs only; the pure-TensorFlow reduction works on any device.
    cpu = any(device.startswith("cpu") for device in devices)
    operations = tf.distribute.ReductionToOneDevice() if cpu else None
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=operations)


def _multi_worker() -> tf.distribute.Strategy:
    workers = current()
    if workers.place is None:
        raise DeviceError(
            "training.distribution: only `tltool finetune` is work for several workers.",
            hint="Use training.distribution=auto for this.",
        )
    return workers.strategy or tf.distribute.get_strategy()


def _tpu(devices: list[str] | None) -> tf.distribute.Strategy:
    if devices is not None:
        raise DeviceError(
            f"training.devices: {devices} given, but `training.distribution: tpu` uses all cores.",
            hint="Leave training.devices out.",
        )
    return tf.distribute.TPUStrategy(_tpu_system())


def _tpu_variable() -> str | None:
    """The environment variable by which TensorFlow's resolver finds a TPU, if one is set."""
    # In the order of `tensorflow.python.tpu.client`.
    names = ("KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS", "TPU_NAME", "TPU_CONFIG")
    return next((name for name in names if os.environ.get(name)), None)


@cache
def _tpu_system() -> tf.distribute.cluster_resolver.TPUClusterResolver:
    """The TPU, initialised: once, since that loses what is in its memory.

    It is the one that the environment names, else that of this machine. No device may be
    listed before, which would start TensorFlow without it.

    Raises:
        DeviceError: It cannot be reached.
    """
    variable = _tpu_variable()
    value = "local" if variable is None else os.environ[variable]
    try:
        # What is named in another way than "local" the resolver reads by itself.
        tpu = "local" if value == "local" else None
        return tf.distribute.cluster_resolver.TPUClusterResolver.connect(tpu)
    except (ValueError, RuntimeError, ImportError, OSError, tf.errors.OpError) as error:
        asked = "local" if variable is None else f"{variable}={value}"
        raise DeviceError(
            f"training.distribution: no TPU can be reached from here ({asked}): "
            f"{first_line(error)}",
            hint="Run on a TPU machine with `pip install tensorflow-tpu`, name a TPU in the "
            "environment variable TPU_NAME, or use `training.distribution: auto`.",
        ) from error


def _devices(wanted: tuple[str, ...] | None) -> list[str] | None:
    """Checks device names, splitting the CPU into as many logical devices as are named."""
    if wanted is None:
        return None
    names = [name.lower().removeprefix("/").removeprefix("device:") for name in wanted]
    if len(set(names)) != len(names) or not names:
        raise DeviceError(
            f"training.devices: {list(wanted)} must name at least one device, each once.",
            hint="Leave it out to use all devices of the best kind.",
        )
    _split_cpu(names)
    known = [name for kind in ("CPU", "GPU", "TPU") for name in _names(kind)]
    for name in names:
        if name not in known:
            raise DeviceError(
                f"training.devices: there is no {name!r}; this machine has {', '.join(known)}.",
                hint=did_you_mean(name, known) or "`tltool doctor` shows what TensorFlow sees.",
            )
    return names


def _split_cpu(names: list[str]) -> None:
    """Makes cpu:0 … cpu:N of one CPU, to try several devices on a machine without GPUs."""
    numbers = [n.removeprefix("cpu:") for n in names if n.startswith("cpu:")]
    count = max((int(n) + 1 for n in numbers if n.isdigit()), default=1)
    if count == 1:
        return
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * count
        )
    except RuntimeError as error:
        if len(_names("CPU")) < count:
            raise DeviceError(
                f"training.devices: the CPU can't be split into {count} devices any more, "
                "since TensorFlow is already in use.",
                hint="Choose the devices in a fresh process, before anything else runs.",
            ) from error


def _names(kind: str) -> list[str]:
    devices = tf.config.list_logical_devices(kind)
    return [f"{kind.lower()}:{device.name.rpartition(':')[2]}" for device in devices]


def divisible_batches(
    dataset: tf.data.Dataset, num_examples: int, batch_size: int, replicas: int, skipped: int = 0
) -> tf.data.Dataset:
    """Cuts the last batch of a pass so that every device gets the same number of examples.

    A device without examples fails (an empty convolution), and one with fewer
    would count too much. At most `replicas - 1` examples of a pass are left out.

    Args:
        dataset: Batches (nested tensors that share their first dimension) of
            `batch_size` examples, the last one possibly smaller.
        num_examples: Examples in one pass.
        batch_size: A multiple of `replicas`.
        replicas: Number of devices; 1 returns the dataset itself.
        skipped: Batches that `dataset` lacks at its start.
    """
    if replicas == 1 or num_examples % batch_size % replicas == 0:
        return dataset
    kept = num_examples // replicas * replicas

    def cut(*batch: Any) -> Any:
        size = tf.shape(tf.nest.flatten(batch)[0])[0] // replicas * replicas
        return tf.nest.map_structure(lambda tensor: tensor[:size], batch)

    return dataset.take(-(-kept // batch_size) - skipped).map(cut)
