"""A short Python program that runs an exported model without tltool, for the README beside it."""

from __future__ import annotations

import json
from string import Template

from tltool.export.contract import Contract
from tltool.export.sidecars.tokenizer_file import has_tokenizer_file
from tltool.preprocessing import (
    ImagePreprocessing,
    TextPreprocessing,
    WordPiecePreprocessing,
)

# Filled by string.Template, since the programs are full of braces.
_SAVED_MODEL = {
    "text": """\
import tensorflow as tf

model = tf.saved_model.load("model")
texts = tf.constant([$example])
outputs = model.signatures["serving_default"](texts=texts)
$show""",
    "image": """\
from pathlib import Path

import tensorflow as tf

model = tf.saved_model.load("model")
images = tf.constant([Path($example).read_bytes()])
outputs = model.signatures["serving_default"](images=images)
$show""",
}

_KERAS = """\
import tltool

model = tltool.load_artifact("model.keras")
outputs = model.predict([$example])
$show"""

_LITERT_IMAGE = """\
from pathlib import Path

import numpy as np
$runtime
from PIL import Image, ImageOps


def preprocess(path):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
$steps


$load
outputs = model(image=preprocess($example))
$show"""

_NORMALIZE = """\
    pixels = np.asarray(image, np.float32)$channels
    return ((pixels - $mean) / $std).astype(np.float32)[None]"""
_LEVELS = "    return np.asarray(image, np.uint8)[None]"
_CROP = """\
    width, height = (side * $resize_px // min(image.size) for side in image.size)
    image = image.resize((width, height), Image.Resampling.$filter)
    left, top = round((width - $width) / 2), round((height - $height) / 2)
    image = image.crop((left, top, left + $width, top + $height))"""
_STRETCH = "    image = image.resize(($width, $height), Image.Resampling.$filter)"

_LITERT_TEXT = '''\
import unicodedata
from pathlib import Path

import numpy as np
$runtime

tokens = Path("vocab.txt").read_text(encoding="utf-8").split("\\n")
vocabulary = {token: number for number, token in enumerate(tokens)}


def words(text):
    """BERT's basic tokenizer: white space and punctuation separate words."""
    spaced = ""
    for c in $normalized:
        kind = unicodedata.category(c)
        if c in " \\t\\r\\n" or kind == "Zs":
            spaced += " "
        elif kind[0] == "P" or c in "$$+<=>^`|~"$cjk:
            spaced += f" {c} "
        elif $kept:
            spaced += c
    return spaced.split()


def word_pieces(word):
    """The longest pieces the vocabulary has; one unknown token where they do not fit."""
    pieces, start = [], 0
    while start < len(word) <= $max_word_characters:
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                break
        else:
            return [vocabulary[$unknown]]
        pieces.append(vocabulary[piece])
        start = end
    return pieces or [vocabulary[$unknown]]


def preprocess(text, length=$length):
    ids = [piece for word in words(text) for piece in word_pieces(word)][: length - 2]
    ids = [vocabulary[$start], *ids, vocabulary[$end]]
    padding = $padding_of
    token_ids = np.array([ids + [vocabulary[$padding]] * len(padding)], np.int32)
    padding_mask = np.array([[1] * len(ids) + padding], np.int32)
    return $inputs


$load
outputs = model(**preprocess($example))
$show'''

_LITERT_TOKENIZER = """\
from pathlib import Path

import numpy as np
$runtime
from tokenizers import Tokenizer

# $cuts
tokenizer = Tokenizer.from_file("tokenizer.json")


def preprocess(text):
    encoding = tokenizer.encode(text)
    token_ids = np.array([encoding.ids], np.int32)
    padding_mask = np.array([encoding.attention_mask], np.int32)
    return $inputs


$load
outputs = model(**preprocess($example))
$show"""

# What differs between runtimes that take preprocessed inputs: an import, and `model(**inputs)`.
_RUNTIME = {
    "litert": (
        "from ai_edge_litert.interpreter import Interpreter",
        'model = Interpreter("model.tflite").get_signature_runner("serving_default")',
    ),
    "onnx": (
        "from onnxruntime import InferenceSession",
        """\
session = InferenceSession("model.onnx", providers=["CPUExecutionProvider"])


def model(**inputs):
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))

""",
    ),
}

_SHOW_ARRAY = """\
labels = Path("labels.txt").read_text(encoding="utf-8").split("\\n")
probabilities = outputs["probabilities"][0]
print(labels[probabilities.argmax()], float(probabilities.max()))"""
_SHOW_NUMBER = 'print(float(outputs["prediction"][0]))'
_SHOW = {
    ("saved_model", True): """\
print(outputs["label"].numpy()[0].decode(), float(outputs["score"][0]))""",
    ("saved_model", False): 'print(float(outputs["prediction"][0]))',
    ("keras", True): "print(model.task.labels[outputs[0].argmax()], float(outputs[0].max()))",
    ("keras", False): "print(float(outputs[0]))",
    ("litert", True): _SHOW_ARRAY,
    ("litert", False): _SHOW_NUMBER,
    ("onnx", True): _SHOW_ARRAY,
    ("onnx", False): _SHOW_NUMBER,
}


def usage_program(contract: Contract, example: str) -> str:
    """A Python program that runs the artifact on one raw input; without tltool, but for Keras.

    Run in the export folder it prints the label and its probability, or the
    number. For a SavedModel it needs TensorFlow, for Keras tltool; for the others
    their runtime and NumPy, and Pillow for images, or tokenizers where there is
    a `tokenizer.json`.

    Args:
        contract: Of the model.
        example: A text, or the path of an image in the export folder.
    """
    form, task, preprocessing = contract.form, contract.task, contract.preprocessing
    show = _SHOW[form, bool(task.labels)]
    values = {"example": json.dumps(example, ensure_ascii=False), "show": show}
    if form == "saved_model":
        return Template(_SAVED_MODEL[task.spec.modality]).substitute(values)
    if form == "keras":
        return Template(_KERAS).substitute(values)
    values["runtime"], values["load"] = _RUNTIME[form]
    if isinstance(preprocessing, ImagePreprocessing):
        return _image_program(contract, values)
    values |= _length(contract, preprocessing) | {"inputs": _inputs(preprocessing)}
    if isinstance(preprocessing, WordPiecePreprocessing):
        return _wordpiece_program(preprocessing, values)
    if has_tokenizer_file(preprocessing):
        return Template(_LITERT_TOKENIZER).substitute(values)
    raise TypeError(f"There is no program for a {type(preprocessing).__name__}.")


def _image_program(contract: Contract, values: dict[str, str]) -> str:
    preprocessing = contract.preprocessing
    if not isinstance(preprocessing, ImagePreprocessing):
        raise TypeError(f"There is no image in a {type(preprocessing).__name__}.")
    resize = _CROP if preprocessing.fit == "crop" else _STRETCH
    finish = _NORMALIZE if contract.takes == "normalized_image" else _LEVELS
    steps = [resize, finish] if contract.takes != "image" else [finish]
    numbers = {
        "resize_px": preprocessing.resize_px,
        "height": preprocessing.size_px[0],
        "width": preprocessing.size_px[1],
        "filter": preprocessing.interpolation.upper(),
        "channels": "[..., ::-1]" if preprocessing.channel_order == "bgr" else "",
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
    }
    steps_text = Template("\n".join(steps)).substitute(numbers)
    return Template(_LITERT_IMAGE).substitute(values, steps=steps_text)


def _length(contract: Contract, preprocessing: TextPreprocessing) -> dict[str, str]:
    """How a program cuts and pads texts."""
    if contract.length is None:
        longest = preprocessing.max_length
        return {
            "length": str(longest),
            "padding_of": "[]  # the model takes texts of any length",
            "cuts": f"Cuts every text to at most {longest} tokens.",
        }
    return {
        "length": str(contract.length),
        "padding_of": "[0] * (length - len(ids))",
        "cuts": f"Cuts and pads every text to {contract.length} tokens.",
    }


def _inputs(contract: TextPreprocessing) -> str:
    """The model's inputs as a program writes them."""
    tensors = {"segment_ids": "np.zeros_like(token_ids)"}
    inputs = [f'"{name}": {tensors.get(name, name)}' for name in contract.inputs]
    return "{" + ", ".join(inputs) + "}"


def _wordpiece_program(contract: WordPiecePreprocessing, values: dict[str, str]) -> str:
    lowered = "text.lower()" if contract.lowercase else "text"
    return Template(_LITERT_TEXT).substitute(
        values,
        normalized=(
            f'unicodedata.normalize("NFD", {lowered})' if contract.strip_accents else lowered
        ),
        kept='kind[0] != "C" and kind != "Mn"' if contract.strip_accents else 'kind[0] != "C"',
        cjk=' or "\\u4e00" <= c <= "\\u9fff"' if contract.split_cjk else "",
        max_word_characters=contract.max_word_characters,
        unknown=json.dumps(contract.unknown_token),
        start=json.dumps(contract.start_token),
        end=json.dumps(contract.end_token),
        padding=json.dumps(contract.padding_token),
    )
