"""How far a backbone's features are from those of the library that its weights come from.

    python benchmarks/peers.py           # once: the other libraries, in an environment of their own
    python benchmarks/parity.py

Both sides get equal weights, drawn from the names of the tensors, and equal
images. Prints a table, puts it into docs/parity.md, keeps some of the other
library's features for the tests, and fails where a difference is more than
rounding.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from contest import Contender, Result, markdown_table, run, say
from peers import add_python, check_python
from results import write_section

from tltool.backbones.base import Backbone
from tltool.backbones.catalog import list_cards
from tltool.backbones.check import (
    chosen_features,
    load_seeded,
    seeded_features,
    write_preprocessing,
)
from tltool.backbones.load import load_backbone
from tltool.backbones.sources.torchvision import ENDPOINT, PREFIX, PUBLISHED, TorchvisionWeights
from tltool.data.preprocessing import ImagePreprocessing
from tltool.support.files import write_text

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "parity.md"
GOLDEN = ROOT / "tltool" / "backbones" / "golden"
EXPLANATION = (
    "Seeded random weights, three images or texts; the largest difference between pooled "
    "features, as a share of the largest feature. Rounding: what changes where the first weights "
    "change by one part in 10^7."
)
# Sums in another order; a wrong padding, epsilon or activation is off by 1e-3 and more.
TOLERANCE = 1e-4
TIMM = dict.fromkeys(
    [
        "resnet18",
        "resnet34",
        "resnet50",
        "resnet101",
        "resnet152",
        "resnetv2_50",
        "efficientnet_b0",
        "tf_efficientnet_b0",
        "tf_efficientnet_b1",
        "tf_efficientnetv2_b0",
        "tf_efficientnetv2_s",
        "mobilenetv3_small_100",
        "mobilenetv3_large_100",
        "tf_mobilenetv3_small_100",
        "tf_mobilenetv3_large_100",
        "densenet121",
        "vgg16",
        "convnext_tiny",
    ],
    64,
) | {
    "vit_tiny_patch16_224": 224,
    "deit_tiny_patch16_224": 224,
    "vit_small_patch14_dinov2": 518,
    "swin_tiny_patch4_window7_224": 224,
}
"""Architectures of timm, and the size of the images."""

TORCHVISION = {
    f"{PREFIX}{name}": 224 if name.startswith(("vit", "swin")) else 64 for name in PUBLISHED
}
"""Architectures of torchvision, all that are supported, and the size of the images."""

_SMALL = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
}
_TEXT = {**_SMALL, "vocab_size": 60, "max_position_embeddings": 20}
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "bert": _TEXT,
    "distilbert": {
        "dim": 48,
        "n_layers": 3,
        "n_heads": 4,
        "hidden_dim": 96,
        "vocab_size": 60,
        "max_position_embeddings": 20,
    },
    "electra": {**_TEXT, "embedding_size": 32},
    "deberta-v2": {
        **_TEXT,
        "type_vocab_size": 0,
        "relative_attention": True,
        # So few that the texts reach those that are shared by several positions.
        "position_buckets": 6,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": "p2c|c2p",
        "position_biased_input": False,
    },
    "albert": {**_TEXT, "embedding_size": 32},
    # All bytes are tokens.
    "roberta": {**_TEXT, "vocab_size": 300, "layer_norm_eps": 1e-5, "type_vocab_size": 1},
    "xlm-roberta": {**_TEXT, "layer_norm_eps": 1e-5, "type_vocab_size": 1},
    "vit": {**_SMALL, "image_size": 64, "patch_size": 16},
    "dinov2": {
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": 98,
        "patch_size": 14,
    },
    "swin": {
        "embed_dim": 24,
        "depths": [2, 2, 4],
        "num_heads": [2, 3, 4],
        "image_size": 64,
        "window_size": 4,
    },
}
"""Model types of the transformers library, and a small configuration of each."""

KEPT = (
    "resnet18",
    "efficientnet_b0",
    "tf_efficientnet_b0",
    "tf_efficientnetv2_b0",
    "mobilenetv3_small_100",
    "tf_mobilenetv3_small_100",
    "densenet121",
    "vgg16",
    "convnext_tiny",
    "vit_tiny_patch16_224",
    *TRANSFORMERS,
    "torchvision:resnet18",
    "torchvision:resnet50",
    "torchvision:densenet121",
    "torchvision:vgg11_bn",
    "torchvision:mobilenet_v2",
    "torchvision:mobilenet_v3_small",
    "torchvision:efficientnet_b0",
    "torchvision:convnext_tiny",
    "torchvision:vit_b_32",
    "torchvision:swin_t",
)
"""One of each family, whose features are kept for `tltool models check`."""

GROUPS: dict[str, dict[str, Any]] = {
    "timm": TIMM,
    "transformers": TRANSFORMERS,
    "torchvision": TORCHVISION,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_python(parser)
    names = [name for group in GROUPS.values() for name in group]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    options = parser.parse_args()
    python = check_python(options.python)
    measured = {}
    for name in options.only:
        measured[name] = measure(python, name)
        say(f"{name}: {measured[name]['difference']:.1e}")
    for title, group in GROUPS.items():
        found = {name: measured[name] for name in group if name in measured}
        if found:
            print(f"\n{table(found)}\n")
        if len(found) == len(group):
            keep(title, found)
    if options.only == names:
        keep_cards()
    wrong = [name for name, found in measured.items() if not is_right(found)]
    if wrong:
        sys.exit(f"error: computed otherwise than by their library: {', '.join(wrong)}")


def table(measured: dict[str, Result]) -> str:
    """A row for each model."""
    rows = [
        [
            f"`{name}`",
            f"{found['parameters'] / 1e6:.3g} M",
            f"{found['difference']:.1e}",
            f"{found['rounding']:.1e}",
        ]
        for name, found in measured.items()
    ]
    return markdown_table(["Model", "Weights", "Largest difference", "Rounding"], rows)


def keep(title: str, measured: dict[str, Result]) -> None:
    """Writes the table for readers, and the other library's features for checks without it."""
    libraries = next(iter(measured.values()))["libraries"]
    what = "State dicts" if title == "torchvision" else "Folders"
    text = f"## {what} of {title}\n\n{table(measured)}\n\nAgainst {libraries}. {EXPLANATION}"
    write_section(title, text, DOCUMENT)
    golden = {name: measured[name]["golden"] for name in measured if name in KEPT}
    write_text(GOLDEN / f"{title}.json", one_line_each(golden))


def keep_cards() -> None:
    """Notes the features of the cards whose weights need no hub, for later checks."""
    golden = {}
    for card in list_cards():
        if card.works_offline:
            features = seeded_features(load_backbone(card.name))
            golden[card.name] = noted(features)
    write_text(GOLDEN / "cards.json", one_line_each(golden))


def one_line_each(golden: dict[str, Any]) -> str:
    """JSON with a line for each model, so that a change shows as one."""
    lines = [f"{json.dumps(name)}: {json.dumps(case)}" for name, case in golden.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def noted(features: np.ndarray) -> dict[str, Any]:
    """A few of the features, and the largest of all."""
    rows = chosen_features(features)
    return {
        "largest": float(np.abs(features).max()),
        "features": [[float(f"{value:.7g}") for value in row] for row in rows],
    }


def is_right(found: Result) -> bool:
    """Whether a difference is no more than what rounding explains."""
    return bool(found["difference"] <= max(TOLERANCE, 3 * found["rounding"]))


def measure(python: Path, name: str) -> Result:
    """The largest difference of one model, and what its library reported."""
    size_px = {**TIMM, **TORCHVISION}.get(name)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        result = run(contender(python, name, place))
        if name in TRANSFORMERS:
            write_preprocessing(folder, {"model_type": name, **TRANSFORMERS[name]})
        backbone = load_seeded(name, folder, size_px)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        theirs = np.load(folder / "features.npy")
    if name in TORCHVISION:
        check_published(name, result.pop("published"))
    ours = seeded_features(backbone)
    # A classifier of hundreds of megabytes is not needed to make the features.
    shapes = {key: shape for key, shape in result.pop("shapes").items() if math.prod(shape) < 2e7}
    largest = np.abs(theirs).max()
    return {
        **result,
        "difference": float(np.abs(ours - theirs).max() / largest),
        "rounding": float(np.abs(ours - shaken(backbone)).max() / largest),
        "golden": {
            "config": config,
            "load_size_px": size_px,
            "shapes": shapes,
            **noted(theirs),
        },
    }


def contender(python: Path, name: str, folder: str) -> Contender:
    """The library's program that writes a model into a folder, and its features."""
    if name in TRANSFORMERS:
        settings = {"model_type": name, "config": TRANSFORMERS[name], "folder": folder}
        return Contender(name, "parity_transformers", settings, python=python)
    settings = {"architecture": name.removeprefix(PREFIX), "folder": folder}
    settings["size_px"] = {**TIMM, **TORCHVISION}[name]
    program = "parity_torchvision" if name in TORCHVISION else "parity_timm"
    return Contender(name, program, settings, python=python)


def check_published(name: str, published: dict[str, Any]) -> None:
    """Sees that tltool knows the files of an architecture, and how images are prepared for them.

    Raises:
        RuntimeError: It has other files, or prepares images otherwise.
    """
    own = TorchvisionWeights.parse(name)
    if own.weights != published["default"]:
        raise RuntimeError(f"{name}: torchvision's default is {published['default']}")
    for weights in PUBLISHED[own.architecture]:
        known = TorchvisionWeights(own.architecture, weights)
        theirs = dict(published["weights"][weights])
        if theirs.pop("url") != f"{ENDPOINT}/{known.path.name}":
            raise RuntimeError(f"{known.name}: torchvision has another file")
        contract = known.preprocessing
        expected = ImagePreprocessing(
            size_px=tuple(theirs["crop_size"] * 2),
            resize_px=theirs["resize_size"][0],
            interpolation=theirs["interpolation"],
            antialias=theirs["antialias"],
            mean=tuple(255.0 * value for value in theirs["mean"]),
            std=tuple(255.0 * value for value in theirs["std"]),
        )
        if contract != expected:
            raise RuntimeError(f"{known.name}: torchvision prepares images by {expected}")


def shaken(backbone: Backbone) -> np.ndarray:
    """The features where the first weights are changed by one part in 10^7."""
    first = next(v for v in backbone.model.trainable_variables if len(v.shape) > 1)
    noise = np.random.default_rng(0).standard_normal(first.shape).astype("float32")
    first.assign(first * (1 + 1e-7 * noise))
    return np.asarray(seeded_features(backbone))


if __name__ == "__main__":
    main()
