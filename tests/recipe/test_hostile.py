"""Recipes that nobody meant to write: all of them end in faults, none in a traceback."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from mutations import mutated_override, mutated_recipe

from tltool.recipe.recipe import Recipe
from tltool.support.errors import RecipeError
from tltool.support.shipped import list_shipped

START = "task: text-classification\nbackbone: x\n"


def refusal(text: str | bytes, tmp_path, overrides=()) -> RecipeError:
    file = tmp_path / "recipe.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    with pytest.raises(RecipeError) as error:
        Recipe.load(file, overrides)
    assert str(error.value)
    assert error.value.hint
    return error.value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{[a]: 1}", "line 1: a key must be a text"),
        (START + "training: {? [a] : 1}", "line 3: a key must be a text"),
        (START + "training: {seed: !!int a}", "invalid literal"),
        (START + "head: {search: !!bool maybe}", "of its own kind"),
        (START + "training: {seed: " + "1" * 5000 + "}", "more than 1,000 characters"),
        (START + "training: {seed: 0x" + "f" * 5000 + "}", "more than 1,000 characters"),
        (START + "head: " + "[" * 60 + "]" * 60, "nested more than 50 deep"),
        (START + "head: " + "[" * 1000, "nested more than 50 deep"),
        (START + "head: &a {b: *a}", "line 3: an alias holds itself"),
        (START + "head: &a [*a]", "line 3: an alias holds itself"),
        (START + 'name: "\\ud800"', "line 3: a text holds half a character"),
        (START + 'name: "\\UFFFFFFFF"', "of its own kind"),
        (START + "\tname: x", "line 3"),
        ("\x00", "#x0000"),
        (b"\x89PNG\r\n\x1a\n\xff", "can't decode byte"),
        (START.encode("utf-16"), "can't decode byte"),
        ("task: [" + "a, " * 400_000, "more than 1,000,000 bytes"),
        ("", "received nothing"),
        ("text,label\ngood,1\n", "received str"),
    ],
    ids=range(19),
)
def test_a_hostile_file_is_refused_in_words(text, said, tmp_path):
    assert said in str(refusal(text, tmp_path))


@pytest.mark.parametrize("lists", [True, False], ids=["lists", "merged"])
def test_an_alias_bomb_is_refused_before_it_goes_off(lists, tmp_path):
    levels = ["a0: &a0 " + ("[x, x]" if lists else "{x: 1}")]
    for level in range(1, 40):
        twice = ", ".join([f"*a{level - 1}"] * 2)
        value = f"[{twice}]" if lists else f"{{<<: [{twice}]}}"
        levels.append(f"a{level}: &a{level} {value}")
    tracemalloc.start()
    error = refusal("\n".join(levels), tmp_path)
    assert "more than 100,000 values" in str(error) or "50 deep" in str(error)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_an_anchor_may_still_spare_repetition(tmp_path):
    file = tmp_path / "recipe.yaml"
    file.write_text(START + "schedule:\n- &one {epochs: 2}\n- {<<: *one, train: all}\n")
    assert [phase.epochs for phase in Recipe.load(file).schedule] == [2, 2]


@pytest.mark.parametrize("name", ["folder", "/dev/null", "absent", "a\0b", "x" * 5000, "caf\udce9"])
def test_what_is_no_file_is_no_recipe(name, tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(RecipeError, match="There is no recipe"):
        Recipe.load(tmp_path / name if "\0" not in name else name)


@pytest.mark.parametrize("name", ["quickstart.yaml", "./quickstart", "quickstart.yml", "a/b"])
def test_a_name_of_a_file_is_that_file_and_nothing_else(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="there is no such file") as error:
        Recipe.load(name)
    assert "quickstart" in error.value.hint
    (tmp_path / "quickstarts.yaml").write_text(START)
    with pytest.raises(RecipeError) as error:
        Recipe.load("quickstart.yaml")
    assert "`quickstarts.yaml`" in error.value.hint


@pytest.mark.parametrize("file", list_shipped("recipes")[::4], ids=lambda file: file.stem)
def test_no_mutation_of_a_recipe_ends_in_a_traceback(file, tmp_path):
    draw, refused = random.Random(file.stem), 0
    target = tmp_path / "recipe.yaml"
    original = file.read_text(encoding="utf-8")
    fields = list(Recipe.load(file).to_values())
    for _ in range(60):
        target.write_bytes(mutated_recipe(original, draw))
        overrides = [mutated_override(fields, draw)]
        for given in ([], overrides):
            try:
                Recipe.load(target, given)
            except RecipeError as error:
                refused += bool(str(error))
    assert refused > 20
