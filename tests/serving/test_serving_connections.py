"""A server against clients that are slow, broken or hostile, over plain sockets."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from mutations import mutated_request, post
from served import LIMITS, PATIENCE, STATUSES, asked, connect, running, status_of, told

from tltool.serving.exports import find_export


@pytest.fixture(scope="module")
def export(text):
    return find_export(text[1], name="tiny")


@pytest.fixture(scope="module")
def port(export, tmp_path_factory):
    log = tmp_path_factory.mktemp("log") / "log"
    with log.open("wb") as file, running(export, LIMITS, file.fileno()) as found:
        yield found
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert not [event for event in events if event["event"] == "fault"]


GOOD = post(b'{"instances": ["good"]}')


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


def test_no_mutated_request_is_a_fault_or_hangs(port):
    chance = random.Random(7)
    seen = {}
    requests = [mutated_request(chance) for _ in range(600)]

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
    assert seen.keys() <= STATUSES, {status: found[0] for status, found in seen.items()}
    assert {200, 400} <= seen.keys()
    assert status_of(asked(port, GOOD)) == 200
