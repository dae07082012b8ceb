"""Data sets of the Hugging Face hub: `hf://datasets/org/name[@revision][/path]`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from tltool.data.reading.folders import METADATA_TABLES
from tltool.data.reading.shards import NOT_ROWS, matches
from tltool.data.reading.tables import table_suffix
from tltool.support.errors import DataError
from tltool.support.hub import HubRepo, fetch_repo

PREFIX = "hf://datasets/"
_CONVERTED = "refs/convert/parquet"
"""The branch on which the hub keeps what it made of a data set, as Parquet files."""


def fetch_hub_data(name: str) -> list[Path]:
    """The local folder or files of a data set, downloaded where they are not cached.

    Only tables are fetched, never code.

    Args:
        name: `hf://datasets/org/name[@revision][/path]`; the path is a folder, a
            file, or a pattern such as `data/train-*.parquet`.

    Raises:
        DataError: It is not written like this, or as `fetch_repo`.
    """
    source, path = _parsed(name)

    def wanted(paths: Sequence[str]) -> list[str]:
        tables = [one for one in paths if _is_below(one, path) and _has_rows(one)]
        if not tables:
            raise DataError(
                f"{name} has no tables.",
                hint=f"the hub keeps most data sets as Parquet too: {PREFIX}{source.repo}"
                f"@{_CONVERTED}",
            )
        return tables

    folder = fetch_repo(source, name, wanted, DataError, part=f"tables/{path}")
    return matches(str(folder / path)) or [folder / path]


def _parsed(name: str) -> tuple[HubRepo, str]:
    match = re.fullmatch(
        r"hf://datasets/([\w.-]+/[\w.-]+)(?:@(refs/\w+/[\w-]+|[\w.-]+))?(?:/(.+?))?/?", name
    )
    if match is None or ".." in name or "\\" in name:
        raise DataError(
            f"{name!r} names no data set of the Hugging Face hub.",
            hint=f"write {PREFIX}org/name, {PREFIX}org/name@revision, or a path after it",
        )
    return HubRepo(match[1], match[2] or "main", "datasets"), match[3] or ""


def _is_below(path: str, place: str) -> bool:
    return not place or path == place or path.startswith(f"{place}/") or fnmatchcase(path, place)


def _has_rows(path: str) -> bool:
    file = PurePosixPath(path).name
    others = file in NOT_ROWS or file in METADATA_TABLES
    return not others and not file.startswith(".") and table_suffix(Path(file)) is not None
