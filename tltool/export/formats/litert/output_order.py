"""The order of a .tflite file's outputs, which runtimes without names go by."""

from __future__ import annotations

from tltool.export.formats.litert.file import model_table


def result_first(content: bytes, name: str) -> bytes:
    """The file with one output before all others; names mean what they meant.

    The converter orders outputs by name. Programs that ask for output 0 get the answer this way,
    whatever else the model says.

    Args:
        content: The .tflite file, with one signature.
        name: Of the output that comes first.
    """
    held = bytearray(content)
    # As bytes that can be written.
    model = model_table(held)  # type: ignore[arg-type]
    (signature,) = model["signature_defs"]
    numbers = {entry["name"]: int(entry["tensor_index"]) for entry in signature["outputs"]}
    # A view of the file's own bytes.
    order = model["subgraphs"][signature["subgraph_index"]]["outputs"]
    order[:] = [numbers[name], *(n for n in order.tolist() if n != numbers[name])]
    return bytes(held)
