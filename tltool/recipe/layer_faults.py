"""What is wrong with `augment.layers`: layers that can't be there, and why."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tltool.recipe.augment_layers import (
    BATCH_LAYERS,
    IMAGE_LAYERS,
    KERAS_CV,
    UNTRACEABLE_LAYERS,
    AugmentLayer,
)
from tltool.support.errors import Fault, RecipeError, did_you_mean
from tltool.tasks.table import TaskSpec

_ALIKE = "changes every image in the same way, so that training would see other images than " \
    "evaluation does"  # fmt: skip
_SIZE = "changes the size of the image, which backbone.image_size_px sets"
_STATEFUL = "draws from TensorFlow's own generator, so that its changes would not follow from " \
    "the seed"  # fmt: skip
_HOLDS = "holds other layers; write those"

REFUSED: dict[str, str] = {
    "AugMix": "takes its operations from Python's generator when it is traced, so that its "
    "changes would not follow from the seed; RandAugment's do",
    "AutoContrast": _ALIKE,
    "Equalization": _ALIKE,
    "ContrastLimitedAdaptiveHistogramEqualization": _ALIKE,
    "RandomCrop": f"{_SIZE}; keras_cv.RandomCropAndResize keeps it",
    "CenterCrop": _SIZE,
    "Resizing": _SIZE,
    "Rescaling": "scales values, which is the backbone's preprocessing",
    "keras_cv.AugMix": _STATEFUL,
    "keras_cv.RandAugment": f"{_STATEFUL}; RandAugment of Keras does not",
    "keras_cv.FourierMix": f"{_STATEFUL}; MixUp and CutMix of Keras mix batches",
    "keras_cv.Mosaic": "is made for detecting objects; MixUp and CutMix mix batches for classes",
    "keras_cv.Grayscale": f"{_ALIKE}; RandomGrayscale does not",
    "keras_cv.Posterization": f"{_ALIKE}; RandomPosterization does not",
    "keras_cv.AutoContrast": _ALIKE,
    "keras_cv.Equalization": _ALIKE,
    "keras_cv.RandomAspectRatio": _SIZE,
    "keras_cv.RandomCrop": f"{_SIZE}; keras_cv.RandomCropAndResize keeps it",
    "keras_cv.Resizing": _SIZE,
    "keras_cv.Augmenter": _HOLDS,
    "keras_cv.RandomApply": _HOLDS,
    "keras_cv.RandomChoice": _HOLDS,
    "keras_cv.RandomAugmentationPipeline": _HOLDS,
    "keras_cv.RepeatedAugmentation": _HOLDS,
}
"""Why a layer that Keras or keras-cv has is not in the list."""


def unknown_layer(path: str, name: str) -> Fault:
    """The fault of an entry of `augment.layers` that names no layer of the list."""
    if name in REFUSED:
        return Fault(path, REFUSED[name], repr(name))
    known = (*IMAGE_LAYERS, *BATCH_LAYERS)
    plain = name.removeprefix(KERAS_CV)
    if name != plain and plain in known:
        return Fault(path, "Keras has this layer itself", repr(name), hint=f"write `{plain}`")
    hint = did_you_mean(name, known) or did_you_mean(f"{KERAS_CV}{name}", known)
    return Fault(path, "unknown layer", repr(name), ", ".join(known), hint)


def check_installed(layers: Iterable[AugmentLayer]) -> None:
    """Raises RecipeError where layers of keras-cv are asked for and it is not installed."""
    faults = [
        Fault(f"augment.layers.{index}", "needs the package keras-cv", repr(entry.layer))
        for index, entry in enumerate(layers)
        if entry.layer.startswith(KERAS_CV)
    ]
    if faults and importlib.util.find_spec("keras_cv") is None:
        raise RecipeError(
            "keras-cv is not installed:",
            faults=faults,
            hint="Install it with: pip install 'tltool[cv]'",
        )


def mixes(augment: Mapping[str, Any]) -> bool:
    """Whether layers mix the images of a batch."""
    return any(name in BATCH_LAYERS for name in _layer_names(augment))


def _layer_names(augment: Mapping[str, Any]) -> list[Any]:
    layers = augment.get("layers")
    return [
        entry.get("layer") if isinstance(entry, Mapping) else None
        for entry in (layers if isinstance(layers, list | tuple) else ())
    ]


def mixing_faults(augment: Mapping[str, Any], spec: TaskSpec | None) -> Iterator[Fault]:
    """Where layers that mix a batch can't be: they need classes, and images as they come."""
    names = _layer_names(augment)
    for index, name in enumerate(names):
        path = f"augment.layers.{index}"
        refusal = None if spec is None else spec.target.refused.get("augment.untraceable")
        if name in UNTRACEABLE_LAYERS and refusal:
            yield Fault(path, refusal.problem, repr(name), hint=refusal.hint)
        if name not in BATCH_LAYERS:
            continue
        if any(later is not None and later not in BATCH_LAYERS for later in names[index:]):
            yield Fault(path, "mixes the images of a batch: it must come after the layers that "
                        "change one image", repr(name))  # fmt: skip
        if spec is not None and (refusal := spec.target.refused.get("augment.mixing")):
            yield Fault(path, refusal.problem, repr(name), hint=refusal.hint)
        if augment.get("views") is not None:
            yield Fault(
                path,
                "mixes the images of each batch anew, but augment.views has the same ones in "
                "every epoch",
                repr(name),
                hint="leave out `augment.views`, or the layer",
            )
