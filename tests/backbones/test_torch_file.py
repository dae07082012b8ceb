from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from types import ModuleType

import numpy as np
import pytest

from tltool.backbones.formats.torch.file import LEGACY_MAGIC, LEGACY_PROTOCOL, read_torch_file
from tltool.support.errors import BackboneError


def _rebuild_tensor_v2(*args):
    raise RuntimeError("only referred to, never called when writing")


@pytest.fixture
def torch_names(monkeypatch):
    """Stand-ins under torch's names, so that pickle writes the references torch would."""
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "BFloat16Storage"):
        setattr(torch, name, type(name, (), {"__module__": "torch", "__qualname__": name}))
    monkeypatch.setattr(_rebuild_tensor_v2, "__module__", "torch._utils")
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch


class Stored:
    """A storage: what the pickle refers to by id."""

    def __init__(self, kind, key, array):
        self.kind, self.key, self.array = kind, key, array


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.args = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self):
        return _rebuild_tensor_v2, self.args


class Pickler(pickle.Pickler):
    legacy = True

    def persistent_id(self, obj):
        if not isinstance(obj, Stored):
            return None
        view = (None,) if self.legacy else ()
        return ("storage", obj.kind, obj.key, "cpu", len(obj.array), *view)


def legacy_bytes(content, storages=()):
    out = io.BytesIO()
    for value in (LEGACY_MAGIC, LEGACY_PROTOCOL, {"little_endian": True}):
        pickle.dump(value, out, protocol=2)
    Pickler(out, protocol=2).dump(content)
    pickle.dump([s.key for s in storages], out, protocol=2)
    for s in storages:
        out.write(struct.pack("<q", len(s.array)) + s.array.tobytes())
    return out.getvalue()


def zip_bytes(content, storages=()):
    data = io.BytesIO()
    pickler = Pickler(data, protocol=2)
    pickler.legacy = False
    pickler.dump(content)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", data.getvalue())
        archive.writestr("archive/byteorder", b"little")
        for s in storages:
            archive.writestr(f"archive/data/{s.key}", s.array.tobytes())
    return out.getvalue()


WRITERS = pytest.mark.parametrize("write", [legacy_bytes, zip_bytes])


def sample(torch):
    floats = Stored(torch.FloatStorage, "0", np.arange(12, dtype="<f4"))
    count = Stored(torch.LongStorage, "1", np.array([7], "<i8"))
    content = OrderedDict(
        whole=Tensor(floats, 0, (3, 4), (4, 1)),
        transposed=Tensor(floats, 0, (4, 3), (1, 4)),
        part=Tensor(floats, 5, (2, 2), (4, 1)),
        scalar=Tensor(count, 0, (), ()),
        empty=Tensor(floats, 0, (0, 4), (4, 1)),
    )
    return content, (floats, count)


def save(path, data):
    path.write_bytes(data)
    return path


@WRITERS
def test_reads_views_of_shared_storages(tmp_path, torch_names, write):
    found = read_torch_file(save(tmp_path / "w.pth", write(*sample(torch_names))))
    whole = np.arange(12, dtype="float32").reshape(3, 4)
    np.testing.assert_array_equal(found["whole"], whole)
    np.testing.assert_array_equal(found["transposed"], whole.T)
    np.testing.assert_array_equal(found["part"], whole[1:, 1:3])
    assert found["scalar"] == 7
    assert found["scalar"].shape == ()
    assert found["empty"].shape == (0, 4)
    assert list(found) == ["whole", "transposed", "part", "scalar", "empty"]


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@WRITERS
def test_never_runs_what_a_pickle_names(tmp_path, torch_names, write):
    marker = tmp_path / "executed"
    path = save(tmp_path / "w.pth", write({"w": Evil(marker)}))
    with pytest.raises(BackboneError, match="system"):
        read_torch_file(path)
    assert not marker.exists()


class Module:
    """Stands for a whole pickled network."""


@WRITERS
def test_refuses_a_whole_module(tmp_path, torch_names, write):
    path = save(tmp_path / "w.pth", write(Module()))
    with pytest.raises(BackboneError, match="Module, which is not allowed"):
        read_torch_file(path)


@WRITERS
@pytest.mark.parametrize("content", [["a list"], {"w": 3}, {"nested": {"w": 1}}, {5: None}, "text"])
def test_refuses_anything_but_named_tensors(tmp_path, torch_names, write, content):
    with pytest.raises(BackboneError):
        read_torch_file(save(tmp_path / "w.pth", write(content)))


@WRITERS
@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (13,), (1,)), (9, (4,), (1,)), (0, (2, 2), (100, 1)), (-1, (2,), (1,)),
     (0, (2,), (-1,)), (0, (2, 2), (1,))],
)  # fmt: skip
def test_refuses_views_outside_their_storage(tmp_path, torch_names, write, offset, shape, strides):
    floats = Stored(torch_names.FloatStorage, "0", np.arange(12, dtype="<f4"))
    path = save(tmp_path / "w.pth", write({"w": Tensor(floats, offset, shape, strides)}, (floats,)))
    with pytest.raises(BackboneError, match="tensor 'w'"):
        read_torch_file(path)


@WRITERS
@pytest.mark.parametrize("count", [1, 3_000])
def test_refuses_a_small_file_of_tensors_that_fill_the_memory(tmp_path, torch_names, write, count):
    """One element, or a storage, given again and again."""
    floats = Stored(torch_names.FloatStorage, "0", np.arange(60_000, dtype="<f4"))
    shape, strides = ((60_000,), (1,)) if count > 1 else ((10**12,), (0,))
    tensors = {f"w{number}": Tensor(floats, 0, shape, strides) for number in range(count)}
    path = save(tmp_path / "w.pth", write(tensors, (floats,)))
    with pytest.raises(BackboneError, match="many times its size"):
        read_torch_file(path)


def test_refuses_an_archive_that_unpacks_to_many_times_its_size(tmp_path, torch_names):
    path = save(tmp_path / "w.pth", zip_bytes({}, ()))
    packed = tmp_path / "packed.pth"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            padding = bytes(50_000_000) if name.endswith("data.pkl") else b""
            new.writestr(name, old.read(name) + padding)
    with pytest.raises(BackboneError, match="unpacks to"):
        read_torch_file(packed)


@WRITERS
def test_every_truncation_is_an_error(tmp_path, torch_names, write):
    data = write(*sample(torch_names))
    for length in range(0, len(data), 7):
        with pytest.raises(BackboneError):
            read_torch_file(save(tmp_path / "w.pth", data[:length]))


def test_unknown_storage_type_is_named(tmp_path, torch_names):
    storage = Stored(torch_names.BFloat16Storage, "0", np.zeros(2, "<i2"))
    path = save(tmp_path / "w.pth", zip_bytes({"w": Tensor(storage, 0, (2,), (1,))}, (storage,)))
    with pytest.raises(BackboneError, match="BFloat16Storage"):
        read_torch_file(path)


def test_other_files_and_missing_ones(tmp_path):
    with pytest.raises(BackboneError, match="cannot be read"):
        read_torch_file(tmp_path / "none.pth")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(BackboneError, match="not one of torch"):
        read_torch_file(tmp_path / "other.zip")
    for data in (b"", b"\x89PNG", pickle.dumps({"a": 1})):
        with pytest.raises(BackboneError):
            read_torch_file(save(tmp_path / "x.pth", data))
