"""Keras export: the model as `.keras`, in float32, ending in what a user reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from tltool.export.formats.keras.file import modules_in
from tltool.model.joining import to_float32
from tltool.model.unknown import apart
from tltool.support.errors import ExportError
from tltool.support.files import atomic_path
from tltool.support.quiet import quiet
from tltool.tasks.result_layer import ResultLayer
from tltool.tasks.table import Task

# Where importing a package registers all its layers, and the layer's own module is private.
_REGISTERED_BY = {
    "keras_hub": "keras_hub",
    "keras_cv": "keras_cv",
    "tltool": "tltool.backbones.networks.registered",
}
# Layers that do nothing but in training; `RandomCrop` takes the centre then, so it stays.
_RANDOM_LAYERS = {"AugMix", "CutMix", "MixUp", "RandAugment"}


def export_keras(model: keras.Model, task: Task, target: Path) -> None:
    """Writes a `.keras` file from preprocessed inputs to probabilities, or to numbers.

    Its output is called `probabilities`, float32 (n, classes), or `prediction`,
    float32 (n,) in the target's own units. It computes in float32, has no
    random layers, and no optimizer or loss.

    Args:
        model: Functional model from preprocessed inputs to raw outputs.
        task: Labels or target scale.
        target: The file; replaced if it exists.

    Raises:
        ExportError: It has a layer that another program cannot find, or a
            `Lambda`, whose code Keras does not load.
    """
    finished = inference_model(model, task)
    with quiet(), atomic_path(target) as temporary:
        finished.save(temporary)
        modules_of(temporary)


def inference_model(model: keras.Model, task: Task) -> keras.Model:
    """The model in float32 without random layers, its output as a user reads it.

    Args:
        model: Functional model from preprocessed inputs to raw outputs; shares
            its weights with the result, unless it computes in 16 bits.
        task: Labels or target scale.
    """
    plain = apart(without_random_layers(to_float32(model)))
    result = task.target.keras_result(plain.output)
    if result is None:
        result = ResultLayer(task.target, name=task.target.result_name)(plain.output)
    return keras.Model(plain.input, result, name=model.name)


def without_random_layers(model: keras.Model) -> keras.Model:
    """The same model, its weights shared, without layers that change images for training."""
    if not any(map(_is_random, model.layers)):
        return model

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        return args[0] if _is_random(layer) else layer(*args, **kwargs)

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


def _is_random(layer: Any) -> bool:
    name = type(layer).__name__
    return type(layer).__module__.startswith("keras.") and (
        name in _RANDOM_LAYERS or (name.startswith("Random") and name != "RandomCrop")
    )


def modules_of(path: Path) -> tuple[str, ...]:
    """Modules to import before a `.keras` file is loaded, since they register its layers.

    Raises:
        ExportError: A layer is in no module that another program could import,
            or it is a `Lambda`.
    """
    modules: set[str] = set()
    for name, said in modules_in(path).items():
        if name == "Lambda":
            raise ExportError(
                "The model has a Lambda layer, whose code Keras does not load from a file.",
                hint="write a layer class, decorated with keras.saving.register_keras_serializable",
            )
        # Of a function the file has the registered name alone.
        registered = keras.saving.get_registered_object(name)
        module = said if registered is None else registered.__module__
        package = module.partition(".")[0]
        if package == "__main__":
            raise ExportError(
                f"{name!r} is defined in the program itself, where a program that loads the "
                "model cannot find it.",
                hint="move it to a module of its own, and import that",
            )
        if package not in {"keras", "builtins", ""}:
            modules.add(_REGISTERED_BY.get(package, module))
    return tuple(sorted(modules))
