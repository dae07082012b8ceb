"""Ways of training that make no sense together are refused, with what to do instead."""

from __future__ import annotations

import pytest

from tltool.recipe.recipe import Recipe
from tltool.support.errors import RecipeError

IMAGES = {"task": "image-classification", "backbone": "efficientnet-lite0"}
SEVERAL = {"task": "image-multi-label", "backbone": "efficientnet-lite0"}
EXACT = "schedule=[{train: head, solver: exact}]"
PLATEAU = "schedule=[{train: head, curve: plateau}]"
CONTRASTIVE = "schedule=contrastive"

REFUSED = {
    "thresholds": (SEVERAL, ["training.refit=true"], "training.refit", "evaluation.thresholds"),
    "plateau and refit": (IMAGES, ["training.refit=true", PLATEAU], "schedule.0.curve", "cosine"),
    "mean and refit": (
        IMAGES,
        ["training.refit=true", "training.average_epochs.last=3"],
        "training.average_epochs",
        "leave out one",
    ),
    "the last of refit": (
        IMAGES, ["training.refit=true", "training.keep=last"], "training.keep", "keep=trained",
    ),
    "the last of a mean": (
        IMAGES,
        ["training.average_epochs.last=3", "training.keep=last"],
        "training.keep",
        "average_epochs",
    ),
    "mean of one": (
        IMAGES, ["training.average_epochs={last: 1}"], "training.average_epochs", None,
    ),
    "mean of what": (IMAGES, ["training.average_epochs=5"], "training.average_epochs", None),
    "mean of a solved head": (
        IMAGES,
        [EXACT, "training.average_epochs={best: 2}"],
        "training.average_epochs",
        "trains by gradient",
    ),
    "parts of comparisons": (
        IMAGES,
        [CONTRASTIVE, "training.gradient_accumulation_steps=2"],
        "training.gradient_accumulation_steps",
        "larger training.batch_size",
    ),
    "parts of embeddings": (
        {**IMAGES, "task": "image-embedding"},
        ["training.gradient_accumulation_steps=2"],
        "training.gradient_accumulation_steps",
        "larger training.batch_size",
    ),
    "parts of tokens": (
        {"task": "text-classification", "backbone": "all-minilm-l6-v2"},
        ["training.gradient_accumulation_steps=2", "training.tokens_per_batch=4096"],
        "training.gradient_accumulation_steps",
        "training.batch_size",
    ),
    "parts of fixed shapes": (
        IMAGES,
        ["training.gradient_accumulation_steps=2", "training.jit=always"],
        "training.gradient_accumulation_steps",
        "leave this out",
    ),
    "plateau of no plateau": (
        IMAGES,
        ["schedule=[{train: head, plateau_patience: 5}]"],
        "schedule.0.plateau_patience",
        "curve: plateau",
    ),
    "plateau and search": (IMAGES, [PLATEAU, "head.search=true"], "schedule.0.curve", "cosine"),
    "drawn and weighed": (
        IMAGES,
        ["training.sampling=balanced", "training.class_weights=balanced"],
        "training.sampling",
        "use one of them",
    ),
    "drawn labels": (SEVERAL, ["training.sampling=sqrt"], "training.sampling", "natural"),
    "drawn and solved": (
        IMAGES,
        [EXACT, "training.sampling=balanced"],
        "training.sampling",
        "training.sampling=natural and training.class_weights=balanced",
    ),
    "an average of no steps": (
        IMAGES, [EXACT, "training.ema_momentum=0.9"], "training.ema_momentum", "gradient",
    ),
    "an average of what may have no steps": (
        IMAGES, ["schedule=few_examples", "training.ema_momentum=0.9"], "training.ema_momentum",
        "leave it out",
    ),
    "parts of no steps": (
        IMAGES,
        [EXACT, "training.gradient_accumulation_steps=4"],
        "training.gradient_accumulation_steps",
        "solver: gradient",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_sense_is_refused(case):
    values, overrides, path, hint = REFUSED[case]
    with pytest.raises(RecipeError) as error:
        Recipe.of(**values).with_overrides(*overrides)
    found = {fault.path: fault for fault in error.value.faults}
    assert path in found, found
    assert hint is None or hint in found[path].hint
    assert error.value.exit_code == 2


def test_what_else_a_field_may_be_is_told():
    def only_fault(*overrides):
        with pytest.raises(RecipeError) as error:
            Recipe.of(**IMAGES).with_overrides(*overrides)
        (fault,) = error.value.faults
        return fault

    both = only_fault("training.average_epochs={best: 3, last: 2}")
    assert both.path == "training.average_epochs"
    assert both.received == "{'best': 3, 'last': 2}"
    assert "one way alone" in both.problem
    weights = only_fault("training.class_weights=balance")
    assert weights.allowed == "auto, balanced, null, a mapping such as {CLASS: 2.0}"


ALLOWED = {
    "refit": (IMAGES, ["training.refit=true", "training.ema_momentum=0.9"]),
    "refit with thresholds": (SEVERAL, ["training.refit=true", "evaluation.thresholds=0.5"]),
    "mean": (IMAGES, ["training.average_epochs={best: 3}", "schedule=fine_tune"]),
    "parts": (SEVERAL, ["training.gradient_accumulation_steps=8"]),
    "plateau": (IMAGES, [PLATEAU, "training.early_stopping.patience=6"]),
    "one cycle": (IMAGES, ["schedule=[{train: head, curve: one_cycle}]"]),
    "an average after a solved head": (
        IMAGES,
        ["schedule=[{train: head, solver: exact}, {train: all}]", "training.ema_momentum=0.9"],
    ),
    "drawn": (IMAGES, ["training.sampling=sqrt", "training.focal_gamma=2"]),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_what_makes_sense_is_kept_in_a_recipes_file(case, tmp_path):
    values, overrides = ALLOWED[case]
    recipe = Recipe.of(**values).with_overrides(*overrides)
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.to_yaml())
    assert Recipe.load(file) == recipe
