"""Pairs of texts on the command line, from a table to predictions, joined and apart."""

from __future__ import annotations

import csv
import io
import json

import pytest
import tiny
from command import cli, succeed
from presets import write_text_preset

pytestmark = pytest.mark.slow
RECIPE = """\
task: text-pair-{kind}
name: {name}
data: {{train: "{root}/pairs.csv", input_columns: [one, other], label_column: {column},
        validation_fraction: 0.2, test_fraction: 0.2}}
backbone: "{root}/bert"
head: {head}
schedule:
  - {{train: head, {first}}}
  - {{train: all, epochs: 1, learning_rate: 0.00001}}
training: {{batch_size: 16, ranking: {ranking}}}
export: {{formats: [saved_model, litert], precisions: [float32]}}
output_dir: "{root}/runs"
"""
FORMS = {
    "joined": {"kind": "classification", "column": "same", "head": "default", "ranking": 0,
               "first": "epochs: 2, learning_rate: 0.02"},
    "apart": {"kind": "regression", "column": "score", "ranking": 0.1,
              "head": "{name: two_towers, options: {compare: cosine}}",
              "first": "epochs: 2, learning_rate: 0.02"},
    "solved": {"kind": "classification", "column": "same", "head": "{name: two_towers}",
               "ranking": 0, "first": "solver: exact"},
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("pairs")
    write_text_preset(root / "bert")
    texts, sides = tiny.texts(160)
    with (root / "pairs.csv").open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["one", "other", "same", "score"])
        for a, b in zip(range(80), range(80, 160), strict=True):
            same = sides[a] == sides[b - (a // 3) % 2]
            writer.writerow([texts[a], texts[b - (a // 3) % 2], str(same), 4.0 * same])
    for name, values in FORMS.items():
        (root / f"{name}.yaml").write_text(RECIPE.format(name=name, root=root, **values))
    return root


@pytest.fixture(scope="module", params=FORMS)
def run(request, place):
    succeed("validate", place / f"{request.param}.yaml")
    succeed("finetune", place / f"{request.param}.yaml")
    return request.param, place / "runs" / request.param / "1"


def test_a_run_measures_draws_and_exports(run, place):
    name, folder = run
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["baseline"]["name"].endswith("on the frozen features")
    assert metrics["other_baselines"][0]["name"].startswith("TF-IDF")
    assert metrics["gain"]["over"] == metrics["baseline"]["name"]
    assert not metrics["kept"]["linear"] or name == "joined"
    assert {"spearman", "pearson"} <= set(metrics["test"]) or name != "apart"
    assert {file.suffix for file in (folder / "report").iterdir()} == {".html", ".png"}
    contract = json.loads((folder / "exports" / "litert_float32" / "contract.json").read_text())
    assert contract["preprocessing"]["pair"] == ("joined" if name == "joined" else "apart")
    shapes = {t["name"]: t["shape"][0] for t in contract["signatures"][0]["inputs"]}
    assert set(shapes.values()) == {1 if name == "joined" else 2}
    told = succeed("inspect", str(folder / "exports" / "saved_model"))
    assert "text_a" in told.out
    assert "text_b" in told.out
    with (folder / "predictions.csv").open(encoding="utf-8") as file:
        assert {"input_text_a", "input_text_b"} <= set(csv.DictReader(file).fieldnames)


def test_runs_and_exports_say_the_same(run, place):
    name, folder = run
    evaluated = json.loads(succeed("evaluate", str(folder), "--json").out)
    saved = json.loads((folder / "metrics.json").read_text())["test"]
    key = "mae" if name == "apart" else "accuracy"
    assert evaluated[key] == pytest.approx(saved[key], abs=1e-6)
    said = []
    for model in (folder, *(folder / "exports" / e for e in ("saved_model", "litert_float32"))):
        columns = ("--input-column", "one", "--input-column", "other")
        done = succeed("predict", str(model), str(place / "pairs.csv"), *columns)
        rows = list(csv.DictReader(io.StringIO(done.out)))
        assert len(rows) == 80
        said.append([row["prediction"] for row in rows])
    assert said[0] == said[1] == said[2] or name == "apart"
    if name == "apart":
        succeed("benchmark", folder, "--seconds", "0.1")
    two = succeed("predict", str(folder), "good film", "a bad price", "--format", "jsonl")
    assert json.loads(two.out)["input"] == {"text_a": "good film", "text_b": "a bad price"}
    lines = place / "lines.txt"
    lines.write_text('good film\ta bad price\n{"one": "nice", "other": "ugly"}\nalone\n')
    lines = cli("predict", folder, lines, "--format", "jsonl")
    first, second, third = map(json.loads, lines.out.splitlines())
    assert first["input"] == {"text_a": "good film", "text_b": "a bad price"}
    assert second["input"]["text_b"] == "ugly"
    assert "0 tabs" in third["error"]
    assert lines.code == 1


def test_other_commands_know_pairs(place):
    joined = str(place / "joined.yaml")
    assert "litert: ok" in succeed("plan", place / "apart.yaml").out
    succeed("tune-head", joined, "--trials", "2", "--folds", "2")
    succeed("rank", str(place / "solved.yaml"), "--backbone", str(place / "bert"),
            "--backbone", f"untrained:{place / 'bert'}")  # fmt: skip
    wrong = cli("validate", joined, "task=text-classification", "head=two_towers")
    assert wrong.code == 2
    assert "data.input_columns" in wrong.err
    assert "compares the texts of pairs" in wrong.err
