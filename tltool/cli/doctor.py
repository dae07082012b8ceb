"""`tltool doctor`: versions, devices, caches, and what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import typer

from tltool.cli.output import JsonOption, examples, print_json

EXAMPLES = examples("tltool doctor", "tltool doctor --json")

_MIN_FREE_GB = 5


def doctor(as_json: JsonOption = False) -> int:
    """Show versions, devices and caches, and how to get what is missing."""
    facts = _facts()
    problems = facts["problems"]
    if as_json:
        print_json(facts)
        return 1 if problems else 0
    for title in ("versions", "devices", "cache", "pretrained models"):
        typer.echo(title)
        for key, value in facts[title].items():
            typer.echo(f"  {key:20} {value}")
    typer.echo()
    for problem in problems:
        typer.echo(f"problem: {problem}")
    typer.echo("all is well" if not problems else f"{len(problems)} problems")
    return 1 if problems else 0


def _facts() -> dict[str, Any]:
    from tltool.features.store import FeatureStore
    from tltool.runs.folder import environment
    from tltool.support.files import cache_dir, size_text

    found = environment()
    problems: list[str] = []
    versions = {"tltool": found["tltool"], "python": found["python"], **found["packages"]}
    devices = _devices(problems)
    cache = cache_dir()
    parent = next(p for p in (cache, *cache.parents) if p.exists())
    free_gb = shutil.disk_usage(parent).free / 1e9
    if free_gb < _MIN_FREE_GB:
        problems.append(f"only {free_gb:.1f} GB free at {parent}; set TLTOOL_CACHE to another disk")
    return {
        "versions": versions,
        "devices": devices,
        "cache": {
            "folder": str(cache),
            "size": size_text(_size(cache)),
            "frozen features": size_text(sum(e.num_bytes for e in FeatureStore().entries())),
            "free": f"{free_gb:,.0f} GB",
        },
        "pretrained models": _models(),
        "problems": problems,
    }


def _devices(problems: list[str]) -> dict[str, str]:
    from tltool.support.quiet import load_tensorflow

    try:
        load_tensorflow()
        from tltool.training.distribution import describe_devices
    except ImportError as error:
        problems.append(
            f"TensorFlow can't be imported ({error}); reinstall with: pip install tltool"
        )
        return {}
    devices = {kind: ", ".join(names) or "none" for kind, names in describe_devices().items()}
    if devices["GPU"] == "none" and shutil.which("nvidia-smi"):
        problems.append(
            "there is an NVIDIA driver, but TensorFlow sees no GPU; "
            "install its CUDA libraries with: pip install 'tltool[cuda]'"
        )
    return devices


def _models() -> dict[str, str]:
    from tltool.backbones.catalog import list_cards
    from tltool.backbones.sources.fetch import is_cached

    return {
        card.name: "in the cache"
        if is_cached(card)
        else f"fetch with: tltool models pull {card.name}"
        for card in list_cards()
    }


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else 0
