"""The command line, run in this process on tiny presets and tiny data."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shlex
import shutil
import signal
import sys
from pathlib import Path

import pytest
import tiny
import yaml
from command import Done, cli, succeed
from presets import write_image_preset, write_text_preset, write_texts

from tltool.cli.app import run
from tltool.cli.output import print_table
from tltool.cli.streams import settle_streams
from tltool.data.checks.inspection import inspect_data
from tltool.recipe.recipe import Recipe
from tltool.runs.run import load_run
from tltool.support.errors import RecipeError

TEXT_RECIPE = """\
task: text-classification
name: tweets
data: {{train: "{data}", validation_fraction: 0.2, test_fraction: 0.2}}
backbone: "{preset}"
schedule:
  - {{train: head, epochs: 2, learning_rate: 0.01}}
  - {{train: all, epochs: 6, learning_rate: 0.005, curve: constant}}
training: {{batch_size: 16}}
export: {{precisions: [float32]}}
output_dir: "{runs}"
"""
IMAGE_RECIPE = """\
task: image-classification
name: colours
data: {{train: "{data}", validation_fraction: 0.2, test_fraction: 0.2}}
backbone: "{preset}"
schedule:
  - {{train: head, epochs: 12, learning_rate: 0.02}}
training: {{batch_size: 8}}
augment: {{horizontal_flip: true}}
export: {{formats: [litert], precisions: [float32]}}
output_dir: "{runs}"
"""


@pytest.fixture(scope="session")
def place(tmp_path_factory) -> Path:
    """A folder with presets, data and recipes."""
    root = tmp_path_factory.mktemp("cli")
    presets = {
        "text": write_text_preset(root / "tiny_bert"),
        "image": write_image_preset(root / "tiny_resnet"),
    }
    data = {
        "text": write_texts(root / "texts.csv"),
        "image": tiny.write_images(root / "photos", per_class=20),
    }
    for kind, recipe in (("text", TEXT_RECIPE), ("image", IMAGE_RECIPE)):
        filled = recipe.format(data=data[kind], preset=presets[kind], runs=root / "runs")
        (root / f"{kind}.yaml").write_text(filled)
    return root


@pytest.fixture(scope="session")
def text_run(place) -> tuple[Path, Done]:
    done = succeed("finetune", place / "text.yaml")
    return place / "runs" / "tweets" / "1", done


@pytest.fixture(scope="session")
def image_run(place) -> tuple[Path, Done]:
    done = succeed("finetune", place / "image.yaml", "--json")
    return place / "runs" / "colours" / "1", done


# finetune


def test_finetune_tells_what_it_did_and_what_to_do_next(text_run):
    path, done = text_run
    for shown in ("Accuracy", "TF-IDF", "positive", "negative", "SavedModel", "LiteRT", str(path)):
        assert shown in done.out
    assert f"tltool predict {path}" in done.out
    assert "epoch 1" in done.err
    assert "epoch 1" not in done.out


def test_finetune_leaves_a_complete_run_folder(text_run):
    path, _ = text_run
    names = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
    assert names >= {
        "run.json",
        "recipe.yaml",
        "labels.json",
        "preprocessing.json",
        "environment.json",
        "data.json",
        "model.keras",
        "history.csv",
        "metrics.json",
        "predictions.csv",
        "README.md",
        "report/curves.png",
        "report/held_out.png",
        "report/index.html",
        "exports/saved_model/model/saved_model.pb",
        "exports/litert_float32/model.tflite",
    }
    assert not [name for name in names if Path(name).name.startswith(".")]
    manifest = json.loads((path / "run.json").read_text())
    assert manifest["status"] == "finished"
    assert set(manifest["files"]) == names - {"run.json"}
    rows = list(csv.DictReader(io.StringIO((path / "history.csv").read_text())))
    assert [row["phase"] for row in rows] == ["1 head"] * 2 + ["2 all"] * 6


def test_finetune_learns_the_words(text_run):
    path, _ = text_run
    assert json.loads((path / "metrics.json").read_text())["test"]["accuracy"] >= 0.9


def test_finetune_on_images_prints_its_manifest_as_json(image_run):
    path, done = image_run
    values = done.json()
    assert (values["run"], values["status"]) == (str(path), "finished")
    assert values["metrics"]["accuracy"] >= 0.9


def test_overrides_change_the_run_and_another_run_gets_its_own_folder(place, text_run):
    done = succeed(
        "finetune",
        place / "text.yaml",
        "schedule=[{train: head, learning_rate: 0.01}]",
        "data.max_examples=60",
        "export.formats=[]",
        "name=second",
    )
    path = place / "runs" / "second" / "1"
    assert str(path) in done.out
    assert not (path / "exports").exists()
    assert sum(json.loads((path / "data.json").read_text())["counts"]["train"].values()) == 36
    compared = succeed("runs", "compare", text_run[0], path).out
    assert "data.max_examples" in compared
    assert "schedule.1.epochs" in compared


@pytest.fixture
def heeds_ctrl_c():
    """Worker processes of the test runner ignore Ctrl-C; a command at a terminal does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_keeps_the_best_epoch_and_says_so(place, monkeypatch):
    from tltool.support import progress

    class Impatient(progress.Progress):
        """Presses Ctrl-C in the second phase, when the best epoch is one of the first."""

        def phase(self, title, epochs, steps_per_epoch):
            self.title = title
            return super().phase(title, epochs, steps_per_epoch)

        def step(self, epoch, step, examples, values):
            if self.title == "2 all" and step == 2:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(progress, "terminal_progress", Impatient)
    done = cli("finetune", place / "text.yaml", "name=stopped")
    path = place / "runs" / "stopped" / "1"
    assert done.code == 130
    assert "interrupted" in done.err
    assert str(path) in done.err
    assert json.loads((path / "run.json").read_text())["status"] == "interrupted"
    assert len((path / "history.csv").read_text().splitlines()) == 1 + 2
    assert succeed("evaluate", path, "--json").json()["accuracy"] > 0


def test_sigterm_before_the_first_epoch_leaves_no_model_but_a_record(place, monkeypatch):
    from tltool.support import progress

    class VeryImpatient(progress.Progress):
        def step(self, epoch, step, examples, values):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(progress, "terminal_progress", VeryImpatient)
    done = cli("finetune", place / "text.yaml", "name=at_once")
    path = place / "runs" / "at_once" / "1"
    assert done.code == 143
    assert json.loads((path / "run.json").read_text())["status"] == "interrupted"
    evaluated = cli("evaluate", path)
    assert evaluated.code == 2
    assert "no model" in evaluated.err


def test_an_interruption_that_another_library_turned_into_an_error_is_none(monkeypatch):
    from tltool.runs import folder

    def swallow(_):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        raise ValueError("tracing failed")

    monkeypatch.setattr(folder, "list_runs", swallow)
    done = cli("runs", "list")
    assert (done.code, done.err) == (143, "interrupted\n")


def test_damaged_runs_are_listed_and_named(tmp_path):
    from tltool.runs.folder import RunFolder

    contents = (b"", b'{"format": 1, "status": []}', b"\xff" * 9)
    broken = [RunFolder.create(tmp_path, "a") for _ in contents]
    for folder, content in zip(broken, contents, strict=True):
        folder.manifest_path.write_bytes(content)
    sound = RunFolder.create(tmp_path, "b")
    done = succeed("runs", "list", "--runs", tmp_path)
    rows = {path: status for path, status, *_ in map(str.split, done.out.splitlines()[1:])}
    assert rows == {**dict.fromkeys((str(b.path) for b in broken), "damaged"),
                    str(sound.path): "running"}  # fmt: skip
    assert all(f"{folder.manifest_path} is damaged" in done.err for folder in broken)
    listed = succeed("runs", "list", "--runs", tmp_path, "--json").json()
    assert [row["status"] for row in listed] == ["damaged"] * 3 + ["running"]


# plan and validate


def test_plan_shows_each_phase_and_trains_nothing(place):
    before = set((place / "runs").rglob("*")) if (place / "runs").exists() else set()
    done = succeed("plan", place / "text.yaml")
    for shown in ("embeddings", "block2", "1 head", "2 all", "100.0%"):
        assert shown in done.out
    assert "texts are cut at 12 tokens (99th percentile of the training texts)" in done.err
    after = set((place / "runs").rglob("*")) if (place / "runs").exists() else set()
    assert before == after
    head, everything = succeed("plan", place / "text.yaml", "--json").json()["phases"]
    assert head["frozen_prefix"][0] == "embeddings"
    assert everything["trained_weights"] == everything["all_weights"]


def test_plan_shows_what_is_solved(place):
    lp_ft = "schedule=linear_probe_then_fine_tune"
    done = succeed("plan", place / "text.yaml", lp_ft)
    (line,) = [line for line in done.out.splitlines() if line.startswith("1 head")]
    assert "solved" in line
    head, everything = succeed("plan", place / "text.yaml", lp_ft, "--json").json()["phases"]
    assert (head["solver"], head["learning_rate_by_group"]) == ("exact", {})
    assert everything["solver"] == "gradient"


# tune-head


def test_tune_head_prints_a_table_and_the_best_head_as_a_recipe(place, tmp_path):
    options = ("--trials", "4", "--folds", "2")
    done = succeed("tune-head", place / "text.yaml", "training.seed=3", *options)
    table, rest = done.out.split("\n\n", 1)
    lines = table.splitlines()
    assert lines[0].split()[:3] == ["rank", "hidden", "dropout"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3", "4"]
    assert "the recipe's own" in table
    assert "Head search" in done.err
    found = succeed("tune-head", place / "text.yaml", "training.seed=3", *options, "--json").json()
    assert [row["rank"] for row in found["trials"]] == [1, 2, 3, 4]
    assert found["metric"] == "log_loss"
    *_, command = done.out.strip().splitlines()
    overrides = shlex.split(command)[3:]
    assert overrides == ["training.seed=3", *found["overrides"]]
    # The printed lines and the overrides both make the recipe that was found.
    pasted = yaml.safe_load(rest.split("recipe:\n\n")[1].split("or as overrides")[0])
    recipe = yaml.safe_load((place / "text.yaml").read_text())
    for key, section in pasted.items():
        recipe[key] = {**recipe.get(key, {}), **section} if key != "schedule" else section
    assert Recipe.of(**recipe).with_overrides("training.seed=3").to_values() == found["recipe"]
    made = Recipe.load(place / "text.yaml", overrides)
    assert made.to_values() == found["recipe"]


def test_tune_head_refuses_what_it_can_t_search(place):
    done = cli("tune-head", place / "text.yaml", "training.optimizer=sgd")
    assert done.code == 2
    assert "head.search: trains with adamw only" in done.err


def test_five_faults_are_five_faults_with_hints(place):
    bad = place / "bad.yaml"
    bad.write_text(
        "task: text-clasification\n"
        "backbone: all-minilm-l6-v2\n"
        "data: {train: x.csv, test_fraction: 0.9}\n"
        "schedule:\n"
        "  - {train: head, lerning_rate: 0.1}\n"
        "training: {optimizer: adamww, batch_size: none}\n"
    )
    for command in ("validate", "finetune", "plan"):
        done = cli(command, bad)
        assert done.code == 2
        assert "5 faults" in done.err
        for place_of_fault in (
            "task (line 1)",
            "data.test_fraction (line 3)",
            "schedule.0.lerning_rate (line 5)",
            "training.optimizer (line 6)",
            "training.batch_size (line 6)",
        ):
            assert place_of_fault in done.err
        for hint in ("`text-classification`", "`learning_rate`", "`adamw`"):
            assert f"did you mean {hint}" in done.err
    faults = cli("validate", bad, "--json")
    assert (faults.code, len(faults.json()["faults"])) == (2, 5)


def test_validate_agrees_with_a_good_recipe(place):
    assert "valid" in succeed("validate", place / "image.yaml").out
    resolved = succeed("validate", place / "image.yaml", "training.seed=3", "--json").json()
    assert resolved["recipe"]["training"]["seed"] == 3


# evaluate, predict, export


def test_evaluate_again_gives_the_saved_figures(text_run):
    path, _ = text_run
    saved = json.loads((path / "metrics.json").read_text())["test"]
    again = succeed("evaluate", path, "--json").json()
    assert again["accuracy"] == saved["accuracy"]
    table = succeed("evaluate", path.parent).out
    assert "precision" in table
    assert f"{saved['accuracy']:.4f}" in table


def test_evaluate_takes_other_data(place, text_run, image_run):
    assert succeed("evaluate", text_run[0], "--data", place / "texts.csv", "--json").json()
    metrics = succeed("evaluate", image_run[0], "--data", place / "photos", "--json").json()
    assert metrics["accuracy"] >= 0.9


def test_evaluate_tells_slices_of_runs_and_exports(place, text_run):
    path, _ = text_run
    own = succeed("evaluate", path, "--slices", "--json").json()
    assert own["slices"]["whole"] == pytest.approx(1 - own["accuracy"])
    export = path / "exports" / "litert_float32"
    by_text = succeed("evaluate", export, "--by", "text", "--json")
    assert "column 'text' makes no slices" in by_text.err  # each is another one
    told = by_text.json()
    assert told["accuracy"] == own["accuracy"]
    assert told["slices_against_float"]["whole"] == 0.0
    assert "against the trained model" in succeed("evaluate", export, "--slices").out
    refused = cli("evaluate", path, "--by", "nowhere")
    assert refused.code == 2
    assert "no column 'nowhere'" in refused.err


def test_runs_are_compared_row_by_row_on_a_page(tmp_path, text_run, image_run):
    path, page = text_run[0], tmp_path / "compared.html"
    told = succeed("runs", "compare", path, path, "--html", page, "--json").json()
    (change,) = told["changes"]
    assert (change["gained"], change["lost"]) == ([], [])
    assert change["comparison"]["gain"] == 0.0
    assert "no clear difference" in page.read_text()
    assert told["warnings"] == []
    assert "rows_learnt_from" not in told["runs"][0]
    refused = cli("runs", "compare", path, image_run[0], "--html", page)
    assert refused.code == 2
    assert "of the task text-classification" in refused.err


def test_compared_figures_are_numbers_in_json(tmp_path, text_run):
    path = text_run[0]
    told = succeed("runs", "compare", path, path, "--json").json()
    metrics = json.loads((path / "run.json").read_text())["metrics"]
    assert metrics
    assert all({name: row[name] for name in metrics} == metrics for row in told)
    refused = cli("runs", "compare", path, path, "--data", tmp_path / "x.csv")
    assert refused.code == 2
    assert "add --html" in refused.err


def test_rows_that_a_compared_run_has_learnt_from_are_told(tmp_path, text_run):
    path, page = text_run[0], tmp_path / "compared.html"
    opened = load_run(path)
    learnt = [*opened.examples("train").inputs]
    texts = [*learnt[:3], *opened.examples().inputs[:2]]
    sides = ["positive", "negative", "positive", "negative", "positive"]
    number = sum(text in learnt for text in texts)
    table = tmp_path / "new.csv"
    lines = [f'" {text}",{side}' for text, side in zip(texts, sides, strict=True)]
    table.write_text("\n".join(["text,label", *lines, ""]))
    command = ["runs", "compare", path, path, "--html", page, "--data", table]
    done = succeed(*command, "--json")
    warning = f"{path} has learnt from {number} of the 5 rows"
    assert [row["rows_learnt_from"] for row in done.json()["runs"]] == [number] * 2
    assert all(warning in told for told in (done.err, done.json()["warnings"][1], page.read_text()))
    assert "rows_learnt_from" in succeed(*command).out


def test_explain_weighs_words_and_maps_pictures(tmp_path, place, text_run, image_run):
    (text,) = succeed("explain", text_run[0], "a good film", "--json").json()
    assert [row["word"] for row in text["words"]] == ["a", "good", "film"]
    assert "words for and against" in succeed("explain", text_run[0], "a good film").out
    photo = sorted((place / "photos").rglob("*.jpg"))[0]
    told = succeed("explain", image_run[0], photo, "--output", tmp_path / "why", "--json").json()
    assert told[0]["method"] == "LayerCAM"
    assert 0 <= told[0]["value"] <= 1
    assert {file.name for file in (tmp_path / "why").iterdir()} == {"1.png", "index.html"}
    for path, _ in (text_run, image_run):
        wrong = json.loads((path / "metrics.json").read_text())["test"]["accuracy"] < 1
        assert ("found by" in (path / "report" / "index.html").read_text()) == wrong
    refused = cli("explain", text_run[0], "good", "--label", "nothing")
    assert refused.code == 2
    assert "no class 'nothing'" in refused.err


def test_explain_goes_on_past_broken_pictures(place, image_run, tmp_path):
    photo = sorted((place / "photos").rglob("*.jpg"))[0]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(photo.read_bytes()[:-300])
    done = cli("explain", image_run[0], broken, photo, "--json")
    assert done.code == 1
    assert [one["origin"] for one in done.json()] == [str(photo)]
    assert f"not explained, 1 in all:\n  {broken}: damaged or truncated JPEG" in done.err
    alone = cli("explain", image_run[0], broken, "--json")
    assert (alone.code, alone.json()) == (1, [])


def test_evaluate_names_a_label_it_does_not_know(place, text_run):
    other = place / "other.csv"
    other.write_text("text,label\ngood film,positiv\n")
    done = cli("evaluate", text_run[0], "--data", other)
    assert done.code == 2
    assert "positiv" in done.err


def test_predict_texts(text_run):
    good, bad = succeed("predict", text_run[0], "great great film", "awful awful food").rows()
    assert (good["prediction"], bad["prediction"]) == ("positive", "negative")
    assert float(good["probability_positive"]) == pytest.approx(float(good["confidence"]))


def test_predict_prints_json_in_any_encoding(text_run, monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), "cp1252"))
    settle_streams()
    text = "great film é→\U0001f600"
    assert run(["predict", str(text_run[0]), text, "--format", "jsonl"]) == 0
    sys.stdout.flush()
    assert json.loads(sys.stdout.buffer.getvalue().decode("cp1252"))["input"] == text


def test_predict_a_table_and_jsonl(place, text_run):
    rows = succeed(
        "predict", text_run[0], place / "texts.csv", "--format", "jsonl", "--top", 1
    ).out.splitlines()
    assert len(rows) == 120
    first = json.loads(rows[0])
    assert first["origin"].endswith("texts.csv:2")
    assert list(first["probabilities"]) == [first["prediction"]]


def test_predict_standard_input_into_a_file(place, text_run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"great film\n\nawful food\n")))
    target = place / "predictions.csv"
    done = succeed("predict", text_run[0], "-", "--output", target)
    assert done.out == ""
    rows = list(csv.DictReader(io.StringIO(target.read_text())))
    assert [row["prediction"] for row in rows] == ["positive", "negative"]


def test_predict_with_an_exported_model_agrees_with_the_run(place, text_run):
    path, _ = text_run
    expected = succeed("predict", path, place / "texts.csv").rows()
    for name in ("saved_model", "litert_float32"):
        rows = succeed("predict", path / "exports" / name, place / "texts.csv").rows()
        assert [r["prediction"] for r in rows] == [r["prediction"] for r in expected]


def test_predict_a_folder_and_a_pattern_of_images(place, image_run):
    folder = succeed("predict", image_run[0], place / "photos").rows()
    assert len(folder) == 40
    right = [row["prediction"] == Path(row["origin"]).parent.name for row in folder]
    assert sum(right) >= 36
    pattern = succeed("predict", image_run[0], place / "photos" / "red" / "00*.jpg").rows()
    assert len(pattern) == 10


def test_predict_goes_on_past_broken_pictures(place, image_run, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(place / "photos" / "red", photos)
    (photos / "cut.jpg").write_bytes((photos / "000.jpg").read_bytes()[:-300])
    (photos / "scan.tif").write_bytes(b"II*\0")
    (photos / "name\udcff.jpg").write_bytes((photos / "000.jpg").read_bytes())
    done = cli("predict", image_run[0], photos, "--output", tmp_path / "p.csv")
    assert (done.code, done.out) == (1, "")
    assert f"21 predictions written to {tmp_path / 'p.csv'}" in done.err
    assert "no prediction for 2 of 23 inputs:" in done.err
    assert f"  {photos / 'cut.jpg'}: damaged or truncated JPEG" in done.err
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(row["prediction"] == "red" for row in rows) >= 19
    assert {row["origin"] for row in rows if not row["prediction"]} == {
        str(photos / "cut.jpg"),
        str(photos / "scan.tif"),
    }
    assert all(bool(row["error"]) != bool(row["prediction"]) for row in rows)
    printed = cli("predict", image_run[0], photos)
    assert printed.code == 1
    assert [row["prediction"] for row in printed.rows()] == [row["prediction"] for row in rows]
    stopped = cli("predict", image_run[0], photos, "--on-error", "stop", "-o", tmp_path / "q.csv")
    assert stopped.code == 2
    assert "2 of the inputs cannot be used" in stopped.err
    assert "set --on-error skip" in stopped.err
    assert not (tmp_path / "q.csv").exists()


def test_other_data_is_read_as_options_say_it(place, text_run, monkeypatch, tmp_path):
    path, _ = text_run
    table = tmp_path / "t.csv"
    lines = ["review^stars", "great film^positive", "awful food^negative", "^negative"]
    table.write_bytes("\n".join(lines).encode("utf-16-le"))
    refused = cli("evaluate", path, "--data", table)
    assert refused.code == 2
    assert "name the encoding with --encoding" in refused.err
    options = ("--encoding", "utf-16-le", "--delimiter", "^", "--input-column", "review")
    refused = cli("evaluate", path, "--data", table, *options)
    assert "there is no column 'label'" in refused.err
    assert "--label-column" in refused.err
    labels = ("--label-column", "stars")
    assert "--on-error skip" in cli("evaluate", path, "--data", table, *options, *labels).err
    every = (*options, *labels, "--on-error", "skip", "--json")
    done = succeed("evaluate", path, "--data", table, *every)
    assert (done.json()["n"], done.json()["accuracy"]) == (2, 1.0)
    assert f"left out, 1 in all:\n  {table}:4: the text is empty" in done.err
    assert "--data alone" in cli("evaluate", path, "--encoding", "utf-8").err
    predicted = cli("predict", path, table, *options)
    assert (predicted.code, len(predicted.rows())) == (1, 3)
    missing = cli("predict", path, table, *options[:4])
    assert "name the columns with --input-column" in missing.err
    assert "--label-column" not in missing.err
    assert "line by line" in cli("predict", path, "-", *options).err


def test_every_command_with_other_data_reads_it_by_the_same_options(place, text_run, tmp_path):
    path, _ = text_run
    table = tmp_path / "t.tsv"
    table.write_text('text\tlabel\n"fine film\tpositive\nawful" food\tnegative\n')
    commands = (
        ("evaluate", path),
        ("export", path, "--format", "keras"),
        ("quantize", path),
        ("serve", path, "--check"),
    )
    for command in commands:
        refused = cli(*command, "--data", table)
        assert refused.code == 2, refused.err
        assert "quotes for characters with --quoting none" in refused.err
        assert "data." not in refused.err.replace(str(table), "")
        assert "--data alone" in cli(*command, "--quoting", "none").err
    assert "--quoting none" in cli("predict", path, table).err
    assert len(cli("predict", path, table, "--quoting", "none").rows()) == 2
    done = succeed("evaluate", path, "--data", table, "--quoting", "none", "--json")
    assert done.json()["n"] == 2
    for split in ("train", "other"):
        (tmp_path / "set" / split / "positive").mkdir(parents=True)
    assert f"point --data at {tmp_path / 'set' / 'train'}" in (
        cli("evaluate", path, "--data", tmp_path / "set").err
    )


@pytest.mark.parametrize("command", [("export", "--format", "litert"), ("quantize",)])
def test_an_export_is_made_for_the_runtime_that_is_asked_for(command, text_run):
    refused = cli(*command, text_run[0], "--litert-runtime", "1.0")
    assert refused.code == 2
    assert "--litert-runtime" in refused.err
    assert "export.litert_runtime" not in refused.err


def test_export_again_in_half_precision(image_run):
    path, _ = image_run
    (report,) = succeed(
        "export", path, "--format", "litert", "--precision", "float16", "--json"
    ).json()
    assert report["passed"]
    assert report["precision"] == "float16"
    half = path / "exports" / "litert_float16" / "model.tflite"
    full = path / "exports" / "litert_float32" / "model.tflite"
    assert half.stat().st_size < 0.7 * full.stat().st_size
    assert (
        "exports/litert_float16/model.tflite"
        in json.loads((path / "run.json").read_text())["files"]
    )


def test_export_past_the_tolerance_fails_and_is_removed(place, image_run):
    strict = place / "strict"
    shutil.copytree(image_run[0], strict)
    recipe = (strict / "recipe.yaml").read_text()
    assert "max_difference: {}" in recipe
    strict_recipe = recipe.replace("max_difference: {}", "max_difference: {dynamic_int8: 1.0e-12}")
    (strict / "recipe.yaml").write_text(strict_recipe)
    succeed("runs", "accept", strict)
    done = cli("export", strict, "--format", "litert", "--precision", "dynamic_int8")
    assert done.code == 1
    assert "FAILED" in done.err
    assert not (strict / "exports" / "litert_dynamic_int8").exists()


# runs, recipes, models, data, doctor


def test_runs_list_and_show(place, text_run, image_run):
    listed = succeed("runs", "list", "--runs", place / "runs").out
    assert str(text_run[0]) in listed
    assert "finished" in listed
    paths = [
        row["run"] for row in succeed("runs", "list", "--runs", place / "runs", "--json").json()
    ]
    assert {str(text_run[0]), str(image_run[0])} <= set(paths)
    shown = succeed("runs", "show", text_run[0].parent).out
    assert "model.keras" in shown
    assert succeed("runs", "show", text_run[0], "--json").json()["status"] == "finished"
    columns = succeed("runs", "compare", text_run[0], image_run[0], "--json").json()
    assert [row["task"] for row in columns] == ["text-classification", "image-classification"]


def test_recipes_are_listed_shown_and_copied(tmp_path):
    names = [row["name"] for row in succeed("recipes", "list", "--json").json()]
    assert {"quickstart", "three_phases", "bert_base", "my_csv"} <= set(names)
    shown = succeed("recipes", "show", "quickstart").out
    assert "tltool finetune quickstart" in shown
    succeed("recipes", "copy", "quickstart", tmp_path / "mine.yaml")
    assert (tmp_path / "mine.yaml").read_text() == shown
    again = cli("recipes", "copy", "quickstart", tmp_path / "mine.yaml")
    assert again.code == 2
    assert "--force" in again.err
    assert succeed("recipes", "schema").json()["properties"]["task"]["enum"]


def test_models_and_samples_are_listed():
    assert "all-minilm-l6-v2" in succeed("models", "list").out
    assert succeed("models", "list", "--json").json()[0]["licence"]
    assert "block6" in succeed("models", "show", "all-minilm-l6-v2").out
    shown = succeed("models", "show", "keras.applications.ResNet50").out
    assert "md5:4d473c1dd8becc155b73f8504c6f6626" in shown


def test_models_are_listed_by_task_and_size():
    small = succeed(
        "models", "list", "--task", "image-classification", "--max-params", "5M", "--json"
    ).json()
    assert "efficientnet-lite0" in {card["name"] for card in small}
    assert all(card["modality"] == "image" for card in small)
    assert all(card["parameters"] <= 5e6 for card in small)
    texts = succeed("models", "list", "--task", "text-regression", "--json").json()
    assert {card["modality"] for card in texts} == {"text"}
    assert "airline-tweets" in succeed("data", "list").out
    assert succeed("data", "list", "--json").json()[0]["examples"] > 0


def test_doctor_shows_versions_and_devices():
    done = cli("doctor", "--json")
    facts = done.json()
    assert facts["versions"]["keras"]
    assert facts["devices"]["CPU"] == "cpu:0"
    assert done.code == (1 if facts["problems"] else 0)
    assert "tensorflow" in cli("doctor").out


def test_the_store_of_features_is_listed_and_cleared(place, tmp_path, monkeypatch):
    monkeypatch.setenv("TLTOOL_CACHE", str(tmp_path))
    assert succeed("cache", "list", "--json").json()["entries"] == []
    succeed(
        "finetune",
        place / "text.yaml",
        "schedule=[{train: head, epochs: 2}]",
        "cache.use=always",
        "export.formats=[]",
        "name=stored",
    )
    listed = succeed("cache", "list", "--json").json()
    # Of the rows that train and validate, and of those that the linear model is tested on.
    for entry in listed["entries"]:
        assert (entry["backbone"], entry["up_to"]) == (str(place / "tiny_bert"), "pooler")
    assert [entry["rows"] for entry in listed["entries"]] == [96, 24]
    assert listed["bytes"] == sum(entry["bytes"] for entry in listed["entries"])
    shown = succeed("cache", "list").out
    for word in (entry["key"][:8], str(place / "texts.csv"), "pooler", "2 entries", str(tmp_path)):
        assert word in shown
    assert succeed("doctor", "--json").json()["cache"]["frozen features"] != "0 B"
    kept = succeed("cache", "clear", "--older-than", 1, "--json").json()
    assert kept["freed_bytes"] == 0
    assert "freed" in succeed("cache", "clear").out
    assert succeed("cache", "list", "--json").json()["entries"] == []


# the user's mistakes


def test_broken_images_are_all_named_before_anything_is_trained(place):
    folder = tiny.write_images(place / "broken_photos")
    truncated, empty, text = (
        folder / "red" / name for name in ("cut.jpg", "nothing.png", "notes.jpg")
    )
    truncated.write_bytes((folder / "red" / "000.jpg").read_bytes()[:300])
    empty.write_bytes(b"")
    text.write_text("these are notes, not a picture\n")
    arguments = ("finetune", place / "image.yaml", f"data.train={folder}", "name=broken")
    done = cli(*arguments)
    assert done.code == 2
    for path in (truncated, empty, text):
        assert str(path) in done.err
    assert "data.on_error" in done.err
    assert not (place / "runs" / "broken").exists()


def test_broken_images_are_left_out_on_request(place, image_run):
    folder = tiny.write_images(place / "photos_with_one_broken", per_class=4)
    (folder / "red" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    succeed(
        "finetune",
        place / "image.yaml",
        f"data.train={folder}",
        "data.on_error=skip",
        "name=skipping",
        "schedule.0.epochs=1",
        "evaluation.baseline=false",
        "export.formats=[]",
    )
    data = json.loads((place / "runs" / "skipping" / "1" / "data.json").read_text())
    assert len(data["skipped"]) == 1
    assert "cut.jpg" in str(data["skipped"])


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["finetune", "quikstart"], "`quickstart`"),
        (["finetune", "{place}/txt.yaml"], "text.yaml`"),
        (["finetune", "{place}/text.yaml", "data.train={place}/text.csv"], "texts.csv`"),
        (["finetune", "{place}/text.yaml", "data.train=null"], "data.train"),
        (["finetune", "{place}/text.yaml", "backbone=all-minilm-l6"], "`all-minilm-l6-v2`"),
        (["finetune", "{place}/text.yaml", "nonsense"], "key=value"),
        (["finetune", "{place}/text.yaml", "head=defalt"], "`default`"),
        (["plan", "{place}/text.yaml", "schedule=[{train: {from: blok2}}]"], "`block2`"),
        (["plan", "{place}/text.yaml", "data.label_column=lable"], "label"),
        (["plan", "{place}/text.yaml", "training.devices=[gpu:7]"], "gpu:7"),
        (["evaluate", "{place}/runs/nothing"], "no run"),
        (["predict", "{place}/runs/nothing", "text"], "no run"),
        (["export", "{place}/runs/nothing", "--format", "litert"], "no run"),
        (["export", "{place}/runs/nothing", "--format", "onxx"], "onxx"),
        (["runs", "show", "{place}/runs/nothing"], "no run"),
        (["runs", "compare", "{place}/runs/nothing"], "at least two"),
        (["recipes", "show", "quikstart"], "`quickstart`"),
        (["recipes", "copy", "nothing-like-it"], "nothing-like-it"),
        (["models", "show", "all-minilm"], "`all-minilm-l6-v2`"),
        (["models", "list", "--task", "image-clasification"], "image-classification"),
        (["models", "list", "--max-params", "many"], "10M"),
        (["models", "pull", "google/electra-small"], "hf://google/electra-small"),
        (["data", "sample", "airline", "{place}/sample"], "airline-tweets"),
        (["fine-tune", "quickstart"], "fine-tune"),
        (["validate"], "RECIPE"),
    ],
)
def test_a_mistake_is_named_with_a_way_out(place, text_run, arguments, shown):
    done = cli(*(argument.replace("{place}", str(place)) for argument in arguments))
    assert done.code == 2
    assert "error: " in done.err
    assert shown in done.err


@pytest.mark.parametrize("command", [["auto"], ["data", "inspect"], ["data", "audit"]])
def test_a_task_that_is_none_is_told_with_those_there_are(place, command):
    table = place / "texts.csv"
    done = cli(
        *command,
        table,
        "--task",
        "text-clasification",
    )
    assert done.code == 2
    assert "error: --task: unknown task. Received: text-clasification. Allowed: " in done.err
    assert "image-regression, " in done.err
    assert "hint: did you mean `text-classification`?" in done.err
    with pytest.raises(RecipeError, match=r"task: unknown task\. Received: nope"):
        inspect_data(str(table), task="nope")


def test_predict_images_of_names_that_are_no_text(place, image_run, tmp_path):
    path, _ = image_run
    source = next((place / "photos").rglob("*.jpg"))
    photo = tmp_path / os.fsdecode(b"bad\xff [x].jpg")
    shutil.copy(source, photo)
    by_name, plain = (
        json.loads(succeed("predict", path, file, "--format", "jsonl").out)
        for file in (photo, source)
    )
    assert by_name["probabilities"] == plain["probabilities"]
    assert by_name["input"] == str(photo)
    copied = shutil.copytree(path, tmp_path / os.fsdecode(b"\xff") / "1")
    for form in ("saved_model", "litert"):
        done = cli("export", copied, "--format", form)
        assert done.code == 2
        assert "half a character" in done.err


def test_predict_names_a_missing_file_and_a_damaged_run(place, text_run):
    missing = cli("predict", text_run[0], place / "text.csv")
    assert missing.code == 2
    assert "texts.csv" in missing.err
    damaged = place / "damaged"
    shutil.copytree(text_run[0], damaged)
    with (damaged / "model.keras").open("ab") as file:
        file.write(b"x")
    done = cli("predict", damaged, "great film")
    assert done.code == 2
    assert "model.keras has changed" in done.err


def test_help_and_version_succeed():
    from tltool import __version__

    assert "finetune" in succeed("--help").out
    for command in ("finetune", "plan", "validate", "evaluate", "predict", "export", "doctor"):
        assert f"tltool {command}" in succeed(command, "--help").out
    assert succeed("--version").out.strip() == f"tltool {__version__}"


def test_offline_asks_no_server(tmp_path, monkeypatch):
    monkeypatch.setenv("TLTOOL_OFFLINE", "0")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    result = cli("models", "pull", "hf://tltool-tests/never-fetched", "--offline")
    assert result.code == 2
    assert "TLTOOL_OFFLINE" in result.err


# serve


def test_serve_compares_a_running_server_with_the_trained_model(text_run):
    path, _ = text_run
    done = succeed("serve", path, "--check")
    assert "model (float32): passed on" in done.out
    assert "same top class      100.0%" in done.out


def test_a_table_and_an_error_send_no_control_characters_to_the_terminal(tmp_path, capsys):
    print_table([{"where": "a\x1b]0;b\x07", "n": 1000}])
    run(["plan", str(tmp_path / "a\x1b[31m.yaml")])
    run(["finetune", "my_csv", f"data.train={tmp_path}/a\x1b[2J.csv"])
    printed = capsys.readouterr()
    assert "\x1b" not in printed.out + printed.err
    assert "\x07" not in printed.out
