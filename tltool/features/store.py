"""The store of frozen features on disk: entries written whole, shared, within a budget.

An entry is a folder of flat files, one for each tensor, that are mapped into
memory when read, and `entry.json`, which describes them. It is written under
another name and renamed when complete, so that a half-written one is never
found; a process that wants an entry another one is writing waits for it.
Importing this is cheap: no numerical library is loaded.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tltool.support.files import atomic_path, cache_dir, size_of, sweep, write_json

if TYPE_CHECKING:
    import numpy as np

_FORMAT = 1
_MANIFEST = "entry.json"
_LENGTHS = "lengths.bin"
_BLOCK, _BLOCKS = 1 << 20, 64
_ITEM_BYTES = {"bool": 1, "uint8": 1, "float16": 2, "float32": 4, "int32": 4, "int64": 8}


@dataclass(frozen=True)
class TensorSpec:
    """How one tensor of an entry is stored.

    Attributes:
        shape: Of one row; without the token axis where `by_token`.
        dtype: NumPy name: bool, uint8, int32, int64, float16 or float32.
        by_token: Whether a row holds as many of `shape` as it has tokens.
    """

    shape: tuple[int, ...]
    dtype: str
    by_token: bool

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, or of one token of it."""
        return math.prod(self.shape) * _ITEM_BYTES[self.dtype]


@dataclass(frozen=True)
class Entry:
    """A complete entry.

    Attributes:
        path: Its folder.
        rows: Number of rows.
        tokens: Tokens of all rows together; 0 for images.
        tensors: What is stored, each in a file.
        about: For people: backbone, boundary, data.
        stamp: Part of the files' names, different for each writing: TensorFlow
            keeps a file mapped under its name as long as the process lives.
        digest: As `sample_digest` gave it when the files were written.
    """

    path: Path
    rows: int
    tokens: int
    tensors: tuple[TensorSpec, ...]
    about: dict[str, Any]
    stamp: str
    digest: str

    @property
    def num_bytes(self) -> int:
        """Size of the tensors' files."""
        return entry_bytes(self.tensors, self.rows, self.tokens)

    @property
    def last_used(self) -> float:
        """Seconds since 1970; 0 where another process has removed it."""
        try:
            return (self.path / _MANIFEST).stat().st_mtime
        except OSError:
            return 0.0

    def file(self, index: int) -> Path:
        """The file of one tensor."""
        return self.path / f"{index}-{self.stamp}.bin"

    def is_sound(self) -> bool:
        """Whether the files hold what was written."""
        return sample_digest([self.file(i) for i in range(len(self.tensors))]) == self.digest

    def lengths(self) -> np.ndarray:
        """Tokens of each row, int64 (rows,)."""
        import numpy as np

        return np.fromfile(self.path / _LENGTHS, np.int64)


def entry_bytes(tensors: Sequence[TensorSpec], rows: int, tokens: int) -> int:
    """Bytes of an entry of so many rows, with so many tokens together."""
    return sum(spec.row_bytes * (tokens if spec.by_token else rows) for spec in tensors)


def sample_digest(files: Sequence[Path]) -> str:
    """sha256 (hex) of files: in full up to 64 MB each, of larger ones 64 blocks of 1 MB.

    The blocks are spread evenly, the first and the last included.
    """
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        last = max(0, size - _BLOCK)
        count = min(_BLOCKS, -(-size // _BLOCK))
        with path.open("rb") as file:
            for index in range(count):
                file.seek(last * index // max(1, count - 1))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()


class FeatureStore:
    """A folder of entries, each under a key.

    Args:
        folder: None takes `features` in the cache folder.
        max_bytes: Most bytes of all entries together: the longest unused go first.
    """

    def __init__(self, folder: Path | None = None, max_bytes: int | None = None) -> None:
        self.folder = folder or cache_dir() / "features"
        self.max_bytes = max_bytes

    def find(self, key: str) -> Entry | None:
        """The entry under a key, or None if there is none or it is damaged; marks it as used."""
        entry = _read(self.folder / key)
        if entry is not None and not entry.is_sound():
            return None
        if entry is not None:
            with suppress(OSError):
                (entry.path / _MANIFEST).touch()
        return entry

    def entries(self) -> list[Entry]:
        """All complete entries, the last used one first."""
        if not self.folder.is_dir():
            return []
        found = [_read(path) for path in self.folder.iterdir() if path.is_dir()]
        return sorted(
            (e for e in found if e is not None), key=lambda entry: entry.last_used, reverse=True
        )

    def clear(self, unused_seconds: float = 0.0) -> int:
        """Removes entries, damaged ones too, and what killed processes left.

        Args:
            unused_seconds: Keeps the entries that were used within so many seconds.

        Returns:
            The bytes freed.
        """
        freed = 0
        latest = time.time() - unused_seconds
        whole = {entry.path: entry for entry in self.entries()}
        folders = self.folder.glob("[!.]*/") if self.folder.is_dir() else ()
        for path in folders:
            entry = whole.get(path)
            with suppress(OSError):  # another process removes it too
                used = path.stat().st_mtime if entry is None else entry.last_used
                if unused_seconds and used > latest:
                    continue
                freed += size_of(path) if entry is None else entry.num_bytes
            shutil.rmtree(path, ignore_errors=True)
        sweep(self.folder.glob(".*"))
        return freed

    def room(self) -> int:
        """Bytes an entry may have: the budget, and not the last tenth of the free disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free * 9 // 10
        held = sum(entry.num_bytes for entry in self.entries())
        return free + held if self.max_bytes is None else min(self.max_bytes, free + held)

    @contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Only one process at a time writes the entry of a key; the lock ends with its process."""
        from filelock import FileLock

        with FileLock(self.folder / f"{key}.lock"):
            yield

    @contextmanager
    def writing(
        self,
        key: str,
        tensors: Sequence[TensorSpec],
        rows: int,
        lengths: np.ndarray | None,
        about: dict[str, Any],
    ) -> Iterator[Writer]:
        """Writes an entry, which is found under `key` when all went well, and not before.

        Args:
            key: Usable as a folder name.
            tensors: What each row holds.
            rows: Number of rows.
            lengths: Tokens of each row, int64 (rows,); None where nothing is by token.
            about: For people; ready for JSON.

        Raises:
            ValueError: Not every row was written.
            OSError: The disk is full.
        """
        sweep(self.folder.glob(".*"))
        with atomic_path(self.folder / key) as temporary:
            temporary.mkdir()
            with Writer(temporary, tensors, rows, lengths) as writer:
                yield writer
                writer.finish(about)
            self._make_room(writer.num_bytes, key)

    def _make_room(self, needed: int, key: str) -> None:
        """Removes the longest unused entries until the new one fits the budget.

        A process that has one of them mapped keeps reading it: the files live
        until they are closed.
        """
        if self.max_bytes is None:
            return
        entries = [entry for entry in self.entries() if entry.path.name != key]
        held = sum(entry.num_bytes for entry in entries)
        for entry in reversed(entries):
            if held + needed <= self.max_bytes:
                return
            held -= entry.num_bytes
            shutil.rmtree(entry.path, ignore_errors=True)


class Writer:
    """Writes rows, in any order, to the files of a new entry.

    Args:
        folder: Empty.
        tensors, rows, lengths: As in `FeatureStore.writing`.
    """

    def __init__(
        self,
        folder: Path,
        tensors: Sequence[TensorSpec],
        rows: int,
        lengths: np.ndarray | None,
    ) -> None:
        import numpy as np

        self._folder = folder
        self._stamp = secrets.token_hex(4)
        self._tensors = tuple(tensors)
        self._lengths = np.zeros(rows, np.int64) if lengths is None else lengths
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._missing = np.ones(rows, bool)
        self._files: list[IO[bytes]] = []
        self.num_bytes = entry_bytes(tensors, rows, int(self._lengths.sum()))
        self.num_written = 0
        self.seconds = 0.0

    def __enter__(self) -> Writer:
        self._files = [
            (self._folder / f"{index}-{self._stamp}.bin").open("wb")
            for index in range(len(self._tensors))
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    def write(self, rows: np.ndarray, values: Sequence[np.ndarray]) -> None:
        """Writes a batch.

        Args:
            rows: Row numbers, int64 (batch,).
            values: One array for each tensor, (batch, *shape), or
                (batch, tokens, *shape) where it is stored by token: what is
                beyond a row's tokens is left out.
        """
        import numpy as np

        started = time.perf_counter()
        for file, spec, batch in zip(self._files, self._tensors, values, strict=True):
            value = np.asarray(batch, spec.dtype)
            starts = self._starts[rows] if spec.by_token else rows
            for i, start in enumerate(starts.tolist()):
                row = value[i, : self._lengths[rows[i]]] if spec.by_token else value[i]
                os.pwrite(file.fileno(), row.tobytes(), start * spec.row_bytes)
        self._missing[rows] = False
        self.num_written += len(rows)
        self.seconds += time.perf_counter() - started

    def finish(self, about: dict[str, Any]) -> None:
        """Describes the entry; raises ValueError where its rows are not all there."""
        if missing := int(self._missing.sum()):
            raise ValueError(f"{missing} of {len(self._missing)} rows were not written.")
        for file in self._files:
            file.flush()
        self._lengths.tofile(self._folder / _LENGTHS)
        manifest = {
            "format": _FORMAT,
            "rows": len(self._missing),
            "tokens": int(self._lengths.sum()),
            "tensors": [asdict(spec) for spec in self._tensors],
            "about": about,
            "stamp": self._stamp,
            "digest": sample_digest([Path(file.name) for file in self._files]),
        }
        write_json(self._folder / _MANIFEST, manifest)


def _read(path: Path) -> Entry | None:
    """The entry in a folder; None where it is missing, of another format, or cut short."""
    try:
        manifest = json.loads((path / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != _FORMAT:
            return None
        tensors = tuple(
            TensorSpec(tuple(spec["shape"]), spec["dtype"], spec["by_token"])
            for spec in manifest["tensors"]
        )
        rest = (manifest["about"], manifest["stamp"], manifest["digest"])
        entry = Entry(path, manifest["rows"], manifest["tokens"], tensors, *rest)
        for index, spec in enumerate(tensors):
            count = entry.tokens if spec.by_token else entry.rows
            if entry.file(index).stat().st_size != spec.row_bytes * count:
                return None
        if (path / _LENGTHS).stat().st_size != 8 * entry.rows:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return entry
