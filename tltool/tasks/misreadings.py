"""What an app can make wrongly of a model's right outputs, and how its answers show it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Undo = Callable[["Array", "Array"], "Array"]
"""From what an app said (n, outputs), and right outputs, to the outputs that it read. The right
ones fix no more than what the misreading leaves open: a constant for each row, or the order of the
columns."""

# What an 8-bit softmax is stored with: q = p * 256 + zero point.
# https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_spec
_STEPS = 256
_SMALLEST = 1e-30
_LARGEST = 1 - 1e-16


@dataclass(frozen=True)
class Misreading:
    """A way to read outputs wrongly.

    Attributes:
        key: Its name for programs; the variants of one misreading share it.
        title: What is wrong, in words.
        cure: What to change in the app.
        undo: Gives the outputs that the app read, if it read them so.
    """

    key: str
    title: str
    cure: str
    undo: Undo


def of_classes(labels: Sequence[str]) -> list[Misreading]:
    """What can be made of probabilities that add up to 1; labels in the order of the outputs."""
    return [
        _no_probabilities("softmax", lambda said, right: _softmax(said)),
        *_of_probabilities(labels),
        Misreading(
            "sigmoid_for_softmax",
            "a sigmoid is taken of the logits, where a softmax belongs",
            "read the output `probabilities`, or take the softmax of all logits together",
            lambda said, right: _softmax(_logit(said)),
        ),
    ]


def of_labels(labels: Sequence[str], odds: Callable[[Array], Array]) -> list[Misreading]:
    """What can be made of probabilities of which each is by itself.

    Args:
        labels: In the order of the outputs.
        odds: From probabilities to their logits.
    """

    def undo(said: Array, right: Array) -> Array:
        logs = _log(said)
        return _sigmoid(logs + (odds(right) - logs).mean(axis=1, keepdims=True))

    softmax = Misreading(
        "softmax_for_sigmoid",
        "a softmax is taken of the logits, where each label has a sigmoid of its own",
        "read the output `probabilities`, or take the sigmoid of each logit",
        undo,
    )
    return [
        _no_probabilities("sigmoid", lambda said, right: _sigmoid(said)),
        *_of_probabilities(labels),
        *([softmax] if len(labels) > 1 else []),
    ]


def of_numbers(names: Sequence[str], mean: Any, std: Any) -> list[Misreading]:
    """What can be made of numbers that were learnt less their mean and over their deviation.

    Args:
        names: In the order of the outputs.
        mean, std: Of each number.
    """
    again = f"`standardised × {_spelt(std)} + {_spelt(mean)}`, in float64; `prediction` is that"
    return [
        Misreading(
            "scale_not_undone",
            "the answers are standardised numbers",
            f"the number is {again} already",
            lambda said, right: said * std + mean,
        ),
        Misreading(
            "scale_undone_twice",
            "the scale is undone of numbers in their own units",
            f"leave it out: the number is {again} already",
            lambda said, right: (said - mean) / std,
        ),
        *_orders(names),
    ]


def best_order(said: Array, right: Array) -> Array:
    """Which column of `said` fits each column of `right`, each once, by their distances."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    distances = np.abs(right[:, :, None] - said[:, None, :]).sum(axis=0)
    # Columns that are equal keep their places.
    distances += 1e-9 * distances.mean() * (1 - np.eye(len(distances)))
    order: Array = linear_sum_assignment(distances)[1]
    return order


def _no_probabilities(function: str, undo: Undo) -> Misreading:
    return Misreading(
        f"{function}_missing",
        "the answers are logits, not probabilities",
        f"read the output `probabilities`, or take the {function} of the logits",
        undo,
    )


def _of_probabilities(labels: Sequence[str]) -> list[Misreading]:
    again = "the model's outputs are probabilities already"
    stored = (
        "make probabilities of the output's bytes: `(q - zero_point) * scale`, by the output "
        "tensor's own scale and zero point"
    )
    return [
        Misreading(
            "softmax_twice",
            "a softmax is taken of the model's probabilities",
            f"leave out the app's softmax: {again}",
            lambda said, right: _with_sum(_log(said), right),
        ),
        Misreading(
            "sigmoid_on_top",
            "a sigmoid is taken of the model's probabilities",
            f"leave out the app's sigmoid: {again}",
            lambda said, right: _logit(said),
        ),
        Misreading(
            "not_dequantised",
            "the answers are the numbers as 8 bits store them, 0..255",
            stored,
            lambda said, right: said / _STEPS,
        ),
        Misreading(
            "not_dequantised",
            "the answers are the numbers as 8 bits store them, -128..127",
            stored,
            lambda said, right: said / _STEPS + 0.5,
        ),
        Misreading(
            "percent",
            "the answers are percentages",
            "divide by 100, or compare with 100 times the thresholds",
            lambda said, right: said / 100,
        ),
        *_orders(labels),
    ]


def _orders(names: Sequence[str]) -> list[Misreading]:
    """Outputs whose columns stand in another order: the one that fits the answers best."""
    order = Misreading(
        "label_order",
        "the outputs are given to other names than theirs",
        "name the outputs in the order of `labels.txt` (numbers: of `task.numbers` in "
        f"`contract.json`): {', '.join(names[:5])}{' …' if len(names) > 5 else ''}; do not sort "
        "them, and begin with the first",
        lambda said, right: said[:, best_order(said, right)],
    )
    return [order] if len(names) > 1 else []


def _spelt(values: Any) -> str:
    numbers = [f"{value:.6g}" for value in values]
    return numbers[0] if len(numbers) == 1 else f"[{', '.join(numbers)}]"


def _with_sum(values: Array, right: Array) -> Array:
    """Values of which a constant is taken a row, so that their sums are the right ones."""
    return values + (right - values).mean(axis=1, keepdims=True)


def _softmax(values: Array) -> Array:
    import numpy as np

    powers = np.exp(values - values.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares


def _sigmoid(values: Array) -> Array:
    import numpy as np

    return 1 / (1 + np.exp(-np.clip(values, -80, 80)))


def _log(values: Array) -> Array:
    import numpy as np

    return np.log(np.maximum(values, _SMALLEST))


def _logit(values: Array) -> Array:
    import numpy as np

    inside = np.clip(values, _SMALLEST, _LARGEST)
    return np.log(inside) - np.log1p(-inside)
