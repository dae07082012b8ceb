"""Metrics of masks, from counts of pixels that are kept for each picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tltool.support.errors import EvaluationError
from tltool.tasks.masks.files import IGNORED

Array = np.ndarray[Any, Any]

BOUNDARY_SHARE = 0.0075
"""How far boundaries may be apart, as a share of the picture's diagonal (Csurka et al. 2013)."""
RESAMPLES = 1000
ABSENT = -1.0
"""The boundary F1 of a class that a picture has neither in truth nor in prediction."""
_PLAIN = "background"


def count_dtype(classes: int) -> np.dtype[Any]:
    """What is kept of one picture.

    `hits`, `true` and `predicted`: pixels of each class that are right, that
    are there, that were predicted, ignored ones left out; `boundary_f1`: of
    each class, or `ABSENT`; `mask`: a PNG file of the predicted class numbers,
    where the true ones are not known; else None.
    """
    counts = [(name, np.int64, (classes,)) for name in ("hits", "true", "predicted")]
    return np.dtype([*counts, ("boundary_f1", np.float32, (classes,)), ("mask", object)])


def counted(predicted: Array, true: Array | None, classes: int) -> dict[str, Any]:
    """The counts of one picture, by the names of `count_dtype`.

    Args:
        predicted: Class numbers, uint8 (h, w).
        true: The same, `IGNORED` where no class is known; None where none at all is.
        classes: How many there are.
    """
    if true is None:
        numbers = np.bincount(predicted.ravel(), minlength=classes)
        nothing = np.zeros(classes, np.int64)
        missing = np.full(classes, ABSENT)
        return {"hits": nothing, "true": nothing, "predicted": numbers, "boundary_f1": missing}
    valid = true != IGNORED
    mine, theirs = predicted[valid], true[valid]
    return {
        "hits": np.bincount(theirs[mine == theirs], minlength=classes),
        "true": np.bincount(theirs, minlength=classes),
        "predicted": np.bincount(mine, minlength=classes),
        "boundary_f1": boundary_f1(predicted, true, classes),
    }


def boundary_f1(predicted: Array, true: Array, classes: int) -> Array:
    """How well the outlines of each class meet: F1, float (classes,), or `ABSENT`.

    A pixel of one outline is right within `BOUNDARY_SHARE` of the diagonal,
    and a pixel at least, of the other (Csurka et al. 2013, "What is a good
    evaluation measure for semantic segmentation?", BMVC). Outlines against
    ignored pixels, and the border of the picture, count for nothing.
    """
    from scipy.ndimage import distance_transform_edt

    found = np.full(classes, ABSENT)
    reach = max(1.0, BOUNDARY_SHARE * float(np.hypot(*true.shape)))
    ignored = true == IGNORED
    for number in np.union1d(np.unique(predicted[~ignored]), np.unique(true[~ignored])).tolist():
        mine, theirs = (_outline(mask == number, ignored) for mask in (predicted, true))
        sizes = mine.sum(), theirs.sum()
        if not any(sizes):  # The class fills the picture, or all that is known of it.
            found[number] = 1.0
        elif not all(sizes):
            found[number] = 0.0
        else:
            right = (distance_transform_edt(~theirs)[mine] <= reach).sum()
            met = (distance_transform_edt(~mine)[theirs] <= reach).sum()
            precision, recall = right / sizes[0], met / sizes[1]
            found[number] = 2 * precision * recall / max(precision + recall, 1e-12)
    return found


def _outline(inside: Array, ignored: Array) -> Array:
    """Pixels that have a neighbour (of four) that is known not to be inside."""
    outside = ~inside & ~ignored
    edge = np.zeros_like(inside)
    edge[1:] |= outside[:-1]
    edge[:-1] |= outside[1:]
    edge[:, 1:] |= outside[:, :-1]
    edge[:, :-1] |= outside[:, 1:]
    edge &= inside & ~ignored
    return edge


def mask_metrics(kept: Array, labels: Sequence[str]) -> dict[str, Any]:
    """Everything the reports say of masks.

    Args:
        kept: As `count_dtype`, one row a picture, all of known masks.
        labels: Names of the classes.

    Returns:
        `n` pictures and `pixels`; `mean_iou`, `mean_accuracy` and
        `boundary_f1`, means over the classes that occur; `foreground_iou`, the
        mean without the class "background"; `pixel_accuracy`; and `per_class`.
        IoU is the share of the pixels of a class, true or predicted, in all
        pictures together, that are both (Everingham et al. 2010, the Pascal VOC
        challenge, section 4.2). Intervals are of 95 %, over pictures drawn with
        replacement (`RESAMPLES` times, percentiles).

    Raises:
        EvaluationError: No pictures, or none with a known pixel.
    """
    if not len(kept) or not kept["true"].sum():
        raise EvaluationError(
            f"Pictures with known pixels are needed. Received: {len(kept)} pictures."
        )
    sums = np.stack([kept[name] for name in ("hits", "true", "predicted")], 1).astype(np.float64)
    plain = [name == _PLAIN for name in labels]
    values = _scores(sums.sum(axis=0), plain)
    rng, share = np.random.default_rng(0), np.full(len(kept), 1 / len(kept))
    # One draw after the other: all of them take 8 kB for each picture.
    resampled = [np.tensordot(rng.multinomial(len(kept), share), sums, axes=1)
                 for _ in range(RESAMPLES)]  # fmt: skip
    intervals = {
        f"{name}_interval": _interval([_scores(one, plain)[name] for one in resampled])
        for name in values
        if len(kept) > 1
    }
    per_class = [_class_row(kept, number, label) for number, label in enumerate(labels)]
    outlines = [row["boundary_f1"] for row in per_class if row["boundary_f1"] is not None]
    return {
        "n": len(kept),
        "pixels": int(kept["true"].sum()),
        **values,
        **dict.fromkeys((f"{name}_interval" for name in values), None),
        **intervals,
        "boundary_f1": float(np.mean(outlines)),
        "per_class": per_class,
    }


def _scores(sums: Array, plain: Sequence[bool]) -> dict[str, float | None]:
    """Scores of sums (3, classes) over pictures."""
    hits, true, predicted = sums
    union = true + predicted - hits
    there = union > 0
    iou = hits / np.where(there, union, 1)
    front = there & ~np.array(plain)
    return {
        "mean_iou": float(iou[there].mean()),
        "foreground_iou": float(iou[front].mean()) if front.any() else None,
        "pixel_accuracy": float(hits.sum() / max(true.sum(), 1)),
        "mean_accuracy": float((hits[true > 0] / true[true > 0]).mean()) if true.any() else None,
    }


def _interval(values: Sequence[float | None]) -> list[float] | None:
    known = [value for value in values if value is not None]
    return [float(np.quantile(known, share)) for share in (0.025, 0.975)] if known else None


def _class_row(kept: Array, number: int, label: str) -> dict[str, Any]:
    hits, true, predicted = (kept[name][:, number] for name in ("hits", "true", "predicted"))
    union, outline = true + predicted - hits, kept["boundary_f1"][:, number]
    there = union > 0

    def share(part: int, whole: int) -> float | None:
        return float(part / whole) if whole else None

    return {
        "label": label,
        "iou": share(hits.sum(), union.sum()),
        "picture_iou": float((hits[there] / union[there]).mean()) if there.any() else None,
        "recall": share(hits.sum(), true.sum()),
        "precision": share(hits.sum(), predicted.sum()),
        "dice": share(2 * hits.sum(), true.sum() + predicted.sum()),
        "boundary_f1": float(outline[outline >= 0].mean()) if (outline >= 0).any() else None,
        "support": int(true.sum()),
        "pictures": int((true > 0).sum()),
    }


def mean_ious(kept: Array, counts: Array) -> Array:
    """The mean IoU of draws of the pictures, (draws,).

    Args:
        kept: As for `mask_metrics`, n of them.
        counts: How often each was drawn, (draws, n).
    """
    hits, true, predicted = (counts @ kept[name] for name in ("hits", "true", "predicted"))
    union = true + predicted - hits
    there = union > 0
    iou = np.where(there, hits, 0) / np.where(there, union, 1)
    with np.errstate(invalid="ignore"):  # NaN where a draw has no known pixel
        means: Array = iou.sum(axis=1) / there.sum(axis=1)
    return means


def picture_ious(kept: Array) -> Array:
    """The mean IoU of each picture over the classes that it has or was said to have, (n,)."""
    union = kept["true"] + kept["predicted"] - kept["hits"]
    there = union > 0
    iou = np.where(there, kept["hits"], 0) / np.where(there, union, 1)
    means: Array = iou.sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return means
