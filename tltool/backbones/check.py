"""Checks that backbones compute what their own library computes.

A family is checked with random weights, drawn from the names of its tensors, in
a folder as its library writes it: the features must be those that the library
itself gave (`golden/*.json`, written by benchmarks/parity.py). A card's model is
checked with its own weights against features that were noted when the card was
verified.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from itertools import islice, product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np

from tltool.backbones.base import Backbone
from tltool.backbones.catalog import get_card
from tltool.backbones.load import load_backbone
from tltool.backbones.seeded import seeded_levels, seeded_tensor, seeded_tokens
from tltool.backbones.sources.torchvision import PREFIX as TORCHVISION
from tltool.data.preprocessing import ImagePreprocessing, UnigramPreprocessing
from tltool.data.texts.tokenizers.merges import byte_characters
from tltool.data.texts.tokenizers.unigram_json import unigram_json
from tltool.support.errors import BackboneError
from tltool.support.files import scratch_folder

TOLERANCE = 1e-5
"""Of a difference, as a share of the largest feature: sums in another order give 1e-6, a wrong
padding, epsilon or activation 1e-3 and more."""

LIBRARIES = ("timm", "transformers", "torchvision")

_GOLDEN = Path(__file__).parent / "golden"
_SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_BYTE_PAIR_SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>")
# Start, padding, end and unknown, in the order of their ids.
_UNIGRAM_SPECIAL_TOKENS = {
    "albert": {"padding": "<pad>", "unknown": "<unk>", "start": "[CLS]", "end": "[SEP]"},
    "xlm-roberta": {"start": "<s>", "padding": "<pad>", "end": "</s>", "unknown": "<unk>"},
}


@dataclass(frozen=True)
class CheckResult:
    """What the check of one backbone found.

    Attributes:
        name: Of a card, or of a family's example in its library.
        library: Whose features it was compared with; "itself" for a card.
        difference: The largest, as a share of the largest feature; None where
            there is nothing to compare with.
        error: Why it could not be loaded, or None.
    """

    name: str
    library: str
    difference: float | None = None
    error: str | None = None

    @property
    def passed(self) -> bool:
        """Whether it was loaded, and is within `TOLERANCE` where that is known."""
        return self.error is None and (self.difference is None or self.difference <= TOLERANCE)


def golden_families() -> dict[str, str]:
    """The families that can be checked without any download, and their library."""
    return {name: library for library in LIBRARIES for name in _golden(library)}


def check_family(name: str) -> CheckResult:
    """Checks the family of `golden_families` that has this example."""
    library = golden_families()[name]
    case = _golden(library)[name]
    try:
        with scratch_folder("check") as folder:
            write_seeded_folder(folder, case)
            backbone = load_seeded(name, folder, case.get("load_size_px"))
        features = seeded_features(backbone)
    except BackboneError as error:
        return CheckResult(name, library, error=error.message)
    return CheckResult(name, library, _difference(features, case))


def check_card(name: str) -> CheckResult:
    """Loads a card's model, fetching it where it is not cached, and runs it.

    Without noted features it is only seen to give finite ones that tell inputs apart.
    """
    card = get_card(name)
    try:
        features = seeded_features(load_backbone(card.name))
    except BackboneError as error:
        return CheckResult(card.name, "itself", error=error.message)
    case = _golden("cards").get(card.name) if card.noted is None else card.noted.model_dump()
    if case is not None:
        return CheckResult(card.name, "itself", _difference(features, case))
    spread = np.abs(features[0] - features[1]).max()
    if not (np.isfinite(features).all() and spread > 0):
        return CheckResult(card.name, "itself", error="its features say nothing of the input")
    return CheckResult(card.name, "itself")


def load_seeded(name: str, folder: Path, size_px: int | None) -> Backbone:
    """The backbone of a folder that `write_seeded_folder` or its library wrote.

    torchvision writes no folders; of it the weights alone are read.
    """
    if name.startswith(TORCHVISION):
        file = folder / "model.safetensors"
        return load_backbone(name, weights_file=file, image_size_px=size_px)
    return load_backbone(str(folder), image_size_px=size_px)


def seeded_features(backbone: Backbone) -> Any:
    """Pooled features (3, channels) of three images or texts that any library can make."""
    contract = backbone.preprocessing
    inputs: Any
    if isinstance(contract, ImagePreprocessing):
        from tltool.data.images.preprocessor import normalize

        inputs = normalize(seeded_levels(3, *contract.size_px), contract)
    else:
        tokens, mask = seeded_tokens(len(contract.vocabulary))
        known = {"token_ids": tokens, "padding_mask": mask, "segment_ids": 0 * tokens}
        inputs = {key: known[key].astype("int32") for key in contract.inputs}
    return np.asarray(backbone.model(inputs, training=False))


def chosen_features(features: Any) -> Any:
    """The few of them that are kept: every so many-th channel."""
    return features[:, :: features.shape[1] // 16]


def write_seeded_folder(folder: Path, case: dict[str, Any]) -> None:
    """A model folder as the library writes it: configuration, seeded weights, vocabulary."""
    from safetensors.numpy import save_file

    tensors = {
        key: seeded_tensor(key, tuple(shape)).astype("float32")
        for key, shape in case["shapes"].items()
    }
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(case["config"]), encoding="utf-8")
    write_preprocessing(folder, case["config"])


def write_preprocessing(folder: Path, config: dict[str, Any]) -> None:
    """What a folder of transformers also needs: a tokenizer, or how images are scaled."""
    if config.get("model_type") == "roberta":
        _write_byte_pairs(folder, config["vocab_size"])
    elif config.get("model_type") in _UNIGRAM_SPECIAL_TOKENS:
        special = _UNIGRAM_SPECIAL_TOKENS[config["model_type"]]
        _write_unigram(folder, special, config["vocab_size"])
    elif "vocab_size" in config:
        words = [f"word{number}" for number in range(config["vocab_size"] - len(_SPECIAL_TOKENS))]
        vocabulary = "\n".join([*_SPECIAL_TOKENS, *words]) + "\n"
        (folder / "vocab.txt").write_text(vocabulary, encoding="utf-8")
        tokenizer = {"do_lower_case": True, "tokenizer_class": "BertTokenizer"}
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    elif "model_type" in config:
        processor: dict[str, Any] = {"size": config["image_size"], "resample": 2}
        if config["model_type"] == "dinov2":
            # Smaller than it was trained at, as all of them are used: the positions are resized.
            side = config["image_size"] - 2 * config["patch_size"]
            processor |= {"size": {"shortest_edge": side}, "do_center_crop": True}
            processor |= {"crop_size": {"height": side, "width": side}}
        (folder / "preprocessor_config.json").write_text(json.dumps(processor), encoding="utf-8")


def _write_byte_pairs(folder: Path, size: int) -> None:
    """A byte-pair vocabulary of so many tokens: all bytes, and pairs of letters."""
    tokens = [*_BYTE_PAIR_SPECIAL_TOKENS, *byte_characters()]
    pairs = islice(product(ascii_lowercase, repeat=2), size - len(tokens) - 1)
    merges = [" ".join(pair) for pair in pairs]
    tokens += [*(merge.replace(" ", "") for merge in merges), "<mask>"]
    ids = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(ids), encoding="utf-8")
    lines = "\n".join(["#version: 0.2", *merges, ""])
    (folder / "merges.txt").write_text(lines, encoding="utf-8")


def _write_unigram(folder: Path, special: dict[str, str], size: int) -> None:
    """A Unigram tokenizer of so many tokens."""
    words = [f"▁word{number}" for number in range(size - len(special))]
    contract = UnigramPreprocessing(
        vocabulary=(*special.values(), *words),
        scores=(*[0.0] * len(special), *[-1.0] * len(words)),
        **{f"{role}_token": token for role, token in special.items()},
    )
    content = json.dumps(unigram_json(contract))
    (folder / "tokenizer.json").write_text(content, encoding="utf-8")


@cache
def _golden(library: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_GOLDEN / f"{library}.json").read_text(encoding="utf-8"))
    return found


def _difference(features: Any, case: dict[str, Any]) -> float:
    expected = np.array(case["features"])
    found = chosen_features(features)
    if found.shape != expected.shape:
        return float("inf")
    return float(np.abs(found - expected).max() / case["largest"])
