from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tiny
from PIL import Image
from presets import write_image_preset

import tltool
from tltool.backbones.levels import with_spread_levels
from tltool.backbones.pyramid import with_pyramid
from tltool.support.errors import RecipeError


def spread(levels):
    """By the definition, of an image in levels (height, width, 3)."""
    grey = levels.mean(axis=-1)
    places = np.lib.stride_tricks.sliding_window_view(grey, (3, 3)).mean(axis=(-1, -2))
    span = max(places.max() - places.min(), 8.0)
    return np.clip((levels - places.min()) * 255 / span, 0, 255)


@pytest.mark.parametrize(("order", "lowest", "highest"), [
    ("rgb", 40, 70), ("bgr", 40, 70), ("rgb", 0, 256), ("rgb", 100, 103), ("rgb", 9, 10),
])  # fmt: skip
def test_the_backbone_sees_levels_over_the_whole_range(order, lowest, highest):
    plain = tiny.tiny_image_backbone()
    mean, std = np.array([120.0, 110.0, 100.0]), np.array([60.0, 50.0, 40.0])
    contract = plain.preprocessing.model_copy(
        update={"mean": tuple(mean), "std": tuple(std), "channel_order": order}
    )
    changed = with_spread_levels(replace(plain, preprocessing=contract))
    levels = np.random.default_rng(0).integers(lowest, highest, (2, 32, 32, 3)).astype("float32")

    def inputs(images):
        return ((images - mean) / std)[..., :: -1 if order == "bgr" else 1].astype("float32")

    given = changed.model.predict(inputs(levels), verbose=0)
    expected = plain.model.predict(inputs(np.stack([*map(spread, levels)])), verbose=0)
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-4)
    assert changed.groups == plain.groups
    assert [m.shape for m in with_pyramid(changed).pyramid] == [
        m.shape for m in with_pyramid(plain).pyramid
    ]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Spots of two shapes, on pictures of which some have a tenth of the others' light."""
    folder = tmp_path_factory.mktemp("levels")
    rng = np.random.default_rng(0)
    for number in range(80):
        wide = number % 2
        picture = rng.normal(20, 2, (32, 32))
        y, x = rng.integers(2, 18, 2)
        picture[y : y + (4 if wide else 12), x : x + (12 if wide else 4)] += 200
        picture *= rng.choice([0.1, 1.0])
        place = folder / "photos" / ("tall", "wide")[wide]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture.clip(0, 255).astype("uint8")).save(place / f"{number}.png")
    recipe = tltool.Recipe.of(**{
        "task": "image-classification",
        "name": "spots",
        "data": {"train": str(folder / "photos")},
        "backbone": {"name": str(write_image_preset(folder / "preset")), "image_levels": "spread"},
        "schedule": [{"train": "head", "solver": "exact"}],
        "export": {
            "formats": ["saved_model", "litert", "keras"],
            "precisions": ["float32", "float16", "dynamic_int8", "int8"],
        },
        "output_dir": str(folder / "runs"),
    })  # fmt: skip
    return tltool.finetune(recipe)


def test_every_export_passes_the_gate_and_takes_no_notice_of_brightness(run):
    exports = sorted(path.name for path in (run.path / "exports").iterdir() if path.is_dir())
    assert exports == [
        "keras", "litert_dynamic_int8", "litert_float16", "litert_float32", "litert_int8",
        "saved_model",
    ]  # fmt: skip
    bright = np.full((32, 32, 3), 40, np.uint8)
    bright[4:8, 6:18] = 240
    artifact = tltool.load_artifact(run.path / "exports" / "litert_float32")
    one, other = artifact.predict([bright, bright // 4])
    np.testing.assert_allclose(one, other, atol=0.01)


def test_texts_have_no_levels():
    with pytest.raises(RecipeError, match="image_levels"):
        tltool.Recipe.of(**{
            "task": "text-classification",
            "name": "texts",
            "data": {"train": "texts.csv"},
            "backbone": {"name": "all-minilm-l6-v2", "image_levels": "spread"},
            "schedule": "fine_tune",
        })  # fmt: skip
