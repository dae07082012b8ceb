from __future__ import annotations

import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from tltool.graph.arithmetic import forward_flops, matmul_rate
from tltool.report.profile import Arithmetic, profile_lines
from tltool.support.stopwatch import Stopwatch
from tltool.training.input_wait import InputWait, waiting_note


def test_flops_are_two_for_each_multiply_add():
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    x = layers.DepthwiseConv2D(3, padding="valid")(x)
    x = layers.Dense(5)(layers.Flatten()(x))
    model = keras.Model(image, x)
    expected = 2 * (8 * 8 * 4 * 3 * 9 + 6 * 6 * 4 * 9 + 6 * 6 * 4 * 5)
    assert forward_flops(model) == expected


def test_flops_of_attention_grow_with_the_square_of_the_length():
    tokens = keras.Input((None, 8))
    model = keras.Model(tokens, layers.MultiHeadAttention(2, 4)(tokens, tokens))

    def expected(n: int) -> int:
        projections, products = 4 * n * 8 * 8, 2 * n * n * 8
        return 2 * (projections + products)

    assert [forward_flops(model, n) for n in (4, 10)] == [expected(4), expected(10)]


def test_the_machine_s_rate_is_a_possible_one():
    assert 1e8 < matmul_rate() < 1e15


def test_time_is_counted_once_and_inner_stages_are_taken_out(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    clock = Stopwatch()
    with clock.measure("training"):
        now[0] += 2
        with clock.measure("validation"):
            now[0] += 3
        now[0] += 4
        assert clock.so_far("training") == 6
    now[0] += 100
    with clock.measure("training"):
        now[0] += 1
    assert clock.seconds == {"training": 7, "validation": 3}


def test_a_stage_left_open_by_an_exception_ends_with_the_block(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    clock = Stopwatch()

    def interrupted() -> None:
        with clock.measure("training"):
            clock.start("validation")
            now[0] += 1
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with clock.measure("saving"):
        now[0] += 5
    assert clock.seconds == {"training": 0, "validation": 1, "saving": 5}


def test_the_profile_names_each_stage_with_its_share():
    lines = profile_lines({"data": 1.0, "training steps": 3.0}, Arithmetic(2e9, 16, 1e11))
    assert "       1.0 s   25%  reading, checking and splitting the data" in lines[1]
    assert "       3.0 s   75%  training steps" in lines[2]
    assert "16 tokens" in lines[-2]
    assert "20.0 ms" in lines[-1]


def test_waiting_is_what_a_source_makes_training_wait(monkeypatch):
    seconds = 0.0

    def load(row):
        nonlocal seconds
        seconds += 0.05
        return row

    monkeypatch.setattr(time, "perf_counter", lambda: seconds)
    rows = np.random.default_rng(0).random((80, 4)).astype("float32")
    dataset = tf.data.Dataset.from_tensor_slices((rows, rows[:, :1])).batch(8)
    loaded = dataset.map(
        lambda x, y: (tf.ensure_shape(tf.numpy_function(load, [x], tf.float32), (None, 4)), y)
    )
    wait = InputWait()
    watched = wait.watch(loaded)
    assert watched.cardinality() == loaded.cardinality()
    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(watched, epochs=1, verbose=0, shuffle=False)
    assert wait.take() == pytest.approx(10 * 0.05)
    assert wait.take() == 0


def test_the_note_has_a_hint_only_where_waiting_matters():
    assert waiting_note(1.0, 100.0) == "waiting for input: 1% of the training time"
    assert "augment.views" in waiting_note(30.0, 100.0)
    assert "augment.views" not in waiting_note(0.5, 1.0)
