"""Exported models in whatever runtime is installed here, beside NumPy and Pillow.

    python golden_program.py FOLDER...

Prints a line of JSON for each export folder: `difference`, the largest from its golden examples
(of numbers in standard deviations), or `error`, what the runtime says.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
from PIL import Image


def main() -> None:
    for folder in map(Path, sys.argv[1:]):
        try:
            said = {"difference": difference(folder)}
        except Exception as error:
            said = {"error": str(error).strip().splitlines()[0]}
        print(json.dumps(said), flush=True)


def difference(folder: Path) -> float:
    contract, golden = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("contract", "golden")
    )
    examples = golden["examples"]
    (key,) = {"probabilities", "prediction"} & set(examples[0])
    expected = np.array([example[key] for example in examples])
    run = {"litert": litert, "saved_model": saved_model, "onnx": onnx}[contract["format"]]
    found = np.reshape(run(folder, contract, examples), expected.shape)
    task = contract["task"]
    if contract["signatures"][0]["outputs"][0]["name"] == "standardised":
        found = found * np.array(task["std"]) + np.array(task["mean"])
    return float(np.abs((found - expected) / np.array(task.get("std", 1))).max())


def litert(folder, contract, examples):
    interpreter = interpreter_class()(str(folder / contract["file"]))
    interpreter.allocate_tensors()
    serve = contract["signatures"][0]
    run = interpreter.get_signature_runner(serve["name"])
    output = serve["outputs"][0]["name"]
    return [run(**prepared(folder, contract, example))[output] for example in examples]


def interpreter_class():
    if find_spec("tflite_runtime"):
        from tflite_runtime.interpreter import Interpreter
    elif find_spec("ai_edge_litert"):
        from ai_edge_litert.interpreter import Interpreter
    else:
        from tensorflow.lite.python.interpreter import Interpreter
    return Interpreter


def onnx(folder, contract, examples):
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(folder / contract["file"]), providers=["CPUExecutionProvider"]
    )
    return [session.run(None, prepared(folder, contract, example))[0] for example in examples]


def saved_model(folder, contract, examples):
    import tensorflow as tf

    model = tf.saved_model.load(str(folder / contract["file"]))
    raw = [
        (folder / example["input"]).read_bytes() if "resized" in example else example["input"]
        for example in examples
    ]
    serve = contract["signatures"][0]
    names = [tensor["name"] for tensor in serve["inputs"]]
    columns = [raw] if len(names) == 1 else zip(*raw, strict=True)
    inputs = {name: tf.constant(list(one)) for name, one in zip(names, columns, strict=True)}
    found = model.signatures[serve["name"]](**inputs)
    return found[{"prediction", "probabilities"}.intersection(found).pop()].numpy()


def prepared(folder, contract, example):
    """What the model takes, by the contract."""
    inputs, preprocessing = contract["signatures"][0]["inputs"], contract["preprocessing"]
    if "resized" in example:
        return {
            inputs[0]["name"]: image(folder, preprocessing, inputs[0]["content"], example)[None]
        }
    (ids,) = example["model_input"].values()
    rows = ids if isinstance(ids[0], list) else [ids]  # of a pair whose texts are apart
    length = contract["length"] or max(map(len, rows))
    padding, end = (
        preprocessing["vocabulary"].index(preprocessing[f"{name}_token"])
        for name in ("padding", "end")
    )
    tokens = np.array([[*row, *[padding] * (length - len(row))] for row in rows], np.int32)
    mask = np.array([[1] * len(row) + [0] * (length - len(row)) for row in rows], np.int32)
    ends = np.cumsum(tokens == end, axis=1) - (tokens == end)
    values = {
        "token_ids": tokens,
        "token_ids_apart": tokens,
        "padding_mask": mask,
        "segment_ids": np.zeros_like(mask),
        "segments_of_pair": np.int32((ends > 0) & (mask == 1)),
    }
    return {tensor["name"]: values[tensor["content"]] for tensor in inputs}


def image(folder, preprocessing, content, example):
    if content == "image":
        return np.asarray(Image.open(folder / example["input"]).convert("RGB"))
    pixels = np.load(folder / example["resized"])
    if content == "resized_image":
        return pixels
    levels = (pixels - np.float32(preprocessing["mean"])) / np.float32(preprocessing["std"])
    return levels[..., ::-1] if preprocessing["channel_order"] == "bgr" else levels


if __name__ == "__main__":
    main()
