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

_LITERT_IMAGE = """\
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps


def preprocess(path):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
$resize
    pixels = np.asarray(image, np.float32)$channels
    return ((pixels - $mean) / $std).astype(np.float32)[None]


model = Interpreter("model.tflite").get_signature_runner("serving_default")
outputs = model(image=preprocess($example))
$show"""

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
from ai_edge_litert.interpreter import Interpreter

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
    padding = [0] * (length - len(ids))
    token_ids = np.array([ids + [vocabulary[$padding]] * len(padding)], np.int32)
    padding_mask = np.array([[1] * len(ids) + padding], np.int32)
    return $inputs


model = Interpreter("model.tflite").get_signature_runner("serving_default")
outputs = model(**preprocess($example))
$show'''

_LITERT_TOKENIZER = """\
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from tokenizers import Tokenizer

# Cuts and pads every text to $length tokens.
tokenizer = Tokenizer.from_file("tokenizer.json")


def preprocess(text):
    encoding = tokenizer.encode(text)
    token_ids = np.array([encoding.ids], np.int32)
    padding_mask = np.array([encoding.attention_mask], np.int32)
    return $inputs


model = Interpreter("model.tflite").get_signature_runner("serving_default")
outputs = model(**preprocess($example))
$show"""

_SHOW = {
    ("saved_model", True): """\
print(outputs["label"].numpy()[0].decode(), float(outputs["score"][0]))""",
    ("saved_model", False): 'print(float(outputs["prediction"][0]))',
    ("litert", True): """\
labels = Path("labels.txt").read_text(encoding="utf-8").split("\\n")
probabilities = outputs["probabilities"][0]
print(labels[probabilities.argmax()], float(probabilities.max()))""",
    ("litert", False): 'print(float(outputs["prediction"][0]))',
}


def usage_program(contract: Contract, example: str) -> str:
    """A Python program that runs the artifact on one raw input, without tltool.

    Run in the export folder it prints the label and its probability, or the
    number. For a SavedModel it needs TensorFlow; for LiteRT ai-edge-litert and
    NumPy, and Pillow for images, or tokenizers where there is a `tokenizer.json`.

    Args:
        contract: Of the model.
        example: A text, or the path of an image in the export folder.
    """
    form, task, preprocessing = contract.form, contract.task, contract.preprocessing
    show = _SHOW[form, bool(task.labels)]
    values = {"example": json.dumps(example, ensure_ascii=False), "show": show}
    if form == "saved_model":
        return Template(_SAVED_MODEL[task.spec.modality]).substitute(values)
    if isinstance(preprocessing, ImagePreprocessing):
        return _image_program(preprocessing, values)
    values |= {"length": str(contract.length), "inputs": _inputs(preprocessing)}
    if isinstance(preprocessing, WordPiecePreprocessing):
        return _wordpiece_program(preprocessing, values)
    if has_tokenizer_file(preprocessing):
        return Template(_LITERT_TOKENIZER).substitute(values)
    raise TypeError(f"There is no program for a {type(preprocessing).__name__}.")


def _image_program(contract: ImagePreprocessing, values: dict[str, str]) -> str:
    resize = Template(_CROP if contract.fit == "crop" else _STRETCH).substitute(
        resize_px=contract.resize_px,
        height=contract.size_px[0],
        width=contract.size_px[1],
        filter=contract.interpolation.upper(),
    )
    return Template(_LITERT_IMAGE).substitute(
        values,
        resize=resize,
        channels="[..., ::-1]" if contract.channel_order == "bgr" else "",
        mean=list(contract.mean),
        std=list(contract.std),
    )


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
