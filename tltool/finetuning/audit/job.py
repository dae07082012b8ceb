"""`tltool data audit`: looks at data by what a frozen backbone says of it; nothing is trained."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tltool.data.checks.fingerprints import content_digests
from tltool.data.decisions import refuse_to_replace, write_decisions
from tltool.data.examples import SPLITS
from tltool.finetuning.audit.cost import Costs
from tltool.finetuning.audit.evidence import Evidence
from tltool.finetuning.audit.findings import Finding, Found, GroupFound
from tltool.finetuning.audit.gathering import gathered
from tltool.finetuning.audit.label_studio import write_tasks
from tltool.finetuning.audit.leaks import groups, leaks
from tltool.finetuning.audit.neighbours import Neighbourhood, Pair, neighbourhood
from tltool.finetuning.audit.page import write_page
from tltool.recipe.recipe import Recipe
from tltool.support.files import write_json
from tltool.support.progress import Progress
from tltool.support.words import excerpt
from tltool.tasks.doubts import Doubts

Array = np.ndarray[Any, Any]

TABLE, ABOUT, PAGE = "audit.csv", "audit.json", "audit.html"


@dataclass(frozen=True)
class DataAudit:
    """An audit of data.

    Attributes:
        found: What it found.
        evidence: What it looked at.
    """

    found: Found
    evidence: Evidence

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row of the table of decisions for each finding."""
        examples = self.evidence.examples
        contents, cell = content_digests(examples), examples.kind.cell
        for one in self.found.findings:
            yield {
                "finding": one.kind,
                "score": round(one.score, 6),
                "origin": examples.origins[one.row],
                "split": examples.splits[one.row],
                "sha256": contents[one.row].tobytes().hex(),
                "label": cell(examples.targets[one.row]),
                "suggested": "" if one.suggested is None else cell(one.suggested),
                "other": "" if one.other is None else examples.origins[one.other],
                "input": excerpt(examples.inputs[one.row]),
            }

    def to_json(self) -> dict[str, Any]:
        """As JSON values, with what a person wants to know, and the findings as in the table."""
        return {**self.found.to_json(), "lines": self.found.lines(), "findings": list(self.rows())}

    def write(self, folder: Path, *, label_studio: bool = False) -> None:
        """Writes `audit.json`, `audit.csv` and `audit.html`, each whole or not at all.

        Args:
            folder: Where they go.
            label_studio: Write the findings as tasks of Label Studio too.

        Raises:
            DataError: The folder has a table with decisions, which would be lost.
        """
        refuse_to_replace(folder / TABLE)
        write_json(folder / ABOUT, self.to_json())
        write_decisions(folder / TABLE, self.rows())
        if label_studio:
            write_tasks(folder, self.found, self.evidence, self.rows())
        write_page(folder / PAGE, self.found, self.evidence, self.rows())


def audit(
    recipe: Recipe | str | Path,
    *,
    data: Any = None,
    curve: bool = True,
    progress: Progress | None = None,
) -> DataAudit:
    """Audits the data of a recipe, all splits together.

    Linear probes on the stored features of the frozen backbone judge each row by the others.
    Decisions that the recipe names (`data.decisions`) are followed, and rows that someone decided
    to keep are not found again.

    Args:
        recipe: Its data, backbone and `cache` count.
        data: As for `finetune`.
        curve: Whether to measure what more rows would bring, which takes most of the time.
        progress: Is told what happens.

    Raises:
        DataError: The data can't be used, or the task has no linear probe.
        TltoolError: The backbone can't be used.
    """
    started = time.perf_counter()
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    progress = progress or Progress()
    evidence = gathered(recipe, data=data, progress=progress)
    found = audited(evidence, curve=curve, progress=progress)
    return DataAudit(replace(found, seconds=time.perf_counter() - started), evidence)


def audited(evidence: Evidence, *, curve: bool, progress: Progress) -> Found:
    """What is found of rows whose features are known; see `audit`."""
    # As for the probes of `rank`: the products are thin.
    with threadpool_limits(1, user_api="blas"):
        return _audited(evidence, curve, progress)


def _audited(evidence: Evidence, curve: bool, progress: Progress) -> Found:
    started = time.perf_counter()
    target, examples = evidence.task.target, evidence.examples
    progress.stage("Labels, by probes that have not seen them")
    outputs = evidence.outputs(evidence.out_of_fold())
    doubts = target.doubts(outputs, evidence.truth)
    progress.stage("Near duplicates, outliers and what gives labels away")
    near = neighbourhood(evidence)
    kept = _kept(evidence)
    findings = [*_label_findings(doubts, kept), *_pair_findings(near, evidence, kept),
                *_outlier_findings(near, kept)]  # fmt: skip
    told = [] if target.by_words else leaks(evidence)
    grouped = groups(evidence, near.nearest)
    progress.stage("What it costs")
    costs = Costs.of(evidence)
    cost = costs.score(near.clusters, doubts)
    more = None
    if curve:
        progress.stage("What more rows would bring")
        more = costs.curve(doubts)
    splits = Counter(map(str, examples.splits))
    return Found(
        data=str(evidence.recipe.data.train or "data from Python"),
        task=evidence.recipe.task,
        backbone=evidence.recipe.backbone.name,
        rows={split: splits[split] for split in SPLITS if splits[split]},
        score=target.headline(),
        findings=findings,
        across_splits=sum(_across(pair, examples.splits) for pair in near.pairs),
        overlaps=target.overlaps(outputs, evidence.truth),
        leaks=told,
        groups=[GroupFound(one.source, one.groups, one.share, one.chance) for one in grouped],
        cost=cost,
        curve=more,
        unanswered=_unanswered(evidence, doubts, cost.if_right is None, curve and more is None),
        notes=evidence.notes,
        seconds=time.perf_counter() - started,
    )


def _kept(evidence: Evidence) -> set[int]:
    """Rows that someone decided to keep."""
    examples = evidence.examples
    if examples.decided is None or not examples.decided.kept:
        return set()
    contents, cell = content_digests(examples), examples.kind.cell
    return {
        row
        for row, target in enumerate(examples.targets)
        if (contents[row].tobytes().hex(), cell(target)) in examples.decided.kept
    }


def _label_findings(doubts: Doubts | None, kept: set[int]) -> list[Finding]:
    if doubts is None:
        return []
    rows = [int(row) for row in np.flatnonzero(doubts.suspected) if row not in kept]
    rows.sort(key=lambda row: doubts.quality[row])
    return [Finding("label", row, float(doubts.quality[row]), doubts.suggested[row])
            for row in rows]  # fmt: skip


def _pair_findings(near: Neighbourhood, evidence: Evidence, kept: set[int]) -> list[Finding]:
    """Of each pair the row to drop: across splits the training row, else the later one."""
    splits, found = evidence.examples.splits, []
    for pair in near.pairs:
        row, other = pair.other, pair.one
        if splits[other] == "train" and splits[row] != "train":
            row, other = other, row
        if row not in kept:
            found.append(Finding("duplicate", row, 1 - pair.likeness, other=other))
    return found


def _outlier_findings(near: Neighbourhood, kept: set[int]) -> list[Finding]:
    return [Finding("outlier", int(row), -float(near.distance[row]))
            for row in near.outliers if row not in kept]  # fmt: skip


def _across(pair: Pair, splits: Sequence[Any]) -> bool:
    return bool(splits[pair.one] != splits[pair.other])


def _unanswered(
    evidence: Evidence, doubts: Doubts | None, unknown: bool, too_few: bool
) -> list[str]:
    """What can't be told of such data."""
    target = evidence.task.target
    facts: Mapping[str, Any] = {**evidence.numbers, **evidence.names}
    reasons = {
        f"which labels are wrong, of {evidence.recipe.task}": doubts is None,
        f"the score with corrected labels, of {evidence.recipe.task}": unknown,
        "facts of rows that give labels away: labels are of words": target.by_words,
        "which classes overlap: there are none": not target.labels,
        "the learning curve: there are too few rows": too_few,
        "missing groups: the data has groups": bool(evidence.examples.groups),
        "missing groups: rows have no files": not evidence.examples.groups
        and "folder" not in facts,
    }
    return [reason for reason, holds in reasons.items() if holds]
