"""Tasks of Label Studio as it exports them in JSON (https://labelstud.io/guide/export)."""

from __future__ import annotations

from typing import Any

from tltool.tasks.values import BadValueError


def results_of(task: Any) -> list[tuple[int, dict[str, Any]]]:
    """What the annotation of a task says that counts: the last that was not cancelled.

    Returns:
        Results that have a value, with their numbers from 1; relations have none.

    Raises:
        BadValueError: There is none.
    """
    try:
        kept = [one for one in task["annotations"] if not one.get("was_cancelled")]
        numbered = enumerate(kept[-1]["result"], start=1)
        return [(number, one) for number, one in numbered if isinstance(one.get("value"), dict)]
    except IndexError:
        raise BadValueError("the task has no annotation") from None
    except (LookupError, TypeError, AttributeError) as error:
        raise BadValueError(f"is no task of Label Studio: {type(error).__name__} {error}") from None
