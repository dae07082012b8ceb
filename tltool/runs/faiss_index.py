"""Indexes of Faiss, which find what is near in collections too large to compare with one by one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.support.errors import DataError

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def write_faiss(vectors: Array, factory: str, path: Path) -> None:
    """Writes an index of vectors by their inner product.

    Args:
        vectors: Unit vectors, float32 (rows, width).
        factory: What Faiss' `index_factory` makes, such as "Flat", "HNSW32" or "IVF1024,Flat".
        path: The file to write.

    Raises:
        DataError: Faiss is not installed, knows no such index, or can't make it of these rows.
    """
    faiss = _faiss()
    try:
        index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        index.train(vectors)
        index.add(vectors)
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise DataError(
            f"Faiss can't make an index {factory!r} of {len(vectors):,} rows of "
            f"{vectors.shape[1]} numbers: {reason}",
            hint="name one as faiss.index_factory does, such as Flat, HNSW32 or IVF1024,Flat",
        ) from error


def read_faiss(path: Path) -> Any:
    """The index in a file.

    Raises:
        DataError: Faiss is not installed, or the file is none of its indexes.
    """
    faiss = _faiss()
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise DataError(f"Faiss can't read {path}.", hint="build the index again") from error


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise DataError(
            "Faiss is not installed, and this index needs it.",
            hint="pip install 'tltool[faiss]', or build the index without --faiss",
        ) from error
    return faiss
