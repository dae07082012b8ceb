"""A small server that speaks the Hugging Face hub's protocol, with one repository."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from file_server import FileServer, serve

from tltool.support import download as download_module

COMMIT, NEWER = "a" * 40, "b" * 40
_LARGE = (".safetensors", ".bin", ".parquet")


class Hub:
    """A hub with one repository.

    Attributes:
        server: What answers.
        files: Content by path; `publish` shows it.
    """

    def __init__(self, server: FileServer, repo: str, kind: str = "models") -> None:
        self.server, self.repo, self.kind = server, repo, kind
        self.files: dict[str, bytes] = {}

    def publish(self, commit=COMMIT, revisions=("main",)) -> None:
        siblings = []
        for path, content in self.files.items():
            self.server.files[self.place(path, commit)] = content
            git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            sibling = {"rfilename": path, "size": len(content), "blobId": git}
            if path.endswith(_LARGE):
                sha = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"sha256": sha, "size": len(content), "pointerSize": 134}
            siblings.append(sibling)
        info = json.dumps({"id": self.repo, "sha": commit, "siblings": siblings}).encode()
        for revision in (*revisions, commit):
            name = revision.replace("/", "%2F")
            self.server.files[f"/api/{self.kind}/{self.repo}/revision/{name}"] = info

    def place(self, path, commit=COMMIT) -> str:
        prefix = "" if self.kind == "models" else f"/{self.kind}"
        return f"{prefix}/{self.repo}/resolve/{commit}/{path}"


@contextmanager
def hub_server(
    monkeypatch: pytest.MonkeyPatch, cache, repo: str, kind: str = "models"
) -> Iterator[Hub]:
    """Runs it, with a cache of its own, and has tltool ask it."""
    monkeypatch.setenv("TLTOOL_CACHE", str(cache))
    monkeypatch.setattr(download_module, "_WAIT_SECONDS", 0.0)
    with serve() as server:
        # The library reads HF_ENDPOINT once, when it is imported.
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        yield Hub(server, repo, kind)
