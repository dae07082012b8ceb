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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from contest import PROGRAMS, Contender, Result, markdown_table, run, say
from peers import add_python, check_python
from results import write_section

from tltool.backbones.base import Backbone
from tltool.backbones.load import load_backbone
from tltool.data.images import normalize
from tltool.files import write_json
from tltool.preprocessing import ImagePreprocessing

sys.path.insert(0, str(PROGRAMS))
from seeded import seeded_levels, seeded_tokens

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "parity.md"
EXPLANATION = (
    "Seeded random weights, three images or texts; the largest difference between pooled "
    "features, as a share of the largest feature. Rounding: what changes where the input is "
    "shaken by 1e-7."
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
) | dict.fromkeys(["vit_tiny_patch16_224", "deit_tiny_patch16_224"], 224)
"""Architectures of timm, and the size of the images."""

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
    "vit": {**_SMALL, "image_size": 64, "patch_size": 16},
}
"""Model types of the transformers library, and a small configuration of each."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_python(parser)
    names = [*TIMM, *TRANSFORMERS]
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="NAME")
    options = parser.parse_args()
    python = check_python(options.python)
    measured = {}
    for name in options.only:
        measured[name] = measure(python, name)
        say(f"{name}: {measured[name]['difference']:.1e}")
    for title, group in (("timm", TIMM), ("transformers", TRANSFORMERS)):
        found = {name: measured[name] for name in group if name in measured}
        if found:
            print(f"\n{table(found)}\n")
        if len(found) == len(group):
            keep(title, found)
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
    """Writes the table for readers, and the other library's features for the tests."""
    libraries = next(iter(measured.values()))["libraries"]
    text = f"## Folders of {title}\n\n{table(measured)}\n\nAgainst {libraries}. {EXPLANATION}"
    write_section(title, text, DOCUMENT)
    golden = {name: found["golden"] for name, found in measured.items()}
    write_json(ROOT / "tests" / f"golden_{title}.json", golden)


def is_right(found: Result) -> bool:
    """Whether a difference is no more than what rounding explains."""
    return bool(found["difference"] <= max(TOLERANCE, 3 * found["rounding"]))


def measure(python: Path, name: str) -> Result:
    """The largest difference of one model, and what its library reported."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        size_px = TIMM.get(name)
        if size_px is None:
            settings = {"model_type": name, "config": TRANSFORMERS[name], "folder": place}
            result = run(Contender(name, "parity_transformers", settings, python=python))
            write_preprocessing(folder, TRANSFORMERS[name].get("vocab_size"))
            size_px = TRANSFORMERS[name].get("image_size", 0)
        else:
            settings = {"architecture": name, "folder": place, "size_px": size_px}
            result = run(Contender(name, "parity_timm", settings, python=python))
        backbone = load_backbone(place, image_size_px=size_px or None)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        theirs = np.load(folder / "features.npy")
    inputs = inputs_of(backbone, size_px)
    ours = np.asarray(backbone.model(inputs, training=False))
    largest = np.abs(theirs).max()
    return {
        **result,
        "difference": float(np.abs(ours - theirs).max() / largest),
        "rounding": float(np.abs(ours - shaken(backbone)(inputs)).max() / largest),
        "golden": {
            "config": config,
            "size_px": size_px,
            "largest": float(largest),
            "features": [
                [float(f"{value:.7g}") for value in row]
                for row in theirs[:, :: theirs.shape[1] // 16]
            ],
        },
    }


def write_preprocessing(folder: Path, vocabulary: int | None) -> None:
    """What a folder must also have to be loaded: a vocabulary, or how images are scaled."""
    if vocabulary is None:
        write_json(folder / "preprocessor_config.json", {"size": 64, "resample": 2})
        return
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = special + [f"word{number}" for number in range(vocabulary - len(special))]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    write_json(folder / "tokenizer_config.json", {"do_lower_case": True})


def inputs_of(backbone: Backbone, size_px: int) -> Any:
    """The same images or token ids as the other library gets."""
    contract = backbone.preprocessing
    if isinstance(contract, ImagePreprocessing):
        return np.asarray(normalize(seeded_levels(3, size_px, size_px), contract))
    tokens, mask = (x.astype("int32") for x in seeded_tokens(len(contract.vocabulary)))
    known = {"token_ids": tokens, "padding_mask": mask, "segment_ids": 0 * tokens}
    return {name: known[name] for name in contract.inputs}


def shaken(backbone: Backbone) -> Callable[[Any], np.ndarray]:
    """The model with what it reads, or its first weights, changed by one part in 10^7."""
    rng = np.random.default_rng(0)

    def run_shaken(inputs: Any) -> np.ndarray:
        if not isinstance(inputs, dict):
            noise = rng.standard_normal(inputs.shape).astype("float32")
            return np.asarray(backbone.model(inputs * (1 + 1e-7 * noise), training=False))
        table = backbone.model.get_layer("token_embedding").embeddings
        noise = rng.standard_normal(table.shape).astype("float32")
        table.assign(table * (1 + 1e-7 * noise))
        return np.asarray(backbone.model(inputs, training=False))

    return run_shaken


if __name__ == "__main__":
    main()
