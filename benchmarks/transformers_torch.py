"""tltool against the Trainer of Hugging Face's transformers with PyTorch, on texts.

    python benchmarks/peers.py                       # once: makes the rival's environment
    python benchmarks/transformers_torch.py --data DIR

The rival pads each batch to its longest text, groups texts of like length, and
has `requires_grad = False` on what is frozen. Before the first round the
features of both backbones are compared.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from cases import CASES, Arena, Case
from contest import Contender
from peers import add_python, check_features, check_python
from race import Race, arguments, hold

TEXT_CASES = [name for name, case in CASES.items() if case.modality == "text"]


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], TEXT_CASES)
    add_python(parser)
    options = parser.parse_args()
    rival = partial(contender, check_python(options.python))
    race = Race(
        name="transformers with PyTorch",
        rival="transformers",
        rivals=lambda arena, case: [rival(arena, case)],
        check=lambda arena, case: check_features(arena, case, rival(arena, case)),
    )
    hold(race, options)


def contender(python: Path, arena: Arena, case: Case) -> Contender:
    return Contender("transformers Trainer", "torch_text", arena.settings(case), python=python)


if __name__ == "__main__":
    main()
