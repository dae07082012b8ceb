"""The HTTP side of a server: addresses, answers, headers, the log of requests."""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from fastapi import Depends, FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tltool.report.drift_page import drift_page
from tltool.serving.limits import RETRY_AFTER_SECONDS, RefusedError
from tltool.serving.observe import METRICS_TYPE
from tltool.serving.page import page
from tltool.serving.paths import parse_path
from tltool.serving.service import Service

JSON = "application/json"
_READ = ["GET", "HEAD"]
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
}


def make_app(
    service: Service,
    *,
    names: frozenset[str] | None = None,
    on_fault: Callable[[], None] = lambda: None,
) -> FastAPI:
    """The application of a service: TensorFlow Serving's REST API, health, metrics and a page.

    Args:
        service: What it serves. It is started and stopped with the application.
        names: By which it may be asked (`Host`, without its port); None for any.
        on_fault: Called where the model cannot be loaded.
    """

    def tell(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # Such as of connections that cannot be accepted, for want of file descriptors.
        service.log("fault", message=context["message"], error=str(context.get("exception")))

    def check_name(request: Request) -> None:
        asked = request.headers.get("host")
        if names is None or asked is None:  # without it, no browser asks
            return
        if _name_in(asked) not in names:
            raise RefusedError(
                421,
                f"this server answers to {', '.join(sorted(names))}, not to {asked!r}; "
                "more names are allowed with: tltool serve --allowed-host NAME",
            )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(tell)
        loading = asyncio.create_task(service.start(on_fault))
        yield
        await loading
        await service.stop()

    # Its own documentation pages fetch scripts from elsewhere.
    app = FastAPI(
        lifespan=lifespan,
        dependencies=[Depends(check_name)],
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
    )
    app.add_exception_handler(RefusedError, _refused)
    app.add_exception_handler(HTTPException, _no_such_address)
    app.add_middleware(Observed, service=service)
    _add_page_and_health(app, service)

    @app.api_route("/v1/{path:path}", methods=["GET", "HEAD", "POST"])
    async def rest(request: Request) -> Response:
        method = "GET" if request.method == "HEAD" else request.method
        asked = parse_path(method, request.scope["path"])
        request.scope["tltool.route"] = asked.verb
        if asked.verb == "status":
            return _json(service.status(asked))
        if asked.verb == "metadata":
            return _json(service.metadata(asked))
        if asked.verb != "predict":
            service.refuse_examples(asked)
        if (encoding := request.headers.get("content-encoding", "identity")) != "identity":
            message = f"Content-Encoding {encoding!r} is not read; send the JSON as it is"
            raise RefusedError(415, message, unread=True)
        length = request.headers.get("content-length")
        announced = int(length) if length is not None else None
        too_large = announced is not None and announced > service.limits.request_bytes
        # A client that asks before it sends need not send what is refused.
        waits = request.headers.get("expect", "").lower() == "100-continue"
        body = _nothing() if too_large and waits else request.stream()
        return Response(await service.predict(asked, announced, body), media_type=JSON)

    return app


def _add_page_and_health(app: FastAPI, service: Service) -> None:
    html, policy = page(service.export)

    @app.api_route("/", methods=_READ)
    async def show_page() -> Response:
        headers = {"content-security-policy": policy, "x-frame-options": "DENY"}
        return Response(html, media_type="text/html", headers=headers)

    @app.api_route("/healthz", methods=_READ)
    async def alive() -> Response:
        return Response("alive\n", media_type="text/plain")

    @app.api_route("/readyz", methods=_READ)
    async def ready() -> Response:
        if service.state != "AVAILABLE":
            raise RefusedError(503, f"the model is not available: {service.state}", retry=True)
        return Response("ready\n", media_type="text/plain")

    @app.api_route("/drift", methods=_READ)
    async def drift() -> Response:
        if service.watch is None or service.watch.verdict is None:
            raise RefusedError(
                404, "no window of requests was compared yet (tltool serve --monitor)"
            )
        text = drift_page(service.watch.verdict, service.export.name, "requests of the last window")
        return Response(text, media_type="text/html", headers={"x-frame-options": "DENY"})

    @app.api_route("/metrics", methods=_READ)
    async def metrics() -> Response:
        return Response(service.metrics.page(), headers={"content-type": METRICS_TYPE})


def _name_in(host: str) -> str | None:
    """The name in a `Host` header, without port and brackets; None where it is none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield


def _json(value: Any) -> Response:
    return Response(json.dumps(value, indent=1), media_type=JSON)


def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, RefusedError):
        raise error
    request.scope["tltool.error"] = error.message
    headers = {"retry-after": str(RETRY_AFTER_SECONDS)} if error.retry else {}
    if error.unread:
        headers["connection"] = "close"
    return _error(error.status, error.message, headers)


def _no_such_address(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return _error(error.status_code, str(error.detail), dict(error.headers or {}))


def _error(status: int, message: str, headers: dict[str, str]) -> Response:
    return Response(json.dumps({"error": message}), status, headers, media_type=JSON)


class Observed:
    """Counts, times and logs every request, and answers those that end in a fault of ours.

    Args:
        app: What answers them.
        service: Has the metrics and the log.
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one connection as ASGI asks for it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, seen = perf_counter(), _Seen()

        async def counted_receive() -> Message:
            message = await receive()
            seen.bytes_in += len(message.get("body", b""))
            return message

        async def counted_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen.status = message["status"]
                present = {name for name, _ in message["headers"]}
                added = [(k, v) for k, v in _HEADERS.items() if k not in present]
                message = {**message, "headers": [*message["headers"], *added]}
            seen.bytes_out += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, counted_receive, counted_send)
        except ClientDisconnect:
            seen.status = seen.status or 499  # as nginx names a client that went away
        except Exception:
            self._service.log("fault", traceback=traceback.format_exc())
            if not seen.status:
                response = _error(500, "a fault of the server; its log has the details", {})
                await response(scope, receive, counted_send)
        finally:
            self._record(scope, seen, perf_counter() - begun)

    def _record(self, scope: Scope, seen: _Seen, seconds: float) -> None:
        metrics, method = self._service.metrics, scope["method"]
        route = scope.get("tltool.route") or _ROUTES.get(scope["path"], "other")
        known = method if method in ("GET", "HEAD", "POST") else "other"
        metrics.requests.labels(route, known, str(seen.status)).inc()
        metrics.seconds.labels(route).observe(seconds)
        client = scope.get("client")
        error = scope.get("tltool.error")
        self._service.log(
            "request",
            client=client[0] if client else None,
            method=method,
            path=scope["path"],
            status=seen.status,
            ms=round(seconds * 1000, 2),
            bytes_in=seen.bytes_in,
            bytes_out=seen.bytes_out,
            **({"error": error} if error else {}),
        )


class _Seen:
    """What passed of one request."""

    def __init__(self) -> None:
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0


_ROUTES = {
    "/": "page",
    "/healthz": "healthz",
    "/readyz": "readyz",
    "/metrics": "metrics",
    "/drift": "drift",
}
