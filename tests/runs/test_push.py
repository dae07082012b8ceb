"""A pushed run: a card with its metadata, exports, the recipe; no row of the data."""

from __future__ import annotations

import json

import pytest
import yaml
from command import cli
from file_server import serve
from hub_server import hub_server
from presets import write_text_preset, write_texts

from tltool.export.artifact import load_artifact
from tltool.finetuning.job import finetune
from tltool.recipe.recipe import Recipe
from tltool.report.hub_card import hub_metadata
from tltool.runs.push import publication, repo_of
from tltool.runs.run import load_run
from tltool.support.errors import ExportError, RunError
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task

# huggingface_hub 2.4 uploads in a way that its library for HTTP warns about.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO = "me/reviews"
PLACE = f"hf://{REPO}"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("push")
    recipe = Recipe.of(
        task="text-classification",
        name="reviews",
        data={"train": str(write_texts(folder / "secret.csv", 60)), "test_fraction": 0.3},
        backbone=str(write_text_preset(folder / "bert", layers=1)),
        schedule=[{"train": "head", "epochs": 1, "learning_rate": 0.01}],
        training={"loggers": [], "calibrate": False},
        evaluation={"baseline": False},
        export={"formats": ["litert"], "precisions": ["float32"]},
        output_dir=str(folder / "runs"),
    )
    return load_run(finetune(recipe, audit=False).path)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    # The library reads these once, when it is imported.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    with hub_server(monkeypatch, tmp_path / "cache", REPO) as running:
        yield running


def test_what_is_pushed_arrives_and_is_an_export_that_runs(run, hub, tmp_path):
    pushed = hub.take_uploads()
    done = cli("push", run.path, PLACE, "--json", "--licence", "mit")
    assert done.code == 0, done
    told = done.json()
    assert told["url"].endswith("/commit/" + "a" * 40)
    assert {file["path"]: file["bytes"] for file in told["files"]} == {
        path: len(content) for path, content in pushed.items()
    }
    assert set(hub.server.tokens) == {"Bearer hf_test", ""}  # files go to a signed address
    for path, content in pushed.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    export = load_artifact(tmp_path / "exports" / "litert_float32")
    ours = load_artifact(run.path / "exports" / "litert_float32")
    assert (export.predict(["good film"]) == ours.predict(["good film"])).all()
    again = Recipe.load(tmp_path / "recipe.yaml")
    assert again == run.recipe


def test_no_row_of_the_data_is_in_it(run):
    found = publication(run, PLACE)
    rows = {
        str(text)
        for split in ("train", "validation", "test")
        for text in run.examples(split).inputs
    }
    rows = [text for text in rows if len(text.split()) > 3]
    assert len(rows) > 10
    golden = json.loads((run.path / "exports/litert_float32/golden.json").read_text())
    readme = (run.path / "exports/litert_float32/README.md").read_text()
    assert golden["examples"][0]["input"] in readme  # what is guarded against is there
    for path, at in found.files.items():
        content = at if isinstance(at, bytes) else at.read_bytes()
        assert not [text for text in rows if text.encode() in content], path
        assert not any(word in path for word in ("golden", "gate", "predictions", "index.html"))
    stays = {"predictions.csv", "report/index.html", "model.keras", "data.json"}
    stays |= {f"exports/litert_float32/{name}" for name in ("golden.json", "gate.json", "gate.md")}
    assert stays <= set(found.left_out)
    assert {"README.md", "recipe.yaml", "report/curves.png", "exports/litert_float32/model.tflite",
            "exports/litert_float32/README.md"} <= set(found.files)  # fmt: skip


def test_the_card_is_a_readme_with_metadata(run):
    found = publication(run, PLACE)
    _, front, card = found.files["README.md"].decode().split("---\n", 2)
    values = yaml.safe_load(front)
    assert values == json.loads(json.dumps(found.metadata))
    assert values["pipeline_tag"] == "text-classification"
    assert values["library_name"] == "tltool"
    assert values["tags"] == ["tltool", "text-classification", "litert"]
    assert "license" not in values
    assert "base_model" not in values
    (index,) = values["model-index"]
    metrics = {one["type"]: one["value"] for one in index["results"][0]["metrics"]}
    assert metrics["accuracy"] == run.metrics["test"]["accuracy"]
    assert card.lstrip().startswith("# Model card: reviews")
    assert str(run.path) not in card
    assert "`exports/litert_float32/model.tflite`" in card
    assert "predictions.csv" not in card
    assert (run.path / "README.md").read_text().count("predictions.csv") == 1


def test_metadata_names_what_came_from_the_hub():
    recipe = Recipe.of(
        task="image-classification",
        backbone="hf://google/vit-base@main",
        data={"train": "hf://datasets/org/birds@v1/data", "added": ["may/"]},
    )
    task = Task(TASKS["image-classification"], ClassTarget(("a", "b")))
    metrics = {"validation": {"accuracy": 0.5}, "test": {"accuracy": 0.75, "macro_f1": None}}
    values = hub_metadata(recipe, task, metrics)
    assert values["base_model"] == "google/vit-base"
    assert values["datasets"] == ["org/birds"]
    (result,) = values["model-index"][0]["results"]
    assert result["dataset"] == {"name": "org/birds", "type": "org/birds", "split": "test"}
    assert [one["value"] for one in result["metrics"]] == [0.75]
    shipped = recipe.with_overrides("backbone.name=efficientnet-lite0")
    assert hub_metadata(shipped, task, {})["license"] == "apache-2.0"
    own = shipped.with_overrides("backbone.weights_file=mine.keras")
    assert "license" not in hub_metadata(own, task, {})


def test_a_dry_run_lists_and_asks_nobody(run, hub):
    done = cli("push", run.path, PLACE, "--dry-run")
    assert done.code == 0, done
    assert "exports/litert_float32/model.tflite" in done.out
    assert "predictions.csv" in done.out.partition("Not uploaded")[2]
    assert "--licence" in done.err
    assert hub.server.paths == []


def test_private_is_asked_for_and_a_public_repository_is_refused(run, hub):
    pushed = hub.take_uploads(private=False)
    done = cli("push", run.path, PLACE, "--private")
    assert done.code == 2
    assert "is public, and --private was asked for" in done.err
    assert not pushed
    assert not any("/preupload/" in path for path in hub.server.paths)
    pushed = hub.take_uploads()
    assert cli("push", run.path, PLACE, "--private").code == 0
    assert "README.md" in pushed


@pytest.mark.parametrize(
    ("status", "told"),
    [(401, "does not know the token"), (403, "may not write to me/reviews"), (500, "answered 500")],
)
def test_refusals_are_told_of(run, hub, status, told):
    hub.take_uploads()
    hub.server.takers["/api/models/me/reviews/commit/"] = lambda path, body: (status, b"")
    done = cli("push", run.path, PLACE)
    assert done.code == 2, done
    assert told in done.err
    assert "hint:" in done.err


def test_no_token_no_network_no_permission_to_ask(run, hub, monkeypatch):
    with serve() as server:
        gone = server.url
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", gone)
    done = cli("push", run.path, PLACE)
    assert done.code == 2
    assert "check the network" in done.err
    monkeypatch.setenv("TLTOOL_OFFLINE", "1")
    assert "TLTOOL_OFFLINE" in cli("push", run.path, PLACE).err
    monkeypatch.delenv("TLTOOL_OFFLINE")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    done = cli("push", run.path, PLACE)
    assert done.code == 2
    assert "hf auth login" in done.err


@pytest.mark.parametrize(
    "place", ["reviews", "hf://reviews", "hf://datasets/me/reviews", "hf://me/a@v1", "hf://me/../b"]
)
def test_other_places_are_refused(place):
    with pytest.raises(RunError, match="names no model repository"):
        repo_of(place)


def test_a_changed_file_is_not_published(run):
    file = run.path / "exports" / "litert_float32" / "labels.txt"
    before = file.read_bytes()
    file.write_bytes(before + b"other\n")
    try:
        with pytest.raises(ExportError, match=r"labels.txt has changed"):
            publication(run, PLACE)
    finally:
        file.write_bytes(before)
