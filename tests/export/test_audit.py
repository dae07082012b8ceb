"""The audit before training: what a target lacks is found, with the layers that need it."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny
import trained
from command import cli, succeed
from keras import ops
from presets import write_text_preset, write_texts

import tltool
from tltool.export.audit.audit import audit_export
from tltool.export.formats.litert.export import export_litert
from tltool.export.formats.litert.file import read_tflite
from tltool.export.formats.litert.quantisation.graph import kinds_in_float
from tltool.model.joining import precision_scope
from tltool.model.lora import add_adapters
from tltool.recipe.export_section import ExportSection, Int8Section
from tltool.support.errors import ExportError
from tltool.tasks.classes import ClassTarget
from tltool.tasks.table import TASKS, Task

registered = keras.saving.register_keras_serializable("test_audit")
TEXT, IMAGE = (
    Task(TASKS[f"{kind}-classification"], ClassTarget(("a", "b"))) for kind in ("text", "image")
)


@registered
class Svd(keras.layers.Layer):
    def call(self, x):
        return x * tf.reduce_sum(tf.linalg.svd(tf.linalg.diag(x), compute_uv=False))


@registered
class Wrapper(keras.layers.Layer):
    def __init__(self, **options):
        super().__init__(**options)
        self.inner = Svd(name="inner")

    def call(self, x):
        return self.inner(x)


@registered
class Loop(keras.layers.Layer):
    def call(self, x):
        def body(i, x):
            return i + 1, tf.linalg.cholesky(tf.linalg.diag(x * x + 1))[:, 0, :] + x

        return tf.while_loop(lambda i, x: i < 3, body, [0, x])[1]


@registered
class Python(keras.layers.Layer):
    def call(self, x):
        doubled = tf.numpy_function(lambda array: 2 * array, [x], x.dtype)
        doubled.set_shape(x.shape)
        return doubled


def with_layers(*layers):
    """An untrained model with these layers between features and output."""
    features = x = keras.Input((16,), name="image")
    for layer in layers:
        x = layer(x)
    output = keras.layers.Dense(2, dtype="float32", name="head_output")(x)
    return keras.Model(features, output, name="tltool_model")


def tiny_model(make):
    backbone = make()
    output = keras.layers.Dense(2, dtype="float32")(backbone.features.pooled)
    return keras.Model(backbone.model.input, output)


def audit(model, **section):
    task, contract = (
        (TEXT, tiny.TINY_TEXT) if isinstance(model.input, dict) else (IMAGE, tiny.TINY_IMAGE)
    )
    return audit_export(model, task, contract, ExportSection(**section))


def lacking(found, form="litert"):
    """Operator to the layers that need it."""
    return {
        problem.operator: [str(place) for place in problem.places]
        for problem in found.problems
        if problem.form == form
    }


# Operators


@pytest.mark.parametrize(
    ("layer", "operator", "place"),
    [
        (lambda: Svd(name="head_svd"), "Svd", "head_svd (Svd)"),
        (lambda: Wrapper(name="head_wrapper"), "Svd", "head_wrapper/inner (Svd)"),
        (lambda: Loop(name="head_loop"), "Cholesky", "head_loop (Loop)"),
        (lambda: ops.erfinv, "Erfinv", "erfinv"),
    ],
)
def test_an_operator_that_litert_lacks_is_named_with_its_layer(layer, operator, place):
    found = audit(with_layers(layer()))
    ((name, (where,)),) = lacking(found).items()
    assert name == operator
    assert where.startswith(place)
    # TensorFlow itself has all of them.
    assert [line for line in found.lines() if line.startswith("saved_model")] == ["saved_model: ok"]


def test_layers_whose_names_differ_by_a_number_are_told_apart():
    names = ["svd", "svd_1", "svd_2"]
    for wanted in names:
        layers = [
            Svd(name=name) if name == wanted else keras.layers.Dense(16, name=name)
            for name in names
        ]
        assert lacking(audit(with_layers(*layers))) == {"Svd": [f"{wanted} (Svd)"]}


def test_every_operator_and_every_layer_is_told_at_once():
    found = audit(with_layers(Svd(name="one"), Loop(name="two"), Svd(name="three")))
    assert lacking(found) == {"Cholesky": ["two (Loop)"], "Svd": ["one (Svd)", "three (Svd)"]}
    with pytest.raises(ExportError, match=r"Cholesky.*two \(Loop\)\n.*Svd.*one \(Svd\)") as error:
        found.raise_problems()
    assert "--no-audit" in error.value.hint


def test_a_call_into_python_keeps_both_formats_from_being_made():
    found = audit(with_layers(Python(name="head_python")))
    for form in ("saved_model", "litert"):
        assert lacking(found, form) == {"PyFunc": ["head_python (Python)"]}
    assert audit(with_layers(Python(name="head_python")), formats=()).problems == ()


def test_only_the_formats_that_are_asked_for_are_tried():
    found = audit(with_layers(Svd(name="head_svd")), formats=("saved_model",))
    assert found.problems == ()
    assert found.lines() == ["saved_model: ok"]
    assert found.litert_operators == {}


@pytest.mark.parametrize("make", [tiny.tiny_text_backbone, tiny.tiny_image_backbone])
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_what_is_said_of_the_operators_is_what_the_export_has(make, precision, tmp_path):
    with precision_scope(precision):
        model = tiny_model(make)
    # As training leaves it: a bias of zero would be left out by the converter.
    rng = np.random.default_rng(0)
    model.set_weights(
        [w + rng.uniform(0.1, 0.2, w.shape).astype(w.dtype) for w in model.get_weights()]
    )
    task, contract = (TEXT, tiny.TINY_TEXT) if "text" in make.__name__ else (IMAGE, tiny.TINY_IMAGE)
    export_litert(model, task, contract, tmp_path / "m.tflite", precision="float32")
    real = read_tflite((tmp_path / "m.tflite").read_bytes())
    found = audit(model)
    assert found.litert_operators == real.operators
    count = sum(real.operators.values())
    assert found.lines() == ["saved_model: ok", f"litert: ok, {count} operators, all built in"]


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_adapters_are_not_counted_since_they_are_merged_before_the_export(precision):
    plain = audit(tiny_model(tiny.tiny_text_backbone)).litert_operators
    with precision_scope(precision):
        backbone = add_adapters(tiny.tiny_text_backbone(), rank=2)
        output = keras.layers.Dense(2, dtype="float32")(backbone.features.pooled)
    found = audit(keras.Model(backbone.model.input, output))
    assert found.problems == ()
    assert found.litert_operators == plain


def test_operators_without_an_8_bit_kernel_are_those_that_the_export_keeps_in_float(tmp_path):
    made = trained.text_classifier()
    target = tmp_path / "m.tflite"
    # One pattern that fits what has no kernel anyway: the others are all in 8 bits.
    int8 = Int8Section(keep_float=("NEG",))
    rows = made.held_out
    export_litert(*made.parts(), target, precision="int8", calibration=rows, int8=int8)
    found = audit_export(*made.parts(), ExportSection(precisions=("int8",)))
    assert found.int8_in_float == kinds_in_float(target.read_bytes())
    assert "NEG" in found.int8_in_float
    assert f"NEG {found.int8_in_float['NEG']}" in found.lines()[1]
    assert audit_export(*made.parts(), ExportSection()).int8_in_float == {}


def test_model_and_random_numbers_stay_as_they_are():
    model = with_layers(keras.layers.Dropout(0.5, name="head_dropout"))
    keras.utils.set_random_seed(3)
    before, expected = [np.array(w) for w in model.get_weights()], draws()
    keras.utils.set_random_seed(3)
    assert audit(model).problems == ()
    assert draws() == expected
    assert all(map(np.array_equal, before, model.get_weights()))


def draws():
    numbers = keras.random.normal((2,), seed=keras.random.SeedGenerator())
    return random.random(), np.random.rand(), float(tf.random.normal(())), numbers.numpy().tolist()


# Layers that cannot be saved


class Unregistered(keras.layers.Layer):
    def call(self, x):
        return x


@registered
class WithoutConfig(keras.layers.Layer):
    def __init__(self, thing, **options):
        super().__init__(**options)

    def call(self, x):
        return x


@registered
class HalfAConfig(keras.layers.Layer):
    def __init__(self, units, **options):
        super().__init__(**options)

    def call(self, x):
        return x

    def get_config(self):
        return super().get_config()


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (lambda: Unregistered(name="odd"), "not registered"),
        (lambda: WithoutConfig(object(), name="odd"), "arguments that cannot be written"),
        (lambda: HalfAConfig(3, name="odd"), "cannot be made again from its get_config"),
        (lambda: keras.layers.Lambda(lambda x: x, name="odd"), "Lambda"),
        (lambda: keras.layers.Dense(16, lambda x: x, name="odd"), "cannot be made again"),
    ],
)
def test_a_layer_that_could_not_be_loaded_again_is_named(layer, said):
    made = layer()
    for formats in (("litert",), ()):
        (problem,) = audit(with_layers(made), formats=formats).problems
        assert (problem.form, [place.path for place in problem.places]) == ("model.keras", ["odd"])
        assert said in problem.what
        assert problem.hint


# The commands

RECIPE = """\
task: text-classification
data: {{train: "{place}/texts.csv", validation_fraction: 0.2, test_fraction: 0.2}}
backbone: "{place}/bert"
head: test_audit_svd
schedule: [{{train: head, epochs: 1, learning_rate: 0.01}}]
evaluation: {{baseline: false}}
output_dir: "{place}/runs"
"""


@tltool.register_head("test_audit_svd")
def svd_head(features, task):
    x = Svd(name="head_svd")(features.pooled)
    return keras.layers.Dense(task.num_outputs, dtype="float32", name="head_output")(x)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("audit")
    write_text_preset(root / "bert")
    write_texts(root / "texts.csv", 60)
    (root / "svd.yaml").write_text(RECIPE.format(place=root))
    return root


def test_finetune_stops_before_anything_is_written(place):
    done = cli("finetune", place / "svd.yaml")
    assert done.code == 2
    assert "LiteRT has no operator Svd, needed by head_svd (Svd)" in done.err
    assert "epoch" not in done.err
    assert not (place / "runs").exists()


def test_finetune_trains_all_the_same_where_it_is_told_to(place, tmp_path):
    runs = f"output_dir={tmp_path}"
    done = cli("finetune", place / "svd.yaml", runs, "export.formats=[litert]", "--no-audit")
    assert done.code == 2
    assert (tmp_path / "run" / "1" / "model.keras").is_file()


def test_plan_prints_the_table_and_exits_with_2(place):
    done = cli("plan", place / "svd.yaml")
    assert done.code == 2
    (line,) = [line for line in done.out.splitlines() if "Svd" in line]
    assert line.startswith("litert")
    assert "head_svd (Svd)" in line
    assert "saved_model: ok" in done.out
    done = cli("plan", place / "svd.yaml", "--json")
    assert done.code == 2
    (problem,) = done.json()["export"]["problems"]
    assert problem["operator"] == "Svd"
    assert problem["layers"] == [{"path": "head_svd", "class": "Svd"}]
    assert succeed("plan", place / "svd.yaml", "--no-audit", "--json").json()["export"] is None


def test_plan_says_what_can_be_exported(place):
    done = succeed("plan", place / "svd.yaml", "head=default", "--json")
    count = sum(done.json()["export"]["litert_operators"].values())
    assert count > 50
    done = succeed("plan", place / "svd.yaml", "head=default")
    assert f"litert: ok, {count} operators, all built in" in done.out
