"""MediaPipe Tasks on an exported file, as a program: TensorFlow is not in its process.

    python mediapipe_tasks.py KIND MODEL.tflite INPUTS.npz [SCORE_THRESHOLD]

`KIND` is image, text, masks, image_vector or text_vector. `INPUTS.npz` holds `inputs`:
uint8 images (n, height, width, 3), or texts. Prints JSON: `scores` (n, classes) in
label order and `names` of the best classes, `vectors` (n, width) of embedders, or
`error`, what MediaPipe says where it does not load the file. With a threshold
`given` instead: of each input the names that reach it, with their scores. Of
masks `scores` (n, height, width, classes), `names` of all classes, and `masks`.
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


def classifier(kind: str, model: str, **settings):
    options = BaseOptions(model_asset_path=model)
    if kind == "text":
        made = text.TextClassifier.create_from_options(
            text.TextClassifierOptions(base_options=options, **settings)
        )
        return made, str
    made = vision.ImageClassifier.create_from_options(
        vision.ImageClassifierOptions(base_options=options, **settings)
    )
    return made, lambda pixels: mediapipe.Image(mediapipe.ImageFormat.SRGB, pixels)


def segmented(model: str, inputs) -> dict:
    options = vision.ImageSegmenterOptions(
        BaseOptions(model_asset_path=model), output_category_mask=True
    )
    try:
        made = vision.ImageSegmenter.create_from_options(options)
    except Exception as error:
        return {"error": str(error)}
    found = [made.segment(mediapipe.Image(mediapipe.ImageFormat.SRGB, one)) for one in inputs]
    scores = [
        np.concatenate([np.atleast_3d(m.numpy_view()) for m in row.confidence_masks], -1).tolist()
        for row in found
    ]
    masks = [np.squeeze(row.category_mask.numpy_view()).tolist() for row in found]
    return {"scores": scores, "masks": masks, "names": list(made.labels)}


def vectors(kind: str, model: str, inputs) -> dict:
    options = BaseOptions(model_asset_path=model)
    try:
        if kind == "text":
            made = text.TextEmbedder.create_from_options(text.TextEmbedderOptions(options))
            found = [made.embed(str(value)) for value in inputs]
        else:
            made = vision.ImageEmbedder.create_from_options(vision.ImageEmbedderOptions(options))
            images = [mediapipe.Image(mediapipe.ImageFormat.SRGB, pixels) for pixels in inputs]
            found = [made.embed(image) for image in images]
    except Exception as error:
        return {"error": str(error)}
    made.close()
    return {"vectors": [one.embeddings[0].embedding.tolist() for one in found]}


def answers(kind: str, model: str, inputs, **settings) -> dict:
    try:
        made, wrap = classifier(kind, model, **settings)
    except Exception as error:
        return {"error": str(error)}
    found = [made.classify(wrap(value)).classifications[0].categories for value in inputs]
    made.close()
    if settings:
        return {"given": [{c.category_name: c.score for c in row} for row in found]}
    scores = [[c.score for c in sorted(row, key=lambda c: c.index)] for row in found]
    return {"scores": scores, "names": [row[0].category_name for row in found]}


if __name__ == "__main__":
    kind, model, inputs, *threshold = sys.argv[1:]
    settings = {"score_threshold": float(threshold[0])} if threshold else {}
    with np.load(inputs) as stored:
        kind, _, vector = kind.partition("_")
        inputs = stored["inputs"]
        if kind == "masks":
            said = segmented(model, inputs)
        elif vector:
            said = vectors(kind, model, inputs)
        else:
            said = answers(kind, model, inputs, **settings)
        print(json.dumps(said), flush=True)
    # A classifier that could not be made keeps the interpreter from ending.
    os._exit(0)
