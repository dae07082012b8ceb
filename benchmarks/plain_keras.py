"""tltool against the same training written by hand in Keras.

    python benchmarks/plain_keras.py --data DIR

The rival is what an expert writes in a notebook: the same backbone and
weights, `trainable = False` on what is frozen, tf.data, `model.fit`. Where
every layer of the text model trains, nothing can be cached; there the same
program is also run on tltool's own batches, which shows what tltool's trainer
costs by itself.
"""

from __future__ import annotations

from cases import CASES, Arena, Case
from contest import Contender
from race import Race, arguments, hold, tltool_versions

SAME_BATCHES = "plain Keras, tltool's batches"


def main() -> None:
    race = Race(
        name="plain keras",
        rival="Keras",
        rivals=rivals,
        versions=tltool_versions,
        extra_references={"text-all": (SAME_BATCHES, "same batches")},
    )
    hold(race, arguments(__doc__.splitlines()[0], list(CASES)).parse_args())


def rivals(arena: Arena, case: Case) -> list[Contender]:
    settings = arena.settings(case)
    if case.modality == "image":
        return [Contender("plain Keras", "keras_images", settings)]
    plain = Contender("plain Keras", "keras_text", settings)
    if case.has_frozen_layers:
        return [plain]
    return [plain, Contender(SAME_BATCHES, "keras_text", {**settings, "batches": "tltool"})]


if __name__ == "__main__":
    main()
