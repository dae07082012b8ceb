"""What an examiner finds of the faulty apps."""

from __future__ import annotations

import json

import faulty_apps

from tltool.export.diagnosis.text import diagnosis_json


def found(app, folder, call, examiner, place, *, tensors=False, read=lambda p: p, **faults):
    """What is found of an app with faults, whose answers are written to a place."""
    file = place / "answers.json"
    said = faulty_apps.answers(folder, call, app(folder, **faults), read=read, tensors=tensors)
    file.write_text(json.dumps(said))
    return diagnosis_json(examiner(file))


def first(said):
    """The keys of the faults of the first explanation."""
    return [fault["fault"] for fault in said["explanations"][0]["faults"]]
