"""Runs the application of a service on a port until it is told to stop."""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Iterable
from functools import partial

import uvicorn

from tltool.serving.app import make_app
from tltool.serving.connections import Connection
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
        elsewhere = isinstance(error, socket.gaierror | UnicodeError)
        elsewhere = elsewhere or getattr(error, "errno", None) == errno.EADDRNOTAVAIL
        raise TltoolError(
            f"{host}:{port} cannot be listened on: {error}",
            hint=f"choose another with {'--host' if elsewhere else '--port'}",
        ) from error
    return listening


def address_of(listening: socket.socket) -> str:
    """Where a browser finds it: `http://127.0.0.1:8501/`."""
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if listening.family == socket.AF_INET6 else host
    return f"http://{shown}:{port}/"


def names_of(listening: socket.socket, host: str, allowed: Iterable[str]) -> frozenset[str] | None:
    """The names by which a server may be asked; None for any.

    A page of another site can have its own name point at this machine (DNS
    rebinding), and then read what is answered here; its requests name that site.

    Args:
        listening: Where it listens.
        host: As the user names it.
        allowed: Names that the user allows; if there are none, a server that
            only this machine can reach allows this machine's, and another any.
    """
    if allowed := frozenset(name.lower().strip("[]") for name in allowed):
        return None if "*" in allowed else allowed
    address = listening.getsockname()[0]
    if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return None
    return frozenset({"localhost", "127.0.0.1", "::1", address, host.lower()})


def make_server(service: Service, names: frozenset[str] | None) -> uvicorn.Server:
    """A server of a service, not run yet.

    Args:
        service: What to serve.
        names: By which it may be asked; None for any.
    """

    def stop() -> None:
        server.should_exit = True

    config = uvicorn.Config(
        make_app(service, names=names, on_fault=stop),
        http=partial(Connection, service.limits),
        log_config=None,  # the service has a log of its own
        log_level="critical",
        access_log=False,
        server_header=False,
        ws="none",
        timeout_graceful_shutdown=service.limits.grace_seconds,
    )
    server = uvicorn.Server(config)
    return server


def run_server(
    service: Service,
    listening: socket.socket,
    names: frozenset[str] | None,
    *,
    on_listening: Callable[[], None],
) -> None:
    """Serves until SIGTERM or SIGINT; requests under way are finished first.

    Args:
        service: What to serve.
        listening: Closed at the end.
        names: By which it may be asked; None for any.
        on_listening: Called before the first request is taken.

    Raises:
        TltoolError: The model cannot be loaded.
    """
    server = make_server(service, names)
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
