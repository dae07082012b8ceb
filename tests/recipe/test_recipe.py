from __future__ import annotations

import json

import pytest

from tltool.recipe.reading import read_recipe, refuse_two
from tltool.recipe.recipe import Recipe, recipe_schema
from tltool.recipe.schema import Last
from tltool.support.errors import RecipeError
from tltool.support.shipped import list_shipped

FIVE_FAULTS = """\
task: text-clasification
data:
  tran: reviews.csv
backbone: all-minilm-l6-v2
schedule:
  - {train: head, epochs: 0}
training:
  optimizer: adamax
  batch_size: many
"""


def faults(text: str, tmp_path) -> dict[str, object]:
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError) as error:
        Recipe.load(file)
    return {fault.path: fault for fault in error.value.faults}


def test_every_fault_is_reported_at_once_with_line_allowed_values_and_closest_match(tmp_path):
    found = faults(FIVE_FAULTS, tmp_path)
    assert set(found) == {
        "task",
        "data.tran",
        "schedule.0.epochs",
        "training.optimizer",
        "training.batch_size",
    }
    assert found["task"].hint == "did you mean `text-classification`?"
    assert found["data.tran"].hint == "did you mean `train`?"
    assert found["data.tran"].line == 3
    assert found["schedule.0.epochs"].allowed == "at least 1"
    assert found["schedule.0.epochs"].received == "0"
    assert found["training.optimizer"].allowed == "adamw, adam, sgd, rmsprop"
    assert found["training.batch_size"].line == 9


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ("schedule: gradul", "schedule"),
        ("schedule: []", "schedule"),
        ("schedule: [{train: hed}]", "schedule.0.train"),
        ("schedule: [{train: {last: 0}}]", "schedule.0.train"),
        ("schedule: [{train: {lst: 2}}]", "schedule.0.train"),
        ("schedule: [{trian: head}]", "schedule.0.trian"),
        ("training: {class_weights: {a: -1}}", "training.class_weights.a"),
        ("training: {batch_size: yes}", "training.batch_size"),
        ("training: {gradient_clip_norm: -1}", "training.gradient_clip_norm"),
        ("augment: {horizontal_flip: true}", "augment"),
        ("training: {tokens_per_batch: 4}", "training.tokens_per_batch"),
        ("data: {validation_fraction: 0.5, test_fraction: 0.4}", "data.test_fraction"),
        ("head: {name: 'a:b', dropout: 0.5}", "head.dropout"),
        ("head: {options: {width: 3}}", "head.options"),
        ("name: a/b", "name"),
        ("nonsense: 1", "nonsense"),
    ],
)
def test_a_fault_is_found_at_its_own_path_and_no_other(section, path, tmp_path):
    text = f"task: text-classification\nbackbone: x\n{section}\n"
    assert list(faults(text, tmp_path)) == [path]


@pytest.mark.parametrize(
    ("task", "backbone", "budget", "hint"),
    [
        ("text-classification", "{name: x, max_length: 64}", 63, "at least 64"),
        ("image-classification", "x", 512, "training.batch_size"),
    ],
)
def test_a_budget_of_tokens_must_hold_a_text(task, backbone, budget, hint, tmp_path):
    text = f"task: {task}\nbackbone: {backbone}\ntraining: {{tokens_per_batch: {budget}}}\n"
    (fault,) = faults(text, tmp_path).values()
    assert fault.path == "training.tokens_per_batch"
    assert fault.received == str(budget)
    assert hint in f"{fault.allowed} {fault.hint}"


def test_faults_between_fields_are_found_beside_faulty_fields(tmp_path):
    text = "task: text-regression\nbackbone: x\ntraining: {label_smoothing: 0.1, seed: -1}\n"
    assert set(faults(text, tmp_path)) == {"training.label_smoothing", "training.seed"}


@pytest.mark.parametrize(
    "text", ["", "- a\n", "task: [", "task: a\ntask: b\nbackbone: x\n", "\x00\xff"]
)
def test_a_file_that_is_no_recipe_is_refused_without_a_traceback(text, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    with pytest.raises(RecipeError) as error:
        Recipe.load(file)
    assert error.value.hint


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("input_columns: [a]", "too few; received: ['a']; allowed: at least 2"),
        ("input_columns: [a, b, c, d]",
         "too many; received: ['a', 'b', 'c', 'd']; allowed: at most 3"),
        ("label_separator: ''", "too few characters; received: ''; allowed: at least 1"),
    ],
)  # fmt: skip
def test_how_many_are_allowed_is_told(field, told, tmp_path):
    text = f"task: text-pair-classification\nbackbone: all-minilm-l6-v2\ndata: {{{field}}}\n"
    found = faults(text, tmp_path)[f"data.{field.partition(':')[0]}"]
    assert told in str(found).replace("\n    ", "; ")


def test_a_key_given_twice_is_an_error_that_names_it(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("task: text-classification\nbackbone: a\nbackbone: b\n")
    with pytest.raises(RecipeError, match=r"line 3: the key 'backbone' is given twice"):
        Recipe.load(file)


def test_overrides_reach_into_sections_and_lists_and_are_checked():
    recipe = Recipe.of(task="text-classification", backbone="x", schedule=[{"epochs": 5}])
    changed = recipe.with_overrides(
        "schedule.0.epochs=2", "data.train=photos/", "schedule.0.train={last: 2}", "backbone=y"
    )
    assert changed.schedule[0].epochs == 2
    assert changed.schedule[0].train == Last(last=2)
    assert changed.data.train == "photos/"
    assert changed.backbone.name == "y"
    assert recipe.schedule[0].epochs == 5
    with pytest.raises(RecipeError, match="did you mean `epochs`"):
        recipe.with_overrides("schedule.0.epoch=2")
    with pytest.raises(RecipeError, match="list of 1"):
        recipe.with_overrides("schedule.3.epochs=2")
    with pytest.raises(RecipeError, match="key=value"):
        recipe.with_overrides("epochs")


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ('"a.b"', "a.b"),
        ("'a.b'", "a.b"),
        ('"a=b"', "a=b"),
        ("""'say "a.b"'""", 'say "a.b"'),
        ("don't", "don't"),
        ("'tis", "'tis"),
        ('"', '"'),
    ],
)
def test_a_key_with_a_point_is_written_in_quotes(key, label):
    recipe = Recipe.of(task="text-classification", backbone="x")
    changed = recipe.with_overrides(f"training.class_weights.{key}=2")
    assert changed.training.class_weights == {label: 2.0}


def test_a_word_for_all_labels_gives_way_to_a_label():
    recipe = Recipe.of(task="text-multi-label", backbone="x")
    assert recipe.evaluation.thresholds == "auto"
    changed = recipe.with_overrides(
        "evaluation.thresholds.a=0.2", 'evaluation.thresholds."b.c"=0.9'
    )
    assert changed.evaluation.thresholds == {"a": 0.2, "b.c": 0.9}


def test_a_label_with_a_point_that_is_not_in_quotes_is_told_how_to_write_it():
    recipe = Recipe.of(task="text-classification", backbone="x")
    with pytest.raises(RecipeError) as error:
        recipe.with_overrides("training.class_weights.a.b=2")
    assert '"a.b"' in error.value.hint


def test_overriding_the_backbone_of_a_shorthand_keeps_its_name():
    recipe = Recipe.of(task="text-classification", backbone="x")
    changed = recipe.with_overrides("backbone.max_length=12")
    assert (changed.backbone.name, changed.backbone.max_length) == ("x", 12)


def test_scientific_notation_without_a_point_is_a_number(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text("task: text-classification\nbackbone: x\nschedule: [{learning_rate: 1e-3}]\n")
    assert Recipe.load(file).schedule[0].learning_rate == 0.001


def test_the_resolved_recipe_reads_back_equal(tmp_path):
    recipe = Recipe.of(
        task="image-classification",
        backbone="x",
        schedule=[
            {"train": {"from": "stage2"}},
            {"train": ["*/bias"]},
            {"train": {"fraction": 0.3}},
        ],
        augment={"horizontal_flip": True},
        head={"name": "pkg:head", "options": {"width": 3}},
    )
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.to_yaml())
    assert Recipe.load(file) == recipe


def test_a_recipe_is_immutable():
    recipe = Recipe.of(task="text-classification", backbone="x")
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "y"  # type: ignore[misc]


def test_an_unknown_file_offers_the_closest_recipe():
    with pytest.raises(RecipeError) as error:
        Recipe.load("quickstrat")
    assert "quickstart" in str(error.value.hint)


@pytest.mark.parametrize("file", list_shipped("recipes"), ids=lambda file: file.stem)
def test_every_shipped_recipe_is_valid_and_opens_with_its_command(file):
    recipe = Recipe.load(file)
    text = file.read_text()
    assert text.startswith("# ")
    assert f"tltool finetune {file.stem}" in text
    assert recipe.description
    assert recipe.name == file.stem.replace("_", "-")


def test_the_json_schema_accepts_shipped_recipes_and_refuses_faults():
    jsonschema = pytest.importorskip("jsonschema")
    schema = recipe_schema()
    json.dumps(schema)
    for file in list_shipped("recipes"):
        jsonschema.validate(read_recipe(file)[0], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"task": "nonsense", "backbone": "x"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"task": "text-classification", "backbone": "x", "dta": {}}, schema)


def test_a_number_with_an_exponent_is_a_number_everywhere(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "task: text-classification\nbackbone: b\nhead: {name: 'm:f', options: {rate: 1e-3}}\n"
    )
    recipe = Recipe.load(file, ["head.options.other=-2E+1"])
    assert recipe.head.options == {"rate": 0.001, "other": -20.0}


def test_the_json_schema_has_the_limits_of_numbers():
    training = recipe_schema()["$defs"]["TrainingSection"]["properties"]
    assert training["batch_size"]["minimum"] == 1
    assert training["seed"]["exclusiveMaximum"] == 2**31


def test_how_images_become_square_is_not_for_texts():
    with pytest.raises(RecipeError) as caught:
        Recipe.of(
            task="text-classification",
            backbone={"name": "all-minilm-l6-v2", "image_fit": "stretch"},
        )
    assert [fault.path for fault in caught.value.faults] == ["backbone.image_fit"]


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("data.train=photos #2", "photos #2"),
        ("data.train=2024-01-01", "2024-01-01"),
        ("data.train=0123", "0123"),
        ("data.train=~", "~"),
        ("data.train=no", "no"),
        ("data.train= a: [b", " a: [b"),
        ("data.train=*.csv", "*.csv"),
        ('data.train="null"', "null"),
        ("data.train=null", None),
        ("data.train=", None),
        ("data.delimiter=|", "|"),
        ('data.delimiter="\\t"', "\t"),
        ("data.label_column=1", "1"),
        ("data.label_columns=[2024, no, 1.0]", ("2024", "no", "1.0")),
        ("backbone=nets #2", "nets #2"),
        ("backbone.name=1e3", "1e3"),
        ("backbone={name: 7, max_length: 9}", "7"),
        ("name=null", "null"),
        ("name=12", "12"),
        ("description=", ""),
    ],
)
def test_a_text_in_an_override_is_its_own_characters(override, value):
    recipe = Recipe.of(task="text-multi-label", backbone="x").with_overrides(override)
    field = override.partition("=")[0]
    found = recipe.backbone.name if field.startswith("backbone") else recipe
    for key in () if field.startswith("backbone") else field.split("."):
        found = getattr(found, key)
    assert found == value


def test_texts_of_a_file_are_its_own_characters_too(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(
        "task: text-classification\nbackbone: 2024-01-01\nname: no\ndescription: ~\n"
        "data: {train: 007, validation: ~, label_column: 1, input_column: null}\n"
    )
    recipe = Recipe.load(file)
    assert (recipe.backbone.name, recipe.name, recipe.description) == ("2024-01-01", "no", "~")
    assert (recipe.data.train, recipe.data.validation) == ("007", None)
    assert (recipe.data.label_column, recipe.data.input_column) == ("1", None)


@pytest.mark.parametrize(
    ("written", "weights"),
    [
        ("{0: 1, 1: 3}", {"0": 1, "1": 3}),
        ("{no: 1, yes: 3}", {"no": 1, "yes": 3}),
        ("{2024-01-01: 1, ~: 2, 1.0: 3, 007: 4}", {"2024-01-01": 1, "~": 2, "1.0": 3, "007": 4}),
    ],
)
def test_keys_that_name_labels_are_read_as_labels_are(written, weights, tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"task: text-classification\nbackbone: x\ntraining: {{class_weights: {written}}}"
    )
    recipe = Recipe.load(file)
    assert recipe.training.class_weights == weights
    assert recipe.with_overrides(f"training.class_weights={written}") == recipe
    several = Recipe.of(task="text-multi-label", backbone="x")
    shares = ", ".join(f"{key}: 0.{value}" for key, value in weights.items())
    changed = several.with_overrides(f"evaluation.thresholds={{{shares}}}")
    assert list(changed.evaluation.thresholds) == list(weights)


def test_keys_from_python_that_name_labels_are_read_as_labels_are():
    recipe = Recipe.of(
        task="text-classification",
        backbone="x",
        training={"class_weights": {0: 1, True: 2, 2.0: 3, " a ": 4}},
    )
    assert recipe.training.class_weights == {"0": 1, "true": 2, "2": 3, "a": 4}


@pytest.mark.parametrize("weight", ["0", "-1", ".nan", ".inf"])
def test_a_weight_that_is_not_positive_is_refused_where_it_stands(weight, tmp_path):
    text = (
        f"task: text-classification\nbackbone: x\ntraining: {{class_weights: {{'a[1]': {weight}}}}}"
    )
    assert list(faults(text, tmp_path)) == ["training.class_weights.a[1]"]


def test_a_text_that_is_not_unicode_is_refused():
    with pytest.raises(RecipeError) as error:
        Recipe.of(task="text-classification", backbone="x", data={"train": "caf\udce9"})
    (fault,) = error.value.faults
    assert fault.path == "data.train"
    assert fault.problem.startswith("holds half a character")


def test_a_suffix_without_its_point_is_a_fault():
    with pytest.raises(RecipeError) as error:
        Recipe.of(task="image-classification", backbone="tiny", data={"image_suffix": "jpg"})
    (fault,) = error.value.faults
    assert (fault.path, fault.hint) == ("data.image_suffix", "write .jpg")
    Recipe.of(task="image-classification", backbone="tiny", data={"image_suffix": "_l.jpg"})


def test_an_argument_and_an_override_may_write_a_place_in_two_ways(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for other in ("photos/", "./photos", "photos/../photos", str(tmp_path / "photos")):
        refuse_two(
            ("DATA", "photos", "data.train", other), ("--output", "photos", "output_dir", other)
        )
    refuse_two(("DATA", None, "data.train", "photos"))
    for field, one, other in (
        ("data.train", "photos", "pictures"),
        ("data.train", "photos", None),
        ("data.label_column", "a/", "a"),
    ):
        with pytest.raises(RecipeError, match="is given, but"):
            refuse_two(("DATA", one, field, other))
