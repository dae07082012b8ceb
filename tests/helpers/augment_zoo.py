"""Options for every layer of `augment.layers`, and what tests need to run one."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import tensorflow as tf
from pydantic import TypeAdapter

from tltool.data.images.seeded_layers import SeededLayer
from tltool.recipe.augment_layers import AugmentLayer, BatchLayer, ImageLayer

KINDS = {
    get_args(kind.model_fields["layer"].annotation)[0]: kind
    for kind in (*get_args(ImageLayer), *get_args(BatchLayer))
}
CORE = [name for name in KINDS if "." not in name]
FOREIGN = [name for name in KINDS if "." in name]

# Where an option is required, or where the default would change nothing.
OPTIONS: dict[str, dict[str, Any]] = {
    "RandomBrightness": {"factor": [-0.3, 0.3]},
    "RandomColorDegeneration": {"factor": [0.1, 0.9]},
    "RandomColorJitter": {
        "brightness_factor": [-0.1, 0.1],
        "contrast_factor": [0.2, 0.2],
        "saturation_factor": [0.3, 0.7],
        "hue_factor": [0.0, 0.1],
    },
    "RandomContrast": {"factor": [0.3, 0.3]},
    "RandomHue": {"factor": [0.1, 0.5]},
    "RandomPosterization": {"factor": [1, 6]},
    "RandomRotation": {"factor": [-0.1, 0.1]},
    "RandomSaturation": {"factor": [0.1, 0.9]},
    "RandomSharpness": {"factor": [0.0, 1.0]},
    "RandomShear": {"x_factor": [0.0, 0.3], "y_factor": [0.0, 0.3]},
    "RandomTranslation": {"height_factor": [-0.2, 0.2], "width_factor": [-0.2, 0.2]},
    "RandomZoom": {"height_factor": [-0.3, 0.3]},
    "Solarization": {"addition_factor": [0.0, 0.3], "threshold_factor": [0.0, 0.9]},
    "keras_cv.JitteredResize": {"scale_factor": [0.8, 1.3]},
    "keras_cv.RandomChannelShift": {"factor": [0.1, 0.5]},
    "keras_cv.RandomCropAndResize": {
        "crop_area_factor": [0.5, 1.0],
        "aspect_ratio_factor": [0.8, 1.25],
    },
    "keras_cv.RandomCutout": {"height_factor": [0.2, 0.5], "width_factor": [0.2, 0.5]},
    "keras_cv.RandomJpegQuality": {"factor": [10, 60]},
}


def settings(name: str, **options: Any) -> AugmentLayer:
    """The recipe's entry for a layer."""
    chosen = {**OPTIONS.get(name, {}), **options}
    return TypeAdapter(AugmentLayer).validate_python({"layer": name, **chosen})


def pictures(count: int = 8, size: int = 32) -> np.ndarray:
    """Smooth coloured images with some noise, whole levels 0..255 as float32."""
    rng = np.random.default_rng(0)
    smooth = np.asarray(tf.image.resize(rng.uniform(0, 255, (count, 5, 5, 3)), (size, size)))
    noisy = smooth + rng.normal(0, 10, smooth.shape)
    return np.round(np.clip(noisy, 0, 255)).astype("float32")


def seeds(count: int = 8) -> np.ndarray:
    return np.stack([np.arange(count), np.full(count, 5)], 1).astype("int64")


def changed(entry: AugmentLayer, images: np.ndarray) -> np.ndarray:
    """Each image changed by a seed of its own, without a graph."""
    layer = SeededLayer(entry, images.shape[1:3])
    pairs = zip(images, seeds(len(images)), strict=True)
    return np.stack([layer(tf.constant(image), tf.constant(seed)) for image, seed in pairs])


def random_operations(graph: Any) -> set[str]:
    """Operations of a graph and of its functions that draw from TensorFlow's own state."""
    nodes = list(graph.as_graph_def().node)
    for function in graph.as_graph_def().library.function:
        nodes += function.node_def
    return {
        node.op for node in nodes
        if node.op.startswith(("Random", "Multinomial", "ParameterizedTruncated"))
        or ("Rng" in node.op and "Stateless" not in node.op) or node.op == "VarHandleOp"
    }  # fmt: skip


def check_follows_the_seed(name: str) -> None:
    """A layer's changes are decided by each image's seed, whatever stands before it."""
    images, keys = pictures(), seeds()
    layer = SeededLayer(settings(name), images.shape[1:3])

    @tf.function(autograph=False)
    def run(images, keys):
        def one(pair):
            return layer(*pair)

        return tf.map_fn(one, (images, keys), fn_output_signature=tf.float32)

    first = run(images, keys).numpy()
    np.testing.assert_array_equal(run(images, keys), first)
    order = [3, 1, 7, 0, 2, 6, 5, 4]
    np.testing.assert_array_equal(run(images[order], keys[order]), first[order])
    assert first.shape == images.shape
    assert first.min() >= 0
    assert first.max() <= 255
    assert (first != images).any()
    same = run(np.repeat(images[:1], len(images), 0), keys).numpy()
    assert len({image.tobytes() for image in same}) > 1
    graph = run.get_concrete_function(images, keys)
    assert random_operations(graph.graph) == set()
    assert graph.captured_inputs == []
