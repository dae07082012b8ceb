"""The connections of a server, none of which may keep it waiting for long."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from tltool.serving.limits import Limits


class Connection(H11Protocol):
    """A connection that is closed where its client does not send or does not read.

    Past the limit of connections, the one that has waited longest for its
    client makes room for a new one: clients that open connections and then
    do nothing cannot keep others out.

    Args:
        limits: Those of connections and of time are used here.
        options: What uvicorn gives.
    """

    def __init__(self, limits: Limits, **options: Any) -> None:
        super().__init__(**options)
        self._limits = limits
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self.since = self.loop.time()
        """When its last request was answered, or else when it was made."""

    @property
    def waits(self) -> bool:
        """Whether nothing happens until its client sends something."""
        return not self._under_way or self.cycle.more_body

    @property
    def _under_way(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        super().connection_made(transport)
        self._await_head()
        if len(self.connections) > self._limits.connections:
            waiting = [one for one in self.connections if one.waits]
            min(waiting, key=lambda one: one.since).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        for timer in (self._reading, self._writing):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Something was sent."""
        super().data_received(data)
        self._stop_awaiting()

    def on_response_complete(self) -> None:
        """A request was answered; what is left of its body may come, or the next one."""
        self._await_head()
        super().on_response_complete()
        self._stop_awaiting()

    def pause_writing(self) -> None:
        """The client does not read as fast as it is written to."""
        super().pause_writing()
        self._writing = self.loop.call_later(self._limits.upload_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()

    def send_400_response(self, msg: str) -> None:
        """Answers what is not HTTP."""
        self._end(400, f"Malformed request: {msg}")

    def _await_head(self) -> None:
        self.since = self.loop.time()
        if self._reading is not None:
            self._reading.cancel()
        self._reading = self.loop.call_later(self._limits.head_seconds, self._give_up)

    def _stop_awaiting(self) -> None:
        if self._reading is not None and self._under_way:
            self._reading.cancel()

    def _give_up(self) -> None:
        begun, _ = self.conn.trailing_data
        if begun and not self.transport.is_closing():
            self._end(408, "the head of the request took too long to arrive")
        else:
            self.transport.abort()

    def _end(self, status: int, message: str) -> None:
        """Answers by itself, unless another answer was begun, and closes."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = json.dumps({"error": message}).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            for event in (h11.Response(status_code=status, headers=headers), h11.Data(body)):
                self.transport.write(self.conn.send(event))
        self._await_head()  # for a client that does not take the answer
        self.transport.close()
