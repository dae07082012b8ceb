"""What a program must know of an exported model, from its real signature and preprocessing."""

from __future__ import annotations

from dataclasses import dataclass

from tltool.export.contract import Contract, ModelTensor
from tltool.export.sidecars.templates import Value
from tltool.export.sidecars.tokenizer_file import has_tokenizer_file
from tltool.preprocessing import (
    ImagePreprocessing,
    TextPreprocessing,
    WordPiecePreprocessing,
)

# How far a filter reaches, in pixels, on each side.
_REACH = {"bilinear": 1, "bicubic": 2, "nearest": 0}
# What an image is where its levels go in as they are.
_LEVELS = {"image", "resized_image"}
_SPECIAL = ("unknown", "start", "end", "padding")


@dataclass(frozen=True)
class Facts:
    """What templates are filled with.

    Attributes:
        kind: "image", "wordpiece" or "tokenizer": which template says how to preprocess.
        flags: What its `%if` lines ask for.
        constants: Names and values.
    """

    kind: str
    flags: dict[str, bool]
    constants: dict[str, Value]


def facts_of(contract: Contract) -> Facts | None:
    """The facts of a model that takes preprocessed inputs; None where no template can make them.

    Args:
        contract: Of the model; its signature is the file's own.
    """
    way = contract.signatures[0]
    if len(way.outputs) != 1 or way.outputs[0].dtype != "float32":
        return None
    if isinstance(contract.preprocessing, ImagePreprocessing):
        facts = _image(way.inputs, contract.preprocessing)
    else:
        facts = _text(way.inputs, contract.preprocessing)
    if facts is None:
        return None
    common: dict[str, Value] = {
        "MODEL": contract.file,
        "SIGNATURE": way.name,
        "OUTPUT": way.outputs[0].name,
    }
    flags = {
        "onnx": contract.form == "onnx",
        "labels": bool(contract.task.labels),
        "library": facts.kind == "tokenizer",
        "free_shape": any(None in tensor.shape for tensor in way.inputs),
        **facts.flags,
    }
    return Facts(facts.kind, flags, {**common, **facts.constants})


def _image(inputs: tuple[ModelTensor, ...], contract: ImagePreprocessing) -> Facts | None:
    if len(inputs) != 1 or inputs[0].dtype not in {"float32", "uint8"}:
        return None
    (tensor,) = inputs
    if len(tensor.shape) != 4 or (tensor.dtype == "uint8") != (tensor.content in _LEVELS):
        return None
    _, height, width, _ = tensor.shape
    constants: dict[str, Value] = {"INPUT": tensor.name}
    if height is not None and width is not None:
        constants |= {"HEIGHT": height, "WIDTH": width, "RESIZE_PX": contract.resize_px}
    constants |= {
        "REACH": _REACH[contract.interpolation],
        "MEAN": list(contract.mean),
        "STD": list(contract.std),
    }
    flags = {
        "fixed_size": "HEIGHT" in constants,
        "uint8": tensor.dtype == "uint8",
        "crop": contract.fit == "crop",
        "bicubic": contract.interpolation == "bicubic",
        "nearest": contract.interpolation == "nearest",
        "antialias": contract.antialias,
        "bgr": contract.channel_order == "bgr",
    }
    return Facts("image", flags, constants)


def _text(inputs: tuple[ModelTensor, ...], contract: TextPreprocessing) -> Facts | None:
    names = {tensor.name for tensor in inputs}
    if names != set(contract.inputs) or any(tensor.dtype != "int32" for tensor in inputs):
        return None
    if any(len(tensor.shape) != 2 for tensor in inputs):
        return None
    length = inputs[0].shape[1]
    constants: dict[str, Value] = {"LENGTH": length or contract.max_length}
    special = {name.upper(): getattr(contract, f"{name}_token") for name in _SPECIAL}
    flags = {"fixed_length": length is not None}
    flags |= {name: name in names for name in ("padding_mask", "segment_ids")}
    if has_tokenizer_file(contract):
        ids = {f"{name}_ID": contract.vocabulary.index(token) for name, token in special.items()}
        return Facts("tokenizer", flags, constants | ids)
    if not isinstance(contract, WordPiecePreprocessing):
        raise TypeError(f"There is no program for a {type(contract).__name__}.")
    from tltool.data.tokenizers.wordpiece import CJK

    constants |= special
    constants["MAX_WORD_CHARACTERS"] = contract.max_word_characters
    constants["CJK"] = [[block.start, block.stop - 1] for block in CJK]
    flags |= {name: getattr(contract, name) for name in _WORDPIECE_RULES}
    return Facts("wordpiece", flags, constants)


_WORDPIECE_RULES = ("lowercase", "strip_accents", "split_cjk")
