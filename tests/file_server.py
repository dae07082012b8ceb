"""A small web server for tests: files in memory, with the faults that networks have."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """What is served, and what was asked for.

    Attributes:
        url: Of the server, without a slash at the end.
        files: Content by path.
        cut_after: Bytes after which the connection is cut, for so many answers.
        statuses: Status codes for the next answers, before any file is sent.
        ranges: The Range header of each request, "" where it had none.
        supports_ranges: Whether Range headers are honoured.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.cut_after: list[int] = []
        self.statuses: list[int] = []
        self.ranges: list[str] = []
        self.supports_ranges = True


@contextmanager
def serve() -> Iterator[FileServer]:
    """Runs a server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            state.ranges.append(asked)
            if state.statuses:
                self._refuse(state.statuses.pop(0))
            elif self.path not in state.files:
                self._refuse(404)
            else:
                self._send(state.files[self.path], asked)

        def _refuse(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _send(self, content: bytes, asked: str) -> None:
            start = int(asked[6:-1]) if asked and state.supports_ranges else 0
            if start and start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            rest = content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            if state.cut_after:
                self.wfile.write(rest[: state.cut_after.pop(0)])
                self.close_connection = True
                return
            self.wfile.write(rest)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state = FileServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
