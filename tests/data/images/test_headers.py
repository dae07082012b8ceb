"""Sizes of pictures from their headers."""

from __future__ import annotations

import io

import image_zoo as zoo
import numpy as np
import pytest
from PIL import Image

from tltool.data.images.headers import declared, declared_in


def written(form, size=(60, 40), frames=1, **options):
    images = [Image.effect_noise(size, 20 + i).convert("RGB") for i in range(frames)]
    rest = {"save_all": True, "append_images": images[1:]} if frames > 1 else {}
    file = io.BytesIO()
    images[0].save(file, form, **rest, **options)
    return file.getvalue()


ODD = zoo.files()
FILES = {
    "baseline": (written("JPEG"), 2400),
    "progressive": (written("JPEG", progressive=True, comment=b"\xff\xc0" * 9), 2400),
    "png": (written("PNG"), 2400),
    "bmp": (written("BMP"), 2400),
    "webp": (written("WEBP"), 2400),
    "webp lossless": (written("WEBP", lossless=True), 2400),
    "webp extended": (written("WEBP", exif=Image.Exif().tobytes() + b"Exif"), 2400),
    "webp animation": (written("WEBP", frames=5), 5 * 2400),
    # The screen, and each frame.
    "gif": (written("GIF"), 2 * 2400),
    "gif animation": (written("GIF", frames=5, comment=b"," * 600), 6 * 2400),
}


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_known_without_decoding(name, tmp_path):
    content, pixels = FILES[name]
    assert declared(content) == (60, 40, pixels)
    (tmp_path / "a").write_bytes(content)
    assert declared_in(tmp_path / "a") == (60, 40, pixels)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_or_damaged_raises_nothing(name):
    content, pixels = FILES[name]
    for end in range(0, 200):
        found = declared(content[:end])
        assert found is None or found.pixels <= pixels
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content)
        for place in rng.integers(12, min(len(content), 400), 8):
            damaged[place] = rng.integers(256)
        found = declared(bytes(damaged))
        assert found is None or found.pixels >= 0


def test_megabytes_of_nonsense_are_walked_through_once():
    """Each would take minutes, were what is left copied at every step."""
    assert declared(b"\xff\xd8\xff" + b"\xff\x01" * 500_000) is None
    assert declared(b"\xff\xd8\xff\xff" + b"\x00" * 4_000_000) is None


def test_what_is_no_image_has_no_size():
    assert declared(b"") is None
    assert declared(b"%PDF-1.7 ...") is None


def test_an_empty_file_has_no_size(tmp_path):
    (tmp_path / "a.png").touch()
    assert declared_in(tmp_path / "a.png") is None


@pytest.mark.parametrize("kind", ODD)
def test_odd_files_have_the_size_that_pillow_finds(kind):
    with Image.open(io.BytesIO(ODD[kind])) as image:
        found = declared(ODD[kind])
        assert (found.width, found.height) == image.size


def test_of_a_large_file_the_headers_are_read_alone(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(FILES["png"][0])
    with path.open("ab") as file:
        file.truncate(2**34)  # Holes take no place, but could not be read into memory.
    assert declared_in(path) == (60, 40, 2400)
