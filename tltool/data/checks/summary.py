"""Describes examples for reports, and warns of what is legal but odd."""

from __future__ import annotations

import os
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.checks.fingerprints import duplicates
from tltool.data.examples import SPLITS, Examples, each_text
from tltool.data.images.headers import declared_in
from tltool.data.images.looks import ranges_used
from tltool.data.labels import count_targets
from tltool.data.packed import taken
from tltool.data.sharing import ALONE, Sharing
from tltool.support.threads import map_in_threads
from tltool.support.words import appearance, count, plural

if TYPE_CHECKING:
    import numpy.typing as npt

QUANTILES = {"min": 0.0, "p05": 0.05, "median": 0.5, "p95": 0.95, "max": 1.0}
FEW = 10
"""Training examples of a class below which a warning is given."""
NAMED = 10
"""Classes that one warning names."""
DARK = 1 / 8
"""Share of the range of levels: where most pictures use less, a warning is given."""
_LOOKED_AT = 32
"""Pictures, from all over the data, whose levels are looked at."""
IMBALANCE = 20
"""Ratio of the largest to the smallest class from which a warning is given."""


def describe(examples: Examples, task: str = "", sharing: Sharing = ALONE) -> dict[str, Any]:
    """A summary of the data, of plain JSON values.

    Args:
        examples: Any.
        task: Its name, for warnings.
        sharing: Of reading the headers of image files.

    Returns:
        `examples` and `modality`; `rows` by split; `counts` by split and label
        (of numbers under "all"); `targets` (quantiles) of single numbers;
        `text_length_characters` or `image_width_px` and `image_height_px`
        (quantiles); `duplicates` (rows beyond the first
        of equal inputs); `conflicts` (the origins of equal inputs with
        different targets); `across_splits` (by pair of splits, the origins of
        equal inputs); `groups_across_splits` (by pair of splits, the names of groups that are in
        both, each with two origins); `warnings`; `skipped`; `decisions`, where a table of them
        changed rows.
    """
    groups = duplicates(examples)
    summary: dict[str, Any] = {
        "examples": len(examples),
        "modality": examples.modality,
        "rows": _rows(examples),
        "counts": count_targets(examples),
        **_sizes(examples, sharing),
        "duplicates": sum(len(rows) - 1 for rows in groups),
        "conflicts": list(_conflicts(examples, groups)),
        "across_splits": _across_splits(examples, groups),
        "groups_across_splits": _groups_across_splits(examples),
        "skipped": list(examples.skipped),
    }
    if examples.decided is not None:
        summary["decisions"] = examples.decided.to_json()
    numbers = [target for target in examples.targets if isinstance(target, float)]
    if numbers:
        summary["targets"] = quantiles(numbers)
    training = [t for t, s in zip(examples.targets, examples.splits, strict=True) if s != "test"]
    remarks = examples.kind.remarks_on(training, task) if training else []
    if any(map(examples.kind.names_in, training)):  # numbers have no names to count
        remarks = [*_count_warnings(summary["counts"], examples.kind.noun), *remarks]
    return {**summary, "warnings": [*_warnings(summary), *_level_warnings(examples), *remarks]}


def _rows(examples: Examples) -> dict[str, int]:
    found = Counter[str](split or "undecided" for split in examples.splits)
    return {split: found[split] for split in (*SPLITS, "undecided") if found[split]}


def quantiles(values: Sequence[float] | npt.NDArray[Any]) -> dict[str, float]:
    """The values at `QUANTILES` (linear interpolation)."""
    import numpy as np

    return {name: float(np.quantile(values, share)) for name, share in QUANTILES.items()}


def _sizes(examples: Examples, sharing: Sharing) -> dict[str, dict[str, float]]:
    import numpy as np

    if not len(examples):
        return {}
    if examples.modality != "image":
        lengths = array("q", map(len, each_text(examples.inputs)))
        return {"text_length_characters": quantiles(lengths)}
    own = sharing.own(examples.inputs)
    sizes = np.zeros((len(examples), 2), np.int64)
    found = map_in_threads(_image_size, taken(examples.inputs, own), os.cpu_count() or 1)
    for row, size in zip(own, found, strict=True):
        sizes[row] = size or (0, 0)
    sharing.summed("the images' sizes", sizes)
    known = sizes[sizes.all(axis=1)]
    if not len(known):
        return {}
    return {"image_width_px": quantiles(known[:, 0]), "image_height_px": quantiles(known[:, 1])}


def _image_size(image: Any) -> tuple[int, int] | None:
    """Width and height as stored; of a file only the header is read, and None where it is odd."""
    if not isinstance(image, str):
        return int(image.shape[1]), int(image.shape[0])
    found = declared_in(Path(image))
    return None if found is None else (found.width, found.height)


def _conflicts(examples: Examples, groups: Iterable[Sequence[int]]) -> Iterator[list[str]]:
    for rows in groups:
        if len({examples.targets[row] for row in rows}) > 1:
            yield [f"{examples.origins[row]}: {_told(examples.targets[row])}" for row in rows]


def _told(target: Any) -> str:
    """A target in words; several labels or numbers of a row with commas."""
    return ", ".join(map(str, target)) if type(target) is tuple else str(target)


def _across_splits(
    examples: Examples, groups: Iterable[Sequence[int]]
) -> dict[str, list[list[str]]]:
    found: dict[str, list[list[str]]] = defaultdict(list)
    for rows in groups:
        first = {examples.splits[row]: examples.origins[row] for row in reversed(rows)}
        names = [name for name in ("train", "validation", "test") if name in first]
        for i, one in enumerate(names):
            for other in names[i + 1 :]:
                found[f"{one} and {other}"].append([first[one], first[other]])
    return dict(found)


def _groups_across_splits(examples: Examples) -> dict[str, list[list[str]]]:
    """The groups that are divided, as data may that says its splits itself."""
    first: dict[tuple[str, str | None], int] = {}
    for row, place in enumerate(zip(examples.groups, examples.splits, strict=False)):
        first.setdefault(place, row)
    rows_of: dict[str, list[int]] = defaultdict(list)
    for (group, _), row in first.items():
        rows_of[group].append(row)
    found: dict[str, list[list[str]]] = defaultdict(list)
    for group, rows in rows_of.items():
        for pair, (origins,) in _across_splits(examples, [rows]).items():
            found[pair].append([group, *origins])
    return dict(found)


def _warnings(summary: dict[str, Any]) -> Iterator[str]:
    for pair, rows in summary["across_splits"].items():
        yield (
            f"{len(rows)} inputs are both in {pair} (the first: {' and '.join(rows[0])}); "
            "measured results are too good by that."
        )
    for pair, groups in summary["groups_across_splits"].items():
        group, *origins = groups[0]
        yield (
            f"Of {count(len(groups), 'group')} rows are both in {pair} (the first, {group!r}: "
            f"{' and '.join(origins)}); measured results are too good by that."
        )
    if conflicts := summary["conflicts"]:
        yield (
            f"{len(conflicts)} inputs occur with different labels "
            f"(the first: {'; '.join(conflicts[0])})."
        )


def _level_warnings(examples: Examples) -> Iterator[str]:
    """Of 12 bits in files of 16, which the decoder brings to the lowest levels of 8."""
    if examples.modality != "image" or not len(examples):
        return
    number = min(len(examples), _LOOKED_AT)
    rows = [row * len(examples) // number for row in range(number)]
    shares = ranges_used(taken(examples.inputs, rows))
    dark = [share for share in shares if share < DARK]
    if 2 * len(dark) > len(shares):
        yield (
            f"{len(dark)} of {count(len(shares), 'picture')} looked at are nearly black: they use "
            f"{max(dark):.1%} of the range of their levels at most. Scale the levels to the whole "
            "range before, such as those of 12 bits to 16, or see backbone.image_levels."
        )


def _count_warnings(counts: dict[str, dict[str, int]], noun: str) -> Iterator[str]:
    training = counts.get("train") or counts.get("undecided") or {}
    few = {name: number for name, number in training.items() if number < FEW}
    if len(few) == 1:
        ((name, number),) = few.items()
        yield f"The {noun} {name!r} has {count(number, 'training example')} only."
    elif few:
        rarest = sorted(few, key=few.__getitem__)
        named = ", ".join(f"{name!r} ({few[name]})" for name in rarest[:NAMED])
        more = f" and {len(few) - NAMED} more" if len(few) > NAMED else ""
        yield f"{count(len(few), noun)} have fewer than {FEW} training examples: {named}{more}."
    if training and max(training.values()) >= IMBALANCE * min(training.values()):
        largest, smallest = (
            max(training, key=training.__getitem__),
            min(training, key=training.__getitem__),
        )
        yield (
            f"The {plural(noun)} are uneven: {training[largest]} of {largest!r}, "
            f"{training[smallest]} of {smallest!r}; class weights may help."
        )
    alike: dict[str, list[str]] = defaultdict(list)
    for name in training:
        alike[appearance(name)].append(name)
    for names in alike.values():
        if len(names) > 1:
            # By their code points where one cannot see the difference.
            plainly = len({" ".join(name.casefold().split()) for name in names}) == 1
            told = ", ".join(map(repr if plainly else ascii, names))
            yield f"Labels that look alike are taken for different {plural(noun)}: {told}."
