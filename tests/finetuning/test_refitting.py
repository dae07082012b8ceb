"""A run that trains twice: what it ships, what it says of whom, and how it goes on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from presets import write_text_preset, write_texts
from same_runs import assert_equal, history

from tltool.cli.app import run as command
from tltool.finetuning import conclusion
from tltool.finetuning.job import finetune, resume
from tltool.finetuning.refitting import FirstTraining
from tltool.recipe.recipe import Recipe
from tltool.report.summary import to_markdown
from tltool.runs.folder import RunFolder
from tltool.runs.run import Run, load_run
from tltool.support.errors import RecipeError, RunError, TrainingError
from tltool.training import head_solver
from tltool.training.trainer import TrainingResult


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("refit")
    return Recipe.of(
        task="text-classification",
        name="whole",
        data={"train": str(write_texts(folder / "texts.csv", 90)), "validation_fraction": 0.2},
        backbone={"name": str(write_text_preset(folder / "bert")), "dropout": 0.1},
        schedule=[
            {"train": "head", "epochs": 2, "learning_rate": 0.01},
            {"train": "all", "epochs": 3, "learning_rate": 0.01, "curve": "constant"},
        ],
        training={"batch_size": 8, "refit": True},
        evaluation={"baseline": False},
        export={"formats": []},
        output_dir=str(folder / "runs"),
    )


@pytest.fixture(scope="module")
def whole(recipe):
    return finetune(recipe)


@pytest.fixture(scope="module")
def once(recipe):
    """The same without the second training."""
    return finetune(recipe.with_overrides("training.refit=false", "name=once"))


@pytest.mark.slow
def test_the_second_training_is_shipped_and_the_first_is_told_of_validation_rows(whole, once):
    rows = history(whole)
    validated = [row for row in rows if row["training"] == "validated"]
    refit = [row for row in rows if row["training"] == "refit"]
    assert [row["val_loss"] for row in validated] == [row["val_loss"] for row in history(once)]
    assert not any(row["val_loss"] for row in refit)
    assert [int(row["total_epoch"]) for row in rows] == list(range(1, len(rows) + 1))
    best = min(validated, key=lambda row: float(row["val_loss"]))
    assert (refit[-1]["phase"], refit[-1]["epoch"]) == (best["phase"], best["epoch"])
    assert whole.metrics["validation"] == once.metrics["validation"]
    counts = json.loads((whole.path / "data.json").read_text())["rows"]
    assert whole.metrics["refit"]["rows"] == counts["train"] + counts["validation"]
    again = load_run(whole.path).evaluate().metrics
    assert again["log_loss"] == pytest.approx(whole.metrics["test"]["log_loss"], rel=1e-5)
    assert whole.metrics["test"]["log_loss"] != once.metrics["test"]["log_loss"]
    told = to_markdown(whole.summary)
    assert "The model was trained twice" in told
    assert "of the training on all labelled rows" in told
    assert f"on {whole.metrics['refit']['rows']} texts" in told
    card = (whole.path / "README.md").read_text()
    assert "is of the first training, which had not learnt from them" in card
    assert not (whole.path / "checkpoints" / "refit").exists()
    assert not (whole.path / "checkpoints" / "first.json").exists()


class EndedError(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [4, 7])
def test_a_run_that_ends_in_either_training_goes_on_bit_for_bit(epoch, recipe, whole):
    epochs = 0

    def end(folder, row):
        nonlocal epochs
        epochs += 1
        if epochs == epoch:
            raise EndedError

    own = recipe.with_overrides(f"name=ended-{epoch}")
    with pytest.raises(EndedError):
        finetune(own, after_epoch=end)
    assert epoch <= len(history(whole)), "the run was meant to end within its training"
    assert_equal(finetune(own, resume=True), whole)


@pytest.mark.slow
def test_a_second_training_that_is_interrupted_leaves_the_first_ones_model(recipe, whole, once):
    from tltool.support.progress import Progress

    class PressCtrlC(Progress):
        again = False

        def stage(self, title):
            self.again = self.again or "Training again" in title

        def step(self, epoch, step, examples, values):
            if self.again and step == 2:
                raise KeyboardInterrupt

    run = finetune(recipe.with_overrides("name=interrupted"), progress=PressCtrlC())
    assert run.status == "interrupted"
    loaded = load_run(run.path)
    for value, other in zip(loaded.model.get_weights(), once.model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, other)
    assert_equal(resume(run.path), whole)


@pytest.mark.slow
def test_without_the_second_training_a_run_goes_on_to_the_first_ones_model(recipe, once):
    def end(folder, row):
        if "val_loss" not in row:
            raise EndedError

    own = recipe.with_overrides("name=once-after-all")
    with pytest.raises(EndedError):
        finetune(own, after_epoch=end)
    path = RunFolder.open(f"{recipe.output_dir}/once-after-all/1").path
    with pytest.raises(RunError, match="The schedule has 1 phase"):
        resume(path, 'schedule=[{"train": "head"}]', anyway=True)
    assert_equal(resume(path, "training.refit=false", anyway=True), once)


@pytest.mark.slow
def test_what_a_checkpoint_can_t_go_on_with_leaves_the_run_as_it_was(recipe, once):
    def end(folder, row):
        raise EndedError

    own = recipe.with_overrides("training.refit=false", "name=tried")
    with pytest.raises(EndedError):
        finetune(own, after_epoch=end)
    path = RunFolder.open(f"{recipe.output_dir}/tried/1").path
    with pytest.raises(RunError, match="of another model or optimizer"):
        resume(path, "training.optimizer=sgd", anyway=True)
    done = finetune(own, resume=True)
    assert done.path == path
    assert [one["changes"] for one in done.folder.manifest()["resumed"]] == [[]]
    assert_equal(done, once)


@pytest.mark.slow
def test_without_test_rows_the_first_training_is_all_that_is_told(recipe):
    run = finetune(recipe.with_overrides("data.test_fraction=0", "name=no-test"))
    assert run.summary.split == "validation"
    assert any("measured on nothing" in warning for warning in run.summary.warnings)
    rows, told = run.examples("validation"), run.metrics["validation"]["log_loss"]
    first = Run(run.folder, run.recipe, run.task, run.preprocessing, run.best_model())
    assert first.evaluate(rows).metrics["log_loss"] == pytest.approx(told, rel=1e-5)
    assert run.evaluate(rows).metrics["log_loss"] != pytest.approx(told, rel=1e-3)


def test_without_validation_rows_it_is_refused(recipe, capsys):
    with pytest.raises(RecipeError, match=r"training\.refit: validation rows") as error:
        finetune(recipe.with_overrides("data.validation_fraction=0"))
    assert "data.validation_fraction" in error.value.hint


def first():
    row = {"phase": "1 head", "epoch": 1, "total_epoch": 1, "val_loss": 0.5}
    return FirstTraining((row,), row, {1: 1})


def test_what_the_first_training_found_is_kept(tmp_path):
    folder = RunFolder.create(tmp_path, "mine")
    assert FirstTraining.read(folder) is None
    with pytest.raises(TrainingError, match="best weights of the first training"):
        first().write(folder)
    folder.checkpoint.parent.mkdir(exist_ok=True)
    folder.checkpoint.write_bytes(b"weights")
    first().write(folder)
    assert FirstTraining.read(folder) == first()
    folder.first_training.write_text("{}")
    with pytest.raises(RunError, match=r"first\.json is damaged"):
        FirstTraining.read(folder)


def test_the_history_of_both_says_which_is_which():
    row = {"phase": "1 head", "epoch": 1, "total_epoch": 1, "loss": 0.25}
    found = first().followed_by(TrainingResult((row,), row, False), 9)
    assert [one["training"] for one in found.history] == ["validated", "refit"]
    assert [one["total_epoch"] for one in found.history] == [1, 2]
    assert (found.best, found.refit_rows) == (found.history[1], 9)
    stopped = first().followed_by(TrainingResult((row,), row, True), 9)
    assert (stopped.best, stopped.refit_rows) == (stopped.history[0], None)
    assert stopped.interrupted


def test_the_command_line_refuses_it_without_validation_rows(recipe, tmp_path, capsys):
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe.to_yaml())
    assert command(["plan", str(file), "data.validation_fraction=0"]) == 2
    assert "training.refit" in capsys.readouterr().err


def test_a_network_that_the_linear_model_replaces_is_trained_once(recipe, tmp_path, monkeypatch):
    """A random head at a tiny rate; killed when it is measured, it goes on to the same."""
    texts = write_texts(tmp_path / "texts.csv", 150)
    idle = recipe.with_overrides(
        f"data.train={texts}", "data.validation_fraction=0.4", "name=idle",
        "evaluation.baseline=true",
        'schedule=[{"train": "all", "epochs": 1, "learning_rate": 1e-7}]',
    )  # fmt: skip
    rows = []
    conclude = conclusion.conclude

    def end(*given, **options):
        raise EndedError

    monkeypatch.setattr(conclusion, "conclude", end)
    with pytest.raises(EndedError):
        finetune(idle, after_epoch=lambda folder, row: rows.append(row))
    monkeypatch.setattr(conclusion, "conclude", conclude)
    run = finetune(idle, resume=True, after_epoch=lambda folder, row: rows.append(row))
    assert run.folder.manifest()["kept"]["linear"]
    assert [("val_loss" in row) for row in rows] == [True]
    assert [row["training"] for row in history(run)] == ["validated"]
    assert "refit" not in run.metrics
    assert not (run.path / "checkpoints" / "first.json").exists()
    told = load_run(run.path).evaluate(run.examples("validation")).metrics["log_loss"]
    assert told == pytest.approx(run.metrics["validation"]["log_loss"], rel=1e-5)


def test_folds_that_choose_a_solved_head_s_penalty_divide_no_group(recipe, tmp_path, monkeypatch):
    """Rows of a group have one text here, so that their features tell the group."""
    solved = []
    solve = head_solver.solve_linear

    def note(train, held_out, *given, folds, **options):
        solved.append((train.features, folds))
        return solve(train, held_out, *given, folds=folds, **options)

    monkeypatch.setattr(head_solver, "solve_linear", note)
    texts = [f"{word} film {'very ' * n}" for n in range(6) for word in ("good", "bad", "the")]
    lines = [f"{text},{'np'[n % 2]},who {n}" for n, text in enumerate(texts) for _ in range(4)]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label,who", *lines, ""]))
    finetune(
        recipe.with_overrides(
            f"data.train={tmp_path}/texts.csv", "data.group_column=who", "name=grouped",
            'schedule=[{"train": "head", "solver": "exact"}]',
        )
    )  # fmt: skip
    (_, first), (features, folds) = solved
    assert first == ()  # the validation rows alone
    assert len(folds) == 5
    groups = np.unique(features.round(3), axis=0, return_inverse=True)[1].ravel()
    assert len(set(groups)) > 5
    for rows, held in folds:
        assert not set(groups[rows]) & set(groups[held])
        assert len(rows) + len(held) == len(groups)
