"""Data sets of several tables: patterns, folders of shards, folders that `datasets` saved."""

from __future__ import annotations

import glob
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tltool.data.examples import SPLITS, Split, split_named
from tltool.data.reading.folders import IMAGE_SUFFIXES, SUFFIXES, label_tables
from tltool.data.reading.tables import SHARD_SUFFIXES, table_suffix
from tltool.data.reading.walk import entries, is_folder, subfolders
from tltool.support.errors import DataError
from tltool.support.files import read_json
from tltool.support.words import listed, natural_key

_LOG = logging.getLogger(__name__)

# What `datasets` writes with save_to_disk: of one data set, and of its splits.
_STATE, _SPLITS_FILE = "state.json", "dataset_dict.json"
NOT_ROWS = {"dataset_info.json", "dataset_infos.json", _STATE, _SPLITS_FILE}
"""Files of JSON that tell of data sets and hold no rows."""

Tables = Mapping[Split, Sequence[Path]]
"""The files that each split consists of, in their order."""


def matches(pattern: str) -> list[Path]:
    """What a pattern with `*`, `?` or `[…]` matches, in natural order; nothing for a plain path."""
    if not glob.has_magic(pattern):
        return []
    # Path.glob takes no absolute pattern.
    found = glob.glob(str(Path(pattern).expanduser()), recursive=True)  # noqa: PTH207
    return sorted(map(Path, found), key=lambda path: natural_key(str(path)))


def tables_of(source: str, found: Sequence[Path]) -> Tables:
    """The files of a pattern as one split.

    Args:
        source: The pattern, for messages.
        found: What it matches.

    Raises:
        DataError: They are no tables, are of several formats, or their names say that they
            are of several splits.
    """
    if others := [path for path in found if table_suffix(path) is None]:
        raise DataError(
            f"{source} matches what is no table: {listed(list(map(str, others)), 5)}.",
            hint="end the pattern in the tables' suffix, such as *.parquet",
        )
    _check_one_format(found)
    splits = {split for path in found if (split := _split_in_name(path)) is not None}
    if len(splits) > 1:
        raise DataError(
            f"{source} matches files of {' and '.join(s for s in SPLITS if s in splits)}.",
            hint="name the folder, or a pattern for each of data.train, data.validation and "
            "data.test",
        )
    return {"train": list(found)}


def tables_in(folder: Path) -> Tables:
    """The tables that a folder consists of, by the splits in their names or their folders'.

    A folder of shards holds files such as `train-00000-of-00002.parquet`, or
    `train/0000.parquet`, itself or in one folder such as `data/`. Where no name
    says a split, all Parquet, Arrow, TFRecord and tar files are `train`. One
    that `datasets` saved says itself what it consists of.

    Returns:
        Nothing for a folder of another kind, such as one with a folder for each class.

    Raises:
        DataError: It holds several data sets, or one that is damaged.
    """
    if (folder / _SPLITS_FILE).is_file():
        names = _read(folder / _SPLITS_FILE, "splits")
        found = {name: _saved_files(folder / str(name)) for name in names}
        return _by_split(folder, found)
    if (folder / _STATE).is_file():
        return {"train": _saved_files(folder)}
    return _shards(folder)


def _read(path: Path, key: str) -> list[Any]:
    try:
        values = read_json(path)[key]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path} is not what `datasets` saves there: {error}.") from error
    return list(values) if isinstance(values, list) else []


def _saved_files(folder: Path) -> list[Path]:
    files = [folder / Path(str(dict(one).get("filename"))).name
             for one in _read(folder / _STATE, "_data_files")]  # fmt: skip
    if missing := [file.name for file in files if not file.is_file()]:
        raise DataError(f"{folder} lacks {listed(missing)}, which its {_STATE} names.")
    if read_json(folder / _STATE).get("_indices_data_files"):
        raise DataError(
            f"{folder} was saved with a choice or an order of rows beside them, which is not read.",
            hint="save `dataset.flatten_indices()` in its place",
        )
    return files


def _by_split(folder: Path, found: Mapping[Any, Sequence[Path]]) -> Tables:
    """Those of known splits; a warning tells of others, such as `unsupervised`."""
    named: dict[Split, list[Path]] = {}
    others = []
    for name, files in found.items():
        split = split_named(str(name))
        if split is None:
            others.append(str(name))
        else:
            named.setdefault(split, []).extend(files)
    if others:
        _LOG.warning("left out, since they are no splits in %s: %s", folder, listed(others, 5))
    return named


def _shards(folder: Path) -> Tables:
    inner = subfolders(folder)
    own = [path for path in entries(folder, []) if not is_folder(path)]
    if label_tables(folder) or any(path.suffix.lower() in IMAGE_SUFFIXES for path in own):
        return {}
    tables = [path for path in own if table_suffix(path) and path.name not in NOT_ROWS]
    apart = [path for path in inner if split_named(path.name) is None]
    if apart:
        if tables:
            return {}
        if len(inner) == 1:
            return _shards(inner[0])
        if len(apart) == len(inner) and all(_shards(path) for path in inner):
            raise DataError(
                f"{folder} holds several data sets: {listed([path.name for path in inner])}.",
                hint=f"name one of them, such as {inner[0]}",
            )
        return {}
    for path in inner:
        files = entries(path, [])
        if label_tables(path) or not all(map(_may_lie_beside_tables, files)):
            return {}
        tables += [file for file in files if table_suffix(file)]
    return _named_shards(folder, tables)


def _may_lie_beside_tables(path: Path) -> bool:
    inputs = {suffix for suffixes in SUFFIXES.values() for suffix in suffixes}
    return not is_folder(path) and path.suffix.lower() not in inputs


def _named_shards(folder: Path, tables: Sequence[Path]) -> Tables:
    splits = {path: _split_in_name(path) or split_named(path.parent.name) for path in tables}
    shards = [path for path in tables if table_suffix(path) in SHARD_SUFFIXES]
    if not any(splits.values()):
        _check_one_format(shards)
        return {"train": shards} if shards else {}
    if not shards and "train" not in splits.values():
        return {}
    parts: dict[Split, list[Path]] = {}
    for split in SPLITS:
        if files := [path for path in tables if splits[path] == split]:
            _check_one_format(files)
            parts[split] = files
    if others := [str(path.relative_to(folder)) for path in tables if splits[path] is None]:
        _LOG.warning(
            "left out of %s, since their names say no split: %s", folder, listed(others, 5)
        )
    return parts


def _split_in_name(path: Path) -> Split | None:
    """The first split that the words of a file's name say."""
    words = re.findall(r"[a-z]+", path.name.lower().partition(".")[0])
    return next((split for word in words if (split := split_named(word))), None)


def _check_one_format(files: Sequence[Path]) -> None:
    """Raises DataError for several formats: the same rows twice, more likely than one data set."""
    formats = sorted({table_suffix(path) or "" for path in files})
    if len(formats) > 1:
        raise DataError(
            f"{files[0].parent} has tables of {' and '.join(formats)} for one split.",
            hint="name those of one format, such as data.train='…/*.parquet'",
        )
