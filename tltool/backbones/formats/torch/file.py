"""Reads the tensors of a torch checkpoint without torch and without running its code.

A torch file is a Python pickle, which can name any function to be called on
loading. The unpickler here knows four names (the tensor rebuild functions,
`OrderedDict` and the storage types) and refuses every other. Both layouts are
read: the zip archive of torch >= 1.6 and the older stream of pickles, as laid
down in `torch/serialization.py` (`_load` and `_legacy_load`).
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tltool.support.errors import BackboneError
from tltool.support.files import FREE_BYTES, read_packed, size_text

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001

MOST_REPEATED = 8
"""How many times the size of a file its tensors may take together."""

# torch's storage types in little-endian NumPy notation.
STORAGE_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}

_DAMAGED = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    struct.error,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    RuntimeError,
    OverflowError,
)


@dataclass(frozen=True)
class _Storage:
    """A storage as the pickle refers to it; its bytes lie elsewhere in the file."""

    dtype: str
    key: str
    length: int

    @property
    def nbytes(self) -> int:
        return self.length * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class _Tensor:
    """A tensor as the pickle describes it: a strided view of a storage, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_file(path: Path) -> dict[str, NDArray[Any]]:
    """Reads a checkpoint that holds a state dict: names and their tensors.

    Args:
        path: File written by `torch.save(model.state_dict(), path)`.

    Returns:
        A new array (C order) for each tensor, in the order of the file.

    Raises:
        BackboneError: The file is damaged, is not a torch file, holds
            anything but named tensors (a whole module, say), or names a
            function that is not on the short list of harmless ones.
    """
    try:
        with path.open("rb") as file:
            content, storages = _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)
        if not isinstance(content, dict):
            raise pickle.UnpicklingError(f"it holds a {type(content).__name__}, not a state dict")
        _check_size(content, path.stat().st_size)
        return {_name(key): _array(value, key, storages) for key, value in content.items()}
    except OSError as error:
        raise BackboneError(f"{path} cannot be read: {error}.") from error
    except _DAMAGED as error:
        raise BackboneError(
            f"{path} was not loaded: {str(error).rstrip('.') or type(error).__name__}.",
            hint="only files of `torch.save(model.state_dict(), …)` are read, and nothing in "
            "them is executed",
        ) from error


def _check_size(content: dict[Any, Any], file_bytes: int) -> None:
    """Refuses tensors that together take far more memory than the file does.

    A view may give an element, or a storage, any number of times.
    """
    tensors = [value for value in content.values() if isinstance(value, _Tensor)]
    total = sum(math.prod(t.shape) * np.dtype(t.storage.dtype).itemsize for t in tensors)
    if total > MOST_REPEATED * file_bytes + FREE_BYTES:
        raise pickle.UnpicklingError(f"its tensors take {size_text(total)}, many times its size")


class _Unpickler(pickle.Unpickler):
    """Resolves the few names that a state dict needs; refuses the rest."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}
        # Made anew for each file: a pickle may set attributes on what it is given.
        self._names: dict[str, Callable[..., Any]] = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor_v2": lambda storage, offset, shape, strides, *_: _Tensor(
                storage, offset, tuple(shape), tuple(strides)
            ),
            "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
        }

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGE_DTYPES:
            return STORAGE_DTYPES[name]
        found = self._names.get(f"{module}.{name}")
        if found is None:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which is not allowed")
        return found

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _location, length, *view = pid
        if kind != "storage" or any(part is not None for part in view):
            raise pickle.UnpicklingError(f"it refers to {kind!r} data, which is not supported")
        return self.storages.setdefault(str(key), _Storage(dtype, str(key), int(length)))


def _read_zip(file: BinaryIO) -> tuple[Any, dict[str, NDArray[Any]]]:
    with zipfile.ZipFile(file) as archive:
        records = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(records) != 1:
            raise pickle.UnpicklingError("it is a zip archive, but not one of torch")
        root = records[0].removesuffix("data.pkl")
        if root + "byteorder" in archive.namelist():
            _require_little_endian(read_packed(archive, root + "byteorder") == b"little")
        unpickler = _Unpickler(io.BytesIO(read_packed(archive, records[0])))
        content = unpickler.load()
        storages = {
            key: _decode(storage, read_packed(archive, f"{root}data/{key}"))
            for key, storage in unpickler.storages.items()
        }
    return content, storages


def _read_legacy(file: BinaryIO) -> tuple[Any, dict[str, NDArray[Any]]]:
    file.seek(0)
    stream = io.BytesIO(file.read())
    if _Unpickler(stream).load() != LEGACY_MAGIC:
        raise pickle.UnpicklingError("it is not a torch file")
    if _Unpickler(stream).load() != LEGACY_PROTOCOL:
        raise pickle.UnpicklingError("it was written by an unknown version of torch")
    _require_little_endian(_Unpickler(stream).load()["little_endian"])
    unpickler = _Unpickler(stream)
    content = unpickler.load()
    storages = {}
    for key in _Unpickler(stream).load():
        storage = unpickler.storages[key]
        (length,) = struct.unpack("<q", stream.read(8))
        if length != storage.length:
            raise pickle.UnpicklingError(f"storage {key} has {length} elements, not as announced")
        storages[key] = _decode(storage, stream.read(storage.nbytes))
    return content, storages


def _require_little_endian(little: bool) -> None:
    if not little:
        raise pickle.UnpicklingError("it was written on a big-endian machine")


def _decode(storage: _Storage, data: bytes) -> NDArray[Any]:
    if len(data) != storage.nbytes:
        raise pickle.UnpicklingError(
            f"it is truncated: storage {storage.key} has {len(data)} of {storage.nbytes} bytes"
        )
    return np.frombuffer(data, dtype=storage.dtype)


def _name(key: object) -> str:
    if not isinstance(key, str):
        raise pickle.UnpicklingError(f"it has an entry named {key!r}, which is no text")
    return key


def _array(value: object, name: str, storages: dict[str, NDArray[Any]]) -> NDArray[Any]:
    if not isinstance(value, _Tensor):
        raise pickle.UnpicklingError(f"entry {name!r} is a {type(value).__name__}, not a tensor")
    flat = storages[value.storage.key]
    shape, strides = value.shape, value.strides
    # The view must lie within its storage: as_strided itself checks nothing.
    if len(shape) != len(strides) or value.offset < 0 or min((*shape, *strides), default=0) < 0:
        raise pickle.UnpicklingError(f"tensor {name!r} has an impossible shape")
    last = value.offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if 0 in shape:
        return np.empty(shape, flat.dtype)
    if last >= len(flat):
        raise pickle.UnpicklingError(f"tensor {name!r} reaches past the end of its storage")
    byte_strides = [step * flat.itemsize for step in strides]
    view = np.lib.stride_tricks.as_strided(flat[value.offset :], shape, byte_strides)
    return np.array(view, order="C")
