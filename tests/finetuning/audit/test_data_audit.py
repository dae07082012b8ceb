"""`tltool data audit` from data to its files, and on with decisions; on a tiny random backbone."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import presets
import pytest
from typer.testing import CliRunner

from tltool.cli.app import app
from tltool.finetuning.audit.job import audit
from tltool.finetuning.audit.sources import is_recipe, recipe_of
from tltool.recipe.recipe import Recipe
from tltool.support.errors import DataError

SCRIPT = "</script><script>alert(1)</script>"


def invoke(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def table(path: Path) -> list[dict]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """The folder of an audit by the command: texts with a swapped label, a copy and a script."""
    folder = tmp_path_factory.mktemp("audited")
    lines = presets.write_texts(folder / "texts.csv", 80).read_text(encoding="utf-8").splitlines()
    lines[6] = lines[6].replace('",', f'{SCRIPT}",')
    lines.append(lines[9])
    (folder / "texts.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    recipe = Recipe.of(
        task="text-classification",
        backbone=str(presets.write_text_preset(folder / "bert")),
        data={"train": str(folder / "texts.csv")},
        schedule="feature_extraction",
    )
    (folder / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    told = invoke("data", "audit", folder / "recipe.yaml", "--output", folder / "out", "--no-curve")
    assert told.exit_code == 0, told.output
    return folder, told.stdout


def test_it_tells_of_the_score_and_of_what_it_found(audited):
    _, told = audited
    assert "81 rows (" in told
    assert "Accuracy of a linear probe: " in told
    assert "near duplicates: " in told
    assert "not told: missing groups: rows have no files" in told


def test_the_three_files_have_the_same_findings(audited):
    folder, _ = audited
    about = json.loads((folder / "out" / "audit.json").read_text(encoding="utf-8"))
    rows = table(folder / "out" / "audit.csv")
    origins = [row["origin"] for row in rows]
    assert [one["origin"] for one in about["findings"]] == origins
    assert f"{folder / 'texts.csv'}:82" in origins
    assert about["curve"] is None
    assert about["cost"]["measured_on"] == "each by probes of other folds"
    page = (folder / "out" / "audit.html").read_text(encoding="utf-8")
    facts = json.loads(re.search(r'type="application/json">(.*?)</script>', page, re.DOTALL)[1])
    assert [card["row"]["origin"] for card in facts["cards"]] == origins
    assert SCRIPT not in page
    assert not re.search(r"https?://|@import|url\(", page)


def test_what_was_decided_is_followed_told_and_not_found_again(audited, tmp_path):
    folder, _ = audited
    rows = table(folder / "out" / "audit.csv")
    for row in rows:
        row["decision"] = "drop" if row["finding"] == "duplicate" else "keep"
    dropped = {row["origin"] for row in rows if row["decision"] == "drop"}
    rows = [row for row in rows if row["decision"] == "drop" or row["origin"] not in dropped]
    decided = tmp_path / "audit.csv"
    with decided.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows({row["origin"]: row for row in rows}.values())
    kept = {row["origin"] for row in rows} - dropped
    command = ["data", "audit", folder / "recipe.yaml", f"data.decisions={decided}", "--no-curve",
               "--json", "--output"]  # fmt: skip
    told = invoke(*command, tmp_path / "again")
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert sum(found["rows"].values()) == 81 - len(dropped)
    again = {one["origin"] for one in found["findings"]}
    assert not again & (kept | dropped)
    assert found["cost"]["without_leaks"] is None
    refused = invoke(*command, tmp_path)
    assert refused.exit_code != 0
    assert isinstance(refused.exception, DataError)
    assert "which would be lost" in refused.exception.message


def test_what_a_kind_cannot_answer_is_refused(tmp_path):
    with pytest.raises(DataError, match="image-segmentation: its labels are not of whole rows"):
        audit(Recipe.of(task="image-segmentation", backbone="x", data={"train": "x"}))
    assert is_recipe("my_images")
    assert not is_recipe(str(tmp_path))
    with pytest.raises(DataError, match="says itself what its data is for"):
        recipe_of("my_images", task="image-classification")


@pytest.mark.slow
def test_a_run_says_what_was_decided_of_its_data(audited, tmp_path):
    from tltool.finetuning.job import finetune
    from tltool.finetuning.resuming import origin
    from tltool.training.preparation import prepare

    folder, _ = audited
    (first, *_) = table(folder / "out" / "audit.csv")
    decided = tmp_path / "audit.csv"
    with decided.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, first)
        writer.writeheader()
        writer.writerow({**first, "decision": "drop"})
    plain = Recipe.load(folder / "recipe.yaml", ["export.formats=[]", f"output_dir={tmp_path}"])
    recipe = plain.with_overrides(f"data.decisions={decided}")
    run = finetune(recipe)
    said = f"data.decisions: by {decided}, 1 row left out and 0 labels changed"
    assert said in run.folder.card.read_text(encoding="utf-8")
    assert run.folder.manifest()["decisions"]["dropped"] == 1
    about = json.loads(run.folder.data_summary.read_text(encoding="utf-8"))
    assert about["decisions"]["dropped"] == [first["origin"]]
    before, after = (origin(one, prepare(one))["data"] for one in (plain, recipe))
    assert before["content"] != after["content"]


@pytest.mark.parametrize("command", [["audit"], ["next", "new.csv"]])
def test_a_way_out_is_one_that_the_command_has(tmp_path, command):
    def hint(name, lines):
        (tmp_path / name).write_text("\n".join(["text,label", *lines, ""]), encoding="utf-8")
        told = invoke("data", command[0], tmp_path / name, *command[1:])
        assert isinstance(told.exception, DataError)
        return told.exception.hint

    sound = [f"{side} film {number},{side}" for side in ("good", "bad") for number in range(10)]
    assert hint("cut.csv", [*sound, "no label,"]).endswith("; data.on_error=skip leaves rows out")
    assert hint("one.csv", sound[:10]).endswith("tells more")
