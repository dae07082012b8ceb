"""tltool against the same training written by hand in Keras.

    python benchmarks/plain_keras.py --data DIR

The rival is what an expert writes in a notebook: the same backbone and
weights, `trainable = False` on what is frozen, tf.data, `model.fit`. Where
every layer of the text model trains, nothing can be cached; there the same
program is also run on tltool's own batches, which shows what tltool's trainer
costs by itself.
"""

from __future__ import annotations

from functools import partial

from cases import CASES, Arena, Case
from contest import Contender
from race import Race, arguments, hold

SAME_BATCHES = "plain Keras, tltool's batches"


def main() -> None:
    parser = arguments(__doc__.splitlines()[0], list(CASES))
    parser.add_argument("--jit", action="store_true", help="let plain Keras compile with XLA")
    options = parser.parse_args()
    race = Race(
        name="plain Keras",
        rival="Keras",
        rivals=partial(rivals, options.jit),
        extra_references={"text-all": (SAME_BATCHES, "same batches")},
    )
    hold(race, options)


def rivals(jit_compile: bool, arena: Arena, case: Case) -> list[Contender]:
    settings = {**arena.settings(case), "jit_compile": jit_compile}
    if case.modality == "image":
        return [Contender("plain Keras", "keras_images", settings)]
    plain = Contender("plain Keras", "keras_text", settings)
    if case.has_frozen_layers:
        return [plain]
    return [plain, Contender(SAME_BATCHES, "keras_text", {**settings, "batches": "tltool"})]


if __name__ == "__main__":
    main()
