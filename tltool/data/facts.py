"""Facts of rows that are no part of what a model should learn: size, brightness, length, file type.

They say which rows a model is worse on.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from tltool.data.examples import Examples

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_SIDE_PX = 64
_OF_PICTURES = ("width_px", "height_px", "aspect", "brightness", "contrast")


def number_facts(examples: Examples) -> dict[str, Array]:
    """Numbers that each row has, float64 (n,); NaN where one is not known.

    Args:
        examples: Any.

    Returns:
        Of pictures `width_px`, `height_px`, `aspect` (width by height), `brightness` (0..1) and
        `contrast` (0..0.5); of texts `characters` and `words`, of several texts in a row together.
    """
    import numpy as np

    if examples.modality == "image":
        read = [_picture_facts(value) for value in examples.inputs]
        numbers = np.array(read, np.float64).reshape(-1, len(_OF_PICTURES))
        return dict(zip(_OF_PICTURES, numbers.T, strict=True))
    rows = [" ".join(one) if isinstance(one, tuple) else one for one in examples.inputs]
    return {
        "characters": np.array([len(row) for row in rows], np.float64),
        "words": np.array([len(row.split()) for row in rows], np.float64),
    }


def name_facts(examples: Examples, known: Collection[str] = ()) -> dict[str, list[str]]:
    """Names that each row has: of picture files `file_type` and `folder`.

    Args:
        examples: Any.
        known: Names of labels. A folder that is called as one is where the label comes from, and
            tells nothing: it is left out of `folder`.

    Returns:
        Nothing for texts and arrays.
    """
    inputs = examples.inputs
    if examples.modality != "image" or not all(isinstance(one, str) for one in inputs):
        return {}
    paths = [PurePath(one) for one in inputs]
    labels = set(known)
    folders = ["/".join(part for part in path.parent.parts if part not in labels) for path in paths]
    return {"file_type": [path.suffix.lower() for path in paths], "folder": folders}


def _picture_facts(value: Any) -> Sequence[float]:
    """Those of `_OF_PICTURES`; brightness and contrast are of the grey levels, read small."""
    import numpy as np
    from PIL import Image

    if isinstance(value, np.ndarray):
        height, width = value.shape[:2]
        grey = value.astype(np.float64) / 255
        return width, height, width / height, float(grey.mean()), float(grey.std())
    try:
        with warnings.catch_warnings(), Image.open(value) as image:
            warnings.simplefilter("ignore")  # of metadata, which is not looked at
            width, height = image.size
            image.draft("L", (_SIDE_PX, _SIDE_PX))
            small = image.convert("L").resize((_SIDE_PX, _SIDE_PX), Image.Resampling.BOX)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return (float("nan"),) * len(_OF_PICTURES)
    levels = np.asarray(small, np.float64) / 255
    return width, height, width / height, float(levels.mean()), float(levels.std())
