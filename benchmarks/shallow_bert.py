"""A second real text encoder without a network: the first blocks of all-MiniLM-L6-v2."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from safetensors.numpy import load_file, save_file

from tltool.backbones.catalog import get_card
from tltool.backbones.sources.fetch import fetch_card


def write_first_blocks(target: Path, blocks: int) -> Path:
    """Writes a folder in the transformers library's format with only the first blocks.

    Args:
        target: The new folder; a recipe can name it as its backbone.
        blocks: How many of the six transformer blocks it keeps.
    """
    source = fetch_card(get_card("all-minilm-l6-v2"))
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*"))
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["num_hidden_layers"] = blocks
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = load_file(source / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if _block(name) < blocks}
    save_file(kept, target / "model.safetensors")
    return target


def _block(tensor: str) -> int:
    """The block a tensor belongs to; 0 for embeddings and pooler, which always stay."""
    found = re.search(r"encoder\.layer\.(\d+)\.", tensor)
    return int(found[1]) if found else 0
