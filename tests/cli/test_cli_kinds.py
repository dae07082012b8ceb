"""Several labels and several numbers on the command line, from a table to predictions."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import trained
from command import cli, succeed
from presets import write_image_preset, write_text_preset

from tltool.runs.run import load_run

TAGS_RECIPE = """\
task: text-multi-label
name: tags
data: {{train: "{root}/tags.csv", validation_fraction: 0.2, test_fraction: 0.2}}
backbone: "{root}/bert"
schedule: [{{train: head, solver: exact}}]
training: {{batch_size: 16, class_weights: balanced}}
evaluation: {{baseline: false}}
# A solved head of a random network enlarges roundings.
export: {{formats: [saved_model], gate: {{max_difference: {{float32: 0.01}}}}}}
output_dir: "{root}/runs"
"""
CELLS_RECIPE = """\
task: image-regression
name: cells
data: {{train: "{root}/cells.csv", label_columns: [blue, red], validation_fraction: 0.2,
        test_fraction: 0.2}}
backbone: "{root}/resnet"
schedule: [{{train: head, epochs: 8, learning_rate: 0.02}}]
training: {{batch_size: 8}}
evaluation: {{baseline: false}}
export: {{formats: [litert], precisions: [float32, float16]}}
output_dir: "{root}/runs"
"""
TAGS = ("film", "food", "praise")
BRIEF = "schedule=[{train: head, epochs: 2, learning_rate: 0.02}]"


def write_tags(file: Path, count: int = 128) -> None:
    texts, sides = tiny.texts(count)
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(["text", "label"])
        for text, side in zip(texts, sides, strict=True):
            found = [name for name in TAGS[:2] if name in text.split()]
            writer.writerow([text, "|".join(found + ["praise"] * (side == "positive"))])


def write_cells(folder: Path, count: int = 64) -> None:
    """`cells.csv` with numbers, and `bright.csv` with 0 or 1 in the same columns."""
    levels = np.random.default_rng(1).uniform(0, 150, (count, 2))
    files = trained.pictures(folder / "pictures", [(0, 2)] * count, levels)
    tables = {
        "cells": lambda red, blue: (round(blue / 150, 4), round(red / 150 * 1e6, 1)),
        "bright": lambda red, blue: (int(blue > 75), int(red > 75)),
    }
    for table, row in tables.items():
        with (folder / f"{table}.csv").open("w", encoding="utf-8", newline="") as opened:
            writer = csv.writer(opened)
            writer.writerow(["image", "blue", "red"])
            for file, level in zip(files, levels, strict=True):
                writer.writerow([Path(file).relative_to(folder), *row(*level)])


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("kinds")
    write_text_preset(root / "bert")
    write_image_preset(root / "resnet")
    write_tags(root / "tags.csv")
    write_cells(root)
    (root / "tags.yaml").write_text(TAGS_RECIPE.format(root=root))
    (root / "cells.yaml").write_text(CELLS_RECIPE.format(root=root))
    return root


@pytest.fixture(scope="module")
def tags(place):
    return place / "runs" / "tags" / "1", succeed("finetune", place / "tags.yaml")


@pytest.fixture(scope="module")
def cells(place):
    return place / "runs" / "cells" / "1", succeed("finetune", place / "cells.yaml")


def read_rows(path: Path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def metrics_of(path: Path):
    return json.loads((path / "metrics.json").read_text())["test"]


# Several labels


def test_labels_are_learnt_reported_and_kept(tags):
    path, done = tags
    for shown in ("Mean average precision", "Labels", "film", "praise", "predicted"):
        assert shown in done.out
    assert metrics_of(path)["mean_average_precision"] > 0.9
    rows = read_rows(path / "predictions.csv")
    named = [f"probability_{name}" for name in TAGS]
    assert list(rows[0]) == ["origin", "input", "target", "prediction", *named]
    assert {"", "film|praise"} <= {row["target"] for row in rows}
    thresholds = metrics_of(path)["thresholds"]
    for row in rows:
        pairs = zip(TAGS, named, thresholds, strict=True)
        given = [tag for tag, name, threshold in pairs if float(row[name]) >= threshold]
        assert row["prediction"] == "|".join(given)


def test_evaluating_again_gives_the_same_figures_and_the_thresholds(tags):
    path, _ = tags
    saved, again = metrics_of(path), succeed("evaluate", path, "--json").json()
    for key in ("mean_average_precision", "macro_f1", "exact_match"):
        assert again[key] == pytest.approx(saved[key])
    assert again["thresholds"] == saved["thresholds"]
    table = succeed("evaluate", path).out
    assert all(name in table for name in ("mean_average_precision", "exact_match", *TAGS))
    assert ["Label", "From"] in [line.split()[:2] for line in table.splitlines()]


def test_predictions_of_labels_as_a_table_and_as_json_lines(tags):
    path, _ = tags
    texts = ("great film !", "was awful service")
    for place in (path, path / "exports" / "saved_model"):
        full, empty = succeed("predict", place, *texts).rows()
        assert full["prediction"] == "film|praise"
        assert empty["prediction"] == ""
        assert float(full["probability_film"]) > float(empty["probability_film"])
        lines = succeed("predict", place, *texts, "--format", "jsonl", "--top", "2").out
        first, second = map(json.loads, lines.splitlines())
        assert first["prediction"] == ["film", "praise"]
        assert second["prediction"] == []
        assert list(first["probabilities"]) in (["film", "praise"], ["praise", "film"])


def test_explain_names_labels_and_numbers_in_words(place, tags, cells):
    table = succeed("explain", tags[0], "great film !", "was awful service").out
    assert "film, praise" in table
    assert "(" not in table
    photo = sorted((place / "pictures").iterdir())[0]
    (found,) = succeed("explain", cells[0], photo, "--json").json()
    answer = load_run(cells[0]).task.target.words(found["answer"])
    assert f"  {answer}  " in succeed("explain", cells[0], photo).out


def test_the_server_of_labels_passes_the_check(tags):
    done = succeed("serve", tags[0] / "exports" / "saved_model", "--check")
    assert "passed" in done.out
    assert "same labels" in done.out


def test_a_focal_loss_and_one_threshold_for_all(place):
    options = ("training.focal_gamma=2", "evaluation.thresholds=0.4", "export.formats=[]")
    succeed("finetune", place / "tags.yaml", BRIEF, "name=focal", *options)
    path = place / "runs" / "focal" / "1"
    assert metrics_of(path)["thresholds"] == [0.4, 0.4, 0.4]
    losses = [float(row["loss"]) for row in read_rows(path / "history.csv")]
    assert losses[-1] < losses[0]


def test_a_searched_head_and_thresholds_by_label(place):
    options = ("head.search=true", "training.class_weights=auto", "export.formats=[]")
    thresholds = "evaluation.thresholds={film: 0.3, praise: 0.6}"
    done = succeed("finetune", place / "tags.yaml", BRIEF, "name=searched", *options, thresholds)
    assert "Head search" in done.err
    assert metrics_of(place / "runs" / "searched" / "1")["thresholds"] == [0.3, 0.5, 0.6]


def test_a_threshold_of_no_label_is_an_error_before_training(place):
    options = ("name=wrong", "export.formats=[]", "evaluation.thresholds={fil: 0.3}")
    done = cli("finetune", place / "tags.yaml", *options)
    assert done.code == 2
    assert "fil" in done.err
    assert "film" in done.err
    assert "solved" not in done.err


def test_heads_for_labels_are_tuned_and_backbones_ranked(place):
    options = (BRIEF, "training.class_weights=auto", "--trials", "3", "--folds", "2")
    found = succeed("tune-head", place / "tags.yaml", *options, "--json").json()
    assert [row["rank"] for row in found["trials"]] == [1, 2, 3]
    assert found["metric"] == "log_loss"
    backbones = ("--backbone", place / "bert", "--backbone", f"untrained:{place / 'bert'}")
    ranked = succeed("rank", place / "tags.yaml", *backbones)
    assert "mean_average_precision" in ranked.out
    assert ranked.out.count(str(place / "bert")) == 2


def test_labels_in_columns_of_pictures_that_are_mixed(place):
    values = {
        "task": "image-multi-label",
        "name": "bright",
        "data.train": place / "bright.csv",
        "augment": "{layers: [{layer: MixUp}]}",
        "export.formats": "[]",
    }
    options = [f"{key}={value}" for key, value in values.items()]
    succeed("finetune", place / "cells.yaml", *options)
    rows = read_rows(place / "runs" / "bright" / "1" / "predictions.csv")
    assert list(rows[0])[-2:] == ["probability_blue", "probability_red"]
    assert {"", "blue|red"} <= {row["target"] for row in rows}


# Several numbers


def test_numbers_are_learnt_reported_and_kept(cells):
    path, done = cells
    for shown in ("Mean absolute error", "Numbers", "blue", "red"):
        assert shown in done.out
    assert [row["name"] for row in metrics_of(path)["per_number"]] == ["blue", "red"]
    rows = read_rows(path / "predictions.csv")
    names = [f"{what}_{name}" for what in ("target", "prediction") for name in ("blue", "red")]
    assert list(rows[0]) == ["origin", "input", *names]
    assert all(float(row["target_blue"]) <= 1 for row in rows)
    assert max(float(row["prediction_red"]) for row in rows) > 1000


def test_evaluating_numbers_again_gives_the_same_figures(cells):
    path, _ = cells
    again = succeed("evaluate", path, "--json").json()
    assert again["mae"] == pytest.approx(metrics_of(path)["mae"])
    lines = [line.split() for line in succeed("evaluate", path).out.splitlines() if line]
    place = [line[0] for line in lines].index("Number")
    assert [line[0] for line in lines[place : place + 3]] == ["Number", "blue", "red"]


def test_predictions_of_numbers_have_a_column_each(place, cells):
    path, _ = cells
    photos = sorted(map(str, (place / "pictures").iterdir()))[:2]
    found = {}
    for model in (path, path / "exports" / "litert_float32", path / "exports" / "litert_float16"):
        rows = succeed("predict", model, *photos).rows()
        assert list(rows[0]) == ["origin", "input", "prediction_blue", "prediction_red", "error"]
        found[model] = [[float(row[name]) for name in list(row)[2:4]] for row in rows]
    expected = found.pop(path)
    for values in found.values():
        np.testing.assert_allclose(values, expected, rtol=5e-3)
    lines = succeed("predict", path, *photos, "--format", "jsonl").out.splitlines()
    assert [list(json.loads(line)["prediction"]) for line in lines] == [["blue", "red"]] * 2


def test_the_tables_of_exports_have_no_column_for_answers(cells):
    path, _ = cells
    done = succeed("export", path, "--format", "litert", "--precision", "dynamic_int8")
    assert "same answer" not in done.out
    assert "standard deviations (allowed" in done.out
    assert "mae" in done.out
