"""The runtimes that are measured: what each imports, loads and calls. Runs in `worker` only.

Nothing is imported here that a program with the runtime alone would not import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.support.errors import ExportError

if TYPE_CHECKING:
    from tltool.benchmarking.subjects import Form

Inputs = Mapping[str, Any]


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to answer.

    Attributes:
        specs: Name of an input to its shape, None where any size goes, and its dtype.
        run: Computes the outputs for one batch and waits until they are there.
    """

    specs: Mapping[str, tuple[tuple[int | None, ...], str]]
    run: Callable[[Inputs], Any]

    @property
    def fixed_batch(self) -> int | None:
        """How many rows every call must have; None for any number."""
        return next(iter(self.specs.values()))[0][0]


@dataclass(frozen=True)
class Runtime:
    """How a kind of model is run.

    Attributes:
        imports: Imports the library and sets its number of threads.
        load: Loads a model.
    """

    imports: Callable[[int], None]
    load: Callable[[Path, int], Loaded]


def _import_litert(threads: int) -> None:
    import ai_edge_litert.interpreter  # noqa: F401


def _load_litert(path: Path, threads: int) -> Loaded:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    if interpreter.get_signature_list():
        details = dict(interpreter.get_signature_runner().get_input_details())
    else:
        details = {detail["name"]: detail for detail in interpreter.get_input_details()}
    outputs = [detail["index"] for detail in interpreter.get_output_details()]

    shapes = {name: tuple(detail["shape"]) for name, detail in details.items()}

    def run(inputs: Inputs) -> Any:
        if any(inputs[name].shape != shape for name, shape in shapes.items()):
            for name, detail in details.items():
                shapes[name] = inputs[name].shape
                interpreter.resize_tensor_input(detail["index"], inputs[name].shape)
            interpreter.allocate_tensors()
        for name, detail in details.items():
            interpreter.set_tensor(detail["index"], inputs[name])
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outputs]

    return Loaded({name: _litert_spec(detail) for name, detail in details.items()}, run)


def _litert_spec(detail: Mapping[str, Any]) -> tuple[tuple[int | None, ...], str]:
    shape = detail.get("shape_signature", detail["shape"])
    shape = shape if len(shape) else detail["shape"]
    return tuple(None if size < 0 else int(size) for size in shape), detail["dtype"].__name__


def _import_tensorflow(threads: int) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def _load_saved_model(path: Path, threads: int) -> Loaded:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))
    # The first of these is what tltool's own have for inputs that are preprocessed.
    for name in ("model", "serving_default", *loaded.signatures):
        if name in loaded.signatures:
            break
    else:
        raise ExportError(f"{path} has no signature to call.", hint="export it with one")
    signature = loaded.signatures[name]
    specs = {
        key: (tuple(spec.shape.as_list()), spec.dtype.name)
        for key, spec in signature.structured_input_signature[1].items()
    }

    def run(inputs: Inputs) -> Any:
        # `loaded` owns the weights and must stay alive.
        outputs = loaded.signatures[name](**{key: tf.constant(inputs[key]) for key in specs})
        return [output.numpy() for output in outputs.values()]

    return Loaded(specs, run)


def _import_keras(threads: int) -> None:
    _import_tensorflow(threads)
    import tltool.runs.run  # noqa: F401


def _load_keras(path: Path, threads: int) -> Loaded:
    from tltool.export.contract import IMAGE_INPUT
    from tltool.runs.run import load_run

    model = load_run(path).model
    named = isinstance(model.input, dict)
    tensors = model.input if named else {IMAGE_INPUT: model.input}
    specs = {name: (tuple(tensor.shape), str(tensor.dtype)) for name, tensor in tensors.items()}

    def run(inputs: Inputs) -> Any:
        given = {name: inputs[name] for name in specs}
        return model.predict_on_batch(given if named else given[IMAGE_INPUT])

    return Loaded(specs, run)


RUNTIMES: dict[Form, Runtime] = {
    "litert": Runtime(_import_litert, _load_litert),
    "saved_model": Runtime(_import_tensorflow, _load_saved_model),
    "keras": Runtime(_import_keras, _load_keras),
}
