"""`tltool benchmark`: what is counted happened, models take turns, and what is broken is said."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
from command import cli, succeed
from presets import write_text_preset

import tltool
from tltool.benchmarking import measure as measuring
from tltool.benchmarking import worker
from tltool.benchmarking.processes import Start
from tltool.benchmarking.runtimes import RUNTIMES, Loaded, Runtime
from tltool.benchmarking.subjects import Subject, subjects_of
from tltool.support.quiet import quiet
from tltool.support.sums import write_sums

MODELS = ("keras", "litert_float32", "saved_model")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a tiny run with a SavedModel and a LiteRT file."""
    root = tmp_path_factory.mktemp("benchmark")
    recipe = tltool.Recipe.of(
        task="text-classification",
        backbone=str(write_text_preset(root / "bert")),
        data={"test_fraction": 0.3},
        schedule=[{"train": "head", "epochs": 1, "learning_rate": 0.01}],
        evaluation={"baseline": False},
        output_dir=str(root / "runs"),
    )
    return tltool.finetune(recipe, data=tiny.texts(60), audit=False).path


@pytest.fixture(scope="module")
def export(run, tmp_path_factory):
    """An export folder that lies in no run."""
    folder = tmp_path_factory.mktemp("exports") / "litert_float32"
    return shutil.copytree(run / "exports" / "litert_float32", folder)


# Whole


def test_a_run_s_models_are_measured_beside_each_other(run):
    done = succeed("benchmark", run, "--batch", "1,2", "--seconds", "0", "--json")
    found = done.json()
    assert {(s["model"], s["threads"], s["batch"]) for s in found["speeds"]} == {
        (model, 1, batch) for model in MODELS for batch in (1, 2)
    }
    for speed in found["speeds"]:
        assert 0 < speed["p50_ms"] <= speed["p90_ms"] <= speed["p99_ms"]
        # The fewest calls in each round, since there was no time for more.
        assert speed["batches"] == 3 * measuring.ROUNDS
        # A LiteRT model of tltool's takes one example at once.
        fixed = speed["model"] == "litert_float32"
        assert speed["calls"] == (speed["batch"] if fixed else 1)
    assert sorted(f["model"] for f in found["footprints"]) == list(MODELS)
    for start in found["footprints"]:
        parts = [start[name] for name in ("import_s", "load_s", "answer_s")]
        assert min(parts) > 0
        assert start["cold_s"] == pytest.approx(sum(parts))
        assert start["golden"]
        assert start["runtime_bytes"] > 1e6
    assert found["machine"]["cpus"] >= 1
    assert {"tltool", "tensorflow", "ai-edge-litert"} <= found["versions"].keys()


def test_an_export_is_measured_beside_the_run_s_saved_model_and_keras_model(run):
    folder = run / "exports" / "litert_float32"
    for path in (folder, folder / "model.tflite"):
        names = [subject.name for subject in subjects_of(path)]
        assert names == ["litert_float32", "saved_model", "keras"]
        assert [subject.name for subject in subjects_of(path, alone=True)] == names[:1]
    saved_model = run / "exports" / "saved_model" / "model"
    assert [s.form for s in subjects_of(saved_model)] == ["saved_model", "keras"]


def test_the_table_has_a_line_for_each_number_of_threads(export):
    done = succeed("benchmark", export, "--threads", "1,2", "--seconds", "0")
    lines = [line.split() for line in done.out.splitlines() if line.startswith("litert_float32")]
    assert [line[1] for line in lines] == ["1", "2", "1", "2"]
    assert "golden examples" in done.out
    assert "ai-edge-litert" in done.out


def test_a_model_without_a_contract_is_given_random_numbers(tmp_path):
    import tensorflow as tf

    spec = tf.TensorSpec((None, 4), tf.float32, name="x")
    function = tf.function(lambda x: tf.nn.softmax(x @ tf.ones((4, 3))), input_signature=[spec])
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [function.get_concrete_function()], tf.Module()
    )
    with quiet():
        (tmp_path / "foreign.tflite").write_bytes(converter.convert())
    arguments = ("--batch", "4", "--seconds", "0", "--json")
    found = succeed("benchmark", tmp_path / "foreign.tflite", *arguments).json()
    (speed,), (footprint,) = found["speeds"], found["footprints"]
    # Its batch size is free, so a batch is one call.
    assert (speed["model"], speed["batch"], speed["calls"]) == ("foreign.tflite", 4, 1)
    assert not footprint["golden"]


# Counting


class Counted:
    """A runtime that takes down how many rows each of its calls had."""

    def __init__(self, rows=None):
        self.calls = []
        specs = {"x": ((rows, 2), "float32")}
        loaded = Loaded(specs, lambda inputs: self.calls.append(len(inputs["x"])))
        self.runtime = Runtime(lambda threads: None, lambda path, threads: loaded)


def replies(monkeypatch, counted, *requests):
    monkeypatch.setitem(RUNTIMES, "litert", counted.runtime)
    monkeypatch.setattr("sys.stdin", [json.dumps(request) for request in requests])
    first = {"form": "litert", "path": "m", "threads": 1, "batch": 2, "inputs": None, "began": 0}
    return list(worker._replies(first))


@pytest.mark.parametrize(("rows", "calls"), [(None, 1), (1, 4), (2, 2)])
def test_every_measured_batch_is_run_and_none_that_is_not_counted(rows, calls, monkeypatch):
    counted = Counted(rows)
    request = {"batch": 4, "seconds": 0, "warm_up": False}
    _, measured = replies(monkeypatch, counted, request)
    assert measured["calls"] == calls
    assert len(measured["latencies"]) == 3
    # The first answer was to a batch of two.
    first = 2 // (rows or 2)
    assert counted.calls[first:] == [4 // calls] * calls * 3
    _, _, warm = replies(
        monkeypatch, counted := Counted(rows), request, {**request, "warm_up": True}
    )
    assert len(warm["latencies"]) == 3
    assert len(counted.calls) == first + calls * 3 + calls * (2 + 3)


def test_a_batch_that_a_fixed_size_does_not_divide_is_refused(monkeypatch):
    request = {"batch": 3, "seconds": 0, "warm_up": False}
    _, refused = replies(monkeypatch, Counted(2), request)
    assert "takes 2 examples at once, so not 3" in refused["error"]


class FakeWorker:
    """Answers with known latencies and takes down whose turn it is."""

    turns: list

    def __init__(self, subject, threads, batch, inputs):
        self.subject, self.threads, self.peak_bytes = subject, threads, 900
        self.start = Start(1.0, 2.0, 3.0, 400, golden=False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def round(self, batch, seconds, *, warm_up):
        FakeWorker.turns.append((self.subject.name, batch, seconds))
        return [0.001 * milliseconds for milliseconds in range(1, 21)], 1


def test_models_take_turns_and_percentiles_are_latencies_that_were_measured(monkeypatch, tmp_path):
    FakeWorker.turns = []
    monkeypatch.setattr(measuring, "Worker", FakeWorker)
    subjects = [Subject(name, "litert", tmp_path) for name in ("one", "two")]
    found = measuring.measure(subjects, batches=(1, 8), seconds=3.0, rounds=3)
    cases = [(name, batch, 1.0) for name in ("one", "two") for batch in (1, 8)]
    assert FakeWorker.turns == cases * 3
    speed = found.speeds[1]
    assert (speed.model, speed.batch, speed.batches) == ("one", 8, 60)
    assert (speed.p50_ms, speed.p90_ms, speed.p99_ms) == pytest.approx((10, 18, 20))
    assert speed.examples_per_s == pytest.approx(8 / 0.0105)
    assert (found.footprints[0].cold_s, found.footprints[0].peak_bytes) == (6.0, 500)


def test_a_batch_is_made_of_the_golden_examples_in_turn(tmp_path):
    rows = np.arange(6).reshape(3, 2)
    np.savez(tmp_path / "inputs.npz", x=rows)
    loaded = SimpleNamespace(specs={"x": ((None, 2), "float32")}, fixed_batch=None)
    (inputs,), golden = worker._inputs(loaded, {"inputs": str(tmp_path / "inputs.npz")}, 5)
    assert golden
    assert inputs["x"].dtype == np.float32
    np.testing.assert_array_equal(inputs["x"], rows[[0, 1, 2, 0, 1]])


# What is broken


def test_a_damaged_file_is_named(export, tmp_path):
    content = (export / "model.tflite").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(content[: len(content) // 2])
    done = cli("benchmark", tmp_path / "cut.tflite", "--seconds", "0")
    assert done.code == 2
    assert str(tmp_path / "cut.tflite") in done.err


def test_a_contract_without_its_model_is_named(export, tmp_path):
    (tmp_path / "contract.json").write_bytes((export / "contract.json").read_bytes())
    write_sums(tmp_path)
    done = cli("benchmark", tmp_path, "--seconds", "0")
    assert done.code == 2
    assert "model.tflite" in done.err
    (tmp_path / "contract.json").write_text("{}")
    write_sums(tmp_path)
    said = cli("benchmark", tmp_path).err
    for field in ("file", "format", "preprocessing"):
        assert f"{field}: Field required" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "neither an exported model nor a run"),
        (["{export}", "--threads", "0"], "'0' is no list of numbers"),
        (["{export}", "--batch", "1,many"], "'1,many' is no list of numbers"),
    ],
)
def test_what_cannot_be_measured_is_refused(arguments, said, export):
    done = cli("benchmark", *(argument.format(export=export) for argument in arguments))
    assert done.code == 2
    assert said in done.err
