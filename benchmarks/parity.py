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
import sys
import tempfile
from pathlib import Path

import numpy as np
from contest import PROGRAMS, Contender, Result, markdown_table, run, say
from peers import add_python, check_python
from results import write_section

from tltool.backbones.load import load_backbone
from tltool.data.images import normalize
from tltool.files import write_json

sys.path.insert(0, str(PROGRAMS))
from seeded import seeded_levels

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "parity.md"
GOLDEN = ROOT / "tests" / "golden_timm.json"
EXPLANATION = (
    "Seeded random weights, three images; the largest difference between pooled features, as a "
    "share of the largest feature. Rounding: what changes where the input is shaken by 1e-7."
)
# Sums in another order; a wrong padding, epsilon or activation is off by 1e-3 and more.
TOLERANCE = 1e-4
TIMM = {
    "resnet18": 64,
    "resnet34": 64,
    "resnet50": 64,
    "resnet101": 64,
    "resnet152": 64,
    "resnetv2_50": 64,
    "efficientnet_b0": 64,
    "tf_efficientnet_b0": 64,
    "tf_efficientnet_b1": 64,
    "tf_efficientnetv2_b0": 64,
    "tf_efficientnetv2_s": 64,
    "mobilenetv3_small_100": 64,
    "mobilenetv3_large_100": 64,
    "tf_mobilenetv3_small_100": 64,
    "tf_mobilenetv3_large_100": 64,
    "densenet121": 64,
    "vgg16": 64,
    "convnext_tiny": 64,
    "vit_tiny_patch16_224": 224,
    "deit_tiny_patch16_224": 224,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_python(parser)
    parser.add_argument("--only", nargs="+", choices=TIMM, default=list(TIMM), metavar="NAME")
    options = parser.parse_args()
    python = check_python(options.python)
    measured = {}
    for architecture in options.only:
        measured[architecture] = measure(python, architecture, TIMM[architecture])
        say(f"{architecture}: {measured[architecture]['difference']:.1e}")
    table = markdown_table(
        ["Architecture", "Weights", "Largest difference", "Rounding"],
        [
            [
                f"`{name}`",
                f"{found['parameters'] / 1e6:.1f} M",
                f"{found['difference']:.1e}",
                f"{found['rounding']:.1e}",
            ]
            for name, found in measured.items()
        ],
    )
    print(f"\n{table}\n")
    if options.only == list(TIMM):
        libraries = measured["resnet18"]["libraries"]
        text = f"## Folders of timm\n\n{table}\n\nAgainst {libraries}. {EXPLANATION}"
        write_section("timm", text, DOCUMENT)
        write_json(GOLDEN, {name: found["golden"] for name, found in measured.items()})
    wrong = [name for name, found in measured.items() if not is_right(found)]
    if wrong:
        sys.exit(f"error: computed otherwise than by their library: {', '.join(wrong)}")


def is_right(found: Result) -> bool:
    """Whether a difference is no more than what rounding explains."""
    return bool(found["difference"] <= max(TOLERANCE, 3 * found["rounding"]))


def measure(python: Path, architecture: str, size_px: int) -> Result:
    """The largest difference of one architecture, and what its library reported."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"architecture": architecture, "folder": folder, "size_px": size_px}
        result = run(Contender(architecture, "parity_timm", settings, python=python))
        backbone = load_backbone(folder, image_size_px=size_px)
        config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
        theirs = np.load(Path(folder) / "features.npy")
    images = np.asarray(normalize(seeded_levels(3, size_px, size_px), backbone.preprocessing))
    ours = np.asarray(backbone.model(images, training=False))
    noise = np.random.default_rng(0).standard_normal(images.shape).astype("float32")
    shaken = np.asarray(backbone.model(images * (1 + 1e-7 * noise), training=False))
    largest = np.abs(theirs).max()
    chosen = theirs[:, :: theirs.shape[1] // 16]
    return {
        **result,
        "difference": float(np.abs(ours - theirs).max() / largest),
        "rounding": float(np.abs(ours - shaken).max() / largest),
        "golden": {
            "config": config,
            "size_px": size_px,
            "largest": float(largest),
            "features": [[float(f"{value:.7g}") for value in row] for row in chosen],
        },
    }


if __name__ == "__main__":
    main()
