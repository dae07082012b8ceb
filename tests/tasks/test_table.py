from __future__ import annotations

import re

import pytest

from tltool.recipe.recipe import Recipe
from tltool.support.errors import RecipeError, TargetError
from tltool.support.shipped import find_shipped
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.embeddings.kind import EmbeddingTarget
from tltool.tasks.masks.kind import MaskTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.table import TASKS, Task, unknown_task
from tltool.tasks.tags.kind import TagsTarget

ABSENT = {
    "instance-segmentation": "masks of single objects",
    "detection": "detection of objects",
    "object-detection": "detection of objects",
    "yolov8": "detection of objects",
    "question-answering": "answers to questions",
    "text-generation": "writing text",
    "image-to-text": "writing text",
    "text-to-image": "making images",
    "fill-mask": "words left out",
    "audio-classification": "sound",
    "anomaly-detection": "anomalies",
}
MEANT = {
    "ner": ["token-classification"],
    "NER": ["token-classification"],
    "named-entity-recognition": ["token-classification"],
    "token_classification": ["token-classification"],
    "image_classification": ["image-classification"],
    " Image-Classification ": ["image-classification"],
    "image-clasification": ["image-classification"],
    "images-classification": ["image-classification"],
    "text-clasification": ["text-classification"],
    "classification": ["image-classification", "text-classification"],
    "embeddings": ["image-embedding", "text-embedding"],
    "metric learning": ["image-embedding", "text-embedding"],
    "text-embedings": ["text-embedding"],
    "topic-classification": ["image-classification", "text-classification"],
    "multi-class-classification": ["image-classification", "text-classification"],
    "nervous-classification": ["image-classification", "text-classification"],  # no `ner`
    "purpose-classification": ["image-classification", "text-classification"],  # no `pose`
    "sentiment-analysis": ["text-classification"],
    "spam-detection": ["text-classification"],
    "multi-label": ["image-multi-label", "text-multi-label"],
    "multi-lable": ["image-multi-label", "text-multi-label"],
    "multilabel-classification": ["image-multi-label", "text-multi-label"],
    "multi-label-image-classification": ["image-multi-label"],
    "text_multilabel": ["text-multi-label"],
    "image-tagging": ["image-multi-label"],
    "segmentation": ["image-segmentation"],
    "semantic segmentation": ["image-segmentation"],
    "image_segmentation": ["image-segmentation"],
    "image-segmentaton": ["image-segmentation"],
    "regression": ["image-regression", "text-regression"],
    "image-regresion": ["image-regression"],
    "image-ordinal-regression": ["image-regression"],
    "text_pair_classification": ["text-pair-classification"],
    "text-pairs-regresion": ["text-pair-regression"],
    "NLI": ["text-pair-classification"],
    "sentence-similarity": ["text-pair-regression"],
    "duplicate-detection": ["text-pair-classification"],
}


def faults_of(**values):
    with pytest.raises(RecipeError) as caught:
        Recipe.of(**{"backbone": "x", **values})
    return {fault.path: fault for fault in caught.value.faults}


@pytest.mark.parametrize("name", ABSENT)
def test_a_task_that_is_not_here_is_said_to_be_so(name):
    problem, hint = unknown_task(name)
    assert problem == f"not in this version, which has no task for {ABSENT[name]}"
    assert hint is None
    fault = faults_of(task=name)["task"]
    assert (fault.problem, fault.hint) == (problem, None)
    assert fault.allowed == ", ".join(TASKS)


@pytest.mark.parametrize("name", MEANT)
def test_another_name_for_a_task_gets_the_right_one(name):
    names = " or ".join(f"`{meant}`" for meant in MEANT[name])
    assert unknown_task(name) == ("unknown task", f"did you mean {names}?")
    assert faults_of(task=name)["task"].hint == f"did you mean {names}?"


@pytest.mark.parametrize("name", ["", "nonsense", "general", "image", "x-y"])
def test_what_is_like_no_task_gets_no_hint(name):
    assert unknown_task(name) == ("unknown task", None)


def test_each_task_is_known_by_its_modality_and_kind_of_target():
    kinds = {
        "classification": ClassTarget,
        "multi-label": ClassSetTarget,
        "regression": NumbersTarget,
        "segmentation": MaskTarget,
        "embedding": EmbeddingTarget,
    }
    assert TASKS["token-classification"].target is TagsTarget
    for name, spec in TASKS.items():
        if spec.target is TagsTarget:
            continue
        modality, kind = re.match(r"(image|text-pair|text)-(.*)", name).groups()
        modality = modality.replace("-", "_")
        assert (spec.name, spec.modality, spec.target) == (name, modality, kinds[kind])
        assert spec.metric == spec.target.scores[0].key
    assert len(TASKS) == 12


def test_a_task_of_another_kind_of_target():
    spec = TASKS["image-classification"]
    assert spec.with_target(None) is spec
    other = spec.with_target("numbers")
    assert (other.name, other.modality, other.target) == (spec.name, "image", NumbersTarget)
    with pytest.raises(TargetError, match="no kind 'numbrs'"):
        spec.with_target("numbrs")


@pytest.mark.parametrize(
    "task",
    [
        Task(TASKS["text-classification"], ClassTarget(("é", "b"))),
        Task(TASKS["image-multi-label"], ClassSetTarget(("a", "b"), (0.1, 0.9), (0.5, 0.2))),
        Task(TASKS["text-regression"], NumbersTarget(("a", "b"), (1.0, 2.0), (3.0, 4.0))),
        Task(TASKS["image-classification"].with_target("numbers"), NumbersTarget()),
    ],
    ids=lambda task: f"{task.spec.name}-{task.target.kind}",
)
def test_round_trip(task):
    again = Task.from_json(task.to_json())
    assert again == task
    assert again.spec.target is type(task.target)


# ---- fields of recipes that mean nothing for a kind of target --------------------------------


@pytest.mark.parametrize("task", ["text-regression", "image-regression"])
def test_what_needs_classes_is_refused_for_numbers_with_what_to_write(task):
    found = faults_of(
        task=task,
        training={"class_weights": "balanced", "label_smoothing": 0.1, "focal_gamma": 2.0},
        evaluation={"thresholds": 0.3},
    )
    assert set(found) == {
        "training.class_weights",
        "training.label_smoothing",
        "training.focal_gamma",
        "evaluation.thresholds",
    }
    weights = found["training.class_weights"]
    assert weights.problem == "needs classes, but the task is a regression"
    assert weights.received == "'balanced'"
    assert weights.hint.startswith("use training.class_weights=auto")
    assert found["training.label_smoothing"].hint == "use training.label_smoothing=0"
    assert found["training.focal_gamma"].hint == "use training.focal_gamma=0"
    assert found["evaluation.thresholds"].hint == "use evaluation.thresholds=auto"


@pytest.mark.parametrize("task", TASKS)
def test_what_changes_nothing_is_refused_for_no_task(task):
    recipe = Recipe.of(
        task=task,
        backbone="x",
        training={"class_weights": "auto", "label_smoothing": 0.0, "focal_gamma": 0},
        evaluation={"thresholds": "auto"},
    )
    assert recipe.spec is TASKS[task]
    assert Recipe.of(task=task, backbone="x", training={"class_weights": None})


def test_thresholds_are_for_several_labels():
    for thresholds in (0.3, {"sea": 0.7}):
        values = {"evaluation": {"thresholds": thresholds}}
        assert Recipe.of(task="image-multi-label", backbone="x", **values)
        fault = faults_of(task="image-classification", **values)["evaluation.thresholds"]
        assert "several labels" in fault.problem
        assert fault.hint == "use evaluation.thresholds=auto"
    for wrong in (0, 1, 1.5, {"sea": 1.2}, "automatic"):
        faults = faults_of(task="image-multi-label", evaluation={"thresholds": wrong})
        assert all(path.startswith("evaluation.thresholds") for path in faults)


def test_several_columns_are_for_several_labels_or_numbers():
    for kind in ("multi-label", "regression"):
        assert Recipe.of(task=f"text-{kind}", backbone="x", data={"label_columns": ["a", "b"]})
    faults = faults_of(task="text-classification", data={"label_columns": ["a", "b"]})
    fault = faults["data.label_columns"]
    assert fault.problem == "text-classification takes one column"
    assert "task=text-multi-label" in fault.hint
    assert "task=text-regression" in fault.hint


def test_the_recipe_that_a_kind_names_is_for_it():
    own = [(spec.target.own_recipes.get(spec.modality), spec) for spec in TASKS.values()]
    named = {found[0]: spec for found, spec in own if found}
    assert set(named) == {"my_masks", "my_names", "similar_images", "similar_texts"}
    for recipe, spec in named.items():
        assert Recipe.load(recipe).task == spec.name


def test_a_kind_of_target_that_is_not_there_is_a_fault():
    fault = faults_of(task="text-classification", target="numbrs")["target"]
    assert fault.problem.startswith("there is no kind 'numbrs'")
    assert fault.hint == "did you mean `numbers`?"
    # Of the kind that the recipe names, not of the task's own.
    refused = faults_of(
        task="text-classification", target="numbers", training={"label_smoothing": 0.1}
    )
    assert set(refused) == {"training.label_smoothing"}


@pytest.mark.parametrize(
    ("recipe", "task"),
    [
        (name, f"{modality}-{kind}")
        for name, modality in (("my_images", "image"), ("my_csv", "text"))
        for kind in ("classification", "multi-label", "regression")
    ]
    + [("my_pairs", f"text-pair-{kind}") for kind in ("classification", "regression")],
)
def test_the_recipes_for_ones_own_data_serve_every_task(recipe, task):
    loaded = Recipe.load(recipe, [f"task={task}"])
    assert loaded.task == task
    # Whoever reads the file finds the other tasks in it.
    assert task in find_shipped("recipes", recipe).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("task", "smoothing"),
    [("image-classification", 0.1), ("image-multi-label", 0.1), ("image-regression", 0.0)],
)
def test_smoothing_is_where_the_task_has_it(task, smoothing):
    assert Recipe.load("my_images", [f"task={task}"]).training.label_smoothing == smoothing
