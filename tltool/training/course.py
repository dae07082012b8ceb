"""Everything that training changes, taken between two steps and put back in another process.

Variables are known by their places: names that Keras gives depend on what else a process has
built.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tltool.model.freezing import HEAD
from tltool.model.joining import TransferModel
from tltool.support.errors import RunError
from tltool.training.best_weights import BestWeights, HistoryRow
from tltool.training.checkpoint import Position, State
from tltool.training.epoch_average import EpochAverage

_GENERATOR = "global_seed_generator"


class Course:
    """What a training is at.

    Args:
        transfer: The whole model.
        best: The best weights so far.
        history: Rows of all phases.
        average: The weights of several epochs, where their mean is asked for.
    """

    def __init__(
        self,
        transfer: TransferModel,
        best: BestWeights,
        history: list[HistoryRow],
        average: EpochAverage | None = None,
    ) -> None:
        self._variables = list(transfer.model.variables)
        self._best = best
        self._average = average
        self._history = history
        self._changed = {
            weight.path
            for group in transfer.groups
            for weight in group.weights
            # What is not pretrained is drawn anew by another process.
            if group.name == HEAD or weight.kind == "adapter"
        }
        # A dropout draws from a generator of its own in every phase.
        self._changed |= {v.path for v in self._variables if v.name == "seed_generator_state"}
        self._model: keras.Model | None = None
        self._features: list[str] | None = None
        self._steps = 0
        self._training: Callable[[], AbstractContextManager[None]] = nullcontext

    def enter(self, changing: Collection[str]) -> None:
        """A phase begins, which may change these weights, by path."""
        self._changed |= set(changing)
        self._model, self._features, self._steps = None, None, 0
        self._training = nullcontext

    def compiled(
        self,
        model: keras.Model,
        features: list[str] | None,
        steps: int,
        training: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """The phase trains a model in so many steps an epoch, on stored features or without.

        While `training` is open, the model has the weights that train.
        """
        self._model, self._features, self._steps = model, features, steps
        self._training = training

    def metrics(self, *, together: bool) -> dict[str, np.ndarray]:
        """The running means of the epoch at hand, for `state`.

        Args:
            together: Whether several workers train, which all ask for it: then their sums.
        """
        found: dict[str, np.ndarray] = {}
        for place, variable in enumerate(self._model.metrics_variables if self._model else ()):
            if together:
                found[f"metric/{place}/0"] = tf.convert_to_tensor(variable.value).numpy()
            else:
                found |= _values(f"metric/{place}", variable, each=True)
        return found

    def state(
        self,
        position: Position,
        epoch: Mapping[str, Any],
        metrics: Mapping[str, np.ndarray] | None = None,
    ) -> State:
        """A copy of all that is to be kept.

        Args:
            position: Where training is.
            epoch: What `EpochEnd.state` says.
            metrics: What `metrics` says, within an epoch.
        """
        with self._training():
            tensors = {**self._tensors(), **(metrics or {})}
        tensors |= {
            f"best/{place}": value
            for place, value in self._best.kept().items()
            # As long as the newest epoch is the best, its weights are there already.
            if not np.array_equal(value, tensors.get(f"model/{place}/0", value[..., None]))
        }
        epochs: list[HistoryRow] = []
        if self._average is not None:
            kept, epochs = self._average.state()
            tensors |= kept
        facts = {
            "averaged": epochs,
            "history": list(self._history),
            "best": {
                "row": self._best.row,
                "leader": self._best.leader,
                "places": self._best.places,
            },
            "epoch": dict(epoch),
            "random": _random_states(),
            "features": self._features,
            "steps": self._steps,
        }
        return State(position, tensors, facts)

    def _tensors(self) -> dict[str, np.ndarray]:
        found: dict[str, np.ndarray] = {}
        for place, variable in enumerate(self._variables):
            if variable.path in self._changed:
                found |= _values(f"model/{place}", variable)
        if self._model is not None:
            for name, variable in self._of_phase(self._model):
                found |= _values(name, variable)
        return found

    def put_back(self, state: State) -> None:
        """Gives the whole model, the best weights and the history what they had.

        Raises:
            UnfitError: The state is of another model.
        """
        for place, variable in enumerate(self._variables):
            _assign(f"model/{place}", variable, state.tensors, needed=False)
        best = state.facts["best"]
        kept = {
            place: state.tensors.get(f"best/{place}", state.tensors.get(f"model/{place}/0"))
            for place in best["places"]
        }
        known = {place: value for place, value in kept.items() if value is not None}
        self._best.take_back(
            best["places"], {} if best["row"] is None else known, best["row"], best["leader"]
        )
        self._history[:] = state.facts["history"]
        if self._average is not None:
            self._average.take_back(state.tensors, state.facts["averaged"])

    def put_back_phase(self, state: State, position: Position) -> None:
        """Gives the compiled model's optimizer and all generators of random numbers their state.

        Raises:
            UnfitError: The state is of another model or optimizer.
        """
        if self._model is None:
            return
        for name, variable in self._of_phase(self._model):
            _assign(name, variable, state.tensors)
        if state.facts["steps"] != self._steps:
            # An epoch has another number of steps now, by which the learning rate is planned.
            optimizer = self._model.optimizer
            optimizer = getattr(optimizer, "inner_optimizer", optimizer)
            optimizer.iterations.assign(position.epoch * self._steps)
        _set_random_states(state.facts["random"])

    def put_back_metrics(self, state: State) -> None:
        """Gives the running means of an epoch that was begun what they had."""
        for place, variable in enumerate(self._model.metrics_variables if self._model else ()):
            _assign(f"metric/{place}", variable, state.tensors, sums=True)

    def _of_phase(self, model: keras.Model) -> Iterator[tuple[str, keras.Variable]]:
        """The optimizer's variables, and those that the phase's model has beside the whole one."""
        for place, variable in enumerate(model.optimizer.variables):
            yield f"optimizer/{place}", variable
        known = {id(variable) for variable in self._variables}
        own = [variable for variable in model.variables if id(variable) not in known]
        for place, variable in enumerate(own):
            yield f"phase/{place}", variable


def device_values(variable: keras.Variable) -> Sequence[Any]:
    """A variable's values on the devices: some are different until they are summed."""
    value = variable.value
    return getattr(value, "values", (value,))


def _values(name: str, variable: keras.Variable, *, each: bool = False) -> dict[str, np.ndarray]:
    values = [part.numpy() for part in device_values(variable)]
    same = not each and all(
        np.array_equal(values[0], other, equal_nan=True) for other in values[1:]
    )
    return {f"{name}/{i}": value for i, value in enumerate(values[:1] if same else values)}


def _assign(
    name: str,
    variable: keras.Variable,
    tensors: Mapping[str, np.ndarray],
    *,
    needed: bool = True,
    sums: bool = False,
) -> None:
    values: list[np.ndarray] = []
    while (value := tensors.get(f"{name}/{len(values)}")) is not None:
        values.append(value)
    if not values:
        if needed:
            raise _unfit(f"{variable.path} is not in the checkpoint")
        return
    parts = device_values(variable)
    if len(values) != len(parts) and sums:
        # Sums of several devices go on on as many others.
        total = np.sum(values, axis=0, dtype=values[0].dtype)
        values = [total, *(np.zeros_like(total) for _ in parts[1:])]
    elif len(values) != len(parts):
        values = [values[0]] * len(parts)
    for part, value in zip(parts, values, strict=True):
        if tuple(part.shape) != value.shape or part.dtype != tf.as_dtype(value.dtype):
            kept = f"{value.dtype} {value.shape}"
            raise _unfit(f"{variable.path} is {part.dtype.name} {part.shape}, and was {kept}")
        part.assign(value)


class UnfitError(RunError):
    """A checkpoint is of another model, optimizer or features: nothing goes on from it."""


def _unfit(what: str) -> UnfitError:
    return UnfitError(
        f"The checkpoint is of another model or optimizer: {what}.",
        hint="go on with the recipe that the run was started with, or train anew",
    )


def _random_states() -> dict[str, Any]:
    numpy = np.random.get_state(legacy=False)
    words = numpy["state"]
    found: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": {**numpy, "state": {"key": words["key"].tolist(), "pos": int(words["pos"])}},
    }
    if (generator := _generator()) is not None:
        found["keras"] = generator.state.value.numpy().tolist()
    return found


def _set_random_states(found: Mapping[str, Any]) -> None:
    version, words, gauss = found["python"]
    random.setstate((version, tuple(words), gauss))
    state = found["numpy"]["state"]
    key = np.asarray(state["key"], np.uint32)
    np.random.set_state({**found["numpy"], "state": {**state, "key": key}})
    if "keras" in found:
        keras.src.random.seed_generator.global_seed_generator().state.assign(found["keras"])


def _generator() -> Any:
    """Keras' own generator, for layers that name none; None where nothing has drawn from it.

    Asking Keras for it would make it, by drawing from Python's.
    """
    return keras.src.backend.common.global_state.get_global_attribute(_GENERATOR)
