"""MediaPipe Tasks on an exported file, as a program: TensorFlow is not in its process.

    python mediapipe_tasks.py image|text MODEL.tflite INPUTS.npz

`INPUTS.npz` holds `inputs`: uint8 images (n, height, width, 3), or texts. Prints
JSON: `scores` (n, classes) in label order and `names` of the best classes, or
`error`, what MediaPipe says where it does not load the file.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np

# MediaPipe imports it where it is there, for its documentation: seconds for nothing.
sys.modules["tensorflow"] = None

import mediapipe  # noqa: E402
from mediapipe.tasks.python import BaseOptions, text, vision  # noqa: E402


def classifier(kind: str, model: str):
    options = BaseOptions(model_asset_path=model)
    if kind == "text":
        made = text.TextClassifier.create_from_options(
            text.TextClassifierOptions(base_options=options)
        )
        return made, str
    made = vision.ImageClassifier.create_from_options(
        vision.ImageClassifierOptions(base_options=options)
    )
    return made, lambda pixels: mediapipe.Image(mediapipe.ImageFormat.SRGB, pixels)


def answers(kind: str, model: str, inputs) -> dict:
    try:
        made, wrap = classifier(kind, model)
    except Exception as error:
        return {"error": str(error)}
    found = [made.classify(wrap(value)).classifications[0].categories for value in inputs]
    made.close()
    scores = [[c.score for c in sorted(row, key=lambda c: c.index)] for row in found]
    return {"scores": scores, "names": [row[0].category_name for row in found]}


if __name__ == "__main__":
    kind, model, inputs = sys.argv[1:]
    with np.load(inputs) as stored:
        print(json.dumps(answers(kind, model, stored["inputs"])), flush=True)
    # A classifier that could not be made keeps the interpreter from ending.
    os._exit(0)
