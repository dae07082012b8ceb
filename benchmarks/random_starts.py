"""Networks with random weights, from which benchmarks/export_precisions.py trains.

Their published weights come from hubs; these need no network.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tltool.backbones import check

_GOLDEN = Path(check.__file__).parent / "golden" / "torchvision.json"
VIT_SIZE_PX, VIT_PATCH_PX, VIT_WIDTH, VIT_BLOCKS, VIT_HEADS = 96, 16, 192, 12, 3
"""ViT-Ti (arXiv:2012.12877, table 1) for smaller images."""


def resnet50(folder: Path) -> Path:
    """ResNet-50 of keras.applications, as `backbone.weights_file`."""
    import keras

    keras.utils.set_random_seed(0)
    file = folder / "resnet50.keras"
    keras.applications.ResNet50(weights=None, include_top=False).save(file)
    return file


def mobilenetv3(folder: Path) -> Path:
    """MobileNetV3 Small of torchvision, as `backbone.weights_file`.

    That of keras.applications averages BatchNorm's statistics over 1,000 steps:
    more than are trained here.
    """
    draw = np.random.default_rng(0)
    golden = json.loads(_GOLDEN.read_text(encoding="utf-8"))
    shapes = golden["torchvision:mobilenet_v3_small"]["shapes"]
    file = folder / "mobilenetv3.safetensors"
    save_file({key: _drawn(draw, key, tuple(shape)) for key, shape in shapes.items()}, file)
    return file


def _drawn(draw: np.random.Generator, key: str, shape: tuple[int, ...]) -> Any:
    """He normal kernels (arXiv:1502.01852); BatchNorm and biases as they begin."""
    if len(shape) > 1:
        scale = np.sqrt(2 / np.prod(shape[1:]))
        return draw.normal(0, scale, shape).astype("float32")
    one = key.endswith(("weight", "running_var"))
    return np.full(shape, float(one), "float32")


def vit(folder: Path) -> Path:
    """A folder of transformers with a small ViT, as `backbone.name`."""
    folder = folder / "vit"
    folder.mkdir()
    draw, width = np.random.default_rng(0), VIT_WIDTH

    def kernel(*shape: int) -> Any:
        return draw.normal(0, 0.02, shape).astype("float32")

    tensors = {
        "embeddings.cls_token": kernel(1, 1, width),
        "embeddings.position_embeddings": kernel(1, (VIT_SIZE_PX // VIT_PATCH_PX) ** 2 + 1, width),
        **_layer(
            "embeddings.patch_embeddings.projection", kernel(width, 3, VIT_PATCH_PX, VIT_PATCH_PX)
        ),
        **_layer("layernorm", np.ones(width, "float32")),
        **_layer("pooler.dense", kernel(width, width)),
    }
    for block in range(VIT_BLOCKS):
        tensors |= _block(f"encoder.layer.{block}", kernel)
    config = {
        "architectures": ["ViTModel"],
        "model_type": "vit",
        "dtype": "float32",
        "hidden_act": "gelu",
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": VIT_BLOCKS,
        "num_attention_heads": VIT_HEADS,
        "image_size": VIT_SIZE_PX,
        "patch_size": VIT_PATCH_PX,
        "num_channels": 3,
        "layer_norm_eps": 1e-12,
        "qkv_bias": True,
        "attention_probs_dropout_prob": 0.0,
        "hidden_dropout_prob": 0.0,
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    check.write_preprocessing(folder, config)
    return folder


def _block(name: str, kernel: Callable[..., Any]) -> dict[str, Any]:
    width = VIT_WIDTH
    shapes = {
        "attention.attention.query": (width, width),
        "attention.attention.key": (width, width),
        "attention.attention.value": (width, width),
        "attention.output.dense": (width, width),
        "intermediate.dense": (4 * width, width),
        "output.dense": (width, 4 * width),
    }
    found: dict[str, Any] = {}
    for part, shape in shapes.items():
        found |= _layer(f"{name}.{part}", kernel(*shape))
    for norm in ("layernorm_before", "layernorm_after"):
        found |= _layer(f"{name}.{norm}", np.ones(width, "float32"))
    return found


def _layer(name: str, weight: Any) -> dict[str, Any]:
    return {f"{name}.weight": weight, f"{name}.bias": np.zeros(len(weight), "float32")}
