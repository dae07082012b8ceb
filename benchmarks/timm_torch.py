"""tltool against timm with PyTorch, on images.

    python benchmarks/peers.py                       # once: makes the rival's environment
    python benchmarks/timm_torch.py --data DIR

The rival is timm's `tf_efficientnet_lite0` with the same weights, in the usual
training loop. Before the first round the features of both backbones are compared.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from cases import CASES, Arena, Case
from contest import Contender
from peers import add_python, check_features, check_python
from race import Race, arguments, hold

IMAGE_CASES = [name for name, case in CASES.items() if case.modality == "image"]


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], IMAGE_CASES)
    add_python(parser)
    parser.add_argument("--workers", type=int, default=0, help="of the DataLoader (default 0)")
    options = parser.parse_args()
    rival = partial(contender, check_python(options.python), options.workers)
    race = Race(
        name="timm with PyTorch",
        rival="timm",
        rivals=lambda arena, case: [rival(arena, case)],
        check=lambda arena, case: check_features(arena, case, rival(arena, case)),
    )
    hold(race, options)


def contender(python: Path, workers: int, arena: Arena, case: Case) -> Contender:
    settings = {**arena.settings(case), "workers": workers}
    return Contender("timm", "torch_images", settings, python=python)


if __name__ == "__main__":
    main()
