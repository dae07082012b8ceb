"""An index of what a model makes vectors of, and what of it is nearest to a query.

The search is exact: a query is compared with every row. The vectors are on the
disk and are read from there, so that an index may be larger than memory. Only an
index of Faiss, where one is asked for, chooses which rows to compare with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.examples import Examples
from tltool.data.reading.rows import Broken
from tltool.export.artifact import Artifact, is_artifact, load_artifact
from tltool.recipe.recipe import DataSection
from tltool.recipe.schema import OnError
from tltool.runs.faiss_index import read_faiss, write_faiss
from tltool.runs.predict import Predictions, collect_inputs
from tltool.runs.run import Run, load_run
from tltool.support.errors import DataError, RunError
from tltool.support.files import atomic_path, read_json, write_json
from tltool.support.items import items_of
from tltool.support.progress import Progress
from tltool.support.sums import SUMS_FILE, changes_in, sum_of, write_sums
from tltool.tasks.table import Task

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

VERSION = 1
TOP = 10
_ABOUT, _ROWS, _VECTORS, _FAISS = "index.json", "rows.jsonl", "vectors.npy", "vectors.faiss"
_BUILD_AGAIN = "build it again: tltool search MODEL INDEX --build DATA"


@dataclass(frozen=True)
class Neighbour:
    """A row of an index.

    Attributes:
        similarity: Cosine with the query, -1..1.
        origin: Where the row came from: a file, or a file and line.
        input: The text, or the path of the image; its origin where that is no file.
    """

    similarity: float
    origin: str
    input: str


@dataclass(frozen=True)
class Embedder:
    """A run or an exported model whose outputs are vectors.

    Attributes:
        name: Its path.
        task: With its target.
        section: How data is read where nothing else is said.
        sum: sha256 of its weights' file, or of the list of an export's files.
    """

    name: str
    task: Task
    section: DataSection
    sum: str
    _outputs: Callable[[Examples], Any]

    @classmethod
    def load(cls, model: Model, progress: Progress | None = None) -> Embedder:
        """An embedder of what is given by its path, or as an object.

        Raises:
            DataError: The model gives no vectors.
            TltoolError: It can't be loaded.
        """
        if isinstance(model, Embedder):
            return model
        if isinstance(model, str | Path):
            path = Path(model)
            model = load_artifact(path) if is_artifact(path) else load_run(path, progress=progress)
        task = model.task
        if not task.target.program().vectors:
            raise DataError(
                f"The model is for {task.spec.name}, which gives no vectors to search by.",
                hint=f"train one with task={task.spec.backbone_modality}-embedding",
            )
        if isinstance(model, Artifact):
            artifact = model
            sums = artifact.path.parent / SUMS_FILE
            return cls(str(artifact.path.parent), task, DataSection(), sum_of(sums),
                       lambda found: artifact.predict(found.inputs))  # fmt: skip
        folder = model.folder
        file = folder.model if folder.model.is_file() else folder.checkpoint
        outputs = model.outputs
        return cls(str(model.path), task, model.recipe.data, sum_of(file), outputs)

    def rows(
        self, inputs: Sequence[str], section: DataSection, on_error: OnError, progress: Progress
    ) -> tuple[list[dict[str, Any]], list[Broken]]:
        """Rows with `origin`, `input` and `prediction`, float32, and what could not be used."""
        import numpy as np

        items = collect_inputs(inputs, self.task.spec, section)
        found = Predictions(items, self._outputs, self.task, encoding=section.encoding,
                            on_error=on_error, progress=progress)  # fmt: skip
        rows = [
            {**row, "prediction": np.asarray(row["prediction"], np.float32)}
            for row in found
            if row["prediction"] is not None
        ]
        return rows, found.broken


Model = Path | str | Run | Artifact | Embedder
"""What makes vectors: a run or an exported model, or its path."""


def build_index(
    model: Model,
    data: str | Path | Sequence[str],
    folder: Path | str,
    *,
    section: DataSection | None = None,
    on_error: OnError = "skip",
    faiss: str = "",
    progress: Progress | None = None,
) -> tuple[Index, list[Broken]]:
    """Makes vectors of data and keeps them in a folder, written whole or not at all.

    Args:
        model: A run or an exported model, or its path.
        data: A folder, a table, a file, or several of them.
        folder: Where the index is kept; one that is there alone is replaced.
        section: How tables are read; None as the run's own data was.
        on_error: "skip" leaves out what cannot be used; "stop" raises.
        faiss: The Faiss index to search by; see `tltool.runs.faiss_index.write_faiss`.
        progress: Is told how far it is.

    Returns:
        The index, and what was left out.

    Raises:
        DataError: The model gives no vectors, or no row can be used; or `folder` is
            there and is no index, or not that alone; or Faiss can't make the one that is asked for.
    """
    import numpy as np

    folder, progress = Path(folder), progress or Progress()
    if folder.exists() and not _is_index_alone(folder):
        raise DataError(f"{folder} is there and is no index, or holds other files too.",
                        hint="name another folder")  # fmt: skip
    embedder = Embedder.load(model, progress)
    named = [str(data)] if isinstance(data, str | Path) else list(map(str, data))
    rows, broken = embedder.rows(named, section or embedder.section, on_error, progress)
    if not rows:
        raise DataError(f"None of {len(broken)} inputs can be used.", hint=str(broken[0]))
    vectors = np.stack([row["prediction"] for row in rows])
    about = {
        "version": VERSION,
        "model": embedder.name,
        "sum": embedder.sum,
        "task": embedder.task.spec.name,
        "rows": len(rows),
        "width": vectors.shape[1],
        "faiss": faiss,
    }
    lines = (json.dumps({"origin": row["origin"], "input": row["input"]}) for row in rows)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        np.save(temporary / _VECTORS, vectors, allow_pickle=False)
        if faiss:
            write_faiss(vectors, faiss, temporary / _FAISS)
        (temporary / _ROWS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        write_json(temporary / _ABOUT, about)
        write_sums(temporary)
    return load_index(folder), broken


def _is_index_alone(folder: Path) -> bool:
    """Whether a folder holds an index and nothing else, so that it can be replaced."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    return {_ABOUT, SUMS_FILE} <= names <= {_ABOUT, _ROWS, _VECTORS, _FAISS, SUMS_FILE}


def load_index(folder: Path | str) -> Index:
    """Opens an index.

    Raises:
        RunError: There is none, it is damaged, or of a newer version.
    """
    folder = Path(folder)
    if not folder.exists():
        raise RunError(f"{folder} does not exist.", hint=_BUILD_AGAIN)
    if not (folder / _ABOUT).is_file():
        raise RunError(f"{folder} is no index.", hint=_BUILD_AGAIN)
    if changes := changes_in(folder):
        raise RunError("\n  ".join([f"The index {folder} is damaged:", *changes]),
                       hint=_BUILD_AGAIN)  # fmt: skip
    try:
        about = read_json(folder / _ABOUT)
        version, rows, width = (int(about[key]) for key in ("version", "rows", "width"))
        index = Index(folder, str(about["model"]), str(about["sum"]), rows, width,
                      str(about.get("faiss", "")))  # fmt: skip
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunError(f"{folder / _ABOUT} cannot be read: {error}.", hint=_BUILD_AGAIN) from error
    if version != VERSION:
        raise RunError(f"{folder} is an index of version {version}; this tltool reads {VERSION}.",
                       hint=_BUILD_AGAIN)  # fmt: skip
    return index


@dataclass(frozen=True)
class Index:
    """Vectors of rows in a folder; made by `build_index` and `load_index`.

    Attributes:
        folder: Where it is.
        model, sum: What made the vectors: its path then, and its sha256.
        rows, width: How many vectors, and of how many numbers.
        faiss: The Faiss index that finds what is near; empty where all rows are compared.
    """

    folder: Path
    model: str
    sum: str
    rows: int
    width: int
    faiss: str = ""

    @cached_property
    def vectors(self) -> Array:
        """Unit vectors, float32 (rows, width), read from the disk as they are asked for."""
        import numpy as np

        found: Array = np.load(self.folder / _VECTORS, mmap_mode="r", allow_pickle=False)
        return found

    @cached_property
    def _lines(self) -> list[str]:
        return (self.folder / _ROWS).read_text(encoding="utf-8").splitlines()

    def nearest(self, queries: Array | Sequence[Any], top: int = TOP) -> list[list[Neighbour]]:
        """The rows nearest to vectors, the most alike first, equal ones in their order.

        Args:
            queries: Unit vectors (n, width).
            top: How many of each.

        Raises:
            DataError: Vectors of another width, or `top` is less than 1.
        """
        import numpy as np

        from tltool.tasks.metrics.retrieval import similarity_blocks

        asked: Array = np.asarray(queries, np.float32)
        if asked.ndim != 2 or asked.shape[1] != self.width:
            raise DataError(
                f"Queries of shape (n, {self.width}) are needed. Received: {asked.shape}."
            )
        if top < 1:
            raise DataError(f"top: one neighbour at least is asked for. Received: {top}.")
        top = min(top, self.rows)
        if self.faiss:
            _, places = self._index.search(asked, top)
            # -1 stands where it found no more.
            return [self._ordered(query, near[near >= 0])
                    for query, near in zip(asked, places, strict=True)]  # fmt: skip
        found: list[list[Neighbour]] = []
        for _, cosines in similarity_blocks(asked, self.vectors):
            # As many as are wanted, and all that equal the last of them.
            limits = np.partition(cosines, self.rows - top, axis=1)[:, self.rows - top]
            for row, limit in zip(cosines, limits, strict=True):
                near = np.flatnonzero(row >= limit)
                best = near[np.argsort(-row[near], kind="stable")][:top]
                found.append([self._neighbour(i, row[i]) for i in best.tolist()])
        return found

    @cached_property
    def _index(self) -> Any:
        return read_faiss(self.folder / _FAISS)

    def _ordered(self, query: Array, near: Array) -> list[Neighbour]:
        """Rows as `nearest` orders them, by exact cosines, which some indexes of Faiss round."""
        import numpy as np

        rows = np.sort(near)
        cosines = self.vectors[rows] @ query
        order = np.argsort(-cosines, kind="stable").tolist()
        return [self._neighbour(int(rows[place]), cosines[place]) for place in order]

    def _neighbour(self, row: int, similarity: Any) -> Neighbour:
        return Neighbour(round(float(similarity), 6), **json.loads(self._lines[row]))

    def search(
        self,
        model: Model,
        queries: Sequence[str],
        *,
        top: int = TOP,
        section: DataSection | None = None,
        progress: Progress | None = None,
    ) -> list[dict[str, Any]]:
        """What is nearest to texts, or to the pictures of files.

        Args:
            model: That made the index.
            queries: As inputs of `tltool predict`.
            top: How many of each.
            section: How tables are read; None as the run's own data was.
            progress: Is told how far it is.

        Returns:
            One mapping a query: its `origin` and `input`, and `neighbours`, mappings of
            `similarity`, `origin` and `input`.

        Raises:
            DataError: A query cannot be used, or another model made the index.
        """
        queries = items_of(queries, "queries", DataError)
        embedder = Embedder.load(model, progress)
        if embedder.sum != self.sum:
            raise DataError(
                f"The index {self.folder} was made by {self.model}, and not by {embedder.name} as "
                "it is now: their vectors can't be compared.",
                hint=_BUILD_AGAIN,
            )
        rows, _ = embedder.rows(queries, section or embedder.section, "stop", Progress())
        found = self.nearest([row["prediction"] for row in rows], top)
        return [
            {"origin": row["origin"], "input": row["input"],
             "neighbours": [asdict(neighbour) for neighbour in near]}
            for row, near in zip(rows, found, strict=True)
        ]  # fmt: skip
