"""The environment of the PyTorch programs that tltool is measured against.

    python benchmarks/peers.py

Makes `.venv-peers` in the checkout and installs peers.txt into it; tltool
depends on nothing in there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
from cases import Arena, Case
from contest import Contender, run

from tltool.backbones.load import load_backbone

FOLDER = Path(__file__).parents[1] / ".venv-peers"
REQUIREMENTS = Path(__file__).parent / "peers.txt"
# Sums in another order; a wrong padding, epsilon or activation is off by 1e-3 and more.
TOLERANCE = 1e-4


def install() -> None:
    """Makes the environment, or brings it up to date."""
    venv.create(FOLDER, with_pip=True)
    command = [str(FOLDER / "bin/python"), "-m", "pip", "install", "--requirement"]
    subprocess.run([*command, str(REQUIREMENTS)], check=True)


def add_python(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--python",
        type=Path,
        default=FOLDER / "bin/python",
        help="interpreter with the libraries of peers.txt (default: that of .venv-peers)",
    )


def check_python(python: Path) -> Path:
    """The interpreter, or the end of the program where it is not there."""
    if not python.is_file():
        sys.exit(f"error: there is no {python}\nhint: python benchmarks/peers.py makes it")
    return python


def check_features(arena: Arena, case: Case, peer: Contender) -> None:
    """Sees that the peer's backbone computes what tltool's does.

    Raises:
        RuntimeError: Their features differ by more than `TOLERANCE`.
    """
    inputs = _probe(case)
    given, received = arena.path / "probe.npz", arena.path / "features.npy"
    np.savez(given, **inputs)
    run(peer, probe=str(given), features=str(received), seed=0)
    model = load_backbone(case.backbone).model
    ours = model.predict(inputs if case.modality == "text" else inputs["image"], verbose=0)
    difference = float(np.max(np.abs(ours - np.load(received))))
    if not difference <= TOLERANCE:
        raise RuntimeError(f"{peer.title} is not tltool's {case.backbone}: {difference:.1e} off")
    print(f"features differ from tltool's by at most {difference:.1e}", file=sys.stderr)


def _probe(case: Case) -> dict[str, np.ndarray]:
    """A batch of inputs by name: noise, or random tokens of two lengths."""
    generator = np.random.default_rng(0)
    if case.modality == "image":
        return {"image": generator.uniform(-1, 1, (4, 224, 224, 3)).astype("float32")}
    token_ids = generator.integers(1000, 20000, (4, 16)).astype("int32")
    mask = np.ones_like(token_ids)
    mask[2:, 10:] = 0
    return {
        "token_ids": token_ids * mask,
        "padding_mask": mask,
        "segment_ids": np.zeros_like(token_ids),
    }


if __name__ == "__main__":
    install()
