"""The addresses of TensorFlow Serving's REST API."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tltool.serving.limits import RefusedError

Verb = Literal["status", "metadata", "predict", "classify", "regress"]
_SHOWN = 200
_LARGEST_VERSION = 2**63 - 1
_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
# As in tensorflow_serving/model_servers/http_rest_api_util.cc.
_GET = re.compile(rf"{_MODEL}(?:/(?P<verb>metadata))?", re.IGNORECASE | re.ASCII)
_POST = re.compile(rf"{_MODEL}:(?P<verb>classify|regress|predict)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Asked:
    """What an address asks for: a model, perhaps one version of it, and what to do."""

    name: str
    version: int | None
    label: str | None
    verb: Verb


def parse_path(method: str, path: str) -> Asked:
    """Understands an address below `/v1`.

    Args:
        method: Of the request.
        path: Decoded, without the query.

    Raises:
        RefusedError: 400 where it is none of the API.
    """
    pattern = {"GET": _GET, "POST": _POST}.get(method)
    found = pattern.fullmatch(path) if pattern else None
    if found is None:
        if method == "GET" and path.rstrip("/").lower() == "/v1/models":
            raise RefusedError(400, "Missing model name in request.")
        raise RefusedError(400, f"Malformed request: {method} {path[:_SHOWN]}")
    version = found["version"]
    if version is not None and (len(version) > 19 or int(version) > _LARGEST_VERSION):
        raise RefusedError(400, f"Failed to convert version: {version[:_SHOWN]} to numeric.")
    verb: Verb = (found["verb"] or "status").lower()  # type: ignore[assignment]
    return Asked(found["name"], None if version is None else int(version), found["label"], verb)
