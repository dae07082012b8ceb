"""What a teacher says of training rows, and how it is joined to their targets.

The teacher sees each input once and as it is, without `augment`, and what it says is kept by
content, so that folds, searches and a second training find it again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from tltool.data.batches.mapped import as_tensor
from tltool.data.examples import Examples
from tltool.data.preprocessing import ImagePreprocessing, TextPreprocessing
from tltool.data.texts.tokenizing import tokenized
from tltool.features.rows import Rows
from tltool.recipe.schema import TeacherSection
from tltool.support.words import count
from tltool.tasks.losses.taught import Teaching
from tltool.tasks.target import Target

TEMPERATURE = 2.0
"""Of `teacher.temperature: null`, where logits are divided."""
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Lessons:
    """What a teacher says.

    Attributes:
        target: The teacher's.
        rows: The contents it was shown.
        raw: Its raw outputs for each of them, float32 (contents, outputs); many of them in a
            mapped file.
        unlabelled: Inputs without targets that train too, their split "train"; maybe none.
        facts: What decides what it says, ready for JSON: its `weights`, and `unlabelled` rows.
        title: What taught, for people.
    """

    target: Target
    rows: Rows
    raw: Array
    unlabelled: Examples
    facts: Mapping[str, Any]
    title: str

    def words(self, section: TeacherSection, target: Target) -> str:
        """Who taught, and how, in a sentence."""
        how = teaching(section, target)
        soft = f", temperature {how.temperature:g}" if how.temperature != 1 else ""
        more = ""
        if len(self.unlabelled):
            more = f" It taught {count(len(self.unlabelled), 'row')} without labels too."
        return f"Taught by {self.title} (weight {how.weight:g}{soft}).{more}"

    def with_unlabelled(
        self, examples: Examples, contract: ImagePreprocessing | TextPreprocessing
    ) -> Examples:
        """Examples and, after them, those without labels."""
        if not len(self.unlabelled):
            return examples
        return joined(examples, self.unlabelled, contract)

    def encoding(
        self, section: TeacherSection, target: Target, truth: Array, examples: Examples
    ) -> Callable[[Any], Any]:
        """From row numbers (n,) of `with_unlabelled` to targets (n, 2 outputs + 1).

        Args:
            section: Its temperature counts.
            target: The student's.
            truth: Of the rows that have labels, which come first.
            examples: All rows.

        Raises:
            DataError: The teacher tells other names apart.
        """
        known, encode = target.packed(truth)
        known, labelled = tf.constant(known), len(truth)
        places = tf.constant(self.rows.positions(examples))
        raw, temperature = as_tensor(self.raw), teaching(section, target).temperature
        translation = target.translation(self.target)
        order = tf.constant(translation.order)
        scale, shift = (tf.constant(part) for part in (translation.scale, translation.shift))

        def encoded(rows: Any) -> Any:
            said = tf.gather(tf.gather(raw, tf.gather(places, rows)), order, axis=1)
            said = said * scale + shift
            label = encode(tf.gather(known, tf.minimum(rows, labelled - 1)))
            has_label = tf.cast(rows < labelled, tf.float32)[:, None]
            own = tf.where(has_label > 0, label, target.softened(said, 1.0))
            return tf.concat([own, target.softened(said, temperature), has_label], axis=1)

        return encoded


def teaching(section: TeacherSection, target: Target) -> Teaching:
    """The weight and temperature of a recipe; 1 where no logits are divided."""
    if "teacher.temperature" in target.refused:
        return Teaching(section.weight, 1.0)
    return Teaching(section.weight, section.temperature or TEMPERATURE)


def joined(
    examples: Examples, others: Examples, contract: ImagePreprocessing | TextPreprocessing
) -> Examples:
    """The rows of both, one after the other, texts with their tokens."""
    contents = None
    if examples.contents is not None and others.contents is not None:
        contents = np.concatenate([examples.contents, others.contents])
    groups: list[str] = []
    if examples.groups:  # a row that says nothing of it is one by itself
        groups = [*examples.groups, *(f"without a group: {origin}" for origin in others.origins)]
    both = replace(
        examples,
        inputs=[*examples.inputs, *others.inputs],
        targets=[*examples.targets, *others.targets],
        splits=[*examples.splits, *others.splits],
        origins=[*examples.origins, *others.origins],
        groups=groups,
        tokens=None,
        contents=contents,
    )
    return tokenized(both, contract)
