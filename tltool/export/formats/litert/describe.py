"""The metadata of an exported .tflite file, from the task and the preprocessing contract."""

from __future__ import annotations

from tltool.data.preprocessing import (
    WORD_SHAPES,
    ImagePreprocessing,
    TextPreprocessing,
    WordPiecePreprocessing,
)
from tltool.export.about import About
from tltool.export.contract import IMAGE_INPUT, LABELS_FILE
from tltool.export.formats.litert.file import read_tflite
from tltool.export.formats.litert.metadata_values import (
    AssociatedFile,
    BertTokenizer,
    ModelMetadata,
    Normalization,
    TensorMetadata,
)
from tltool.export.formats.litert.runtime import oldest_runtime
from tltool.export.sidecars.folder import VOCABULARY_FILE, labels_text, tokenizer_text
from tltool.export.signatures import TensorInfo
from tltool.tasks.table import Task
from tltool.tasks.tags.word_split import NUM_SHAPES

# By these names MediaPipe tells the inputs of a BERT apart.
_TEXT_INPUTS = {
    "token_ids": ("ids", "Token ids of the text, padded to the length of the tensor."),
    "padding_mask": ("mask", "1 for a token of the text, 0 for padding."),
    "segment_ids": ("segment_ids", "0 for every token of a single text."),
    WORD_SHAPES: (WORD_SHAPES, "How the word of each token is written."),
}
_PIXELS = (0.0, 255.0)
# What MediaPipe's BERT tokenizer takes for granted, beside lower case.
_BERT_TOKENS = {
    "unknown_token": "[UNK]",
    "start_token": "[CLS]",
    "end_token": "[SEP]",
    "max_word_characters": 100,
}


def describe_tflite(
    content: bytes,
    task: Task,
    preprocessing: ImagePreprocessing | TextPreprocessing,
    about: About | None = None,
    *,
    takes: str = "normalized_image",
) -> ModelMetadata:
    """What to write into a model that tltool converted.

    Args:
        content: The .tflite file, with named inputs and one output.
        task: Labels or target scale.
        preprocessing: What happens to raw input before the model.
        about: Name, origin and licence; None takes the task's name for the name.
        takes: What an image means that goes in, a key of
            `tltool.export.contract.CONTENTS`: the file itself says its dtype only.

    Raises:
        ExportError: A label holds a line break, which a file of labels cannot.
    """
    about = about or About(task.spec.name)
    signature = read_tflite(content).main
    if isinstance(preprocessing, ImagePreprocessing):
        inputs: tuple[TensorMetadata, ...] = (_image(preprocessing, takes),)
    else:
        inputs = tuple(_tokens(tensor, preprocessing) for tensor in signature.inputs)
    file = _tokenizer(signature.inputs[0], preprocessing)
    named, runtime = _is_mediapipes(preprocessing), oldest_runtime(content)
    runs = f"Runs in {runtime}." if runtime else ""
    return ModelMetadata(
        name=about.name,
        description=" ".join(filter(None, (about.description, runs))),
        version=about.version,
        author=about.author,
        licence=about.licence,
        inputs=inputs,
        outputs=tuple(_output(tensor, task) for tensor in signature.outputs),
        input_process_units=(BertTokenizer(file),) if file and named else (),
        files=(file,) if file and not named else (),
    )


def _image(contract: ImagePreprocessing, takes: str) -> TensorMetadata:
    mean, std = _normalization(contract)
    order = contract.channel_order
    if takes != "normalized_image":
        mean, std, order = (0.0,), (1.0,), "rgb"
    size = "any height and width" if takes == "image" else "{}×{} pixels".format(*contract.size_px)
    lowest, highest = (
        tuple((pixel - m) / s for m, s in zip(mean, std, strict=True)) for pixel in _PIXELS
    )
    return TensorMetadata(
        name=IMAGE_INPUT,
        description=f"An image of {size}, {order.upper()}.",
        content="image",
        # There is no word for BGR, and an app that took it for RGB would be wrong silently.
        colour_space="rgb" if order == "rgb" else "unknown",
        process_units=(Normalization(mean, std),),
        minimum=lowest,
        maximum=highest,
    )


def _normalization(contract: ImagePreprocessing) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation in the order of the tensor's channels, one where all are same."""
    mean, std = contract.mean, contract.std
    if contract.channel_order == "bgr":
        mean, std = mean[::-1], std[::-1]
    one = len(set(mean)) == len(set(std)) == 1
    return (mean[:1], std[:1]) if one else (mean, std)


def _tokens(tensor: TensorInfo, contract: TextPreprocessing) -> TensorMetadata:
    name, description = _TEXT_INPUTS.get(tensor.name, (tensor.name, ""))
    most = {contract.inputs[0]: len(contract.vocabulary) - 1, WORD_SHAPES: NUM_SHAPES - 1}
    highest = most.get(tensor.name, 1)
    return TensorMetadata(
        name=name,
        description=description,
        content="feature",
        minimum=(0.0,),
        maximum=(float(highest),),
    )


def _output(tensor: TensorInfo, task: Task) -> TensorMetadata:
    target = task.target
    meaning = target.contents[tensor.name]
    said = f"{meaning[:1].upper()}{meaning[1:]}."
    if not target.labels or tensor.name != target.result_name:
        return TensorMetadata(tensor.name, said, "feature")
    low, high = target.result_range or (0.0, 1.0)
    labels = AssociatedFile(
        LABELS_FILE, "tensor_axis_labels", "Name of each label.", labels_text(task).encode()
    )
    return TensorMetadata(
        name=tensor.name,
        description=said,
        content="feature",
        minimum=(low,),
        maximum=(high,),
        files=(labels,),
    )


def _tokenizer(
    tensor: TensorInfo, contract: ImagePreprocessing | TextPreprocessing
) -> AssociatedFile | None:
    """The file that lies beside the model too, for texts of the tensor's length."""
    if isinstance(contract, ImagePreprocessing):
        return None
    name, text = tokenizer_text(contract, tensor.shape[-1] if tensor.shape else None)
    if name == VOCABULARY_FILE:
        return AssociatedFile(name, "vocabulary", "Token of each id, from 0.", text.encode())
    said = "The tokenizer, as Hugging Face's tokenizers reads it."
    return AssociatedFile(name, "unknown", said, text.encode())


def _is_mediapipes(contract: ImagePreprocessing | TextPreprocessing) -> bool:
    """Whether the tokenizer that the metadata can name gives the same ids for ASCII texts.

    It lower-cases, knows the special tokens by these names and pads with 0,
    and cannot be told otherwise:
    mediapipe/calculators/tensor/bert_preprocessor_calculator.cc
    """
    return (
        isinstance(contract, WordPiecePreprocessing)
        and contract.pair is None  # it is given one text
        and contract.lowercase
        and not contract.by_words
        and contract.vocabulary[0] == contract.padding_token
        and all(getattr(contract, name) == value for name, value in _BERT_TOKENS.items())
    )
