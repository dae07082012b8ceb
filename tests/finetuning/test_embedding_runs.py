"""Embeddings and few examples on the command line, from a table to a search."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from command import cli, succeed
from presets import write_text_preset, write_texts

import tltool

pytestmark = pytest.mark.slow
WORDS = ("good", "bad", "nice", "awful", "great", "poor", "love", "hate", "fine", "ugly")


def write_table(file, words, rows, seed=0):
    """Texts whose class is a word in them."""
    rng = np.random.default_rng(seed)
    filler = ("the", "film", "food", "was", "is", "very", "service", "a")
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["text", "label"])
        for word in words:
            for _ in range(rows):
                text = [*rng.choice(filler, 4), word]
                writer.writerow([" ".join(rng.permutation(text)), word])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("alike")
    write_text_preset(root / "bert")
    write_table(root / "known.csv", WORDS[:7], 30)
    write_table(root / "unseen.csv", WORDS[7:], 12, seed=1)
    recipe = {
        "task": "text-embedding",
        "name": "alike",
        "data": {
            "train": str(root / "known.csv"),
            "test": str(root / "unseen.csv"),
            "validation_fraction": 0.1,
        },
        # Of random weights dropout is louder than what tells words apart.
        "backbone": {"name": str(root / "bert"), "dropout": 0.0},
        "head": {"dimensions": 16, "dropout": 0.0},
        "schedule": [{"train": "all", "epochs": 12, "learning_rate": 0.001}],
        "training": {"batch_size": 32},
        "export": {"formats": ["saved_model"]},
        "output_dir": str(root / "runs"),
    }
    (root / "alike.yaml").write_text(json.dumps(recipe))
    return root


@pytest.fixture(scope="module")
def finetuned(place):
    return succeed("finetune", place / "alike.yaml")


def test_classes_that_were_never_seen_are_measured(place, finetuned):
    run = tltool.load_run(place / "runs" / "alike")
    found = run.metrics
    assert set(found) == {"validation", "test", "baseline", "gain"}
    assert found["gain"]["rows"] == found["test"]["queries"]
    assert found["gain"]["value"] == found["test"]["recall_at_1"]
    assert found["gain"]["other"] == found["baseline"]["recall_at_1"]
    assert found["test"]["queries"] == found["test"]["n"] == 36
    assert found["test"]["recall_at_1"] > found["baseline"]["recall_at_1"]
    assert run.model.output_shape == (None, 16)
    assert "Nearest wrong neighbours" in finetuned.out or found["test"]["recall_at_1"] == 1
    assert "tltool finetune similar_texts data.train=your.csv" in finetuned.out
    vector = run.predict(["the food was good"])[0].value
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    again = run.evaluate(place / "unseen.csv").metrics
    assert again["recall_at_1"] == found["test"]["recall_at_1"]


def test_a_query_finds_the_texts_that_are_alike(place, finetuned):
    run, index = place / "runs" / "alike" / "1", place / "known.index"
    assert (
        "210 rows of 16 numbers"
        in succeed("search", run, index, "--build", place / "known.csv").err
    )
    (found,) = succeed("search", run, index, "the film was great", "--top", 5, "--json").json()
    similar = [near["similarity"] for near in found["neighbours"]]
    assert similar == sorted(similar, reverse=True)
    assert sum("great" in near["input"] for near in found["neighbours"]) >= 2
    shown = succeed("search", run, index, "the film was great", "the food", "--top", 2).out
    assert shown.count("similarity") == 2
    refused = cli("search", run / "exports" / "saved_model", index, "the film")
    assert refused.code == 2
    assert "can't be compared" in refused.err
    assert cli("search", run, index).code == 2
    assert cli("search", run, index, "the film", "--faiss", "Flat").code == 2


def write_rows(file, rows, seed=0):
    """Texts of two words that count, one of the same words, one that shares a word; a number."""
    rng = np.random.default_rng(seed)
    filler = ("the", "film", "food", "was", "is", "very", "service", "a")

    def text(*words):
        return " ".join(rng.permutation([*rng.choice(filler, 4), *words]))

    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["one", "same", "near", "shared"])
        for row in range(rows):
            words, others = (rng.choice(WORDS[:7], 2, replace=False) for _ in range(2))
            same = text(*words) if row % 2 else text(*others)
            shared = 2.0 if row % 2 else float(len({*words} & {*others}))
            writer.writerow([text(*words), same, text(words[0], others[0]), shared])
    return file


PAIRED = {
    "triplets": ("[one, near, same]", (), "recall_at_1", 3),
    "numbers": ("[one, same]", ("data.label_column=shared",), "spearman", 2),
}


@pytest.mark.parametrize("form", PAIRED)
def test_rows_of_texts_teach_what_is_alike(place, form):
    columns, more, headline, texts = PAIRED[form]
    table = write_rows(place / f"{form}.csv", 160)
    done = succeed("finetune", place / "alike.yaml", f"name={form}", f"data.train={table}",
                   f"data.input_columns={columns}", "data.test=null", "training.monitor=metric",
                   "export.formats=[litert]", "export.precisions=[float32, int8]",
                   *more)  # fmt: skip
    own = ["data.train=your.csv", f"'data.input_columns={columns}'", *more]
    assert f"tltool finetune similar_texts {' '.join(own)}" in done.out
    run = tltool.load_run(place / "runs" / form)
    found = run.metrics
    assert set(found) == {"validation", "test", "baseline", "gain"}
    assert found["test"]["n"] % texts == 0
    assert found["test"][headline] > found["baseline"][headline]
    assert len(run.predict(["the food was good"])[0].value) == 16
    again = run.evaluate().metrics
    assert again[headline] == pytest.approx(found["test"][headline], abs=1e-6)
    anew = write_rows(place / "anew.csv", 40, seed=1)
    assert run.evaluate(anew).metrics["n"] == 40 * texts
    rows = list(csv.DictReader((run.path / "predictions.csv").read_text().splitlines()))
    assert len(rows) == found["test"]["n"]
    index = place / f"{form}.index"
    built = succeed("search", run.path, index, "--build", anew, "--input-column", "same")
    assert "40 rows of 16 numbers" in built.err
    predicted = succeed("predict", run.path, anew, "--format", "jsonl").out.splitlines()
    assert len(predicted) == 40 * texts
    refused = cli("evaluate", run.path, "--data", anew, "--input-column", "one")
    assert (refused.code, "two columns are needed" in refused.err) == (2, True)


def test_backbones_are_ranked_by_what_their_features_find(place):
    (row,) = succeed("rank", place / "alike.yaml", "--backbone", place / "bert", "--json").json()
    assert 0 <= row["score"] <= 1
    assert row["metric"] == "recall_at_1"
    assert row["logme"] is None
    shown = succeed("rank", place / "alike.yaml", "--backbone", place / "bert").out
    assert "LogME" not in shown
    assert "recall_at_1" in shown


def few(place, tmp_path, schedule):
    recipe = tltool.Recipe.of(
        task="text-classification",
        data={"train": str(write_texts(tmp_path / "texts.csv", 48)),
              "validation_fraction": 0.0, "test_fraction": 0.5},
        backbone={"name": str(place / "bert"), "dropout": 0.0},
        schedule=schedule,
        training={"batch_size": 16},
        evaluation={"baseline": False},
        export={"formats": []},
        output_dir=str(tmp_path / "runs"),
    )  # fmt: skip
    return tltool.finetune(recipe)


def test_contrast_draws_the_features_of_a_class_together_and_keeps_them(place, tmp_path):
    phase = {"train": "all", "objective": "contrastive", "epochs": 20, "learning_rate": 0.001}
    run = few(place, tmp_path, [phase, {"train": "head", "solver": "exact"}])
    rows = list(csv.DictReader((run.path / "history.csv").read_text().splitlines()))
    losses = [float(row["loss"]) for row in rows[:20]]
    assert losses[-1] < losses[0]
    # The head is solved on the features of the last epoch, not on the pretrained ones.
    assert run.metrics["test"]["accuracy"] > 0.6


def test_the_rows_choose_how_to_train(place, tmp_path):
    run = few(place, tmp_path, "few_examples")
    found = json.loads((run.path / "few_examples.json").read_text())
    means = {name: row["mean"] for name, row in found["candidates"].items()}
    assert set(means) == {"frozen features", "fine-tuning", "contrastive"}
    assert means[found["chosen"]] == max(means.values())
    assert len(found["candidates"]["contrastive"]["folds"]) == 3
    assert len(run.recipe.schedule) == (1 if found["chosen"] != "contrastive" else 2)
