"""`tltool doctor`: versions, devices, caches, and what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from tltool.cli.output import JsonOption, examples, print_json, print_table, tell

EXAMPLES = examples("tltool doctor", "tltool doctor --train", "tltool doctor --train --json")

_MIN_FREE_GB = 5


def doctor(
    train: Annotated[
        bool,
        typer.Option(
            "--train", help="Also train for half a minute on each device, and compare with the CPU."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Show versions, devices and caches, and how to get what is missing."""
    facts = _facts()
    problems = facts["problems"]
    if train and facts["devices"]:
        facts["training"] = _trials(problems)
    if as_json:
        print_json(facts)
        return 1 if problems else 0
    for title in ("versions", "devices", "workers", "cache", "pretrained models"):
        typer.echo(title)
        for key, value in facts[title].items():
            typer.echo(f"  {key:20} {value}")
    _print_trials(facts.get("training", []))
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
    workers = _workers(problems)
    devices = _devices(problems)
    cache = cache_dir()
    parent = next(p for p in (cache, *cache.parents) if p.exists())
    free_gb = shutil.disk_usage(parent).free / 1e9
    if free_gb < _MIN_FREE_GB:
        problems.append(f"only {free_gb:.1f} GB free at {parent}; set TLTOOL_CACHE to another disk")
    return {
        "versions": versions,
        "devices": devices,
        "workers": workers,
        "cache": {
            "folder": str(cache),
            "size": size_text(_size(cache)),
            "frozen features": size_text(sum(e.num_bytes for e in FeatureStore().entries())),
            "free": f"{free_gb:,.0f} GB",
        },
        "pretrained models": _models(),
        "problems": problems,
    }


def _trials(problems: list[str]) -> list[dict[str, Any]]:
    from tltool.training.device_trial import try_devices

    trials = try_devices(tell)
    for trial in trials:
        if trial.agrees:
            continue
        found = trial.failure or (
            f"losses differ by {trial.difference:.3g} from the CPU's, where at most "
            f"{trial.bound:g} is to be expected"
        )
        problems.append(
            f"the {trial.network} network in {trial.precision} on {trial.devices}: {found}; "
            "report it with the output of `tltool doctor --train --json`"
        )
    return [trial.to_json() for trial in trials]


def _print_trials(trials: list[dict[str, Any]]) -> None:
    if not trials:
        return
    typer.echo("training")
    numbers = ("loss at the end", "difference", "at most", "steps/s")
    rows = [
        {
            "network": trial["network"],
            "devices": trial["devices"],
            "precision": trial["precision"],
            "loss at the end": next((f"{loss:.4f}" for loss in trial["losses"][-1:]), None),
            "difference": None if trial["difference"] is None else f"{trial['difference']:.4f}",
            "at most": f"{trial['bound']:g}",
            "steps/s": f"{trial['steps_per_second']:.1f}",
            "": "agrees" if trial["agrees"] else "DIFFERS",
        }
        for trial in trials
    ]
    print_table(rows, right=numbers)


def _devices(problems: list[str]) -> dict[str, str]:
    from tltool.support.errors import DeviceError
    from tltool.support.quiet import load_tensorflow

    try:
        load_tensorflow()
        from tltool.training.distribution import describe_devices
    except ImportError as error:
        problems.append(
            f"TensorFlow can't be imported ({error}); reinstall with: pip install tltool"
        )
        return {}
    try:
        found = describe_devices()
    except DeviceError as error:
        problems.append(f"{error.message} {error.hint}")
        return {}
    devices = {kind: ", ".join(names) or "none" for kind, names in found.items()}
    if devices["GPU"] == "none" and shutil.which("nvidia-smi"):
        problems.append(
            "there is an NVIDIA driver, but TensorFlow sees no GPU; "
            "install its CUDA libraries with: pip install 'tltool[cuda]'"
        )
    return devices


def _workers(problems: list[str]) -> dict[str, str]:
    """This process' place among several that train together."""
    from tltool.support.errors import DeviceError
    from tltool.training.place import find_place

    try:
        place = find_place()
    except DeviceError as error:
        problems.append(f"{error.message} {error.hint}")
        return {"place": "unknown"}
    if place is None:
        return {"place": "alone (neither TF_CONFIG nor Slurm's variables are set)"}
    return {"place": str(place), "all": ", ".join(place.workers)}


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
