"""Optimizers with a learning rate and a weight decay for each layer group.

Keras optimizers know one learning rate, clip gradients before they are summed over devices, and
take the gradients of a token that stands twice in a batch for those of two. All three are cured
here by one subclass that works the same on one device and on many.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from tltool.recipe.schema import PhaseSection, TrainingSection
from tltool.training.moving_average import MovingAverage

# Of the peak, where a one-cycle curve begins and ends: those of fastai's `fit_one_cycle`.
_CYCLE_START, _CYCLE_END = 1 / 25, 1e-5
_NO_DECAY = ("bias", "gamma", "beta", "scale", "embedding_position")


@keras.saving.register_keras_serializable(package="tltool")
class WarmupThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up from 0 to `peak`, then a constant, cosine or linear curve to 0.

    Cosine as in Loshchilov and Hutter 2017 (arXiv:1608.03983), without restarts. One cycle
    (Smith and Topin 2018, arXiv:1708.07120) rises by half a cosine from 1/25 of the peak, and
    falls by the other half to 1/100,000 of it, as in fastai.

    Args:
        peak: Highest learning rate.
        total_steps: Steps of the whole phase.
        warmup_steps: Steps of the warm-up, part of `total_steps`.
        curve: "constant", "cosine", "linear" or "one_cycle".
    """

    def __init__(self, peak: float, total_steps: int, warmup_steps: int, curve: str) -> None:
        super().__init__()
        self.peak = peak
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.curve = curve

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step, counted from 0."""
        step = ops.cast(step, "float32")
        decay_steps = max(1, self.total_steps - self.warmup_steps)
        done = ops.clip((step - self.warmup_steps) / decay_steps, 0.0, 1.0)
        match self.curve:
            case "cosine":
                factor = 0.5 * (1.0 + ops.cos(math.pi * done))
            case "linear":
                factor = 1.0 - done
            case "one_cycle":
                up = ops.clip(step / max(1, self.warmup_steps), 0.0, 1.0)
                low = ops.where(step < self.warmup_steps, _CYCLE_START, _CYCLE_END)
                share = ops.where(step < self.warmup_steps, 1.0 - up, done)
                return self.peak * (low + (1.0 - low) * 0.5 * (1.0 + ops.cos(math.pi * share)))
            case _:
                factor = ops.ones_like(done)
        # The first step already learns: its rate is 1/warmup_steps of the peak, not 0.
        rising = (step + 1.0) / max(1, self.warmup_steps)
        return self.peak * ops.where(step < self.warmup_steps, rising, factor)

    def get_config(self) -> dict[str, Any]:
        """The arguments to make an equal schedule."""
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "curve": self.curve,
        }


@keras.saving.register_keras_serializable(package="tltool")
class Plateau(WarmupThenDecay):
    """A linear warm-up to `peak`, and then `peak` times `scale`, which is set between epochs.

    Make it in the strategy's scope.
    """

    def __init__(self, peak: float, total_steps: int, warmup_steps: int, curve: str) -> None:
        super().__init__(peak, total_steps, warmup_steps, curve)
        self.scale = keras.Variable(1.0, trainable=False, dtype="float32", name="plateau")

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step, counted from 0."""
        return super().__call__(step) * ops.convert_to_tensor(self.scale)


@keras.saving.register_keras_serializable(package="tltool")
class ExponentialRise(keras.optimizers.schedules.LearningRateSchedule):
    """From `start` to `end` in `total_steps` steps, each a constant factor above the last."""

    def __init__(self, start: float, end: float, total_steps: int) -> None:
        super().__init__()
        self.start = start
        self.end = end
        self.total_steps = total_steps

    def __call__(self, step: Any) -> Any:
        """The learning rate of a step, counted from 0."""
        done = ops.cast(step, "float32") / max(1, self.total_steps - 1)
        return self.start * ops.exp(done * math.log(self.end / self.start))

    def get_config(self) -> dict[str, Any]:
        """The arguments to make an equal schedule."""
        return {"start": self.start, "end": self.end, "total_steps": self.total_steps}


def make_schedule(phase: PhaseSection, steps_per_epoch: int) -> WarmupThenDecay:
    """The learning-rate schedule of a phase of `steps_per_epoch * phase.epochs` steps.

    A warm-up that is null is none: `tltool.model.freezing.plan_phases` settles it.
    """
    total = steps_per_epoch * phase.epochs
    kind = Plateau if phase.curve == "plateau" else WarmupThenDecay
    return kind(phase.learning_rate, total, round(phase.warmup_share * total), phase.curve)


class _GroupRates:
    """Mixin for Keras optimizers: rates by weight, decoupled decay, clipping of the true gradient.

    `rate_factors` maps a variable's path to its factor on the learning rate.
    Weight decay is decoupled (arXiv:1711.05101) for every rule, scaled by the
    same rate, and leaves out biases and normalisation scales. Gradients are
    clipped by their global norm after they are summed over devices, so that
    the meaning does not depend on how many there are. `average` follows the
    weights.
    """

    def __init__(
        self,
        *args: Any,
        rate_factors: Mapping[str, float] | None = None,
        decoupled_decay: float = 0.0,
        clip_norm: float | None = None,
        average: MovingAverage | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._average = average
        self._rate_factors = dict(rate_factors or {})
        self._decoupled_decay = decoupled_decay
        self._clip_norm = clip_norm
        self._factor_by_index: list[float] = []
        self._decay_by_index: list[float] = []

    def build(self, variables: list[Any]) -> None:
        """Notes each variable's factors; called by Keras before the first step."""
        super().build(variables)  # type: ignore[misc]
        self._factor_by_index = [self._rate_factors.get(v.path, 1.0) for v in variables]
        self._decay_by_index = [
            0.0 if v.path.rpartition("/")[2] in _NO_DECAY else self._decoupled_decay
            for v in variables
        ]
        if self._average is not None:
            self._average.build(self)

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """One update of all weights."""
        super().apply(grads, trainable_variables)  # type: ignore[misc]
        if self._average is not None:
            self._average.update(self._iterations - 1)  # type: ignore[attr-defined]

    def _all_reduce_sum_gradients(self, grads_and_vars: Any) -> list[tuple[Any, Any]]:
        # An embedding's has a row for each token; Keras would square those of one token one by one.
        dense = [
            (tf.convert_to_tensor(gradient), variable) for gradient, variable in grads_and_vars
        ]
        reduced = list(super()._all_reduce_sum_gradients(dense))  # type: ignore[misc]
        if self._clip_norm is None:
            return reduced
        clipped, _ = tf.clip_by_global_norm([g for g, _ in reduced], self._clip_norm)
        return [(g, v) for g, (_, v) in zip(clipped, reduced, strict=True)]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One update of one variable at its own rate."""
        index = self._get_variable_index(variable)  # type: ignore[attr-defined]
        rate = tf.cast(learning_rate, variable.dtype)
        if (factor := self._factor_by_index[index]) != 1:
            rate *= factor
        if decay := self._decay_by_index[index]:
            self.assign_sub(variable, variable * decay * rate)  # type: ignore[attr-defined]
        super().update_step(gradient, variable, rate)  # type: ignore[misc]


class _OneOperationAdam(keras.optimizers.Adam):
    """Keras's Adam with one operation for each weight: less to trace, and fewer passes over it.

    The formula is that of `keras.optimizers.Adam.update_step`, and so are all numbers but for
    their rounding.
    """

    _constants: tuple[Any, dict[str, tf.Tensor]] | None = None

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """One update of all weights."""
        self._constants = None
        super().apply(grads, trainable_variables)
        self._constants = None

    def _of_all_weights(self, dtype: str) -> dict[str, tf.Tensor]:
        """What is the same for all weights of one type in one update."""
        place = (tf.compat.v1.get_default_graph(), dtype)
        if self._constants is None or self._constants[0] != place:
            step = tf.cast(self.iterations.value, dtype) + 1
            beta1, beta2 = tf.constant(self.beta_1, dtype), tf.constant(self.beta_2, dtype)
            made = {
                "beta1_power": tf.pow(beta1, step),
                "beta2_power": tf.pow(beta2, step),
                "beta1": beta1,
                "beta2": beta2,
                "epsilon": tf.constant(self.epsilon, dtype),
            }
            self._constants = (place, made)
        return self._constants[1]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One update of one variable and its moments."""
        index, dtype = self._get_variable_index(variable), variable.dtype
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable),
            m=_handle(self._momentums[index]),
            v=_handle(self._velocities[index]),
            lr=tf.cast(learning_rate, dtype),
            grad=tf.cast(gradient, dtype),
            **self._of_all_weights(dtype),
        )


def _handle(variable: Any) -> tf.Tensor:
    """The resource of a variable; of a distributed one that of the replica being updated."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle


class GroupRateAdam(_GroupRates, _OneOperationAdam):
    """Adam (Kingma and Ba 2015); with `decoupled_decay` it is AdamW."""


class GroupRateSGD(_GroupRates, keras.optimizers.SGD):
    """SGD with Nesterov momentum."""


class GroupRateRMSprop(_GroupRates, keras.optimizers.RMSprop):
    """RMSprop (Tieleman and Hinton 2012)."""


def moments(training: TrainingSection) -> int:
    """Numbers that the optimizer keeps beside each weight that learns."""
    own = {
        "adamw": 2,
        "adam": 2,
        "sgd": int(training.momentum > 0),
        "rmsprop": 1 + int(training.momentum > 0),
    }[training.optimizer]
    return own + int(training.ema_momentum is not None)


def make_optimizer(
    training: TrainingSection,
    schedule: keras.optimizers.schedules.LearningRateSchedule,
    rate_factors: Mapping[str, float],
    average: MovingAverage | None = None,
) -> keras.optimizers.Optimizer:
    """The optimizer of a phase.

    Args:
        training: Rule, momentum, weight decay and clipping.
        schedule: Learning rate by step.
        rate_factors: Variable path to factor on the learning rate; 1 where absent.
        average: Follows the weights.
    """
    common: dict[str, Any] = {
        "rate_factors": rate_factors,
        "clip_norm": training.gradient_clip_norm,
        "average": average,
    }
    decay = training.weight_decay
    match training.optimizer:
        case "adamw":
            return GroupRateAdam(schedule, decoupled_decay=decay, **common)
        case "adam":
            return GroupRateAdam(schedule, **common)
        case "sgd":
            nesterov = training.momentum > 0
            return GroupRateSGD(
                schedule, training.momentum, nesterov, decoupled_decay=decay, **common
            )
        case "rmsprop":
            return GroupRateRMSprop(
                schedule, momentum=training.momentum, decoupled_decay=decay, **common
            )
