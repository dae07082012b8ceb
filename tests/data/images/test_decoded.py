"""Decoded images are kept while a job runs: read once, and never an old or another one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny

from tltool.data.images import store
from tltool.data.images.decoded import Decoded, keeping_decoded
from tltool.data.images.store import ImageStore
from tltool.support.errors import DataError

CONTRACT = tiny.TINY_IMAGE


@pytest.fixture
def decoded(monkeypatch):
    """The files that were decoded."""
    files = []
    resize = store._Resizer.__call__

    def noted(self, image):
        files.append(image)
        return resize(self, image)

    monkeypatch.setattr(store._Resizer, "__call__", noted)
    return files


@pytest.fixture
def photos(tmp_path):
    return [picture(tmp_path / f"{number}.png", number) for number in range(3)]


def picture(path, seed):
    import tensorflow as tf

    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
    path.write_bytes(tf.io.encode_png(pixels).numpy())
    return str(path)


def load(images, **changes):
    contract = CONTRACT.model_copy(update=changes)
    return np.array(ImageStore(images, images, contract).load_all())


def test_a_file_is_decoded_once_while_it_is_kept(photos, decoded):
    expected = load(photos)
    decoded.clear()
    with keeping_decoded():
        np.testing.assert_array_equal(load(photos[:2]), expected[:2])
        np.testing.assert_array_equal(load(photos[::-1]), expected[::-1])
        with keeping_decoded():  # within another job
            np.testing.assert_array_equal(load(photos), expected)
        load(photos)
    assert sorted(decoded) == photos


def test_afterwards_nothing_is_kept(photos, decoded):
    with keeping_decoded():
        load(photos)
    with keeping_decoded():
        load(photos)
    assert sorted(decoded) == sorted(2 * photos)


def test_a_changed_file_is_decoded_anew(photos, decoded):
    with keeping_decoded():
        load(photos)
        picture(Path(photos[1]), 9)
        found = load(photos)
    np.testing.assert_array_equal(found, load(photos))


def test_another_size_is_decoded_anew_and_another_normalisation_is_not(photos, decoded):
    small = load(photos, size_px=(16, 16))
    decoded.clear()
    with keeping_decoded():
        load(photos)
        load(photos, mean=(0.0,) * 3, std=(1.0,) * 3)
        assert len(decoded) == 3
        np.testing.assert_array_equal(load(photos, size_px=(16, 16)), small)
    assert len(decoded) == 6


def test_only_so_many_bytes_are_kept():
    images = np.zeros((2, 32, 32, 3), np.uint8)
    kept = Decoded(most_bytes=int(1.5 * images.nbytes))
    kept.keep({"a": 0, "b": 1}, images)
    kept.keep({"c": 0, "d": 1}, images)
    assert [kept.find(key) is not None for key in "abcd"] == [True, True, False, False]


def test_a_missing_file_is_told_as_ever(photos):
    with keeping_decoded(), pytest.raises(DataError, match=r"gone\.png"):
        load([*photos, photos[0].replace("0.png", "gone.png")])
