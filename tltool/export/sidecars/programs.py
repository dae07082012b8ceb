"""Short programs that run an exported model without tltool, for the README beside it."""

from __future__ import annotations

from tltool.export.contract import Contract, Example
from tltool.export.sidecars.facts import Facts
from tltool.export.sidecars.templates import PYTHON, Value, fill


def array_program(facts: Facts, example: Example) -> str:
    """A Python program that runs a LiteRT or an ONNX model on one raw input, without tltool.

    Run in the export folder it prints the label and its probability, or the
    number. It needs the runtime and NumPy; for image files Pillow, and
    tokenizers where there is a `tokenizer.json`.

    Args:
        facts: Of the model.
        example: A text, or the path of an image in the export folder.
    """
    constants = {**facts.constants, "EXAMPLE": _value(example)}
    return fill(facts.kind, PYTHON, facts.flags, constants).strip()


def raw_program(name: str, contract: Contract, example: Example) -> str:
    """A Python program that does the same with a model whose library takes raw inputs.

    Args:
        name: Of the template.
        contract: Of the model.
        example: A text, or the path of an image in the export folder.
    """
    constants: dict[str, Value] = {
        "MODEL": contract.file,
        "SIGNATURE": contract.signatures[0].name,
        "INPUT": contract.inputs[0].name,
        "EXAMPLE": _value(example),
    }
    task = contract.task
    program = task.target.program()
    constants |= {"ANSWER": task.target.golden_name, **program.constants}
    modality = task.spec.modality
    flags = {"image": modality == "image", "pair": modality == "text_pair", **program.flags}
    return fill(name, PYTHON, flags, constants).strip()


def _value(example: Example) -> Value:
    return example if isinstance(example, str) else list(example)
