"""Facts of rows that are no part of what a model should learn: size, brightness, length, file type.

They say which rows a model is worse on, and whether they give an answer away.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from tltool.data.examples import Examples
from tltool.data.images.looks import Looks, looks

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def number_facts(examples: Examples, seen: Looks | None = None) -> dict[str, Array]:
    """Numbers that each row has, float64 (n,); NaN where one is not known.

    Args:
        examples: Any.
        seen: Its pictures' looks, where they are known already.

    Returns:
        Of pictures `width_px`, `height_px`, `aspect` (width by height), `brightness` (0..1),
        `contrast` (0..0.5) and of files `bytes`; of texts `characters` and `words`, of several
        texts in a row together.
    """
    if examples.modality == "image":
        return _of_images(examples.inputs, seen or looks(examples.inputs))
    return text_facts(examples.inputs)


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


def _of_images(images: Sequence[Any], seen: Looks) -> dict[str, Array]:
    import numpy as np

    found = {
        "width_px": seen.width_px,
        "height_px": seen.height_px,
        "aspect": seen.width_px / seen.height_px,
        "brightness": seen.brightness,
        "contrast": seen.contrast,
    }
    if all(isinstance(one, str) for one in images):
        found["bytes"] = np.array([_bytes_of(one) for one in images], np.float64)
    return found


def _bytes_of(path: str) -> float:
    try:
        return float(os.stat(path).st_size)  # noqa: PTH116  as in `fingerprints`
    except OSError:
        return float("nan")


def text_facts(inputs: Sequence[Any]) -> dict[str, Array]:
    """How many `characters` and `words` rows have, float64 (n,); several texts of one together."""
    import numpy as np

    rows = [" ".join(one) if isinstance(one, tuple) else one for one in inputs]
    return {
        "characters": np.array([len(row) for row in rows], np.float64),
        "words": np.array([len(row.split()) for row in rows], np.float64),
    }
