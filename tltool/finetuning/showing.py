"""The page of a run, and what it shows beside the summary: reasons of mistakes, decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tltool.data.decided import Decided
from tltool.data.examples import Examples
from tltool.support.files import read_json, write_text

if TYPE_CHECKING:
    from tltool.evaluation.evaluate import Evaluation
    from tltool.evaluation.explaining.explanation import Explanation
    from tltool.report.run_page import Course, Seen
    from tltool.runs.run import Run
    from tltool.support.progress import Progress

_AUDIT = "audit.json"


def explained_mistakes(
    run: Run, examples: Examples, evaluation: Evaluation, progress: Progress
) -> dict[int, Explanation]:
    """What the answers to the worst mistakes rest on, by row; empty where the page lacks it.

    A model that cannot be explained, such as one with a head of the user's own, is told of: all
    else of the run is there by then.

    Args:
        run: Whose model made them.
        examples: The rows that they are of.
        evaluation: Lists them, the worst first.
        progress: Is told why there are none.
    """
    from tltool.runs.explain import explain_rows

    settings = run.recipe.evaluation
    if not (settings.report and settings.explain):
        return {}
    try:
        return explain_rows(run, examples, [mistake.row for mistake in evaluation.mistakes])
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        progress.note(f"the page does not show what mistakes rest on: {reason}")
        return {}


def write_page(
    run: Run, seen: Seen, course: Course, decided: Decided | None, versions: Mapping[str, str]
) -> None:
    """Writes `report/index.html`, with pictures of rows as far as there is room for them.

    Args:
        run: With its summary.
        seen: The rows that it was measured on.
        course: Of its training.
        decided: What was changed of its data.
        versions: Names of packages and their versions.
    """
    from tltool.report.decisions import decisions_section
    from tltool.report.run_page import run_page
    from tltool.report.slices import quick_slices, slices_section

    if run.summary is None:
        return
    rows = seen.rows
    slices = quick_slices(rows.examples, rows.outputs, seen.truth, rows.target)
    audit = () if decided is None else audit_lines(decided)
    text = run_page(
        run.summary,
        seen,
        course,
        recipe=run.recipe.to_values(),
        versions=versions,
        more=[slices_section(slices), decisions_section(decided, rows.thumbnails, audit)],
    )
    write_text(run.folder.page, text)


def audit_lines(decided: Decided) -> Sequence[str]:
    """What the audit said whose table of decisions was read: `audit.json` beside it.

    Returns:
        Lines; none where there is no such file, or one of other findings.
    """
    try:
        about: Any = read_json(Path(decided.file).with_name(_AUDIT))
        found = Counter(str(one["finding"]) for one in about["findings"])
        lines = [str(line) for line in about["lines"]]
    except (OSError, ValueError, TypeError, KeyError):
        return ()
    table: Counter[str] = Counter()
    for (finding, _), number in decided.findings.items():
        table[finding] += number
    return lines if table == found else ()
