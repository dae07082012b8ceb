from __future__ import annotations

import itertools
import struct
import time

import image_zoo as zoo
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tltool.data.images.exif import MOST_BLOCKS
from tltool.data.images.formats import MOST_CHUNKS, MOST_STEPS
from tltool.data.images.preprocessor import (
    ImagePreprocessor,
    array_to_rgb,
    decode_image,
    normalize,
    preprocess_image,
    resize_and_crop,
)
from tltool.data.preprocessing import ImagePreprocessing
from tltool.support.errors import DataError

FILES = zoo.files()
BICUBIC = ImagePreprocessing(
    size_px=(224, 224), resize_px=256, interpolation="bicubic", mean=(127.0,) * 3, std=(128.0,) * 3
)


def photograph() -> Image.Image:
    from sklearn.datasets import load_sample_image

    return Image.fromarray(load_sample_image("china.jpg"))


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_of_file_equals_pillow(kind):
    image = decode_image(FILES[kind])
    assert image.dtype == tf.uint8
    np.testing.assert_array_equal(image, zoo.reference(FILES[kind]))


def test_16_bit_grey_keeps_the_upper_bits():
    expected = np.asarray(zoo.picture())[..., :1].repeat(3, axis=-1)
    np.testing.assert_array_equal(decode_image(zoo.png_16_bit(grey=True)), expected)


@pytest.mark.parametrize("kind", FILES)
def test_truncation_is_an_error_or_harmless(kind):
    """Cut anywhere, a file raises, or only lost what comes after its (first) picture."""
    data, whole = FILES[kind], decode_image(FILES[kind])
    cuts = sorted(
        {*range(0, len(data), max(1, len(data) // 60)), *range(len(data) - 12, len(data))}
    )
    refused = 0
    for cut in cuts:
        try:
            image = decode_image(data[:cut])
        except tf.errors.InvalidArgumentError:
            refused += 1
        else:
            np.testing.assert_array_equal(image, whole, err_msg=f"{kind} cut at {cut}")
    assert refused > 20


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "Input is empty"),
        (b"label,text\n1,hello", "Unknown image file format"),
        (b"\xff\xd8\xff\xe1\xff\xffExif\0\0MM\0*\xff\xff\xff\xff", "JPEG"),
        (b"BM" + b"\0" * 80, "BMP is truncated"),
        (b"BM", "BMP is truncated"),
        (b"RIFF\xf6\xf6\xf6\xf6WEBPVP8X", "WebP"),
    ],
)
def test_what_is_no_image_says_so_in_one_line(data, why, graphs_optimised):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"^(?!StringTo).*{why}") as caught:
        decode_image(data)
    assert "\n" not in caught.value.message


def test_compressed_bmp_is_refused():
    data = FILES["bmp palette"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="compressed"):
        decode_image(data[:30] + b"\x01" + data[31:])


@pytest.mark.parametrize(
    ("kind", "place", "form"),
    [
        ("jpeg", b"\xff\xc0\0\x11\x08", ">HH"),
        ("png", b"IHDR", ">II"),
        ("gif", b"GIF87a", "<HH"),
        ("bmp 24", b"\x28\0\0\0", "<ii"),
        ("bmp top down", b"\x28\0\0\0", "<ii"),
    ],
)
@pytest.mark.parametrize("size", [(20_000, 20_000), (16_385, 16_384)])
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(kind, place, form, size):
    """Before it is decoded: these files hold next to nothing."""
    data = FILES[kind]
    start = data.index(place) + len(place)
    sides = size if kind != "bmp top down" else (size[0], -size[1])
    forged = data[:start] + struct.pack(form, *sides) + data[start + struct.calcsize(form) :]
    for decode in (decode_image, tf.function(decode_image)):
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"too large: .* at most 268,435,"):
            decode(tf.constant(forged))


def test_a_webp_and_a_long_strip_of_too_many_pixels_are_refused():
    data = FILES["webp animated"]
    place = data.index(b"VP8X") + 12
    forged = data[:place] + b"\xff\xff\0\xff\xff\0" + data[place + 6 :]
    with pytest.raises(tf.errors.InvalidArgumentError, match="too large: 65536 x 65536"):
        decode_image(forged)
    strip = zoo.png(70_000, 1, bytes(70_000), colour=0, depth=1)
    with pytest.raises(tf.errors.InvalidArgumentError, match="no side over 65,535"):
        decode_image(strip)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "PNG marked", "WEBP"])
@pytest.mark.parametrize("big_endian", [False, True])
def test_an_orientation_in_exif_equals_pillow(form, big_endian):
    for kind, orientation in itertools.product([1, 3, 4, 8, 9], range(10)):
        block = zoo.exif_block(orientation, big_endian=big_endian, kind=kind)
        data = zoo.with_orientation(form, exif=block)
        np.testing.assert_array_equal(
            decode_image(data), zoo.reference(data), err_msg=f"type {kind}: {orientation}"
        )


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_among_other_tags_the_orientation_is_found(form):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112], exif[0x9003] = "a maker", 6, "2024:01:01 00:00:00"
    options = {"lossless": True} if form == "WEBP" else {}
    data = zoo.encode(zoo.picture(), form, exif=exif.tobytes(), **options)
    np.testing.assert_array_equal(decode_image(data), zoo.reference(data))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("element", [False, True])
def test_an_orientation_in_xmp_equals_pillow(form, element):
    for orientation in range(10):
        data = zoo.with_orientation(form, xmp=zoo.xmp_packet(orientation, element=element))
        np.testing.assert_array_equal(decode_image(data), zoo.reference(data))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 8, 0])
def test_exif_goes_before_xmp(form, orientation):
    exif = zoo.exif_block(orientation, big_endian=True, kind=3)
    data = zoo.with_orientation(form, exif=exif, xmp=zoo.xmp_packet(6, element=False))
    np.testing.assert_array_equal(decode_image(data), zoo.reference(data))


def test_a_damaged_exif_block_leaves_the_image_as_it_is():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = zoo.encode(zoo.picture(), "JPEG", exif=exif.tobytes())
    start = data.index(b"Exif\0\0") + 6
    plain = decode_image(zoo.encode(zoo.picture(), "JPEG"))
    for damage in (b"XX*\0", b"MM\0*\xff\xff\xff\xff", b"II*\0\xff\xff\xff\x7f"):
        broken = data[:start] + damage + data[start + len(damage) :]
        np.testing.assert_array_equal(decode_image(broken), plain)


def test_exif_is_not_looked_for_in_the_pixels():
    """A thumbnail or a comment that holds the mark must not turn the image."""
    exif = Image.Exif()
    exif[0x0112] = 6
    data = zoo.encode(zoo.picture(), "JPEG", comment=b"Exif\0\0" + exif.tobytes()[6:])
    np.testing.assert_array_equal(decode_image(data), zoo.reference(data))
    assert decode_image(data).shape == (21, 31, 3)


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1), (4, 5, 3), (4, 5, 4)])
def test_arrays_become_rgb(shape):
    array = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    image = array_to_rgb(array)
    assert image.shape == (4, 5, 3)
    np.testing.assert_array_equal(image[..., 0], array if array.ndim == 2 else array[..., 0])


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 5, 3), np.float32), np.zeros((4, 5, 2), np.uint8), np.zeros((0, 5, 3), np.uint8)],
)
def test_other_arrays_are_refused(array):
    with pytest.raises(DataError, match="uint8"):
        array_to_rgb(array)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("portrait", [False, True])
def test_resize_and_crop_equals_torchvision_with_pillow(interpolation, portrait):
    image = photograph()
    image = image.transpose(Image.Transpose.ROTATE_90) if portrait else image
    contract = BICUBIC.model_copy(update={"interpolation": interpolation})
    ours = resize_and_crop(np.asarray(image), contract).numpy()
    width, height = image.size
    short = min(width, height)
    size = (256 * width // short, 256 * height // short)
    image = image.resize(size, getattr(Image.Resampling, interpolation.upper()))
    left, top = round((size[0] - 224) / 2), round((size[1] - 224) / 2)
    expected = np.asarray(image.crop((left, top, left + 224, top + 224))).astype(float)
    difference = np.abs(ours - expected)
    assert difference.mean() < 0.25  # Pillow rounds between its two passes as well
    assert np.mean(difference > 1) < 0.002
    assert ours.min() >= 0
    assert ours.max() <= 255
    np.testing.assert_array_equal(ours, np.round(ours))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
@pytest.mark.parametrize("antialias", [True, False])
def test_cropping_while_resizing_equals_resizing_then_cropping(interpolation, antialias):
    image = np.asarray(photograph())[:150, :121]
    contract = ImagePreprocessing(
        size_px=(64, 48), resize_px=70, interpolation=interpolation, antialias=antialias
    )
    full = tf.image.resize(image, (150 * 70 // 121, 70), interpolation, antialias=antialias)
    expected = tf.round(tf.clip_by_value(tf.cast(full[11:75, 11:59], tf.float32), 0, 255))
    difference = np.abs(resize_and_crop(image, contract) - expected)
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_stretch_ignores_the_aspect_ratio():
    contract = ImagePreprocessing(size_px=(8, 6), resize_px=8, fit="stretch")
    image = np.zeros((10, 40, 3), np.uint8)
    image[:, 20:] = 200
    small = resize_and_crop(image, contract).numpy()
    np.testing.assert_array_equal(small[:, :2], 0.0)
    np.testing.assert_array_equal(small[:, 4:], 200.0)


def test_a_very_long_image_needs_little_memory():
    """Resized in full it would have 1.3 million columns."""
    assert resize_and_crop(np.full((1, 5000, 3), 7, np.uint8), BICUBIC).shape == (224, 224, 3)


def test_normalize_and_channel_order():
    contract = BICUBIC.model_copy(update={"mean": (1.0, 2.0, 3.0), "std": (1.0, 2.0, 4.0)})
    pixel = np.array([[[11, 12, 13]]], np.uint8)
    np.testing.assert_allclose(normalize(pixel, contract), [[[10.0, 5.0, 2.5]]])
    bgr = contract.model_copy(update={"channel_order": "bgr"})
    np.testing.assert_allclose(normalize(pixel, bgr), [[[2.5, 5.0, 10.0]]])


def test_preprocessor_is_the_single_image_function_on_a_batch():
    data = [FILES["png"], FILES["jpeg"], FILES["webp animated"]]
    batch = ImagePreprocessor(BICUBIC)(data)
    assert batch.shape == (3, 224, 224, 3)
    for one, image in zip(data, batch, strict=True):
        np.testing.assert_array_equal(image, preprocess_image(one, BICUBIC))


def test_a_crop_larger_than_the_resized_image_is_refused():
    with pytest.raises(ValueError, match="resize_px is 200"):
        ImagePreprocessing(size_px=(224, 224), resize_px=200)


def test_decoding_is_stateless():
    """Else `tf.data` decodes one image at a time when operations must be deterministic."""
    from tensorflow.python.framework import op_def_registry

    graph = tf.function(decode_image).get_concrete_function(tf.TensorSpec([], tf.string)).graph
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    known = [(node.op, op_def_registry.get(node.op)) for node in nodes]
    assert [op for op, spec in known if spec is not None and spec.is_stateful] == []


def test_a_file_of_very_many_blocks_is_decoded_and_not_turned():
    """Each block is a step of a loop; a file of 12 MB could have 12 million."""
    exif = zoo.exif_block(6, big_endian=True, kind=3)
    data = zoo.with_orientation("JPEG", exif=exif)
    image = decode_image(data).numpy()
    fill = b"\xff" * (MOST_BLOCKS - 2)  # JFIF, then Exif
    np.testing.assert_array_equal(decode_image(data[:2] + fill + data[2:]), image)
    late = decode_image(data[:2] + 2 * fill + data[2:]).numpy()
    assert late.shape == (image.shape[1], image.shape[0], 3)


def test_of_an_animated_webp_the_first_frame_alone_is_unpacked():
    """Hundreds of frames would take gigabytes."""
    data = FILES["webp animated"]
    second = data.index(b"ANMF", data.index(b"ANMF") + 4)
    broken = data[: second + 24] + bytes(len(data) - second - 24)
    np.testing.assert_array_equal(decode_image(broken), decode_image(data))
    first = data.index(b"ANIM")
    buried = data[:first] + b"junk\0\0\0\0" * MOST_CHUNKS + data[first:]
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(buried)


def gif_frame(data: bytes) -> int:
    """Where the first frame of a GIF without extensions begins."""
    return 13 + (3 << (data[10] & 7) + 1)


@pytest.mark.parametrize("kind", ["gif", "gif animated"])
def test_of_an_animated_gif_the_first_frame_alone_is_unpacked(kind):
    """The decoder would keep each one of a million frames."""
    data = FILES[kind]
    end = len(data) - 1
    if kind == "gif animated":
        end = data.rindex(b"!\xf9", 0, data.rindex(b","))
    for rest in (b"", b";", b"no block", b",\0\0\0\0\xff\xff\xff\xff\0\x08\x05cut"):
        np.testing.assert_array_equal(decode_image(data[:end] + rest), decode_image(data))
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(data[: end - 1])


def test_a_gif_of_many_frames_costs_no_more_than_one():
    data = zoo.encode(Image.new("L", (2_000, 2_000)), "GIF")
    start = gif_frame(data)
    many = data[:start] + data[start:-1] * 2_000
    began = time.process_time()
    assert decode_image(many).shape == (2_000, 2_000, 3)
    assert time.process_time() - began < 10  # a minute, and 8 GB, for all of them


@pytest.mark.parametrize("sides", [(65_535, 65_535), (20_000, 20_000)])
def test_a_gif_whose_frame_is_larger_than_its_screen_is_refused_by_its_header(sides):
    data = FILES["gif"]
    place = gif_frame(data) + 5
    forged = data[:place] + struct.pack("<HH", *sides) + data[place + 4 :]
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"too large: {sides[0]} x"):
        decode_image(forged)


def test_a_gif_of_blocks_of_any_size_is_found_the_end_of():
    """As written by other programs; runs of blocks of one size are one step."""
    data = FILES["gif"]
    start = gif_frame(data)
    for sizes in ([1], [255], [7, 3, 250, 250, 1]):
        comment = b"".join(bytes([n]) + b"," * n for n in itertools.chain(*[sizes] * 50))
        longer = data[:start] + b"!\xfe" + comment + b"\0" + data[start:]
        np.testing.assert_array_equal(decode_image(longer), decode_image(data))
    late = data[:start] + b"!\xfe\0" * MOST_STEPS + data[start:]
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_image(late)
