"""The other side of `fresh_process`: runs what it is asked to, one line a request."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import IO, Any

from tltool.support.imports import take_from_parent
from tltool.support.machine import known_error
from tltool.support.processes import end_with_parent


def main() -> None:
    """Answers requests from stdin until it ends."""
    end_with_parent()
    take_from_parent()
    # Native code writes to descriptor 1; the answers go out by another one.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)
        from tltool.data.images.decoded import keeping_decoded
        from tltool.support.quiet import load_tensorflow

        load_tensorflow()
        # Artifacts are asked for the same pictures one after the other.
        with keeping_decoded():
            _serve(answers)


def _serve(answers: IO[str]) -> None:
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply: dict[str, Any] = {"names": _run(request)}
        except Exception as error:
            if (known := known_error(error)) is not None:
                reply = {"error": known.message, "hint": known.hint}
            else:
                reply = {"error": f"{type(error).__name__}: {error}", "hint": None}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


def _run(request: dict[str, Any]) -> list[Any]:
    import numpy as np

    from tltool.export.artifact import load_artifact

    inputs = [
        Path(value["stored"]).read_bytes() if isinstance(value, dict) else value
        for value in request["inputs"]
    ]
    artifact = load_artifact(Path(request["artifact"]))
    arrays, names = artifact.task.target.sent(*artifact.predict_with_labels(inputs))
    np.savez(request["answer"], **arrays)
    return names


if __name__ == "__main__":
    main()
