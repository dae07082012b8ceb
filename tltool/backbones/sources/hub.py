"""Models of the Hugging Face hub as checked local folders: `hf://org/model[@revision]`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from tltool.support.errors import BackboneError
from tltool.support.hub import PREFIX, HubRepo, fetch_repo, is_repo_cached, sums_of_repo

__all__ = ["PREFIX", "fetch_hub_model", "is_cached", "model_of", "sums_of_repo"]

# What loading a model may need; never code.
_DATA_FILES = (
    "*.json",
    "*.txt",
    "*.model",
    "assets/*",
    "1_Pooling/config.json",
)
# The first of these that a repository has is taken.
_WEIGHTS = ("model.safetensors", "model.weights.h5", "pytorch_model.bin")
_SHARDED = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


def model_of(name: str) -> HubRepo:
    """`hf://org/model` or `hf://org/model@revision`; the revision is `main` by default.

    Raises:
        BackboneError: It is not written like this.
    """
    match = re.fullmatch(r"hf://([\w.-]+/[\w.-]+)(?:@([\w./-]+))?", name)
    if match is None or ".." in name:
        raise BackboneError(
            f"{name!r} names no model of the Hugging Face hub.",
            hint="write hf://org/model or hf://org/model@revision",
        )
    return HubRepo(match[1], match[2] or "main")


def fetch_hub_model(name: str, *, refresh: bool = False) -> Path:
    """The local folder of a model of the hub; see `fetch_repo`.

    Args:
        name: `hf://org/model[@revision]`.
        refresh: Ask the hub which commit the revision is now.

    Raises:
        BackboneError: As `fetch_repo`.
    """
    wanted = partial(_wanted, name=name)
    return fetch_repo(model_of(name), name, wanted, BackboneError, refresh=refresh)


def is_cached(name: str) -> bool:
    """Whether a model of the hub has been downloaded in full."""
    return is_repo_cached(model_of(name))


def _wanted(paths: Sequence[str], name: str) -> list[str]:
    """The files that loading may need: configuration, vocabulary and one file of weights."""
    if sharded := [path for path in _SHARDED if path in paths]:
        raise BackboneError(
            f"{name} has its weights in several files ({sharded[0]}), which tltool does not read.",
            hint="models that large are not for fine-tuning here; take a smaller one",
        )
    weights = next((path for path in _WEIGHTS if path in paths), None)
    if weights is None:
        raise BackboneError(f"{name} has none of {', '.join(_WEIGHTS)}.")
    data = [path for path in paths if any(_matches(path, pattern) for pattern in _DATA_FILES)]
    return [*data, weights]


def _matches(path: str, pattern: str) -> bool:
    """Whether a file is meant; a pattern without folder means the top one."""
    return fnmatchcase(path, pattern) and ("/" in pattern or "/" not in path)
