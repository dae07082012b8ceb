"""A simple model of pixels, which says what a trained one is worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tltool.support.errors import EvaluationError
from tltool.tasks.masks.files import IGNORED, Mask
from tltool.tasks.masks.pictures import resized_numbers

Array = np.ndarray[Any, Any]

_PIXELS = 50_000
_BLURS = (1.0, 4.0)


def pixel_baseline(
    classes: int,
    kept: Callable[[Array, Sequence[Mask]], Array],
    train: Iterable[Array],
    targets: Sequence[Mask],
    test: Iterable[Array],
    test_targets: Sequence[Mask],
) -> tuple[Array, str]:
    """A logistic regression of each pixel's colour, its square, and the colours around it.

    It is fitted on at most 50,000 pixels, drawn evenly from the training pictures.

    Args:
        classes: How many there are.
        kept: From probabilities (1, h, w, classes) and a mask to what is to be returned of them.
        train, test: Pictures, uint8 (h, w, 3), all of one size.
        targets, test_targets: Their masks.

    Returns:
        What `kept` makes of the test pictures, and how the model was fitted.

    Raises:
        EvaluationError: All drawn pixels have one class.
    """
    generator = np.random.default_rng(0)
    each = max(1, _PIXELS // len(targets))
    features, numbered = [], []
    for picture, mask in zip(train, targets, strict=True):
        numbers = resized_numbers(mask.numbers(), picture.shape[:2]).ravel()
        drawn = generator.choice(numbers.size, min(each, numbers.size), replace=False)
        drawn = drawn[numbers[drawn] != IGNORED]
        features.append(_features(picture)[drawn])
        numbered.append(numbers[drawn])
    truth = np.concatenate(numbered)
    if len(np.unique(truth)) < 2:
        raise EvaluationError("The baseline needs training pixels of two classes at least.")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    model.fit(np.concatenate(features), truth)

    def outputs() -> Iterator[Array]:
        for picture, mask in zip(test, test_targets, strict=True):
            shares = np.zeros((*picture.shape[:2], classes), np.float32)
            found = model.predict_proba(_features(picture))
            shares[..., model.classes_] = found.reshape(*picture.shape[:2], -1)
            yield kept(shares[None], [mask])

    return np.concatenate(list(outputs())), f"C = 1, {len(truth):,} training pixels"


def _features(picture: Array) -> Array:
    """What the model reads of each pixel, float32 (pixels, features)."""
    levels = picture.astype(np.float32) / 255
    blurred = [gaussian_filter(levels, (blur, blur, 0)) for blur in _BLURS]
    planes = [levels, levels**2, *blurred]
    return np.concatenate([plane.reshape(-1, 3) for plane in planes], axis=1)
