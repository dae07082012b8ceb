"""What stays in float in 8-bit files: what is chosen, that it follows from the rows, what fails."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import trained

from tltool.export.formats.kept_float import KeptFloat
from tltool.export.formats.litert.calibration import (
    balanced_rows,
    calibration_inputs,
    without_probe,
)
from tltool.export.formats.litert.export import export_litert
from tltool.export.formats.litert.quantisation.graph import kinds_in_float, read_operators
from tltool.export.formats.litert.quantisation.selection import quantise_selectively
from tltool.export.formats.litert.quantisation.trial import answers, change_of
from tltool.recipe.export_section import Int8Section
from tltool.support.errors import ExportError
from tltool.support.quiet import quiet
from tltool.tasks.classes import ClassTarget

ROWS = 24

CLASSES = ClassTarget(("a", "b", "c", "d"))


def calibrated(function, rows):
    """A function of named inputs in float, with the ranges that these rows have, and the rows."""
    specs = {
        name: tf.TensorSpec(value.shape, value.dtype, name=name) for name, value in rows[0].items()
    }
    traced = tf.function(function, input_signature=[specs], autograph=False)
    with quiet():
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [traced.get_concrete_function()], tf.Module()
        )
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: iter(rows)
        converter._experimental_calibrate_only = True
        return converter.convert(), rows


def vectors(seed=0):
    """Rows of one vector of 8 numbers."""
    draw = np.random.default_rng(seed)
    return [{"x": draw.normal(size=(1, 8)).astype("float32")} for _ in range(ROWS)]


def matrix(columns, seed=0):
    return np.random.default_rng(seed).normal(size=(8, columns)).astype("float32")


def softmax(logits):
    return {"probabilities": tf.nn.softmax(logits)}


@pytest.fixture(scope="module")
def mild():
    """A linear layer and a softmax, which 8 bits suit."""
    weights = matrix(4)
    return calibrated(lambda inputs: softmax(inputs["x"] @ weights), vectors())


@pytest.fixture(scope="module")
def harsh():
    """Before the softmax a number far out takes the range of the others for itself."""
    one, other = matrix(4), matrix(4, seed=1)

    def run(inputs):
        scores = (inputs["x"] @ one) * (inputs["x"] @ other)
        far = 3000.0 + inputs["x"][:, :1]
        return softmax(tf.concat([scores, far], axis=1)[:, :4])

    return calibrated(run, vectors())


def change(model, content):
    original, rows = model
    return change_of(CLASSES, answers(original, rows), answers(content, rows), raw=True)


def test_what_8_bits_suit_stays_in_8_bits(mild):
    content, kept = quantise_selectively(*mild, CLASSES, Int8Section())
    assert kept.kinds == kinds_in_float(content) == {}
    assert kept.trials == 1
    assert kept.change == kept.change_in_8_bits == change(mild, content) < 0.015


def test_what_they_ruin_stays_in_float_and_the_rest_does_not(harsh):
    content, kept = quantise_selectively(*harsh, CLASSES, Int8Section())
    assert kept.change_in_8_bits > 0.1
    assert kept.change == change(harsh, content) < 0.02
    assert "CONCATENATION" in kept.kinds
    assert kept.kinds == kinds_in_float(content)
    # The weights are in 8 bits all the same.
    assert "FULLY_CONNECTED" not in kept.kinds
    assert kept.layers == ()
    assert str(kept).endswith("all in 8 bits)")


def test_equal_models_give_equal_files(harsh):
    (first, one), (second, other) = (
        quantise_selectively(*harsh, CLASSES, Int8Section()) for _ in range(2)
    )
    assert first == second
    assert one == other


def test_the_number_of_trials_is_kept(harsh):
    _, few = quantise_selectively(*harsh, CLASSES, Int8Section(max_trials=3))
    assert few.trials <= 3
    _, many = quantise_selectively(*harsh, CLASSES, Int8Section())
    assert many.trials > 3
    # What was not tried in 8 bits is in float.
    assert set(few.kinds) >= set(many.kinds)


def test_layers_with_weights_stay_in_float_where_nothing_else_helps():
    """Between the first two of four layers one channel is a thousand times the others."""
    layers = [matrix(8, seed=seed) for seed in range(1, 5)]
    layers[0][:, 0] *= 1000
    layers[1][0] /= 1e4

    def run(inputs):
        x = inputs["x"]
        for layer in layers:
            x = tf.nn.relu(x @ layer)
        return softmax(x / 20)

    model = calibrated(run, vectors())
    content, kept = quantise_selectively(*model, CLASSES, Int8Section())
    assert len(kept.layers) == kept.kinds["FULLY_CONNECTED"] == 2
    assert kept.change == change(model, content) < 0.015 < kept.change_in_8_bits


def test_patterns_name_kinds_and_operators(mild):
    _, kept = quantise_selectively(*mild, CLASSES, Int8Section(keep_float=("SOFTMAX",)))
    assert kept.kinds == {"SOFTMAX": 1}
    assert kept.change is None
    layer = next(o.name for o in read_operators(mild[0]) if o.kind == "FULLY_CONNECTED")
    _, named = quantise_selectively(*mild, CLASSES, Int8Section(keep_float=(f"{layer[:3]}*",)))
    assert "FULLY_CONNECTED" in named.kinds
    with pytest.raises(ExportError, match="'SOFTMIN' fits no operator") as caught:
        quantise_selectively(*mild, CLASSES, Int8Section(keep_float=("SOFTMIN",)))
    assert "FULLY_CONNECTED" in caught.value.hint


def test_none_fails_where_an_operator_has_no_8_bit_kernel(mild):
    none = Int8Section(keep_float="none")
    _, kept = quantise_selectively(*mild, CLASSES, none)
    assert kept.kinds == {}
    model = calibrated(lambda inputs: softmax(tf.math.sin(inputs["x"])), vectors())
    with pytest.raises(ExportError, match="1 SIN would stay in float"):
        quantise_selectively(*model, CLASSES, none)


def test_a_text_model_says_the_same_in_8_bits(tmp_path):
    """Its attention mask, -1e9 where there is padding, would take the range of the scores."""
    text = trained.text_classifier()
    kept = export_litert(
        *text.parts(),
        tmp_path / "model.tflite",
        precision="int8",
        length=12,
        calibration=text.held_out,
    )
    assert isinstance(kept, KeptFloat)
    assert kept.change < 0.02
    rows = list(calibration_inputs(text.held_out, text.preprocessing, 12)())
    received = answers((tmp_path / "model.tflite").read_bytes(), rows)
    batch = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    expected = np.asarray(text.model(batch, training=False))
    assert change_of(text.task.target, expected, received, raw=True) < 0.05


def test_a_mean_over_tokens_runs_in_full_8_bits():
    """No division by a rounded zero, for one token and for many."""
    from tltool.backbones.networks.layers import MaskedMean

    draw = np.random.default_rng(0)
    layer = MaskedMean()
    sequences = draw.normal(size=(ROWS, 16, 4)).astype("float32")
    masks = np.array([[1] * (1 + i % 16) + [0] * (15 - i % 16) for i in range(ROWS)], "int32")
    rows = [{"mask": m[None], "sequence": s[None]} for s, m in zip(sequences, masks, strict=True)]
    original, _ = calibrated(
        lambda inputs: {"pooled": layer(inputs["sequence"], inputs["mask"])}, rows
    )
    content, _ = quantise_selectively(original, rows, CLASSES, Int8Section(keep_float=("CAST",)))
    difference = np.abs(answers(content, rows) - answers(original, rows))
    assert difference.max() < 0.1


def test_rows_are_parted_and_both_parts_have_all_classes():
    text = trained.text_classifier()
    rows = balanced_rows(text.held_out, 20)
    calibration, probe = without_probe(rows)
    assert len(calibration) == 15
    assert len(probe) == 5
    assert not set(calibration.origins) & set(probe.origins)
    assert set(probe.targets) == set(calibration.targets) == set(text.task.labels)
    few = rows.take(range(3))
    assert without_probe(few) == (few, few)
