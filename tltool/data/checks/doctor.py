"""Looks at every example before training: broken images, duplicates, odd labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tltool.data.checks.checked_images import checked_contents, remember
from tltool.data.checks.fingerprints import content_keys
from tltool.data.examples import Examples
from tltool.data.images.signatures import TOO_LARGE, foreign_format, image_format
from tltool.data.reading.rows import broken_file, settle
from tltool.recipe.schema import OnError
from tltool.support.errors import DataError
from tltool.support.threads import map_in_threads
from tltool.support.words import listed

Decode = Callable[[Any], Any]


def check_examples(
    examples: Examples, *, on_error: OnError, decode: Decode | None = None
) -> Examples:
    """Decodes every image file in full and settles those that are broken.

    Texts and arrays were checked when they were read; they pass as they are.

    Args:
        examples: From `load_examples`.
        on_error: "stop" raises one error naming every broken file; "skip"
            leaves them out and lists them in `Examples.skipped`.
        decode: Takes a scalar string tensor with a file's bytes and returns
            the image; None for the decoder that training uses.

    Returns:
        The usable examples, in their order.

    Raises:
        DataError: Broken files (stop), or a class of which no file is left (skip).
    """
    if examples.modality != "image":
        return examples
    paths = [value if isinstance(value, str) else None for value in examples.inputs]
    problems = image_problems(_unchecked(examples, paths, decode), decode)
    broken = [
        broken_file(origin, path, problems[path])
        for path, origin in zip(paths, examples.origins, strict=True)
        if path is not None and path in problems
    ]
    skipped = settle(broken, on_error, what="image files")
    sound = examples.where(lambda row: paths[row] not in problems)
    _check_classes_left(examples, sound)
    if decode is None:
        remember({*content_keys(sound)} - checked_contents())
    return replace(sound, skipped=(*examples.skipped, *skipped))


def _unchecked(examples: Examples, paths: list[str | None], decode: Decode | None) -> list[str]:
    """The files to look at: those whose content was not decoded in full before."""
    known = checked_contents() if decode is None else frozenset()
    found: set[str] = set()
    for row, path in enumerate(paths):
        if path and not (known and _content(examples, row) in known):
            found.add(path)
    return sorted(found)


def _content(examples: Examples, row: int) -> str | None:
    """sha256 of a file, or None where it can't be read."""
    try:
        return content_keys(examples.take([row]))[0]
    except DataError:
        return None


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


def image_problems(paths: Sequence[str], decode: Decode | None = None) -> dict[str, str]:
    """What is wrong with each broken image file; the sound ones are left out.

    Args:
        paths: The files, which are decoded in full.
        decode: As for `check_examples`.
    """
    if not paths:
        return {}
    decode = decode or _default_decode()
    workers = min(16, 2 * (os.cpu_count() or 1))  # decoding frees Python's lock
    found = map_in_threads(lambda path: image_problem(Path(path), decode), paths, workers)
    return {path: why for path, why in zip(paths, found, strict=True) if why is not None}


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
