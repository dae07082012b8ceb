"""torchvision's side of the parity check: a state dict, features of a few images, its weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from protocol import read_settings, report
from safetensors.torch import save_file
from torchvision import models

sys.path.insert(0, str(Path(__file__).parents[2] / "tltool" / "backbones"))
from seeded import seeded_levels, seeded_tensor

# Of ImageClassification, the transform of all of them.
_OPTIONS = ("crop_size", "resize_size", "mean", "std", "antialias")


def main() -> None:
    settings = read_settings()
    architecture, folder = settings["architecture"], Path(settings["folder"])
    torch.manual_seed(0)
    model = models.get_model(architecture, weights=None).eval()
    state = {
        key: torch.from_numpy(seeded_tensor(key, tuple(value.shape)))
        if value.dtype == torch.float32
        else value
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"torchvision": architecture}))
    published = models.get_model_weights(architecture)
    transform = published.DEFAULT.transforms()
    levels = seeded_levels(3, settings["size_px"], settings["size_px"])
    images = (levels / 255 - np.array(transform.mean)) / np.array(transform.std)
    batch = torch.from_numpy(images.transpose(0, 3, 1, 2).astype("float32"))
    with torch.inference_mode():
        features = features_of(model, architecture, batch)
    np.save(folder / "features.npy", features.numpy())
    report(
        libraries=f"torchvision {torchvision.__version__.partition('+')[0]}",
        parameters=sum(value.numel() for value in state.values()),
        shapes={key: list(value.shape) for key, value in state.items() if value.dim()},
        published={
            "default": published.DEFAULT.name,
            "weights": {weights.name: described(weights) for weights in published},
        },
    )


def features_of(model: Any, architecture: str, batch: torch.Tensor) -> torch.Tensor:
    """What the classifier reads; of VGG, which flattens its last map, the mean of that."""
    if architecture.startswith("vgg"):
        return model.features(batch).mean((2, 3))
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    # MobileNetV3's classifier has two layers.
    last = linear[-2] if architecture.startswith("mobilenet_v3") else linear[-1]
    read: list[torch.Tensor] = []
    last.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    model(batch)
    return read[0]


def described(weights: Any) -> dict[str, Any]:
    """Where the weights are, and how images are prepared for them."""
    transform = weights.transforms()
    options = {key: getattr(transform, key) for key in _OPTIONS}
    return {"url": weights.url, "interpolation": transform.interpolation.value, **options}


if __name__ == "__main__":
    main()
