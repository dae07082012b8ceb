"""What the tests of model folders share: features against the library's, also when saved."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np

from tltool.backbones import check
from tltool.backbones.check import TOLERANCE, chosen_features, seeded_features


def golden(library):
    """The cases of a library, by name."""
    return json.loads((Path(check.__file__).parent / "golden" / f"{library}.json").read_text())


def assert_features_are_golden(backbone, case, folder):
    """Those of the library, and the very same again from a saved model."""
    features = seeded_features(backbone)
    off = np.abs(chosen_features(features) - np.array(case["features"])).max()
    assert off / case["largest"] <= TOLERANCE
    backbone.model.save(folder / "saved.keras")
    loaded = keras.saving.load_model(folder / "saved.keras")
    again = SimpleNamespace(model=loaded, preprocessing=backbone.preprocessing)
    np.testing.assert_array_equal(seeded_features(again), features)
