"""Looks at every example before training: broken images, duplicates, odd labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tltool.data.checks.checked_images import checked_contents, remember
from tltool.data.checks.fingerprints import (
    UNREADABLE,
    as_items,
    content_digests,
    with_contents,
)
from tltool.data.examples import Examples
from tltool.data.images.signatures import TOO_LARGE, foreign_format, image_format
from tltool.data.packed import taken
from tltool.data.reading.rows import Broken, broken_file, settle
from tltool.data.sharing import ALONE, Sharing
from tltool.recipe.schema import OnError
from tltool.support.errors import DataError
from tltool.support.progress import Progress
from tltool.support.threads import map_in_threads
from tltool.support.words import listed

Decode = Callable[[Any], Any]
# From image files, and whom to tell how many more were looked at, to what is wrong with some.
Look = Callable[[Sequence[str], Callable[[int], None]], dict[str, str]]
_TOLD = 512


def check_examples(
    examples: Examples,
    *,
    on_error: OnError,
    decode: Decode | None = None,
    look: Look | None = None,
    sharing: Sharing = ALONE,
    progress: Progress | None = None,
) -> Examples:
    """Decodes every image file in full and settles those that are broken.

    Texts and arrays were checked when they were read; they pass as they are.

    Args:
        examples: From `load_examples`.
        on_error: "stop" raises one error naming every broken file; "skip"
            leaves them out and lists them in `Examples.skipped`.
        decode: Takes a scalar string tensor with a file's bytes and returns
            the image; None for the decoder that training uses.
        look: Takes the files to decode in place of this process alone.
        sharing: Of the files to read.
        progress: Is told how many files are read and decoded.

    Returns:
        The usable examples, in their order, images with their contents.

    Raises:
        DataError: Broken files (stop), or a class of which no file is left (skip).
    """
    if examples.modality != "image":
        return examples
    progress = progress or Progress()
    with progress.rows("reading images", len(sharing.own(examples.inputs))) as done:
        examples = with_contents(examples, done, sharing)
    contents = content_digests(examples)
    digests = as_items(contents)
    checked = np.unique(as_items(checked_contents())) if decode is None else digests[:0]
    rows = _to_decode(examples, digests, checked)
    with progress.rows("decoding images", len(rows)) as done:
        files = taken(examples.inputs, rows)
        problems = image_problems(files, decode, done) if look is None else look(files, done)
    broken: list[Broken] = []
    sound = examples
    if problems:
        reasons = _reasons(examples, digests, rows, problems)
        broken = [
            broken_file(examples.origins[row], examples.inputs[row], reason)
            for row, reason in reasons.items()
        ]
        sound = examples.where(lambda row: row not in reasons)
    skipped = settle(broken, on_error, what="image files")
    _check_classes_left(examples, sound)
    if decode is None:
        remember(contents[[row for row in rows if examples.inputs[row] not in problems]])
    return replace(sound, skipped=(*examples.skipped, *skipped))


def _reasons(
    examples: Examples,
    digests: npt.NDArray[np.bytes_],
    decoded: Sequence[int],
    problems: Mapping[str, str],
) -> dict[int, str]:
    """What is wrong with each broken row: files of equal content share it."""
    nothing = np.bytes_(UNREADABLE)
    of_content = {
        digests[row]: problems[examples.inputs[row]]
        for row in decoded
        if examples.inputs[row] in problems and digests[row] != nothing
    }
    found = {}
    for row, path in enumerate(examples.inputs):
        reason = of_content.get(digests[row])
        if isinstance(path, str) and (reason := problems.get(path, reason)) is not None:
            found[row] = reason
    return found


def _to_decode(
    examples: Examples, digests: npt.NDArray[np.bytes_], checked: npt.NDArray[np.bytes_]
) -> list[int]:
    """The rows to look at: one of each content that was not decoded in full before."""
    files = np.fromiter((isinstance(one, str) for one in examples.inputs), bool, len(examples))
    unread = digests == UNREADABLE
    first = np.zeros(len(digests), bool)
    first[np.unique(digests, return_index=True)[1]] = True
    places = np.searchsorted(checked, digests)
    known = places < len(checked)
    known[known] = checked[places[known]] == digests[known]
    return np.flatnonzero(files & (unread | (first & ~known))).tolist()


def image_problem(path: Path, decode: Decode) -> str | None:
    """Why an image file cannot be used, or None where it decodes in full."""
    import tensorflow as tf

    try:
        data = path.read_bytes()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not data:
        return "the file is empty (0 bytes)"
    form = image_format(data)
    if form is None:
        return f"not an image but {foreign_format(data)}"
    try:
        decode(tf.constant(data))
    except tf.errors.OpError as error:
        reason = error.message.splitlines()[0] if error.message else type(error).__name__
        if reason.startswith(TOO_LARGE):
            return f"a {form} that is {reason}"
        return f"damaged or truncated {form} ({_shorten(reason)})"
    return None


def image_problems(
    paths: Sequence[str],
    decode: Decode | None = None,
    done: Callable[[int], None] | None = None,
) -> dict[str, str]:
    """What is wrong with each broken image file; the sound ones are left out.

    Args:
        paths: The files, which are decoded in full.
        decode: As for `check_examples`.
        done: Is told how many more files were looked at, now and then.
    """
    if not paths:
        return {}
    decode = decode or _default_decode()
    workers = min(16, 2 * (os.cpu_count() or 1))  # decoding frees Python's lock
    found = map_in_threads(lambda path: image_problem(Path(path), decode), paths, workers)
    problems = {}
    for number, (path, why) in enumerate(zip(paths, found, strict=True), start=1):
        if why is not None:
            problems[path] = why
        if done is not None and (number % _TOLD == 0 or number == len(paths)):
            done((number - 1) % _TOLD + 1)
    return problems


def _default_decode() -> Decode:
    from tltool.data.images.preprocessor import decode_image

    return decode_image


def _shorten(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _check_classes_left(before: Examples, after: Examples) -> None:
    if not len(after):
        raise DataError("No image file is usable: all of them are broken.")
    names_in = before.kind.names_in
    counts = Counter(n for target in before.targets if target is not None for n in names_in(target))
    left = {n for target in after.targets if target is not None for n in names_in(target)}
    if lost := [label for label in counts if label not in left]:
        raise DataError(
            f"All {counts[lost[0]]} image files of the class {lost[0]!r} are broken."
            if len(lost) == 1
            else f"All image files of the classes {listed(lost)} are broken.",
            hint="mend them, or remove the class",
        )
