"""Reads the files of a model folder: JSON and weights, of any library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tltool.backbones.formats.torch.file import read_torch_file
from tltool.support.errors import BackboneError
from tltool.support.files import read_json as read_json_value


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        BackboneError: It is missing, no JSON, or no object.
    """
    try:
        content = read_json_value(path)
    except OSError as error:
        raise BackboneError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise BackboneError(f"{path} is not valid JSON: {error}.") from error
    if not isinstance(content, dict):
        raise BackboneError(f"{path} holds no JSON object.")
    return content


def refuse_otherwise(config: dict[str, Any], only: Mapping[str, Any], path: Path) -> None:
    """Sees that a configuration asks for nothing that would be computed differently here.

    Args:
        config: What the file holds.
        only: The one value that is supported of each key, and that a missing key means.
        path: Of the file, for messages.

    Raises:
        BackboneError: A key has another value.
    """
    for key, supported in only.items():
        found = config.get(key, supported)
        if found != supported:
            raise BackboneError(
                f"{path}: {key} is {found!r}; only {supported!r} is supported.",
                hint="loading it anyway would give other features than the original's",
            )


def read_tensors(folder: Path) -> dict[str, NDArray[Any]]:
    """The weights by name, from `model.safetensors` or `pytorch_model.bin`.

    Raises:
        BackboneError: There is neither, or it is damaged or holds more than tensors.
    """
    for path in (folder / "model.safetensors", folder / "pytorch_model.bin"):
        if path.is_file():
            return read_tensor_file(path)
    raise BackboneError(f"{folder} has neither model.safetensors nor pytorch_model.bin.")


def read_tensor_file(path: Path) -> dict[str, NDArray[Any]]:
    """The weights by name, from a `.safetensors` file or one of torch's.

    Raises:
        BackboneError: It is damaged or holds more than tensors.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if path.suffix != ".safetensors":
        return read_torch_file(path)
    try:
        tensors: dict[str, NDArray[Any]] = load_file(path)
    except (SafetensorError, OSError, KeyError) as error:
        raise BackboneError(f"{path} cannot be read: {error}.") from error
    return tensors
