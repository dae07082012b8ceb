"""Runs the application of a service on a port until it is told to stop."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

import uvicorn

from tltool.serving.app import make_app
from tltool.serving.service import Service
from tltool.support.errors import TltoolError

_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens, so that whoever connects from now on is answered.

    Args:
        host: Name or address.
        port: 0 takes any that is free.

    Raises:
        TltoolError: The address cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
        )[0]
        # With its protocol named, asyncio sends without delay what it writes (TCP_NODELAY);
        # else an answer, which is written in two parts, may wait 40 ms for the client's word.
        listening = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":  # elsewhere it lets two programs share a port
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except BaseException:
            listening.close()
            raise
    except (OSError, OverflowError, UnicodeError) as error:
        raise TltoolError(
            f"{host}:{port} cannot be listened on: {error}", hint="choose another with --port"
        ) from error
    return listening


def address_of(listening: socket.socket) -> str:
    """Where a browser finds it: `http://127.0.0.1:8501/`."""
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if listening.family == socket.AF_INET6 else host
    return f"http://{shown}:{port}/"


def run_server(
    service: Service, listening: socket.socket, *, on_listening: Callable[[], None]
) -> None:
    """Serves until SIGTERM or SIGINT; requests under way are finished first.

    Args:
        service: What to serve.
        listening: Closed at the end.
        on_listening: Called before the first request is taken.

    Raises:
        TltoolError: The model cannot be loaded.
    """

    def stop() -> None:
        server.should_exit = True

    config = uvicorn.Config(
        make_app(service, on_fault=stop),
        log_config=None,  # the service has a log of its own
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=service.limits.grace_seconds,
    )
    server = uvicorn.Server(config)
    # uvicorn raises the signal that stopped it once more at its end, for who handled it before.
    previous = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        on_listening()
        server.run(sockets=[listening])
    finally:
        signal.signal(signal.SIGTERM, previous)
        listening.close()
    if service.fault is not None:
        raise service.fault
    service.log("stopped")
