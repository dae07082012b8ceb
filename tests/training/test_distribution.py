from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tltool.recipe.schema import TrainingSection
from tltool.support.errors import DeviceError
from tltool.training.distribution import describe_devices, divisible_batches, make_strategy


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


def test_several_workers_need_tf_config(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert "not set" in refused(distribution="multi_worker").message
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {}}')
    assert "damaged" in refused(distribution="multi_worker").message


def test_a_tpu_that_cannot_be_reached_is_refused():
    assert "no TPU can be reached" in refused(distribution="tpu").message


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
