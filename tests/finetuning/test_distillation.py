"""A teacher's student: what it learns, from which rows, what it says of it, and how it goes on."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import tiny
from presets import write_image_preset, write_text_preset, write_texts
from same_runs import assert_equal, history
from stored import write_run

import tltool
from tltool.finetuning.cross_validation import cross_validate
from tltool.finetuning.job import finetune, resume
from tltool.finetuning.teaching import taught
from tltool.recipe.recipe import Recipe
from tltool.report.summary import to_markdown
from tltool.runs.run import load_run
from tltool.support.errors import DataError, RunError
from tltool.support.progress import Progress
from tltool.training.inputs import example_data, make_feature_cache
from tltool.training.preparation import prepare

EXACT = {"train": "head", "solver": "exact"}


class Notes(Progress):
    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distillation")
    write_text_preset(folder / "bert")
    write_texts(folder / "texts.csv", 60)
    return folder


@pytest.fixture(scope="module")
def plain(folder):
    """A recipe without a teacher."""
    return Recipe.of(
        task="text-classification",
        name="student",
        data={"train": str(folder / "texts.csv"), "validation_fraction": 0.2},
        backbone={"name": str(folder / "bert"), "dropout": 0.1},
        schedule=[
            {"train": "head", "epochs": 2, "learning_rate": 0.01},
            {"train": "all", "epochs": 1, "learning_rate": 0.003},
        ],
        training={"batch_size": 8},
        evaluation={"baseline": False},
        export={"formats": []},
        output_dir=str(folder / "runs"),
    )


@pytest.fixture(scope="module")
def teacher(plain):
    recipe = plain.with_overrides("name=teacher", "training.seed=3")
    return finetune(recipe.model_copy(update={"schedule": Recipe.of(
        task="text-classification", backbone="x",
        schedule=[{"train": "all", "epochs": 5, "learning_rate": 0.005}]).schedule}))  # fmt: skip


@pytest.fixture(scope="module")
def recipe(plain, teacher):
    return plain.with_overrides(f"teacher={teacher.path}")


@pytest.fixture(scope="module")
def more(folder):
    """Texts without labels: 40 new ones, two of the data, and one twice."""
    new = sorted({f"{text} , {text}" for text in tiny.texts(40, seed=5)[0]})
    known = tiny.texts(60)[0]
    file = folder / "more.csv"
    file.write_text("\n".join(["text", *(f'"{t}"' for t in [*new, known[0], known[1], new[0]])]))
    return file, len(new)


def targets_of(recipe, prepared):
    """Encoded training targets in the order of the rows."""
    data = example_data(recipe, prepared, "train")
    return data, np.asarray(data.encode(np.arange(data.num_examples)))


def softmax(raw):
    odds = np.exp(raw - raw.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


# What training rows are given --------------------------------------------------------------


def test_targets_hold_the_labels_and_what_the_teacher_says_of_each_row(recipe, teacher):
    soft = recipe.with_overrides("teacher.temperature=4")
    prepared = taught(soft, prepare(soft))
    data, targets = targets_of(soft, prepared)
    rows = prepared.examples.split("train")
    assert data.examples.inputs == rows.inputs
    labels = np.eye(2)[prepared.task.target.truth(rows.targets)]
    np.testing.assert_array_equal(targets[:, :2], labels)
    np.testing.assert_array_equal(targets[:, 4], 1)
    said = teacher.outputs(rows)
    cooled = said**0.25 / (said**0.25).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(targets[:, 2:4], cooled, atol=1e-5)
    held_out = example_data(soft, prepared, "validation")
    assert held_out.taught is None
    assert held_out.encode(held_out.targets).shape[-1] == 2


def test_what_the_teacher_says_is_stored_and_the_same_without_the_store(recipe):
    stored = taught(recipe, prepare(recipe))
    assert isinstance(stored.lessons.raw, np.memmap)
    bare = recipe.with_overrides("cache.use=never")
    found = taught(bare, prepare(bare))
    assert not isinstance(found.lessons.raw, np.memmap)
    np.testing.assert_array_equal(stored.lessons.raw, found.lessons.raw)
    np.testing.assert_array_equal(targets_of(recipe, stored)[1], targets_of(bare, found)[1])


def test_rows_without_labels_join_but_for_those_that_the_data_has(recipe, teacher, more):
    file, new = more
    own = recipe.with_overrides(f"teacher.unlabelled={file}", "training.class_weights=balanced")
    notes = Notes()
    prepared = taught(own, prepare(own), progress=notes)
    data, targets = targets_of(own, prepared)
    labelled = len(prepared.examples.split("train"))
    assert data.num_examples == labelled + new
    assert not set(data.examples.inputs[labelled:]) & set(prepared.examples.inputs)
    assert any(line.startswith(f"{new} rows without labels") for line in notes.lines)
    assert any("2 rows of the labelled data" in line and "1 row given twice" in line
               for line in notes.lines)  # fmt: skip
    said = teacher.outputs(data.examples.take(range(labelled, labelled + new)))
    np.testing.assert_allclose(targets[labelled:, :2], said, atol=1e-5)
    np.testing.assert_array_equal(targets[:, 4], [1] * labelled + [0] * new)
    np.testing.assert_array_equal(data.weights[labelled:], 1)
    cache = make_feature_cache(own, prepared, data, Progress())
    assert len(cache._examples) == labelled + new + len(prepared.examples.split("validation"))


def test_classes_in_another_order_are_taken_by_name(recipe):
    prepared = taught(recipe, prepare(recipe))
    lessons = prepared.lessons
    turned = replace(
        lessons,
        target=replace(lessons.target, labels=lessons.target.labels[::-1]),
        raw=np.ascontiguousarray(lessons.raw[:, ::-1]),
    )
    _, straight = targets_of(recipe, prepared)
    _, other = targets_of(recipe, replace(prepared, lessons=turned))
    np.testing.assert_array_equal(straight, other)


# Runs --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def student(recipe, more):
    return finetune(recipe.with_overrides(f"teacher.unlabelled={more[0]}", "name=taught"))


def test_a_run_says_who_taught_it_and_how(student, teacher, more):
    sentence = f"Taught by {teacher.path}"
    for page in (to_markdown(student.summary), (student.path / "README.md").read_text()):
        told = page.replace("\\", "")
        assert sentence in told
        assert "(weight 0.7, temperature 2)" in told
        assert f"It taught {more[1]} rows without labels too." in told
    manifest = json.loads((student.path / "run.json").read_text())
    assert manifest["teacher"]["unlabelled"]["rows"] == more[1]
    again = load_run(student.path)
    assert again.recipe.teacher.run == str(teacher.path)
    assert again.evaluate().metrics["accuracy"] == student.metrics["test"]["accuracy"]


@pytest.fixture(scope="module")
def unsure(plain):
    """A teacher that has hardly learnt: it is not as sure of itself as labels are."""
    return finetune(plain.with_overrides("name=unsure", "schedule=[{train: head, epochs: 1}]"))


def test_a_student_follows_its_teacher(plain, unsure):
    """With the teacher alone, the student comes nearer to it than labels bring it."""
    solved = "schedule=[{train: head, solver: exact}]"
    own = finetune(plain.with_overrides("name=own", solved))
    taught_by = f"teacher={unsure.path}"
    following = finetune(
        plain.with_overrides("name=following", solved, taught_by, "teacher.weight=1")
    )
    rows = unsure.examples("train")
    said = unsure.outputs(rows)

    def divergence(run):
        return float((said * np.log(said / run.outputs(rows))).sum(axis=1).mean())

    assert divergence(following) < 0.2 * divergence(own)


class EndedError(Exception):
    pass


def test_a_run_that_ended_goes_on_bit_for_bit(recipe, student, more):
    def end(folder, row):
        if row["total_epoch"] == 3:
            raise EndedError

    own = recipe.with_overrides(f"teacher.unlabelled={more[0]}", "name=ended")
    with pytest.raises(EndedError):
        finetune(own, after_epoch=end)
    assert_equal(finetune(own, resume=True), student)


@pytest.mark.slow
def test_another_teacher_is_no_way_to_go_on(recipe, unsure, folder):
    def end(folder, row):
        raise EndedError

    own = recipe.with_overrides("name=changed")
    with pytest.raises(EndedError):
        finetune(own, after_epoch=end)
    run = folder / "runs" / "changed" / "1"
    with pytest.raises(RunError, match=r"teacher\.weights"):
        resume(run, f"teacher.run={unsure.path}")
    with pytest.raises(RunError, match=r"recipe\.teacher\.weight"):
        resume(run, "teacher.weight=0.5")
    with pytest.raises(RunError, match=r"teacher\.run: There is no run"):
        resume(run, f"teacher.run={folder / 'gone'}")


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_a_solved_head_minimises_the_same_loss(recipe, more, weight):
    """Steps from the solved head on change nothing of note: the gradient is that of its penalty."""
    import keras

    from tltool.training.phase import training_loss
    from tltool.training.trainer import train

    own = recipe.with_overrides(
        "schedule=[{train: head, solver: exact}]", f"teacher.weight={weight}",
        "backbone.dropout=0", f"teacher.unlabelled={more[0]}",
    )  # fmt: skip
    prepared = taught(own, prepare(own))
    data = example_data(own, prepared, "train")
    result = train(
        prepared.transfer, prepared.plans, prepared.task, own.training, data, None,
        strategy=prepared.strategy, checkpoint=None, progress=Progress(),
    )  # fmt: skip
    head = prepared.transfer.model.layers[-1]
    features = keras.Model(prepared.transfer.model.input, head.input)
    batches = [(x, y) for x, y, _ in data.batches(1)]
    vectors = np.concatenate([features(x, training=False) for x, _ in batches])
    targets = np.concatenate([y for _, y in batches])
    loss = training_loss(prepared.task, own.training, data.taught)

    def value(kernel, bias):
        return float(loss(targets, (vectors @ kernel + bias).astype("float32")))

    kernel, bias = map(np.asarray, head.get_weights())
    assert result.history[0]["loss"] == pytest.approx(value(kernel, bias), rel=1e-4)
    step = 0.05
    for by in (np.array([step, 0]), np.array([-step, 0]), np.array([0, step])):
        assert value(kernel, bias) < value(kernel, bias + by)
    # A shrunken kernel is what a stronger penalty gives; the loss alone asks for more.
    assert value(0.5 * kernel, bias) > value(kernel, bias)


@pytest.mark.slow
def test_folds_are_taught_with_a_warning_that_the_teacher_knows_their_rows(recipe, more):
    own = recipe.with_overrides(
        "schedule=[{train: head, solver: exact}]", f"teacher.unlabelled={more[0]}", "name=folds"
    )
    notes = Notes()
    found = cross_validate(own, folds=2, progress=notes)
    assert found.metrics["out_of_fold"]["n"] == 60
    assert any("the teacher was trained on these rows" in line for line in notes.lines)
    recorded = [json.loads((found.path / f"fold-{n}" / "1" / "run.json").read_text())
                for n in (1, 2)]  # fmt: skip
    assert [one["teacher"]["unlabelled"]["rows"] for one in recorded] == [more[1]] * 2


@pytest.mark.slow
def test_all_labelled_rows_are_taught_in_a_second_training(recipe):
    run = finetune(recipe.with_overrides("name=refit", "training.refit=true"))
    counts = json.loads((run.path / "data.json").read_text())["rows"]
    assert run.metrics["refit"]["rows"] == counts["train"] + counts["validation"]


# Numbers, several labels, pictures ---------------------------------------------------------


@pytest.mark.slow
def test_numbers_are_learnt_in_the_students_own_scale(folder):
    texts, labels = tiny.texts(40)
    values = [(3.0 if label == "positive" else 1.0, float(len(text))) for text, label
              in zip(texts, labels, strict=True)]  # fmt: skip

    def table(name, scale):
        file = folder / name
        rows = [f'"{text}",{a * scale},{b}' for text, (a, b)
                in zip(texts, values, strict=True)]  # fmt: skip
        file.write_text("\n".join(["text,stars,length", *rows]))
        return str(file)

    base = Recipe.of(
        task="text-regression",
        data={"train": table("stars.csv", 1), "label_columns": ["stars", "length"]},
        backbone={"name": str(folder / "bert")},
        schedule=[{"train": "all", "epochs": 1, "learning_rate": 0.003}],
        evaluation={"baseline": False},
        export={"formats": []},
        output_dir=str(folder / "runs"),
        name="rater",
    )
    teacher = finetune(base)
    own = base.with_overrides(
        f"data.train={table('points.csv', 10)}", "data.label_columns=[length, stars]",
        "name=points", f"teacher={teacher.path}", "teacher.weight=1",
    )  # fmt: skip
    prepared = taught(own, prepare(own))
    _, targets = targets_of(own, prepared)
    target, rows = prepared.task.target, prepared.examples.split("train")
    said = targets[:, 2:4] * np.array(target.std) + np.array(target.mean)
    np.testing.assert_allclose(said, teacher.outputs(rows)[:, ::-1], rtol=1e-4)
    run = finetune(own.with_overrides("schedule=[{train: head, solver: exact}]"))
    assert np.isfinite(run.metrics["test"]["mae"])


@pytest.mark.slow
def test_several_labels_of_pictures_with_views_of_another_size(tmp_path):
    files = tiny.write_images(tmp_path / "pictures", ("blue", "red"), per_class=12)
    extra = tiny.write_images(tmp_path / "extra", ("other",), per_class=4, seed=9)
    rows = [f"{p.relative_to(tmp_path)},{p.parent.name}" + ("|bright" if i % 2 else "")
            for i, p in enumerate(sorted(files.rglob("*.jpg")))]  # fmt: skip
    (tmp_path / "labels.csv").write_text("\n".join(["image,label", *rows]))
    base = Recipe.of(
        task="image-multi-label",
        data={"train": str(tmp_path / "labels.csv"), "validation_fraction": 0.2},
        backbone={"name": str(write_image_preset(tmp_path / "resnet"))},
        schedule=[{"train": "head", "epochs": 1, "learning_rate": 0.01}],
        evaluation={"baseline": False, "thresholds": 0.5},
        export={"formats": []},
        output_dir=str(tmp_path / "runs"),
        name="teacher",
    )
    teacher = finetune(base)
    own = base.with_overrides(
        "name=small", f"teacher={teacher.path}", "backbone.image_size_px=64", "augment.views=2",
        "augment.horizontal_flip=true", f"teacher.unlabelled={extra}",
        "training.class_weights=balanced",
    )  # fmt: skip
    prepared = taught(own, prepare(own))
    data, targets = targets_of(own, prepared)
    said = teacher.outputs(data.examples)
    odds = (said / (1 - said)) ** 0.5
    np.testing.assert_allclose(targets[:, 3:6], odds / (1 + odds), atol=1e-4)
    run = finetune(own)
    assert {row["phase"] for row in history(run)} == {"1 head"}
    assert np.isfinite(float(history(run)[0]["mean_average_precision"]))


# Teachers that can't teach -----------------------------------------------------------------


def test_a_teacher_of_other_classes_or_another_task_is_refused(plain, teacher, folder):
    texts, labels = tiny.texts(60)
    lines = [f'"{text}",{"neutral" if i < 12 else label}' for i, (text, label)
             in enumerate(zip(texts, labels, strict=True))]  # fmt: skip
    (folder / "three.csv").write_text("\n".join(["text,label", *lines]))
    own = plain.with_overrides(f"data.train={folder / 'three.csv'}", f"teacher={teacher.path}")
    unread = own.with_overrides("backbone.name=none")  # the classes are compared before it is read
    for job in (tltool.finetune, tltool.plan, tltool.cross_validate):
        with pytest.raises(DataError, match="only the data has 1 class: 'neutral'"):
            job(unread)
    several = plain.with_overrides("task=text-multi-label", f"teacher={teacher.path}")
    with pytest.raises(RunError, match="is of the task text-classification") as error:
        taught(several, prepare(several))
    assert error.value.exit_code == 2


@pytest.mark.parametrize("job", ["finetune", "cross_validate", "tune"])
def test_a_teacher_that_is_none_is_told_before_anything_is_read(plain, folder, tmp_path, job):
    if job == "tune":
        pytest.importorskip("optuna")
    nothing = plain.with_overrides("data.train=none.csv", "backbone.name=none")
    for teacher, message in (
        (f"teacher={folder}/none", "teacher.run: There is no run"),
        (f"teacher={half_a_run(tmp_path)}", "has no model"),
    ):
        with pytest.raises(RunError, match=message) as error:
            getattr(tltool, job)(nothing.with_overrides(teacher))
        assert error.value.hint
    other = write_run(tmp_path / "other").path
    several = nothing.with_overrides("task=text-multi-label", f"teacher={other}")
    with pytest.raises(RunError, match="is of the task text-classification"):
        getattr(tltool, job)(several)
    gone = nothing.with_overrides(f"teacher={other}", "teacher.unlabelled=none.csv")
    with pytest.raises(DataError, match=r"teacher\.unlabelled: there is no file"):
        getattr(tltool, job)(gone)


def half_a_run(root):
    """The folder of a run that failed before its first epoch had ended."""
    found = write_run(root)
    found.model.unlink()
    found.record("failed")
    return found.path


def test_inputs_that_are_not_there_or_all_in_the_data_are_refused(recipe, folder):
    prepared = prepare(recipe)
    gone = recipe.with_overrides(f"teacher.unlabelled={folder / 'mroe.csv'}")
    with pytest.raises(DataError, match=r"teacher\.unlabelled: there is no file"):
        taught(gone, prepared)
    known = recipe.with_overrides(f"teacher.unlabelled={folder / 'texts.csv'}")
    with pytest.raises(DataError, match="already"):
        taught(known, prepared)
