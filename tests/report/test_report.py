from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tltool.data.examples import Examples
from tltool.data.texts.text_length import TextLength
from tltool.evaluation.comparison import Comparison
from tltool.evaluation.evaluate import Evaluation, evaluate_outputs
from tltool.report import plots, wording
from tltool.report.content import Baseline
from tltool.report.model_card import model_card
from tltool.report.summary import Artifact, Phase, RunSummary, render, to_markdown
from tltool.support.files import size_text
from tltool.support.words import duration
from tltool.tasks.class_sets import ClassSetTarget
from tltool.tasks.classes import ClassTarget
from tltool.tasks.numbers import NumbersTarget
from tltool.tasks.reports import Bars
from tltool.tasks.table import TASKS, Task

SAME = ClassTarget.same_answer
LONG_PATH = "runs/quickstart/1/exports/" + "a-long-folder-name/" * 8 + "model.tflite"


def evaluation(labels=("negative", "positive"), rows=40, wrong=4) -> Evaluation:
    """Every class in turn; the first `wrong` rows are taken for the next class."""
    classes = [i % len(labels) for i in range(rows)]
    outputs = np.full((rows, len(labels)), 0.1 / (len(labels) - 1))
    for i, number in enumerate(classes):
        outputs[i, (number + (i < wrong)) % len(labels)] = 0.9
    data = Examples(
        "text",
        [f"text {i}\nwith [bold]markup[/bold] :smile:" for i in range(rows)],
        [labels[number] for number in classes],
        ["test"] * rows,
        [f"reviews.csv:{i + 2}" for i in range(rows)],
    )
    return evaluate_outputs(
        outputs, data, Task(TASKS["text-classification"], ClassTarget(tuple(labels)))
    )


LINEAR = Baseline("Linear model", "logistic regression on the frozen features", 0.838)


def gained(gain, low, high, value=0.9, rows=40) -> Comparison:
    return Comparison(gain, (low, high), value, value - gain, rows, "exact")


def summary(**changes) -> RunSummary:
    usual = RunSummary(
        name="quickstart",
        task="text-classification",
        backbone="all-MiniLM-L6-v2",
        counts={"train": 1200, "validation": 150, "test": 40},
        phases=(
            Phase("head", 770, 3, 1e-3),
            Phase("last 2 groups", 3_550_000, 1, 5e-5),
        ),
        evaluation=evaluation(),
        run_dir="runs/quickstart/1",
        seconds=252.4,
        baselines=(LINEAR, Baseline("TF-IDF", "TF-IDF + logistic regression", 0.82)),
        gain=gained(0.062, 0.01, 0.114),
        artifacts=(
            Artifact("LiteRT float32", LONG_PATH, 90_400_000, 1.2e-6, 1.0, True, "Run it.", SAME),
            Artifact("SavedModel", "runs/quickstart/1/exports/saved_model", 812, 0.2, 0.5, False),
        ),
        next_commands=(("tltool predict runs/quickstart/1 'a text'", "classify a text"),),
    )
    return replace(usual, **changes)


def printed(value: RunSummary, width: int = 80, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    render(value, console)
    return console.file.getvalue()


def test_a_newcomer_finds_what_was_done_and_how_well_it_went():
    text = printed(summary())
    assert (
        "Fine-tuned all-MiniLM-L6-v2 on 1,200 texts of 2 classes (head for 3 epochs, then "
        "last 2 groups for 1 epoch) and tested it on 40 test texts, in 4 min 12 s." in text
    )
    assert re.search(r"Accuracy +90\.0 % \(95 % interval 76\.9 % to 96\.0 %, 40 test texts\)", text)
    assert re.search(
        r"Linear model +83\.8 % \(logistic regression on the frozen features, sa", text
    )
    assert re.search(r"TF-IDF +82\.0 % \(TF-IDF \+ logistic regression, same rows\)", text)
    expected = (
        r"Gain +\+6\.2 points \(95 % interval \+1\.0 to \+11\.4, paired\), over the linear model\n"
    )
    assert re.search(expected, text)
    assert re.search(r"negative +0\.900 +0\.900 +0\.900 +20", text)
    assert "negative taken for positive: 2 of 20 (10.0 %)" in text
    assert "reviews.csv:2: “text 0 with [bold]markup[/bold] :smile:” is negative" in text
    assert "predicted positive (90.0 % sure)" in text
    assert "run folder: runs/quickstart/1\n" in text
    assert "tltool predict runs/quickstart/1 'a text'" in text
    assert "classify a text" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_paths_and_commands_are_never_broken_over_lines(terminal):
    text = printed(summary(), width=40, terminal=terminal)
    assert f"{LONG_PATH} (90.4 MB), comparison with the Keras model passed" in text
    assert "largest difference 1.2e-06, same top class for 100.0 % of rows" in text
    assert "(812 B), comparison with the Keras model FAILED" in text


def test_plain_output_has_no_escape_codes_even_from_the_data():
    labels = ("bad\x1b[31m\nname", "[red]x[/red]")
    text = printed(summary(evaluation=evaluation(labels)))
    assert "\x1b" not in text
    assert "[red]x[/red]" in text
    assert "\x1b[1m" in printed_in_colour(summary())


def printed_in_colour(value: RunSummary) -> str:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="truecolor")
    render(value, console)
    return console.file.getvalue()


LAST = {"phase": "2 all", "epoch": 2, "total_epoch": 5}
BOTH = (Phase("head", 770, 3, 1e-3), Phase("all", 3_550_000, 2, 5e-5))


@pytest.mark.parametrize(
    ("gain", "changes", "words"),
    [
        (gained(-0.05, -0.1, 0.0), {},
         "no better than the linear model: -5.0 points (95 % interval -10.0 to +0.0, paired)"),
        (gained(0.0, 0.0, 0.0), {}, "no better than the linear model: +0.0 points"),
        (gained(0.01, -0.0001, 0.03), {},
         "not clearly better than the linear model: +1.0 points (95 % interval +0.0 to +3.0"),
        (gained(0, 0, 0), {"phases": BOTH[:1]},
         "Next, train the backbone too: tltool finetune runs/quickstart/1/recipe.yaml "
         "schedule=fine_tune"),
        (gained(0, 0, 0), {"phases": (Phase("head", 770, 0, None),)},
         "none, since it is a linear model itself. Next, train the backbone too"),
        (gained(0, 0, 0), {"phases": BOTH, "best": LAST},
         "train longer: its last epoch was its best"),
        (gained(0, 0, 0), {"phases": BOTH, "best": LAST, "counts": {"train": 200, "test": 40}},
         "label more rows"),
        (gained(0, 0, 0), {"phases": (BOTH[1], Phase("head", 770, 3, None)), "best": LAST},
         "label more rows"),
        (gained(0, 0, 0), {"phases": BOTH}, "label more rows"),
        (gained(0, 0, 0), {"phases": BOTH, "counts": {"train": 50_000}}, "try another backbone"),
        (gained(-0.1, -0.2, 0.0), {"baselines": (Baseline("TF-IDF", "TF-IDF + ridge", 0.9),)},
         "no better than TF-IDF + ridge: -10.0 points"),
    ],
)  # fmt: skip
def test_where_nothing_was_gained_it_is_said_with_what_to_try(gain, changes, words):
    value = summary(gain=gain, **changes)
    assert words in printed(value)
    assert words in to_markdown(value)
    assert words in model_card(value, {}, {})


def test_without_a_comparison_there_is_no_gain():
    assert "Gain" not in printed(summary(gain=None))
    assert "Linear model" not in printed(summary(baselines=(), gain=None))


def test_a_linear_model_that_is_kept_is_told_of_first_and_last():
    best = {"phase": "2 all", "epoch": 1, "total_epoch": 4}
    value = summary(linear_kept=gained(-0.02, -0.05, 0.01, 0.86, rows=150), best=best)
    for text in (printed(value), model_card(value, {}, {})):
        assert "and tested a linear model in its place on 40 test texts" in text
        assert "The model is the pretrained backbone with the linear model as its head." in text
        assert (
            "no better than the linear model, which is kept: Accuracy 86.0 % against 88.0 % on 150 "
            "validation texts, -2.0 points (95 % interval -5.0 to +1.0, paired)" in text
        )
        assert "epoch 1 of phase 2" not in text


def test_many_classes_show_the_weakest_first():
    labels = [f"intent {i:02d}" for i in range(77)]
    text = printed(summary(evaluation=evaluation(labels, rows=77 * 4, wrong=3)))
    assert "Classes (the weakest)" in text
    assert "and 57 more classes" in text
    # Rows 0 to 2 are taken for the next class, so only 0 to 3 lose anything.
    table = text[text.index("Classes (the weakest)") :]
    assert set(re.findall(r"intent (\d\d)", table)[:4]) == {"00", "01", "02", "03"}


def test_skipped_rows_absent_classes_and_warnings_are_said():
    absent = evaluation(("a", "b", "c"), rows=2, wrong=0)
    text = printed(summary(evaluation=absent, skipped=3, warnings=("The GPU was not used.",)))
    assert "3 broken rows or files were left out" in text
    assert "No test rows for 1 class: c." in text
    assert "warning: The GPU was not used." in text
    assert re.search(r"\n +c +– +– +– +0", text)


def test_where_texts_are_cut_is_said_and_in_the_card_its_limit():
    reason = "99th percentile of the training texts"
    cut = TextLength(64, reason, {"train": 1200, "test": 40}, {"train": 11, "test": 2}, {})
    said = (
        f"Texts are cut at 64 tokens ({reason}): 11 of 1,200 training, 2 of 40 test texts are "
        "longer."
    )
    assert f"note: {said}" in printed(summary(text_length=cut), width=200)
    assert said in to_markdown(summary(text_length=cut))
    card = model_card(summary(text_length=cut), {}, {})
    assert said in card
    assert "reads the first 64 tokens" in card
    whole = replace(cut, longer={"train": 0, "test": 0})
    assert "are cut" not in printed(summary(text_length=whole))
    assert "reads the first 64 tokens" in model_card(summary(text_length=whole), {}, {})
    assert "tokens" not in model_card(summary(), {}, {})


def test_the_card_says_how_a_spreadsheet_must_open_the_predictions():
    card = model_card(summary(), {}, {})
    assert "`predictions.csv`" in card
    assert "every column as text" in card


def test_scores_from_another_split_are_not_called_test_scores():
    value = summary(split="validation", warnings=("There is no test split.",))
    for text in (printed(value), to_markdown(value), model_card(value, {}, {})):
        assert "40 validation texts" in text
        assert "There is no test split." in text
        assert "test texts" not in text
    assert "training texts" in printed(summary(split="train"))


def regression(gain=0.5, low=0.25, high=0.75, other=1.0) -> RunSummary:
    data = Examples("image", ["a.jpg", "b.jpg"], [1.0, 3.0], ["test"] * 2, ["a.jpg", "b.jpg"])
    task = Task(TASKS["image-regression"], NumbersTarget())
    found = evaluate_outputs(np.array([[1.25], [2.25]]), data, task)
    compared = Comparison(gain, (low, high), other - gain, other, 2, "bootstrap")
    return summary(task="image-regression", evaluation=found, gain=compared)


def test_regression_speaks_of_errors():
    text = printed(regression())
    assert re.search(r"Mean absolute error +0\.5 \(in the unit of \w+, 95 % interval 0\.01", text)
    assert (
        "error 0.5 or 50.0 % smaller (95 % interval of the reduction +0.25 to +0.75, paired), over "
        "the linear model" in text
    )
    assert "b.jpg is 3, predicted 2.25" in text
    assert "Classes" not in text
    worse = printed(regression(-0.1, -0.2, 0.02, other=0.4))
    assert "no better than the linear model: error 0.1 or 25.0 % larger (95 % interval of" in worse
    assert "error 0.5 larger" in printed(regression(-0.5, -0.6, -0.4, other=0.0))


def label_sets(truth=(("sea",), ("sea", "sky"), ())) -> RunSummary:
    rows = len(truth)
    data = Examples("image", list("abc"), list(truth), ["test"] * rows, list("abc"),
                    kind=ClassSetTarget)  # fmt: skip
    target = ClassSetTarget(("fog", "sea", "sky"), (0.5, 0.25, 0.75))
    outputs = np.array([[0.1, 0.9, 0.8], [0.1, 0.3, 0.2], [0.6, 0.1, 0.1]], np.float32)
    task = Task(TASKS["image-multi-label"], target)
    return summary(
        task="image-multi-label",
        evaluation=evaluate_outputs(outputs[:rows], data, task),
        gain=gained(0.25, 0.1, 0.4, 0.75, 3),
    )


def test_several_labels_speak_of_labels():
    text = printed(label_sets())
    assert "on 1,200 images of 3 labels" in text
    assert re.search(r"Mean average precision +0\.75 \(95 % interval", text)
    assert "+0.25 (95 % interval +0.1 to +0.4, paired), over the linear model" in text
    assert "No test rows for 1 label: fog." in text
    assert re.search(r"Label +From +Precision +Recall +F1 +AP +Rows", text)
    assert re.search(r"sea +0\.250 +1\.000 +1\.000 +1\.000 +1\.000 +2", text)
    assert re.search(r"fog +0\.500 +0\.000 +– +– +– +0", text)
    assert "sky missed with sea: 1 of 1 rows that have both" in text
    assert "fog added to no label: 1 of 1 (100.0 %)" in text
    assert "a is sea, predicted sea, sky" in text
    assert "c is no label, predicted fog" in text
    card = model_card(label_sets(), {}, {})
    assert "| Exact match | 0.0 % | " in card
    assert "| Hamming loss | 0.3333 | " in card
    assert "probability reaches its threshold, chosen on held-out rows" in card


def test_rows_without_any_label_have_no_score():
    nothing = replace(label_sets(truth=((), (), ())), gain=None)
    assert re.search(r"Mean average precision +– \(", printed(nothing))
    assert "Gain" not in printed(nothing)
    assert "| Mean average precision | undefined | – |" in model_card(nothing, {}, {})


def test_several_numbers_speak_of_each():
    data = Examples("image", ["a.jpg", "b.jpg"], [(1.0, 10.0), (3.0, 20.0)], ["test"] * 2,
                    ["a.jpg", "b.jpg"])  # fmt: skip
    target = NumbersTarget(("kg", "m"), (0.0, 0.0), (1.0, 100.0))
    outputs = np.array([[1.25, 20.0], [2.25, 20.0]])
    found = evaluate_outputs(outputs, data, Task(TASKS["image-regression"], target))
    text = printed(summary(task="image-regression", evaluation=found, gain=None))
    assert re.search(r"Mean absolute error +2\.75 \(the mean of kg and m, each in its own", text)
    assert re.search(r"kg +0\.5 ", text)
    assert re.search(r"m +5 ", text)
    # In standard deviations of each number, 0.75 kg is more than 10 m.
    assert text.index("b.jpg is kg 3, m 20, predicted kg 2.25, m 20") < text.index("a.jpg is kg 1")


BEST = {"phase": "1 head", "epoch": 2, "total_epoch": 2}


def test_which_weights_were_delivered_is_said():
    said = "Its weights are those of epoch 2 of phase 1 (head)."
    value = summary(best=BEST)
    for text in (printed(value, width=400), to_markdown(value), model_card(value, {}, {})):
        assert said in text
    assert "weights are those of" not in printed(summary())


def test_the_card_tells_what_is_needed_to_judge_the_training():
    phases = (Phase("head", 770, 3, 1e-3, 0.1), Phase("all", 3_550_000, 1, None))
    recipe = {
        "data": {"train": "a.csv", "validation": None, "test": "b_test.csv"},
        "augment": {"horizontal_flip": True, "zoom": 0.0, "rotation_degrees": 10.0},
    }
    card = model_card(summary(phases=phases), recipe, {}, curves="report/curves.png")
    assert "- Source: a.csv\n" in card
    assert "- Source of the validation examples: rows of the same source\n" in card
    assert "- Source of the test examples: b_test.csv\n" in card
    given = model_card(summary(given=("train", "test")), {"data": {"train": "photos"}}, {})
    assert "- Source of the validation examples: rows of the same source\n" in given
    assert "- Source of the test examples: the part of the source that is marked so\n" in given
    assert "| 1 | head | 770 | 3 | 0.001 | 10.0 % |" in card
    assert "| 2 | all | 3,550,000 | solved |  |  |" in card
    assert "| horizontal_flip | True |\n| rotation_degrees | 10.0 |\n" in card
    assert "zoom" not in card
    assert "![Learning curves](<report/curves.png>)" in card


def test_scores_of_numbers_have_their_unit():
    value = regression()
    target = replace(value.evaluation.target, names=("price",))
    value = replace(value, evaluation=replace(value.evaluation, target=target))
    assert re.search(r"error +0\.5 \(in the unit of price, 95 % interval", printed(value))
    card = model_card(value, {}, {})
    assert "| Mean absolute error (in the unit of price) | 0.5 |" in card
    assert "| R² | " in card


def test_markdown_says_the_same_and_escapes_the_data():
    page = to_markdown(summary(evaluation=evaluation(("a|b", "*x*"))))
    assert page.startswith("# quickstart\n")
    assert r"| a\|b | 0.900 | 0.900 | 0.900 | 20 |" in page
    assert r"\*x\* taken for a\|b: 2 of 20" in page
    assert "`tltool predict runs/quickstart/1 'a text'`" in page
    for title in ("Result on the test split", "Classes", "Files", "Next, try"):
        assert f"\n## {title}\n" in page


def test_the_model_card_has_its_sections_and_facts():
    value = summary(backbone_licence="Apache-2.0", backbone_source="a wheel", skipped=1)
    card = model_card(
        value,
        {"description": "A demo", "data": {"train": "x.csv"}, "training": {"seed": 0}},
        {"keras": "3.15.1"},
        plot="confusion matrix.png",
        plot_title="Confusion matrix",
    )
    for title in (
        "Model details", "Intended use", "Data", "Training procedure", "Evaluation",
        "Limits", "Files", "Licences", "Versions",
    ):  # fmt: skip
        assert f"\n## {title}\n" in card
    assert "To be completed by the people" in card
    assert "| train | 1,200 |" in card
    assert "| 2 | last 2 groups | 3,550,000 | 1 | 5e-05 | 0.0 % |" in card
    assert "| Accuracy | 90.0 % | 76.9 % to 96.0 % |" in card
    assert "| Linear model: logistic regression on the frozen features | 83.8 % | – |" in card
    assert "| TF-IDF: TF-IDF + logistic regression | 82.0 % | – |" in card
    assert "Gain of fine-tuning: +6.2 points (95 % interval +1.0 to +11.4, paired), over" in card
    assert "| negative | 0.900 | 0.900 | 0.900 | 20 |" in card
    assert "![Confusion matrix](<confusion matrix.png>)" in card
    assert "2 classes with fewer than 30 rows" in card
    assert "1 broken row or file was left out" in card
    assert "Pretrained weights: Apache-2.0 (a wheel)" in card
    assert "Data: not known" in card
    assert "| keras | 3.15.1 |" in card
    assert f"`{LONG_PATH}`: LiteRT float32, 90.4 MB" in card


def test_the_card_says_why_a_metric_is_missing():
    absent = evaluation(("a", "b", "c"), rows=2, wrong=0)
    card = model_card(summary(evaluation=absent), {}, {})
    assert "undefined: no rows of class 'c'" in card
    assert "given in Python" in card
    card = model_card(regression(), {}, {})
    assert "| R² | " in card
    assert "Precision" not in card


def test_the_card_lists_every_class_of_many():
    labels = [f"intent {i:02d}" for i in range(77)]
    card = model_card(summary(evaluation=evaluation(labels, rows=154, wrong=1)), {}, {})
    assert all(f"| {label} | " in card for label in labels)


@pytest.mark.parametrize(
    ("size", "words"),
    [(999, "999 B"), (1000, "1 kB"), (18_600_000, "18.6 MB"), (999_999_999, "1 GB")],
)
def test_sizes(size, words):
    assert size_text(size) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 s"), (59.6, "1 min 0 s"), (75, "1 min 15 s"), (7300, "2 h 1 min")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_code_spans_survive_backquotes():
    assert wording.code("a") == "`a`"
    assert wording.code("a``b") == "``` a``b ```"


HISTORY = [
    {"phase": phase, "epoch": i, "loss": 1 / (i + 1), "val_loss": None, "accuracy": 0.5,
     "val_accuracy": 0.4, "learning_rate": 1e-3, "seconds": 1.0}
    for i, phase in enumerate(["head", "head", "last 2 groups"])
]  # fmt: skip


def opened(path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("L"))


@pytest.mark.parametrize(
    "history",
    [
        HISTORY,
        HISTORY[:1],
        [{"phase": "all", "loss": 0.0, "learning_rate": 0.0}],
        [{**HISTORY[0], "phase": f"a very long name {i}"} for i in range(12)],
        [],
    ],
)
def test_learning_curves(history, tmp_path):
    plots.learning_curves(history, tmp_path / "curves.png", ClassTarget.headline())
    assert opened(tmp_path / "curves.png").std() > 1


def test_learning_curves_of_numbers_have_their_unit(tmp_path):
    history = [{"phase": "all", "loss": 0.0, "mae": 1.0, "val_mae": 2.0, "learning_rate": 0.0}]
    plots.learning_curves(
        history, tmp_path / "c.png", NumbersTarget.headline(), "mae is in $", {"total_epoch": 1}
    )
    assert opened(tmp_path / "c.png").std() > 1


@pytest.mark.parametrize("classes", [2, 20, 100])
def test_confusion_matrices_of_any_size(classes, tmp_path):
    matrix = np.eye(classes, dtype=int) * 1234
    matrix[0, 0] = 0  # a class without rows
    labels = [f"class {i} with a rather long name that must be cut" for i in range(classes)]
    plots.confusion_matrix(matrix.tolist(), labels, tmp_path / "m.png")
    height, width = opened(tmp_path / "m.png").shape
    assert 300 < height < 3600
    assert 300 < width < 3600


def test_odd_labels_raise_no_warning_and_are_not_read_as_formulas(tmp_path):
    labels = [r"$\frac{1$", "金属", "two\nlines", "_", "", "🐈"]
    plots.confusion_matrix(np.eye(6, dtype=int), labels, tmp_path / "m.png")
    history = [{**HISTORY[0], "phase": r"$\x$"}, {**HISTORY[0], "phase": "金"}]
    plots.learning_curves(history, tmp_path / "c.png", ClassTarget.headline())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.png", "m.png"]


def test_long_labels_keep_both_ends():
    first, second = (plots.shorten("wrong_exchange_rate_for_" + end) for end in ("cash", "card"))
    assert len(plots.shorten("x" * 99)) == plots.LABEL_CHARACTERS
    assert first == second.replace("card", "cash") == "wrong_exchange_rate_for_cash"
    assert (
        plots.shorten("balance_not_updated_after_bank_transfer") == "balance_not_update…_transfer"
    )


@pytest.mark.parametrize("rows", [1, 2000])
def test_scatter(rows, tmp_path):
    values = np.random.default_rng(0).normal(size=rows)
    plots.regression_scatter([("price", values[:, None], values)], tmp_path / "s.png")
    assert opened(tmp_path / "s.png").std() > 1


@pytest.mark.parametrize("numbers", [2, 7])
def test_a_scatter_of_each_of_several_numbers(numbers, tmp_path):
    values = np.random.default_rng(0).normal(size=(numbers, 30))
    names = [r"$\x$", "金", *map(str, range(numbers - 2))]
    panels = [(name, row, row + 1) for name, row in zip(names, values, strict=True)]
    plots.regression_scatter(panels, tmp_path / "s.png")
    assert opened(tmp_path / "s.png").std() > 1


@pytest.mark.parametrize("labels", [1, 3, 80])
def test_bars_of_each_label(labels, tmp_path):
    shares = {"AP": [0.5] * labels, "F1": [None, *[1.0] * (labels - 1)]}
    names = [r"$\frac{1$ with a rather long name that must be cut", "金", *map(str, range(labels))]
    plots.draw(Bars(names[:labels], shares), tmp_path / "b.png")
    assert opened(tmp_path / "b.png").std() > 1


def test_a_model_that_was_trained_twice_says_so_and_of_which_validation_rows_are():
    best = {"training": "refit", "phase": "2 all", "epoch": 3, "total_epoch": 9}
    told = to_markdown(summary(best=best, refit_rows=1350))
    assert "on 1,350 texts" in told
    assert "those of epoch 3 of phase 2 (all) of the training on all labelled rows" in told
    assert "What is told of validation rows is of the first training" in told
    assert "twice" not in to_markdown(summary(best={**best, "training": "validated"}))


def test_a_mean_of_epochs_is_told_and_why_there_is_none():
    row = {"phase": "2 all", "epoch": 5, "total_epoch": 7, "averaged": "3, 4 and 5"}
    assert "the mean of those of epochs 3, 4 and 5 of phase 2 (all)" in to_markdown(
        summary(best=row)
    )
    assert "> The mean is worse." in to_markdown(summary(training_notes=("The mean is worse.",)))
