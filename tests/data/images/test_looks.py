from __future__ import annotations

import numpy as np
from PIL import Image, ImageEnhance

from tltool.data.images.looks import HASH_BITS, distances, looks, small_jpeg


def photo(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    return small.resize((160, 120), Image.Resampling.BICUBIC)


def test_a_changed_copy_has_nearly_the_same_hash_and_another_picture_has_not(tmp_path):
    first = photo(0)
    first.save(tmp_path / "a.png")
    copy = ImageEnhance.Brightness(first.crop((2, 2, 158, 118)).resize((120, 90))).enhance(0.9)
    copy.save(tmp_path / "b.jpg", quality=70)
    photo(1).save(tmp_path / "c.png")
    found = looks([str(tmp_path / name) for name in ("a.png", "b.jpg", "c.png")])
    to_copy, to_other = distances(found.hashes[0], found.hashes[1:])
    assert to_copy < 0.18 * HASH_BITS < 0.3 * HASH_BITS < to_other


def test_sizes_and_brightness_are_those_of_the_upright_picture(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.new("RGB", (600, 400), (255, 255, 255)).save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "b.jpg").write_bytes(b"no picture")
    array = np.zeros((20, 30), np.uint8)
    found = looks([str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg"), array])
    assert (found.width_px[0], found.height_px[0]) == (400, 600)
    assert (found.width_px[2], found.height_px[2]) == (30, 20)
    np.testing.assert_allclose(found.brightness[[0, 2]], [1, 0], atol=0.01)
    assert np.isnan(found.brightness[1])
    assert not found.hashes[1].any()


def test_a_small_picture_is_a_jpeg_no_larger_than_asked(tmp_path):
    photo(2).save(tmp_path / "a.png")
    made = small_jpeg(str(tmp_path / "a.png"), 64)
    (tmp_path / "small.jpg").write_bytes(made)
    with Image.open(tmp_path / "small.jpg") as small:
        assert small.size == (64, 48)
    assert small_jpeg(str(tmp_path / "none.png"), 64) is None
