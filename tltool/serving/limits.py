"""What a server takes on, and how it says no."""

from __future__ import annotations

from dataclasses import dataclass

RETRY_AFTER_SECONDS = 1


@dataclass(frozen=True)
class Limits:
    """What a server takes on before it refuses.

    Attributes:
        request_bytes: Of a request's body.
        rows: Of a request.
        image_pixels: Of one image, all frames together. Also the most that is
            decoded at once for a request: photographs that are larger together
            run one group after the other.
        text_bytes: Of one text, in UTF-8.
        tokens: Computed at once for a request, padding included: rows that have
            more together run one group after the other.
        in_flight: Requests for predictions at the same time, those that wait included.
        concurrency: Of these, how many are computed at the same time.
        connections: Open at the same time.
        head_seconds: For the head of a request to arrive, and for what is left of a
            body once its request was answered.
        upload_seconds: For a request's body to arrive, and for a client to take its answer.
        grace_seconds: For requests under way to finish once the server is told to stop.
    """

    request_bytes: int = 16_000_000
    rows: int = 128
    image_pixels: int = 25_000_000
    text_bytes: int = 100_000
    tokens: int = 16_384
    in_flight: int = 32
    concurrency: int = 2
    connections: int = 512
    head_seconds: float = 10.0
    upload_seconds: float = 30.0
    grace_seconds: int = 30


class RefusedError(Exception):
    """A request that gets an error for an answer.

    Args:
        status: HTTP status code.
        message: What is wrong with it.
        retry: Whether the same request may go through later.
        unread: Whether its body was not read to the end, so that its
            connection is of no more use.
    """

    def __init__(
        self, status: int, message: str, *, retry: bool = False, unread: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry = retry
        self.unread = unread
