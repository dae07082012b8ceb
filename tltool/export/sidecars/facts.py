"""What a program must know of an exported model, from its contract."""

from __future__ import annotations

from dataclasses import dataclass

from tltool.data.preprocessing import (
    BytePairPreprocessing,
    ImagePreprocessing,
    TextPreprocessing,
    WordPiecePreprocessing,
)
from tltool.export.contract import Contract
from tltool.export.sidecars.templates import Doubles, Value
from tltool.export.sidecars.tokenizer_file import has_tokenizer_file
from tltool.tasks.tags.word_split import ALONE

# How far a filter reaches, in pixels, on each side.
_REACH = {"bilinear": 1, "bicubic": 2, "nearest": 0}
_SPECIAL = ("unknown", "start", "end", "padding")
_WORDPIECE_RULES = ("lowercase", "strip_accents", "split_cjk")


@dataclass(frozen=True)
class Facts:
    """What templates are filled with.

    Attributes:
        kind: "image", "wordpiece" or "tokenizer": which template says how to preprocess.
        flags: What its `% if` lines ask for.
        constants: Names and values.
    """

    kind: str
    flags: dict[str, bool]
    constants: dict[str, Value]


def facts_of(contract: Contract) -> Facts:
    """The facts of one model.

    Args:
        contract: Of a model that leaves preprocessing to the program: LiteRT or ONNX.

    Raises:
        TypeError: There is no program for such a tokenizer.
    """
    preprocessing = contract.preprocessing
    if isinstance(preprocessing, ImagePreprocessing):
        facts = _image(contract, preprocessing)
    else:
        facts = _text(contract, preprocessing)
    signature = contract.signatures[0]
    program = contract.task.target.program()
    common: dict[str, Value] = {
        "MODEL": contract.file,
        "SIGNATURE": signature.name,
        "OUTPUT": contract.task.target.result_name,
        **program.constants,
        **{name: Doubles(values) for name, values in program.doubles.items()},
    }
    flags = {
        "onnx": contract.form == "onnx",
        "joined": False,
        "apart": False,
        **program.flags,
        "image": facts.kind == "image",
        "library": facts.kind == "tokenizer",
        "free_shape": any(None in tensor.shape for tensor in signature.inputs),
        **facts.flags,
    }
    return Facts(facts.kind, flags, {**common, **facts.constants})


def _image(contract: Contract, preprocessing: ImagePreprocessing) -> Facts:
    constants: dict[str, Value] = {"INPUT": contract.inputs[0].name}
    resizes = contract.takes != "image"
    if resizes or contract.task.target.program().masks:
        height, width = preprocessing.size_px
        constants |= {"HEIGHT": height, "WIDTH": width, "RESIZE_PX": preprocessing.resize_px}
    constants |= {
        "REACH": _REACH[preprocessing.interpolation],
        "MEAN": list(preprocessing.mean),
        "STD": list(preprocessing.std),
    }
    flags = {
        "fixed_size": resizes,
        "uint8": contract.takes != "normalized_image",
        "crop": preprocessing.fit == "crop",
        "bicubic": preprocessing.interpolation == "bicubic",
        "nearest": preprocessing.interpolation == "nearest",
        "antialias": preprocessing.antialias,
        "bgr": preprocessing.channel_order == "bgr",
    }
    return Facts("image", flags, constants)


def _text(contract: Contract, preprocessing: TextPreprocessing) -> Facts:
    constants: dict[str, Value] = {"LENGTH": contract.length or preprocessing.max_length}
    constants["SEPARATORS"] = preprocessing.separators
    special = {name.upper(): getattr(preprocessing, f"{name}_token") for name in _SPECIAL}
    names = {tensor.name for tensor in contract.inputs}
    flags = {"fixed_length": contract.length is not None}
    flags["spaces_count"] = isinstance(preprocessing, BytePairPreprocessing)
    if preprocessing.by_words:
        from tltool.data.texts.words import MOST_TOKENS

        constants["MOST_TOKENS"] = MOST_TOKENS
        constants["ALONE"] = [[block.start, block.stop - 1] for block in ALONE]
    flags |= {name: name in names for name in ("padding_mask", "segment_ids")}
    flags |= {form: preprocessing.pair == form for form in ("joined", "apart")}
    two_segments = flags["joined"] and preprocessing.separators == 1
    flags["segments"] = flags["segment_ids"] and two_segments
    if has_tokenizer_file(preprocessing):
        ids = {f"{n}_ID": preprocessing.vocabulary.index(token) for n, token in special.items()}
        return Facts("tokenizer", flags, constants | ids)
    if not isinstance(preprocessing, WordPiecePreprocessing):
        raise TypeError(f"There is no program for a {type(preprocessing).__name__}.")
    from tltool.data.texts.tokenizers.wordpiece import CJK

    constants |= special
    constants["MAX_WORD_CHARACTERS"] = preprocessing.max_word_characters
    constants["CJK"] = [[block.start, block.stop - 1] for block in CJK]
    flags |= {name: getattr(preprocessing, name) for name in _WORDPIECE_RULES}
    return Facts("wordpiece", flags, constants)
