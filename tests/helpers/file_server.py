"""A small web server for tests: files in memory, with the faults that networks have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """What is served, and what was asked for.

    Attributes:
        url: Of the server, without a slash at the end.
        files: Content by path.
        cut_after: Bytes after which the connection is cut, for so many answers.
        statuses: Status codes for the next answers, before any file is sent.
        refusals: Status codes by path.
        error_code: What a hub adds to a refusal to say which it is.
        ranges: The Range header of each request, "" where it had none.
        paths: What each request asked for, without its query.
        supports_ranges: Whether Range headers are honoured.
        takers: What takes the body of a POST or PUT, by the beginning of its path, and gives the
            status and the answer.
        tokens: The Authorization header of each POST or PUT.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.cut_after: list[int] = []
        self.statuses: list[int] = []
        self.refusals: dict[str, int] = {}
        self.error_code = ""
        self.ranges: list[str] = []
        self.paths: list[str] = []
        self.supports_ranges = True
        self.takers: dict[str, Callable[[str, bytes], tuple[int, bytes]]] = {}
        self.tokens: list[str] = []


@contextmanager
def serve() -> Iterator[FileServer]:
    """Runs a server on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            path = self.path.partition("?")[0]
            state.ranges.append(asked)
            state.paths.append(path)
            if state.statuses:
                self._refuse(state.statuses.pop(0))
            elif path not in state.files:
                self._refuse(state.refusals.get(path, 404))
            else:
                self._send(state.files[path], asked)

        def do_POST(self) -> None:
            path = self.path.partition("?")[0]
            body = self._body()
            state.paths.append(path)
            state.tokens.append(self.headers.get("Authorization", ""))
            taker = next((t for begin, t in state.takers.items() if path.startswith(begin)), None)
            status, answer = (404, b"") if taker is None else taker(path, body)
            if status >= 400:
                self._refuse(status)
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_PUT = do_POST  # noqa: N815

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def _refuse(self, status: int) -> None:
            self.send_response(status)
            if state.error_code:
                self.send_header("X-Error-Code", state.error_code)
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
