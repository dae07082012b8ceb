"""The transformers library's side of the parity check: a small model folder, and its features."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from protocol import read_settings, report
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(Path(__file__).parents[2] / "tltool" / "backbones"))
from seeded import seeded_levels, seeded_tensor, seeded_tokens


def main() -> None:
    settings = read_settings()
    folder = Path(settings["folder"])
    config = transformers.AutoConfig.for_model(settings["model_type"], **settings["config"])
    # Saved and loaded again: on disk the tensors have other names than in memory.
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    weights = folder / "model.safetensors"
    state = {
        key: seeded_tensor(key, value.shape).astype("float32")
        for key, value in load_file(weights).items()
    }
    save_file(state, weights, metadata={"format": "pt"})
    model = transformers.AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.inference_mode():
        if hasattr(config, "image_size"):
            # DINOv2 resizes its positions to smaller images.
            smaller = 2 * config.patch_size if settings["model_type"] == "dinov2" else 0
            side = config.image_size - smaller
            levels = seeded_levels(3, side, side)
            images = torch.from_numpy((levels / 127.5 - 1).transpose(0, 3, 1, 2).copy())
            output = model(pixel_values=images)
            swin = settings["model_type"] == "swin"
            features = output.pooler_output if swin else output.last_hidden_state[:, 0]
        else:
            tokens, mask = (torch.from_numpy(x) for x in seeded_tokens(config.vocab_size))
            output = model(input_ids=tokens, attention_mask=mask)
            pooled = getattr(output, "pooler_output", None)
            features = output.last_hidden_state[:, 0] if pooled is None else pooled
    np.save(folder / "features.npy", features.numpy())
    libraries = f"transformers {transformers.__version__}"
    report(
        libraries=libraries,
        parameters=sum(value.size for value in state.values()),
        shapes={key: list(value.shape) for key, value in state.items()},
    )


if __name__ == "__main__":
    main()
