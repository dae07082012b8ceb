"""What MLflow and Weights & Biases are told of a run.

A tracking server of MLflow is asked where it is installed (`make test-loggers`); of Weights &
Biases a module that records its calls stands for the package.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from types import SimpleNamespace

import pytest

from tltool.finetuning import loggers
from tltool.finetuning.launching.local import free_ports
from tltool.finetuning.loggers import LOGGERS, check_loggers, log_run, record_of
from tltool.recipe.recipe import Recipe
from tltool.report.history import write_history
from tltool.runs.folder import RunFolder
from tltool.support.errors import RecipeError
from tltool.support.progress import Progress

HISTORY = [
    {"phase": "1 head", "epoch": 1, "total_epoch": 1, "loss": 0.9, "val_accuracy": 0.5},
    {"phase": "2 all", "epoch": 1, "total_epoch": 2, "loss": 0.4, "val_accuracy": 0.75},
]


class Notes(Progress):
    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


def recipe(*names):
    return Recipe.of(
        name="reviews",
        task="text-classification",
        backbone="all-minilm-l6-v2",
        training={"loggers": list(names), "class_weights": {"good (a+b)": 2.0, "bad": 1.0}},
    )


@pytest.fixture
def folder(tmp_path):
    found = RunFolder.create(tmp_path / "runs", "reviews")
    found.card.write_text("# Card\n", encoding="utf-8")
    found.recipe.write_text("task: x\n", encoding="utf-8")
    found.predictions.write_text("text\nsecret\n", encoding="utf-8")
    metrics = {"test": {"accuracy": 0.8, "rows": 30, "per_class": [], "confident": True}}
    found.metrics.write_text(json.dumps({**metrics, "gain": None}), encoding="utf-8")
    export = found.exports / "litert_int8"
    export.mkdir(parents=True)
    gate = {"passed": False, "agreement": 0.31, "max_difference": 0.9, "breaches": ["x"]}
    (export / "gate.json").write_text(json.dumps(gate), encoding="utf-8")
    (export / "model.tflite").write_bytes(b"model")
    return found


def test_a_record_has_parameters_epochs_metrics_the_gate_and_files(folder):
    record = record_of(folder, recipe("mlflow"), HISTORY)
    assert (record.project, record.name) == ("reviews", "reviews/1")
    assert record.parameters["training.batch_size"] == 32
    assert record.parameters["training.loggers.0"] == "mlflow"
    assert record.epochs == [
        (1, {"loss": 0.9, "val_accuracy": 0.5}),
        (2, {"loss": 0.4, "val_accuracy": 0.75}),
    ]
    assert record.metrics == {
        "test/accuracy": 0.8,
        "test/rows": 30.0,
        "gate/litert_int8/passed": 0.0,
        "gate/litert_int8/max_difference": 0.9,
        "gate/litert_int8/agreement": 0.31,
    }
    # The rows of the data stay where they are.
    assert set(record.files) == {
        "README.md", "recipe.yaml", "metrics.json", "exports/litert_int8/gate.json"
    }  # fmt: skip


@pytest.mark.parametrize("name", LOGGERS)
def test_a_missing_package_is_named_before_training(name, monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    with pytest.raises(RecipeError, match=f"training.loggers: {name}") as caught:
        check_loggers(recipe("tensorboard", name))
    assert f"pip install 'tltool[{name}]'" in caught.value.hint
    check_loggers(recipe("tensorboard"))


def test_a_logger_that_fails_is_told_of_and_the_next_one_asked(folder, monkeypatch):
    def away(_):
        raise ConnectionError("no server\nmore")

    told = []
    monkeypatch.setattr(loggers, "LOGGERS", {"mlflow": away, "wandb": told.append})
    progress = Notes()
    log_run(folder, recipe("wandb", "mlflow"), HISTORY, progress)
    assert progress.lines == [
        "warning: mlflow was not told of the run: no server",
        "wandb: told of the run as reviews/1",
    ]
    assert len(told) == 1


def test_without_tensorboard_no_events_are_written(tmp_path):
    write_history(HISTORY, tmp_path / "history.csv", None)
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]


def test_wandb_gets_config_steps_summary_and_files(folder, monkeypatch):
    calls = []

    class Run:
        summary = SimpleNamespace(update=lambda values: calls.append(("summary", values)))

        def log(self, values, step):
            calls.append(("log", step, values))

        def log_artifact(self, artifact):
            calls.append(("artifact", sorted(artifact.files)))

        def finish(self, exit_code):
            calls.append(("finish", exit_code))

    class Artifact:
        def __init__(self, name, type):  # noqa: A002
            self.files = []

        def add_file(self, path, name):
            self.files.append(name)

    def init(project, name, config):
        calls.append(("init", project, name, config["training.batch_size"]))
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Artifact=Artifact))
    loggers.to_wandb(record_of(folder, recipe("wandb"), HISTORY))
    assert calls[0] == ("init", "reviews", "reviews-1", 32)
    assert [call[1] for call in calls if call[0] == "log"] == [1, 2]
    assert dict([call for call in calls if call[0] == "summary"])["summary"]["test/accuracy"] == 0.8
    assert calls[-2:] == [
        ("artifact", ["README.md", "exports/litert_int8/gate.json", "metrics.json", "recipe.yaml"]),
        ("finish", 0),
    ]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of a tracking server of MLflow, in a process of its own."""
    pytest.importorskip("mlflow", reason="`make test-loggers` installs MLflow")
    place = tmp_path_factory.mktemp("server")
    (port,) = free_ports(1)
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{place / 'mlflow.db'}"]
    command += ["--artifacts-destination", str(place / "artifacts")]
    with (
        (place / "log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log, cwd=place) as process,
    ):
        try:
            for _ in range(600):
                assert process.poll() is None, (place / "log").read_text()
                with suppress(OSError), urllib.request.urlopen(f"{uri}/health", timeout=5):
                    break
                time.sleep(0.2)
            yield uri
        finally:
            process.terminate()


@pytest.mark.filterwarnings("ignore")
def test_a_tracking_server_of_mlflow_keeps_what_it_is_told(folder, server, monkeypatch):
    import mlflow

    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    for _ in range(2):  # the second time the experiment is there
        loggers.to_mlflow(record_of(folder, recipe("mlflow"), HISTORY))
    client = mlflow.MlflowClient(server)
    experiment = client.get_experiment_by_name("reviews")
    run, _ = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "reviews/1")
    assert run.data.params["training.class_weights.good _a_b_"] == "2.0"
    assert run.data.metrics["gate/litert_int8/agreement"] == 0.31
    losses = client.get_metric_history(run.info.run_id, "loss")
    assert [(point.step, point.value) for point in losses] == [(1, 0.9), (2, 0.4)]
    listed = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert listed == {"README.md", "recipe.yaml", "metrics.json", "exports"}
