"""An inspection as a user reads it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from tltool.export.formats.inspection import Inspection
from tltool.export.formats.litert.metadata_values import (
    BertTokenizer,
    ModelMetadata,
    Normalization,
    OtherUnit,
    ProcessUnit,
    ScoreCalibration,
    TensorMetadata,
)
from tltool.export.signatures import Signature, TensorInfo
from tltool.support.files import size_text

_WIDTH = 100
_DIGEST = 12  # characters of a sha256 that tell two of them apart
_TITLE = 12  # characters before the text of a line
_OPERATORS_SHOWN = 24
_KEPT = "\N{NO-BREAK SPACE}"  # where a line must not end


def inspection_text(found: Inspection) -> str:
    """Everything of an inspection in a few lines for each subject."""
    lines = [f"{found.path}: {found.form}, {size_text(found.size_bytes)}", ""]
    for signature in found.signatures:
        lines += [*_signature(signature), ""]
    lines += _titled("Weights", _weights(found.weights))
    lines += _titled("Operators", _operators(found))
    if found.runtime is not None:
        lines += _titled("Runs in", str(found.runtime))
    if found.left_by_gpu is not None:
        lines += _titled("GPU", _gpu(found))
    if found.metadata is not None:
        lines += _metadata(found.metadata)
    elif found.form == "LiteRT":
        lines += _titled("Metadata", "none")
    if found.files:
        files = ", ".join(f"{name} ({size_text(size)})" for name, size in found.files.items())
        lines += _titled("Files in it", files)
    if found.contract is not None:
        lines += _titled("Contract", _contract(found.contract))
    if found.gate is not None:
        lines += _titled("Check", _gate(found.gate))
    return "\n".join(lines)


def _titled(title: str, text: str) -> list[str]:
    """The text in lines, the title before the first of them."""
    lines = textwrap.wrap(
        f"{title:{_TITLE}}{text}",
        _WIDTH,
        subsequent_indent=" " * _TITLE,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_KEPT, " ") for line in lines]


def _signature(signature: Signature) -> Iterator[str]:
    yield signature.name or "without a signature"
    tensors = [("in", t) for t in signature.inputs] + [("out", t) for t in signature.outputs]
    names = max((len(tensor.name) for _, tensor in tensors), default=0)
    dtypes = max((len(tensor.dtype) for _, tensor in tensors), default=0)
    for way, tensor in tensors:
        shown = f"  {way:4}{tensor.name:{names}}  {tensor.dtype:{dtypes}}  {_shape(tensor)}"
        yield shown + (f"  {tensor.quantisation}" if tensor.quantisation else "")


def _shape(tensor: TensorInfo) -> str:
    if tensor.shape is None:
        return "any shape"
    return " × ".join("any" if size is None else str(size) for size in tensor.shape) or "scalar"


def _weights(weights: dict[str, int]) -> str:
    total = sum(weights.values())
    return (
        ", ".join(
            f"{dtype} {size_text(size)} ({size / total:.1%})" for dtype, size in weights.items()
        )
        or "none"
    )


def _operators(found: Inspection) -> str:
    counts = [f"{name}{_KEPT}{count:,}" for name, count in found.operators.items()]
    more = len(counts) - _OPERATORS_SHOWN
    shown = ", ".join(counts[:_OPERATORS_SHOWN]) + (f" and {more} other kinds" * (more > 0))
    if found.not_built_in:
        return f"{shown}; NOT BUILT IN: {', '.join(found.not_built_in)}"
    return f"{shown}; all built in"


def _gpu(found: Inspection) -> str:
    """What the GPU delegate does with a model, as far as kinds, dtypes and ranks tell."""
    shapes = [tensor.shape for way in found.signatures for tensor in way.inputs]
    if any(shape is None or None in shape for shape in shapes):
        return "the delegate takes no model whose input has a free shape"
    if not found.left_by_gpu:
        return "the delegate has all of its operators"
    left = ", ".join(f"{kind}{_KEPT}{count:,}" for kind, count in found.left_by_gpu.items())
    return f"the delegate leaves to the processor: {left}"


def _metadata(metadata: ModelMetadata) -> Iterator[str]:
    version = f", version {metadata.version}" if metadata.version else ""
    yield from _titled("Metadata", f"{metadata.name or 'without a name'}{version}")
    facts = (metadata.description, metadata.author, metadata.licence)
    for text in (*filter(None, facts), *map(_step, metadata.input_process_units)):
        yield from _titled("", text)
    for way, tensors in (("in", metadata.inputs), ("out", metadata.outputs)):
        for tensor in tensors:
            yield from _titled("", f"{way:4}{_tensor(tensor)}")


def _tensor(tensor: TensorMetadata) -> str:
    kind = tensor.content or "of no kind"
    if tensor.content == "image":
        kind = f"{tensor.colour_space.upper()} image"
    facts = [kind, *map(_step, tensor.process_units), *(f"{f.name}" for f in tensor.files)]
    if tensor.minimum:
        facts.append(f"from {_numbers(tensor.minimum)} to {_numbers(tensor.maximum)}")
    return f"{tensor.name or 'without a name'}: {', '.join(facts)}"


def _step(unit: ProcessUnit) -> str:
    match unit:
        case Normalization():
            return f"(x - {_numbers(unit.mean)}) / {_numbers(unit.std)}"
        case ScoreCalibration():
            return f"scores calibrated ({unit.transformation})"
        case BertTokenizer():
            return f"BERT tokenizer with {unit.vocabulary.name}"
        case OtherUnit():
            return unit.kind


def _numbers(numbers: tuple[float, ...]) -> str:
    shown = ", ".join(f"{number:.6g}" for number in numbers)
    return shown if len(numbers) == 1 else f"[{shown}]"


def _contract(contract: dict[str, Any]) -> str:
    task = contract["task"] or {}
    labels = f" of {len(task['labels'])} labels" if task.get("labels") else ""
    given = (contract["signatures"] or [{}])[0].get("inputs", ())
    takes = "".join(f"{tensor.get('name')}: {tensor.get('description')}; " for tensor in given)
    return (
        f"{task.get('name')}{labels}, {contract['precision']}, by tltool {contract['tltool']}; "
        f"{takes}"
        f"preprocessing{_KEPT}{str(contract['preprocessing_digest'])[:_DIGEST]}"
    )


def _gate(gate: dict[str, Any]) -> str:
    parts = [f"{'passed' if gate['passed'] else 'FAILED'} on {gate['rows']} rows"]
    if gate["max_difference"] is not None:
        parts.append(f"largest difference {gate['max_difference']:.2g}")
    if gate["agreement"] is not None:
        parts.append(f"same top class {gate['agreement']:.1%}")
    return "; ".join([", ".join(parts), *(gate["breaches"] or ())])
