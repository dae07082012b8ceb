"""A diagnosis for people, and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tltool.export.diagnosis.diagnosis import Diagnosis
from tltool.export.diagnosis.search import Explanation, Found
from tltool.support.words import count

_VERDICTS = {
    "sound": "Sound: the app answers as the model does.",
    "fault": "Found: {}.",
    "several": "These can't be told apart on these examples:",
    "none": "None of these: no known fault, and no two of them, explain the answers.",
}
_SHOWN = 3


def diagnosis_text(found: Diagnosis) -> str:
    """What is wrong, what to change, and how sure that is, in lines."""
    return "\n".join([*_verdict(found), "", *_figures(found)])


def diagnosis_json(found: Diagnosis) -> dict[str, Any]:
    """The same as JSON values.

    `verdict` is "sound", "fault", "several" (which can't be told apart) or "none"; `explanations`
    are those found, the best first, each with its `faults`; `closest` those that came nearest and
    explain nothing.
    """
    search, limits = found.found, found.limits
    explained = search.verdict in ("fault", "several")
    best = [_explanation(one) for one in search.best]
    return {
        "export": str(found.export),
        "verdict": search.verdict,
        "explanations": best if explained else [],
        "closest": [] if explained else best,
        "examples": found.examples,
        "tried": search.tried,
        "difference": search.right.largest,
        "tolerance": limits.tolerance,
        "share_left_at_most": search.limit / search.right.mean if search.right.mean else 0.0,
        "not_visible": [one.faults[0].title for one in search.hidden],
        "tensors": found.tensors.verdict if found.tensors else None,
        "outputs": found.outputs.verdict if found.outputs else None,
    }


def _explanation(one: Explanation) -> dict[str, Any]:
    faults = [{"fault": f.key, "title": f.title, "cure": f.cure} for f in one.faults]
    return {"faults": faults, "difference_left": one.largest}


def _verdict(found: Diagnosis) -> Iterator[str]:
    search = found.found
    head = _VERDICTS[search.verdict]
    match search.verdict:
        case "fault":
            yield head.format(_titles(search.best[0]))
            yield from _cures(search.best[0])
        case "several":
            yield head
            for one in search.best:
                yield f"- {_titles(one)}"
                yield from _cures(one)
        case "none":
            yield head
            yield "Closest:"
            yield from (f"- {_titles(e)}: leaves {e.largest:.2g}" for e in search.best)
        case _:
            yield head
    yield from _stages(found)


def _titles(one: Explanation) -> str:
    return ", and ".join(fault.title for fault in one.faults)


def _cures(one: Explanation) -> Iterator[str]:
    for fault in one.faults:
        yield f"  in the app: {fault.cure}"


def _stages(found: Diagnosis) -> Iterator[str]:
    """What tensors and answers say apart, where that is more than both together."""
    if found.tensors is None or found.outputs is None:
        return
    tensors, outputs = found.tensors.verdict, found.outputs.verdict
    if tensors == "none" and outputs == "sound":
        yield "The fault is in what the app feeds: of its tensors this model says what it says."
    if tensors == "sound" and outputs == "none":
        yield (
            "The tensors are right: the fault is after them, or the app runs another file than "
            "this model."
        )
    if tensors not in ("sound", "none") and outputs == "none":
        yield "And of these tensors this model says something else than the app; nothing known."


def _figures(found: Diagnosis) -> Iterator[str]:
    search, limits = found.found, found.limits
    unit = "levels or tokens" if search is found.tensors else "answers"
    yield (
        f"{count(found.examples, 'golden example')}. Without a fault the largest difference is "
        f"{search.right.largest:.2g} ({unit}); sound answers differ by {limits.tolerance:.2g} at "
        "most."
    )
    if search.verdict in ("fault", "several"):
        yield f"The explanation leaves {search.best[0].largest:.2g}."
    if search.tried:
        yield f"{count(search.tried, 'explanation')} tried."
    yield from _hidden(search)


def _hidden(search: Found) -> Iterator[str]:
    if not search.hidden:
        return
    titles = [one.faults[0].title for one in search.hidden]
    more = f", and {len(titles) - _SHOWN} more (--json)" if len(titles) > _SHOWN else ""
    yield f"Would not show on these examples: {'; '.join(titles[:_SHOWN])}{more}."
