"""A small server that speaks the Hugging Face hub's protocol, with one repository."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from file_server import FileServer, serve

from tltool.support import download as download_module

COMMIT, NEWER = "a" * 40, "b" * 40
_LARGE = (".safetensors", ".bin", ".parquet")
_LFS = (*_LARGE, ".tflite", ".png", ".pb", "-00001")


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

    def take_uploads(self, private: bool | None = None) -> dict[str, bytes]:
        """Takes what is pushed, as the hub does; returns it by path, as it comes.

        Args:
            private: Of a repository that is there; None for none, which becomes what is asked for.
        """
        pushed: dict[str, bytes] = {}
        large: dict[str, bytes] = {}
        takers = self.server.takers
        repo = f"/api/{self.kind}/{self.repo}"

        def create(path, body):
            asked = json.loads(body)
            wanted = asked.get("visibility") == "private" or bool(asked.get("private"))
            is_private = wanted if private is None else private
            self.server.files[repo] = json.dumps(
                {"id": self.repo, "private": is_private, "siblings": [], "tags": []}
            ).encode()
            url = f"{self.server.url}/{self.repo}"
            return 200, json.dumps({"url": url, "name": self.repo}).encode()

        def modes(path, body):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(_LFS) else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            return 200, json.dumps({"files": files}).encode()

        def batch(path, body):
            objects = [
                {
                    **one,
                    "actions": {"upload": {"href": f"{self.server.url}/lfs/{one['oid']}"}},
                }
                for one in json.loads(body)["objects"]
            ]
            return 200, json.dumps({"transfer": "basic", "objects": objects}).encode()

        def keep(path, body):
            large[path.rpartition("/")[2]] = body
            return 200, b""

        def commit(path, body):
            for line in map(json.loads, body.decode().splitlines()):
                value = line["value"]
                if line["key"] == "file":
                    pushed[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    content = large[value["oid"]]
                    assert hashlib.sha256(content).hexdigest() == value["oid"]
                    pushed[value["path"]] = content
            url = f"{self.server.url}/{self.repo}/commit/{COMMIT}"
            return 200, json.dumps({"commitUrl": url, "commitOid": COMMIT}).encode()

        takers["/api/repos/create"] = create
        takers["/api/validate-yaml"] = lambda path, body: (200, b'{"errors": [], "warnings": []}')
        takers[f"{repo}/preupload/"] = modes
        takers[f"/{self.repo}.git/info/lfs/objects/batch"] = batch
        takers["/lfs/"] = keep
        takers[f"{repo}/commit/"] = commit
        return pushed

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
