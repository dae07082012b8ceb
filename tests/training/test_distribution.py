from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tltool.recipe.schema import TrainingSection
from tltool.support.errors import DeviceError
from tltool.training.distribution import (
    _tpu_system,
    claim_devices,
    describe_devices,
    divisible_batches,
    make_strategy,
)


def refused(**training) -> DeviceError:
    with pytest.raises(DeviceError) as error:
        make_strategy(TrainingSection(**training))
    assert error.value.hint
    return error.value


def test_auto_uses_one_device_where_there_is_one():
    assert make_strategy(TrainingSection()).num_replicas_in_sync == 1


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
def test_mirrored_without_gpus_is_refused():
    assert "mirrored needs GPUs" in refused(distribution="mirrored").message


def test_a_device_that_does_not_exist_is_named_with_those_that_do():
    error = refused(devices=("gpu:7",))
    assert "'gpu:7'" in error.message
    assert "cpu:0" in error.message


def test_a_device_given_twice_is_refused():
    assert "once" in refused(devices=("cpu:0", "cpu:0")).message


def test_the_cpu_cannot_be_split_once_tensorflow_is_in_use():
    describe_devices()
    assert "split" in refused(devices=("cpu:0", "cpu:1")).message


def test_only_a_training_has_several_workers():
    assert "only `tltool finetune`" in refused(distribution="multi_worker").message


def test_the_device_that_is_taken_anyway_needs_no_strategy():
    first = (describe_devices()["GPU"] or describe_devices()["CPU"])[0]
    assert make_strategy(TrainingSection(devices=(first,))) is tf.distribute.get_strategy()


@pytest.mark.slow
def test_another_device_reads_without_an_iterator_of_several(tmp_path):
    """Which now and then ends the process. In one of its own: the processor is split."""
    code = (
        "import pathlib, sys\n"
        "from tensorflow.python.data.ops import multi_device_iterator_ops\n"
        "from tltool.recipe.schema import CacheSection, TrainingSection\n"
        "from tltool.training.distribution import make_strategy\n"
        "multi_device_iterator_ops.OwnedMultiDeviceIterator = None\n"
        "strategy = make_strategy(TrainingSection(batch_size=8, devices=('cpu:1',)))\n"
        "import cached_fit\n"
        "phases = [{'train': 'all', 'epochs': 2}]\n"
        "weights, rows, _, _ = cached_fit.fit('bert', pathlib.Path(sys.argv[1]), phases,\n"
        "    CacheSection(use='never'), strategy=strategy)\n"
        "print(len(rows))\n"
    )
    paths = [str(Path(__file__).parents[1] / "helpers"), str(Path(__file__).parents[2])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["2"]


@pytest.fixture
def no_tpu_named(monkeypatch):
    for name in ("KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS", "TPU_NAME", "TPU_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    _tpu_system.cache_clear()
    yield
    _tpu_system.cache_clear()


def test_a_tpu_that_cannot_be_reached_is_refused(no_tpu_named, monkeypatch):
    assert "no TPU can be reached from here (local)" in refused(distribution="tpu").message
    monkeypatch.setenv("TPU_NAME", "mine")

    def connect(tpu):
        raise ImportError("googleapiclient must be installed")

    monkeypatch.setattr(tf.distribute.cluster_resolver.TPUClusterResolver, "connect", connect)
    assert "(TPU_NAME=mine): googleapiclient" in refused(distribution="tpu").message


@pytest.mark.parametrize(("named", "asked"), [(None, "local"), ("local", "local"), ("my", None)])
def test_a_tpu_is_initialised_once_and_before_devices_are_listed(
    named, asked, no_tpu_named, monkeypatch
):
    if named:
        monkeypatch.setenv("TPU_NAME", named)
    done = []

    class Strategy:
        num_replicas_in_sync = 8

        def __init__(self, system):
            done.append(system)

    resolver = tf.distribute.cluster_resolver.TPUClusterResolver
    monkeypatch.setattr(resolver, "connect", lambda tpu: done.append(tpu) or "the system")
    monkeypatch.setattr(tf.distribute, "TPUStrategy", Strategy)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: done.append(kind) or [])
    training = TrainingSection(distribution="tpu", static_shapes="always")
    claim_devices(training)
    make_strategy(training)
    assert done == [asked, "the system"]
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind])
    describe_devices()
    assert done == [asked, "the system", "CPU", "GPU", "TPU"]


def test_cores_of_a_tpu_cannot_be_chosen(no_tpu_named):
    assert "all cores" in refused(distribution="tpu", devices=("cpu:0",)).message


SEVERAL = """
from tltool.training.distribution import make_strategy
from tltool.support.errors import DeviceError
from tltool.recipe.schema import TrainingSection

try:
    make_strategy(TrainingSection(tokens_per_batch=512, devices=("cpu:0", "cpu:1")))
except DeviceError as error:
    print(error.message, error.hint)
"""


def test_a_budget_of_tokens_is_refused_on_several_devices():
    assert make_strategy(TrainingSection(tokens_per_batch=512)).num_replicas_in_sync == 1
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL], capture_output=True, text=True, check=True
    )
    assert "training.tokens_per_batch: 512" in done.stdout
    assert "2 devices" in done.stdout
    assert "training.batch_size" in done.stdout


@pytest.mark.parametrize(("rows", "sizes"), [(16, [8, 8]), (18, [8, 8, 2]), (19, [8, 8, 2]),
                                             (17, [8, 8]), (8, [8]), (5, [4])])  # fmt: skip
def test_every_batch_divides_over_the_devices(rows, sizes):
    dataset = tf.data.Dataset.from_tensor_slices((np.arange(rows), np.arange(rows))).batch(8)
    cut = divisible_batches(dataset, rows, 8, replicas=2)
    assert int(cut.cardinality()) == len(sizes)
    assert [len(inputs) for inputs, _ in cut] == sizes


def test_one_device_gets_the_dataset_as_it_is():
    dataset = tf.data.Dataset.range(5).batch(2)
    assert divisible_batches(dataset, 5, 2, replicas=1) is dataset
