"""Apps that run exported models on their golden examples, rightly or with a fault planted.

Written with Pillow and NumPy alone, by the contract, and with nothing that `tltool diagnose` uses.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import exported
import numpy as np
from PIL import Image, ImageOps


def triangle(x):
    return np.maximum(0, 1 - np.abs(x))


def cubic(x):
    x = np.abs(x)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def lanczos(x):
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)


FILTERS = {"bilinear": triangle, "bicubic": cubic, "lanczos": lanczos}


def resampled(pixels, size, kernel, antialias):
    """Each new pixel is the mean of those near its centre, by a kernel, as Pillow does it."""
    for axis, new in enumerate(size):
        old = pixels.shape[axis]
        step = old / new
        wide = max(step, 1) if antialias else 1
        centres = (np.arange(new) + 0.5) * step
        weights = kernel((np.arange(old) + 0.5 - centres[:, None]) / wide)
        weights /= weights.sum(axis=1, keepdims=True)
        pixels = np.moveaxis(np.tensordot(weights, pixels, (1, axis)), 0, axis)
    return np.rint(np.clip(pixels, 0, 255))


class ImageApp:
    """Prepares images as `contract.json` says; a fault overrides a method or an attribute."""

    filter, antialias, turns, fit = None, True, True, None
    bars, corner = 0, False

    def __init__(self, folder: Path, **faults):
        self.folder = folder
        contract = json.loads((folder / "contract.json").read_text())
        self.contract, self.own = contract, contract["preprocessing"]
        self.bytes = contract["signatures"][0]["inputs"][0]["content"] == "resized_image"
        vars(self).update(faults)

    def tensor(self, file):
        image = Image.open(self.folder / file)
        image = ImageOps.exif_transpose(image) if self.turns else image
        levels = self.resized(image.convert("RGB")).astype(np.float32)
        tensor = self.changed(self.scaled(self.levels(levels)))[None]
        return self.cast(tensor) if self.bytes else tensor

    def levels(self, levels):
        return levels

    def scaled(self, levels):
        if self.bytes:
            return levels
        scaled = (levels - np.float32(self.own["mean"])) / np.float32(self.own["std"])
        return scaled[..., ::-1] if self.own["channel_order"] == "bgr" else scaled

    def cast(self, values):
        return values.astype(np.int64).astype(np.uint8)

    def changed(self, tensor):
        return tensor

    def resize(self, image, width, height):
        method, pixels = self.filter or self.own["interpolation"], np.asarray(image, np.float64)
        if self.filter == "pillow":
            return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        if method == "nearest":
            rows, columns = (
                np.floor((np.arange(new) + 0.5) * old / new + 1e-9).astype(int)
                for new, old in ((height, len(pixels)), (width, pixels.shape[1]))
            )
            return pixels[rows][:, columns]
        return resampled(pixels, (height, width), FILTERS[method], self.antialias)

    def resized(self, image):
        height, width = self.own["size_px"]
        wide, tall = image.size
        match self.fit or self.own["fit"]:
            case "stretch":
                return self.resize(image, width, height)
            case "crop":
                short = min(wide, tall)
                side = self.own["resize_px"]
                pixels = self.resize(image, wide * side // short, tall * side // short)
                return middle(pixels, height, width)
            case "largest":
                scale = max(height / tall, width / wide)
                part = middle(np.asarray(image), round(height / scale), round(width / scale))
                return self.resize(Image.fromarray(part), width, height)
            case "cut":
                padded = ImageOps.expand(image, border=50)
                return middle(np.asarray(padded), height, width)
            case "letterbox":
                scale = min(height / tall, width / wide)
                inner = self.resize(image, round(wide * scale), round(tall * scale))
                frame = np.full((height, width, 3), self.bars, np.float64)
                top = 0 if self.corner else (height - len(inner)) // 2
                left = 0 if self.corner else (width - inner.shape[1]) // 2
                frame[top : top + len(inner), left : left + inner.shape[1]] = inner
                return frame


def middle(pixels, height, width):
    top, left = round((len(pixels) - height) / 2), round((pixels.shape[1] - width) / 2)
    return pixels[top : top + height, left : left + width]


def scaled_by(mean, std):
    """The levels on another scale."""
    return lambda levels: (levels - np.float32(mean)) / np.float32(std)


def shuffled(tensor, axes):
    """The numbers in the order of other axes."""
    return tensor.transpose(axes).reshape(tensor.shape)


IMAGE_FAULTS = {
    "bgr": ("bgr", {"levels": lambda x: x[..., ::-1]}),
    "bgr after scaling": ("bgr", {"changed": lambda x: x[..., ::-1]}),
    "no EXIF": ("exif", {"turns": False}),
    "0..255": ("scale", {"scaled": lambda x: x}),
    "0..1": ("scale", {"scaled": lambda x: x / np.float32(255)}),
    "-1..1": ("scale", {"scaled": lambda x: x / np.float32(127.5) - 1}),
    "signed": ("scale", {"scaled": lambda x: x - 128}),
    "127 and 128": ("scale", {"scaled": scaled_by(127, 128)}),
    "torchvision's": (
        "scale",
        {"scaled": lambda x: (x / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]},
    ),
    "channels first": ("channels_first", {"changed": lambda x: shuffled(x, (2, 0, 1))}),
    "columns first": ("transposed", {"changed": lambda x: shuffled(x, (1, 0, 2))}),
    "upside down": ("upside_down", {"changed": np.flipud}),
    "mirrored": ("mirrored", {"changed": np.fliplr}),
    "stretched": ("stretched", {"fit": "stretch"}),
    "largest part": ("crop_before_resize", {"fit": "largest"}),
    "cut out": ("crop_before_resize", {"fit": "cut"}),
    "letterbox": ("letterbox", {"fit": "letterbox"}),
    "grey letterbox": ("letterbox", {"fit": "letterbox", "bars": 114}),
    "letterbox at the corner": ("letterbox", {"fit": "letterbox", "corner": True}),
    "bicubic": ("filter", {"filter": "bicubic"}),
    "nearest": ("filter", {"filter": "nearest"}),
    "lanczos": ("filter", {"filter": "lanczos"}),
    "no antialiasing": ("no_antialias", {"antialias": False}),
}  # fmt: skip
"""Of models with crop, bilinear and antialiasing: the key, and what the app has otherwise."""


class TextApp:
    """Prepares texts as BERT's tokenizer does, by the contract; faults as of `ImageApp`."""

    lower, strip, special, left, mask = None, None, True, False, 0
    first_cut, types, whole, other_padding = False, 0, False, None
    end_lost, most = False, None

    def __init__(self, folder: Path, **faults):
        self.folder = folder
        contract = json.loads((folder / "contract.json").read_text())
        self.own, self.length = contract["preprocessing"], contract["length"]
        self.ids = {token: i for i, token in enumerate(self.own["vocabulary"])}
        self.lower, self.strip = self.own["lowercase"], self.own["strip_accents"]
        vars(self).update(faults)

    def tensors(self, text):
        pieces = [piece for word in self.words(text) for piece in self.pieces(word)]
        start, end = self.ids["[CLS]"], self.ids["[SEP]"]
        length = self.length or min(len(pieces) + 2, self.own["max_length"])
        room = (self.most or length) - (2 if self.special else 0)
        if self.end_lost:
            row = [start, *pieces, end][:length]
        else:
            pieces = pieces[-room:] if self.first_cut else pieces[:room]
            row = [start, *pieces, end] if self.special else pieces
        padding = [self.ids["[PAD]"] if self.other_padding is None else self.other_padding]
        missing = length - len(row)
        ids, mask = row + padding * missing, [1] * len(row) + [self.mask] * missing
        if self.left:
            ids, mask = padding * missing + row, [self.mask] * missing + [1] * len(row)
        values = {"token_ids": ids, "padding_mask": mask, "segment_ids": [self.types] * length}
        return {name: np.array([values[name]], np.int32) for name in self.own["inputs"]}

    def words(self, text):
        if self.whole:
            return text.lower().split()
        text = unicodedata.normalize("NFD", text) if self.strip else text
        text = "".join(c for c in text if not (self.strip and unicodedata.category(c) == "Mn"))
        text = text.lower() if self.lower else text
        return "".join(f" {c} " if is_punctuation(c) else c for c in text).split()

    def pieces(self, word):
        found, start = [], 0
        while start < len(word):
            parts = [("##" if start else "") + word[start:e] for e in range(len(word), start, -1)]
            piece = next((part for part in parts if part in self.ids), None)
            if piece is None or (self.whole and piece != word):
                return [self.ids["[UNK]"]]
            found.append(self.ids[piece])
            start += len(piece.removeprefix("##"))
        return found


def is_punctuation(c):
    return c in "$+<=>^`|~" or unicodedata.category(c).startswith("P")


TEXT_FAULTS = {
    "case": ("case", {"lower": False}),
    "accents": ("accents", {"strip": False}),
    "no special tokens": ("special_tokens", {"special": False}),
    "padding first": ("padding_side", {"left": True}),
    "no mask": ("mask", {"mask": 1}),
    "last tokens kept": ("truncation", {"first_cut": True}),
    "end token lost": ("truncation", {"end_lost": True}),
    "token types": ("token_types", {"types": 1}),
    "whole words": ("whole_words", {"whole": True}),
}


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def answers(folder: Path, call, app, *, read=lambda p: p, tensors=False):
    """The file that an app writes of a folder's golden examples.

    Args:
        folder: The export folder.
        call: From tensors by name to a row of outputs.
        app: Prepares them.
        read: What the app makes of outputs (n, outputs).
        tensors: Whether it writes what it feeds, too.
    """
    examples = json.loads((folder / "golden.json").read_text())["examples"]
    rows = []
    for example in examples:
        value = example["input"]
        rows.append(app.tensors(value) if hasattr(app, "tensors") else {"image": app.tensor(value)})
    outputs = read(np.array([call(row) for row in rows]))
    found = [{"outputs": np.asarray(row, float).tolist()} for row in outputs]
    if tensors:
        for one, row in zip(found, rows, strict=True):
            one["input"] = {name: values.tolist() for name, values in row.items()}
    return {"answers": found}


def litert(folder: Path):
    """Runs a folder's .tflite file by its contract."""
    from ai_edge_litert.interpreter import Interpreter

    signature = json.loads((folder / "contract.json").read_text())["signatures"][0]
    run = Interpreter(str(folder / "model.tflite")).get_signature_runner(signature["name"])
    types = {tensor["name"]: tensor["dtype"] for tensor in signature["inputs"]}
    output = signature["outputs"][0]["name"]

    def call(row):
        given = {n: np.ascontiguousarray(v).astype(types[n]) for n, v in row.items()}
        return run(**given)[output][0]

    return call


def saved_model(folder: Path):
    """Runs a folder's SavedModel on preprocessed inputs, and takes the softmax."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / "model"))
    run = loaded.signatures["model"]

    def call(row):
        given = {n: tf.constant(np.ascontiguousarray(v)) for n, v in row.items()}
        return softmax(next(iter(run(**given).values())).numpy())[0]

    call.loaded = loaded
    return call


def pictures(folder: Path) -> list[str]:
    """Fine patterns of strong colours, larger than a model's input; the first is turned by EXIF."""
    folder.mkdir(exist_ok=True)
    rng, files = np.random.default_rng(5), []
    exif = Image.Exif()
    exif[0x0112] = 6
    for number, (height, width) in enumerate(((37, 53), (64, 41), (47, 71))):
        fine, coarse = rng.integers(0, 256, (height, width, 3)), rng.integers(0, 256, (4, 5, 3))
        coarse = Image.fromarray(coarse.astype("uint8")).resize((width, height))
        pixels = (0.5 * fine + 0.5 * np.asarray(coarse)).astype("uint8")
        files.append(str(folder / f"{number}.{'jpg' if number == 0 else 'png'}"))
        options = {"exif": exif, "quality": 95} if number == 0 else {}
        Image.fromarray(pixels).save(files[-1], **options)
    return files


def program_answers(folder: Path, file: Path, monkeypatch):
    """Has the program in a folder's README write its answers to a file."""
    monkeypatch.chdir(folder)
    defined = {}
    exec(compile(exported.program_of(folder), "README.md", "exec"), defined)
    defined["write_answers"](file)
