"""timm's side of the parity check: writes a model folder, and the features of a few images."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from protocol import read_settings, report
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parents[2] / "tltool" / "backbones"))
from seeded import seeded_levels, seeded_tensor

# Models whose features come before a layer that timm counts to the classifier.
_MEAN_OF_MAP = ("mobilenetv3", "tf_mobilenetv3", "vgg")


def main() -> None:
    settings = read_settings()
    architecture, folder = settings["architecture"], Path(settings["folder"])
    torch.manual_seed(0)
    model = timm.create_model(architecture, pretrained=False).eval()
    state = {
        key: torch.from_numpy(seeded_tensor(key, tuple(value.shape)))
        if value.dtype == torch.float32
        else value
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    save_file(state, folder / "model.safetensors")
    config = model.pretrained_cfg
    (folder / "config.json").write_text(
        json.dumps({"architecture": architecture, "pretrained_cfg": _plain(config)})
    )
    levels = seeded_levels(3, settings["size_px"], settings["size_px"])
    images = (levels / 255 - np.array(config["mean"])) / np.array(config["std"])
    batch = torch.from_numpy(images.transpose(0, 3, 1, 2).astype("float32"))
    with torch.inference_mode():
        features = model.forward_features(batch)
        if architecture.startswith(_MEAN_OF_MAP):
            features = features.mean((2, 3))
        else:
            features = model.forward_head(features, pre_logits=True)
    np.save(folder / "features.npy", features.numpy())
    report(
        libraries=f"timm {timm.__version__}",
        parameters=sum(value.numel() for value in state.values()),
        shapes={key: list(value.shape) for key, value in state.items() if value.dim()},
    )


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """What a folder's configuration says of the preprocessing."""
    keys = ("input_size", "crop_pct", "crop_mode", "interpolation", "mean", "std")
    return {key: config[key] for key in keys if key in config}


if __name__ == "__main__":
    main()
