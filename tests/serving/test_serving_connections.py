"""A server against clients that are slow, broken or hostile, over plain sockets."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

import pytest

from tltool.serving.exports import find_export
from tltool.serving.limits import Limits
from tltool.serving.observe import Log
from tltool.serving.server import listen, make_server
from tltool.serving.service import Service

LIMITS = Limits(
    request_bytes=5_000, rows=8, in_flight=2, connections=20, head_seconds=0.5, upload_seconds=0.5
)
PATIENCE = 20.0


@pytest.fixture(scope="module")
def export(text):
    return find_export(text[1], name="tiny")


@contextmanager
def running(export, limits, log):
    """The port of a server that runs in a thread, with its model loaded."""
    with closing(Log(log)) as events, listen("127.0.0.1", 0) as listening:
        service = Service(export, limits, events)
        server = make_server(service, None)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while service.state != "AVAILABLE":
                assert thread.is_alive()
                time.sleep(0.01)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(60)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def port(export, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "log"
    with log.open("wb") as file, running(export, LIMITS, file.fileno()) as found:
        yield found
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert not [event for event in events if event["event"] == "fault"]


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def told(connection):
    """All that a server sends until it closes."""
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def status_of(answer):
    return int(answer.split()[1]) if answer else None


def post(body, *headers):
    lines = ["POST /v1/models/tiny:predict HTTP/1.1", "Host: x", "Connection: close", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encod")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


GOOD = post(b'{"instances": ["good"]}')


def asked(port, request):
    with connect(port) as connection:
        connection.sendall(request)
        return told(connection)


def test_slow_clients_are_given_up_and_keep_no_one_out(port):
    """More of each kind than there are places and connections."""
    head, body = GOOD.split(b"\r\n\r\n")
    slow = [GOOD[:20], head + b"\r\n\r\n" + body[:5], b""] * LIMITS.connections
    held = []
    try:
        for number, beginning in enumerate(slow):
            held.append(connect(port))
            held[-1].sendall(beginning)
            if number % 10 == 0:
                assert status_of(asked(port, GOOD)) == 200
        begun = time.monotonic()
        answers = {status_of(told(connection)) for connection in held}
        assert time.monotonic() - begun < PATIENCE / 2
        assert answers == {408, None}
    finally:
        for connection in held:
            connection.close()


def test_a_client_that_trickles_a_head_or_a_refused_body_is_given_up(port):
    refused = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    for beginning in (b"GET / HTTP/1.1\r\nHost: ", refused):
        with connect(port) as connection:
            connection.sendall(beginning)
            begun = time.monotonic()
            try:
                while time.monotonic() - begun < PATIENCE:
                    connection.sendall(b"x")
                    time.sleep(0.05)
            except OSError:
                pass
            assert time.monotonic() - begun < PATIENCE / 2


def test_a_client_that_does_not_read_its_answer_is_given_up(export, tmp_path):
    limits = replace(LIMITS, rows=3_000, request_bytes=100_000)
    request = post(json.dumps({"instances": ["good"] * 3_000}).encode())
    request = request.replace(b"Connection: close\r\n", b"")
    with (tmp_path / "log").open("wb") as file, running(export, limits, file.fileno()) as port:
        with connect(port) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            begun = time.monotonic()
            connection.settimeout(0.5)
            with suppress(OSError):  # a reset, or a full pipe that stays full
                while time.monotonic() - begun < PATIENCE:
                    connection.sendall(request)
            assert time.monotonic() - begun < PATIENCE
        assert status_of(asked(port, GOOD)) == 200


@pytest.mark.parametrize(
    ("request_bytes", "statuses"),
    [
        (post(b"{}", "Content-Length: -1"), {400}),
        (post(b"{}", "Content-Length: 2", "Content-Length: 3"), {400}),
        (post(b"{}", "Content-Length: 2, 3"), {400}),
        (post(b"{}", "Content-Length: 9"), {408}),
        (post(b"{}", "Content-Length: " + "9" * 18), {413}),
        (post(b"{}", "Content-Length: " + "9" * 400), {400}),
        (post(b"{}", "Content-Length: two"), {400}),
        (post(b"zz\r\n{}", "Transfer-Encoding: chunked"), {400, None}),
        (post(b"ffffffffffffffffffff\r\n{}", "Transfer-Encoding: chunked"), {400, 408, None}),
        (post(b"2\r\n{}\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), {400}),
        (post(b"{}", "Transfer-Encoding: gzip"), {400, 501}),
        (post(b"{}", "Content-Length: 2", "Transfer-Encoding: chunked"), {400, 408}),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404, None}),
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000, {400, 431, None}),
        (b"GET /healthz HTTP/1.1\r\n\r\n", {400}),
        (b"GET /healthz HTTP/1.0\r\n\r\n", {200}),
        (b"GET /v1/models/tiny HTTP/1.0\r\nHost: x\r\n\r\n", {200}),
        (b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {200}),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {404, 405}),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {404, 405}),
        (b"GET http://x/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", {200, 404}),
        (
            b"GET /v1/models/../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            {400, 404},
        ),
        (
            b"GET /v1/models/%2e%2e%2f%ff%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            {400, 404},
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", {400, 408}),
        (b"GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", {200}),
    ],
    ids=range(25),
)
def test_odd_requests_are_answered(port, request_bytes, statuses):
    assert status_of(asked(port, request_bytes)) in statuses
    assert status_of(asked(port, GOOD)) == 200


def test_requests_one_after_the_other_on_a_connection(port):
    kept = GOOD.replace(b"Connection: close\r\n", b"")
    with connect(port) as connection:
        connection.sendall(kept * 3 + GOOD)
        assert told(connection).count(b"HTTP/1.1 200") == 4


BODIES = [
    b'{"instances": ["good", "bad film"]}',
    b'{"inputs": {"texts": ["good"]}, "signature_name": "serving_default"}',
    b'{"instances": [{"texts": {"b64": "Z29vZA=="}}]}',
    b'{"signature_name": "model", "inputs": {"token_ids": [[2, 5, 3]], '
    b'"padding_mask": [[1, 1, 1]], "segment_ids": [[0, 0, 0]]}}',
    b'{"signature_name": "model", "instances": [{"token_ids": [2, 3], '
    b'"padding_mask": [1, 1], "segment_ids": [0, 0]}]}',
]
# fmt: off
PIECES = [
    b"NaN", b"-Infinity", b"1e999", b"-1", b"2147483648", b"99999999999999999999", b"null", b"true",
    b'""', b"[]", b"{}", b"[" * 900, b"[" * 90_000, b'"\\ud800"', b"\xff\xfe",
    b"\x00", b"\xef\xbb\xbf",
    b'{"b64": "a"}', b'{"b64": 1}', b'"instances": 1,', b'"signature_name": "\\ud800",', b"0.5",
    b'"' + b"x" * 3000 + b'"', b'"\xe2\x80\xa8"', b"\r\n\r\n", b"HTTP/1.1",
    b"Content-Length: 7\r\n",
]
# fmt: on


def mutated(chance):
    """A request of which something was changed, in its body, or anywhere."""
    request = post(chance.choice(BODIES))
    _, _, body = request.partition(b"\r\n\r\n")
    whole = chance.random() < 0.3
    content = bytearray(request if whole else body)
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(content) + 1)
        stop = start + chance.choice((0, 0, 1, chance.randint(0, 20)))
        content[start:stop] = chance.choice((
            chance.choice(PIECES), chance.randbytes(chance.randint(0, 6)), content[start:stop] * 3,
        ))  # fmt: skip
    return bytes(content) if whole else post(bytes(content))


def test_no_mutated_request_is_a_fault_or_hangs(port):
    chance = random.Random(7)
    seen = {}
    requests = [mutated(chance) for _ in range(600)]

    def ask(part):
        for request in part:
            begun = time.monotonic()
            status = status_of(asked(port, request))
            assert time.monotonic() - begun < PATIENCE / 2, request
            seen.setdefault(status, []).append(request)

    threads = [threading.Thread(target=ask, args=(requests[at::2],)) for at in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(map(len, seen.values())) == len(requests)
    assert seen.keys() <= {None, 200, 400, 404, 405, 408, 413, 415, 429, 501}, {
        status: found[0] for status, found in seen.items()
    }
    assert {200, 400} <= seen.keys()
    assert status_of(asked(port, GOOD)) == 200
