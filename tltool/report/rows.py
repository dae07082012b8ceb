"""Rows on pages: what they are and were taken for, alone and in the cells of a matrix."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from markupsafe import Markup

from tltool.data.examples import Examples
from tltool.evaluation.evaluate import input_of
from tltool.evaluation.explaining.explanation import Explanation
from tltool.report.explanations import marked, overlaid, told
from tltool.report.page import bullets, cards, image, join, opens, paragraph, table
from tltool.report.thumbnails import Thumbnails
from tltool.support.words import count, excerpt, percent
from tltool.tasks.reports import Matrix
from tltool.tasks.target import Target

TEXT_CHARACTERS = 400
MATRIX_UP_TO = 20
"""Classes; with more, the pairs that are confused are listed."""
PAIRS_SHOWN = 40
ROWS_IN_CELL = 6
_SHADES = 10

_MATRIX = Markup("""<div class="wide" role="region" aria-label="{title}" tabindex="0">
<table class="matrix"><caption>{title}</caption>
<thead><tr><th scope="col">True class</th>{head}
<th scope="col" class="number">Rows</th></tr></thead>
<tbody>
{body}
</tbody></table></div>""")


@dataclass
class Rows:
    """Rows that a model was measured on, as pages show them.

    Attributes:
        examples: The n rows.
        outputs: What the model says, as `Target.kept` gives it.
        target: Says it in words.
        thumbnails: Makes the pictures.
        drawn: Pictures of some rows in place of the input, PNG files by row.
        notes: What else is known of a row.
        explained: Of some rows what their answers rest on.
    """

    examples: Examples
    outputs: Any
    target: Target
    thumbnails: Thumbnails
    drawn: Mapping[int, str] = field(default_factory=dict)
    notes: Callable[[int], Markup] = lambda row: Markup("")
    explained: Mapping[int, Explanation] = field(default_factory=dict)

    def card(self, row: int) -> Markup:
        """The row with its picture or text, what it is and what it was taken for."""
        target, examples = self.target, self.examples
        words = target.words
        predicted, confidence = target.mistake(row, self.outputs, examples.targets)
        true = target.meant(row, self.outputs, examples.targets)
        sure = "" if confidence is None else f" ({percent(confidence)} sure)"
        facts = (
            paragraph(f"True: {excerpt(words(true), 120)}"),
            paragraph(f"Predicted: {excerpt(words(predicted), 120)}{sure}"),
            paragraph(_end(examples.origins[row]), "soft"),
        )
        return join([self._shown(row), *facts, self._why(row), self.notes(row)])

    def _shown(self, row: int) -> Markup:
        examples = self.examples
        why = self.explained.get(row)
        if examples.modality != "image":
            text = paragraph(f"“{excerpt(input_of(examples, row), TEXT_CHARACTERS)}”")
            return (why and marked(why, TEXT_CHARACTERS)) or text
        name = f"Picture of {_end(examples.origins[row])}"
        shown = self._picture(self.drawn.get(row, examples.inputs[row]), name)
        return shown if why is None else shown + self._picture(overlaid(why), f"Map of {told(why)}")

    def _picture(self, value: Any, name: str) -> Markup:
        content = self.thumbnails.of(value)
        return Markup("") if content is None else image(content, name)

    def _why(self, row: int) -> Markup:
        """What the answer rests on, in words."""
        why = self.explained.get(row)
        return Markup("") if why is None else paragraph(f"Why {told(why)}", "soft")

    def cards(self, rows: Sequence[int]) -> Markup:
        """Boxes of some rows."""
        return cards(self.card(row) for row in rows)


def confusions(matrix: Matrix, rows: Rows, worst_rows: np.ndarray[Any, Any]) -> Markup:
    """Which classes are taken for which, each with the rows where that is; empty without any.

    Of `MATRIX_UP_TO` classes the whole matrix, of more the most frequent pairs.

    Args:
        matrix: With what each row is and was taken for.
        rows: Shows them.
        worst_rows: Numbers of the wrong ones, in the order to show them.
    """
    counts = np.asarray(matrix.counts, np.int64)
    wrong = counts - np.diag(np.diag(counts))
    pairs = [
        divmod(int(cell), len(counts)) for cell in np.argsort(-wrong, axis=None, kind="stable")
    ]
    pairs = [pair for pair in pairs if wrong[pair]]
    shown = pairs if len(counts) <= MATRIX_UP_TO else pairs[:PAIRS_SHOWN]
    cells = {pair: _cell(pair, matrix, worst_rows, rows) for pair in shown}
    boxes = join(box for _, box in cells.values())
    if len(counts) <= MATRIX_UP_TO:
        return _whole(matrix, counts, {pair: button for pair, (button, _) in cells.items()}) + boxes
    support = counts.sum(axis=1)
    listed = table(
        f"The {len(shown)} most frequent confusions of {len(pairs)}",
        ("True", "Taken for", "Rows", "Share of the true class"),
        [
            (matrix.labels[true], matrix.labels[taken], button,
             percent(wrong[true, taken] / support[true]))
            for (true, taken), (button, _) in cells.items()
        ],
        texts=2,
    )  # fmt: skip
    return listed + boxes


def _cell(
    pair: tuple[int, int], matrix: Matrix, worst_rows: np.ndarray[Any, Any], rows: Rows
) -> tuple[Markup, Markup]:
    """The button of a cell, and the box with its rows."""
    true, taken = pair
    of_worst = (np.asarray(column)[worst_rows] for column in (matrix.true, matrix.predicted))
    is_true, is_taken = (column == number for column, number in zip(of_worst, pair, strict=True))
    found = worst_rows[is_true & is_taken].tolist()
    left_out = len(found) - ROWS_IN_CELL
    body = rows.cards(found[:ROWS_IN_CELL])
    if left_out > 0:
        body += paragraph(f"{left_out:,} more are not shown.", "soft")
    names = (excerpt(matrix.labels[number], 60) for number in pair)
    name = f"{' taken for '.join(names)}, {count(len(found), 'row')}"
    return opens(f"cell-{true}-{taken}", f"{len(found):,}", name, body)


def _whole(
    matrix: Matrix, counts: np.ndarray[Any, Any], buttons: Mapping[tuple[int, int], Markup]
) -> Markup:
    support = counts.sum(axis=1)
    lines = []
    for true, label in enumerate(matrix.labels):
        cells = [_shaded(counts[true, taken], support[true], buttons.get((true, taken)))
                 for taken in range(len(counts))]  # fmt: skip
        line = '<tr><th scope="row">{}</th>{}<td class="number">{:,}</td></tr>'
        lines.append(Markup(line).format(excerpt(label, 40), join(cells, ""), int(support[true])))
    head = join(
        (Markup('<th scope="col">{}</th>').format(excerpt(name, 40)) for name in matrix.labels), ""
    )
    told = "Lines are true classes, columns what they were taken for. A number opens its rows."
    return paragraph(told) + _MATRIX.format(title=matrix.title, head=head, body=join(lines))


def _shaded(number: int, support: int, button: Markup | None) -> Markup:
    shade = round((_SHADES - 1) * number / max(1, support))
    inside = Markup("<span>{:,}</span>").format(int(number)) if button is None else button
    return Markup('<td class="s{}">{}</td>').format(shade, inside)


def _end(origin: str) -> str:
    """The last two parts of a path: its beginning is the same for all rows."""
    *before, folder, name = ("", *excerpt(origin, 10_000).split("/"))
    return f"…/{folder}/{name}" if len(before) > 2 else excerpt(origin, 300)


def worst(rows: Rows, worst_rows: Sequence[int], lines: Sequence[str]) -> Markup:
    """The worst rows as boxes; where there are none to show, as lines."""
    return rows.cards(worst_rows) or bullets(lines)
