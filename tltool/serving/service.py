"""What a server does with a model: loads it, admits requests, computes them in threads."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Any

from tltool.serving.answers import write_answer
from tltool.serving.exports import ServedExport
from tltool.serving.limits import Limits, RefusedError
from tltool.serving.model import ServedModel
from tltool.serving.observe import Log, Metrics
from tltool.serving.paths import Asked
from tltool.serving.tensors import read_request
from tltool.support.errors import TltoolError

if TYPE_CHECKING:
    from tltool.serving.drift import Watch

_METHOD = "tensorflow/serving/predict"
# How many times the limit of a body is read before a client is cut off.
_DISCARDED = 8


class Service:
    """One model behind limits.

    Args:
        export: What is served.
        limits: What is taken on.
        log: Where events go.
        load: Makes the model; called in a thread.
        on_ready: Called once requests are answered.
        window: Rows that are compared with the export's sketch as they come; None for none.

    Raises:
        ExportError: They are to be compared, and there is no sketch.
    """

    def __init__(
        self,
        export: ServedExport,
        limits: Limits,
        log: Log,
        *,
        load: Callable[[ServedExport, Limits], ServedModel] = ServedModel,
        on_ready: Callable[[], None] = lambda: None,
        window: int | None = None,
    ) -> None:
        self.export, self.limits, self.log = export, limits, log
        self.metrics = Metrics()
        self.watch = None if window is None else self._watching(window)
        self.state = "START"
        self.fault: BaseException | None = None
        self._load, self._on_ready = load, on_ready
        self._model: ServedModel | None = None
        self._in_flight = 0
        self._arriving = 0
        self._threads = ThreadPoolExecutor(limits.concurrency, thread_name_prefix="predict")

    def _watching(self, window: int) -> Watch:
        from tltool.serving.drift import Watch

        return Watch(self.export, window, self.metrics.of_drift(), self.log)

    async def start(self, on_fault: Callable[[], None]) -> None:
        """Loads the model; `fault` says why where that fails.

        Args:
            on_fault: Called where it fails.
        """
        self.state = "LOADING"
        loop, begun = asyncio.get_running_loop(), perf_counter()
        try:
            self._model = await loop.run_in_executor(
                self._threads, self._load, self.export, self.limits
            )
        except Exception as error:
            self.state, self.fault = "END", error
            if not isinstance(error, TltoolError):
                self.log("failed", traceback=traceback.format_exc())
            on_fault()
            return
        self.state = "AVAILABLE"
        self.metrics.ready.set(1)
        self.log(
            "ready",
            model=self.export.name,
            version=self.export.version,
            seconds=round(perf_counter() - begun, 3),
        )
        self._on_ready()

    async def stop(self) -> None:
        """Waits for what is being computed, which cannot be broken off; drops what waits."""
        self.state = "UNLOADING" if self._model else "END"
        self.metrics.ready.set(0)
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        if self.watch is not None:
            await asyncio.to_thread(self.watch.stop)

    def status(self, asked: Asked) -> dict[str, Any]:
        """The state of the model, as `GetModelStatusResponse`.

        Raises:
            RefusedError: 404 for another model or version, 400 for an unknown label.
        """
        self._check_label(asked)
        if asked.name != self.export.name:
            raise RefusedError(404, f"Could not find any versions of model {asked.name}")
        if asked.version not in (None, self.export.version):
            raise RefusedError(404, f"Could not find version {asked.version} of model {asked.name}")
        state = {
            "version": str(self.export.version),
            "state": self.state,
            "status": {
                "error_code": "UNKNOWN" if self.fault else "OK",
                "error_message": str(self.fault or ""),
            },
        }
        return {"model_version_status": [state]}

    def metadata(self, asked: Asked) -> dict[str, Any]:
        """The signatures of the model, as `GetModelMetadataResponse`.

        Raises:
            RefusedError: As `status`; 503 while it loads.
        """
        definitions = self._servable(asked).metadata()
        spec = {
            "name": self.export.name,
            "signature_name": "",
            "version": str(self.export.version),
        }
        return {
            "model_spec": spec,
            "metadata": {"signature_def": {"signature_def": definitions}},
        }

    async def predict(
        self, asked: Asked, announced: int | None, body: AsyncIterator[bytes]
    ) -> bytes:
        """The answer to a predict request, as JSON.

        Args:
            asked: Model and version.
            announced: Bytes of the body as the client announces them; None where it doesn't.
            body: Its parts.

        Raises:
            RefusedError: It is wrong, too large, or too much for now.
        """
        model = self._servable(asked)
        self._check_place()
        # A place is taken once the body is there: slow clients keep no one out.
        content = await self._read(announced, body)
        with self._admitted():
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._answer, model, content)

    def refuse_examples(self, asked: Asked) -> None:
        """Says that the signatures take tensors, where examples were sent.

        Raises:
            RefusedError: Always: 400, or as `metadata`.
        """
        self._servable(asked)
        raise RefusedError(
            400,
            f"Expected {asked.verb} signature method_name to be tensorflow/serving/{asked.verb}. "
            f"Was: {_METHOD}",
        )

    def _servable(self, asked: Asked) -> ServedModel:
        self._check_label(asked)
        if asked.name != self.export.name or asked.version not in (None, self.export.version):
            wanted = (
                f"Latest({asked.name})"
                if asked.version is None
                else f"Specific({asked.name}, {asked.version})"
            )
            raise RefusedError(404, f"Servable not found for request: {wanted}")
        if self._model is None or self.state != "AVAILABLE":
            raise RefusedError(503, f"the model is not available: {self.state}", retry=True)
        return self._model

    def _check_label(self, asked: Asked) -> None:
        if asked.name != self.export.name or asked.label is None:
            return
        if asked.label not in self.export.version_labels:
            raise RefusedError(400, f"Unrecognized servable version label: {asked.label}")

    def _check_place(self) -> None:
        if self._in_flight >= self.limits.in_flight:
            message = f"{self._in_flight} requests are in flight already, which is the limit"
            raise RefusedError(429, message, retry=True)

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        """A place among the requests in flight."""
        self._check_place()
        self._in_flight += 1
        self.metrics.in_flight.set(self._in_flight)
        try:
            yield
        finally:
            self._in_flight -= 1
            self.metrics.in_flight.set(self._in_flight)

    async def _read(self, announced: int | None, body: AsyncIterator[bytes]) -> bytes:
        """The body, of which nothing past the limit is kept.

        What is sent past it is taken and thrown away, up to a bound: a client
        that is cut off while it sends does not read the answer that says why.
        """
        most = self.limits.request_bytes
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.limits.upload_seconds):
                if announced is None or announced <= _DISCARDED * most:
                    async for part in body:
                        size += len(part)
                        if size <= most:
                            parts.append(part)
                            self._keep(len(part))
                        elif size > _DISCARDED * most:
                            break
        except TimeoutError as error:
            message = "the request's body took too long to arrive"
            raise RefusedError(408, message, unread=True) from error
        finally:
            self._arriving -= sum(map(len, parts))
        if max(size, announced or 0) > most:
            message = f"the request's body is larger than {most} bytes"
            raise RefusedError(413, message, unread=True)
        return b"".join(parts)

    def _keep(self, size: int) -> None:
        """Counts bytes of bodies that arrive, which are bounded together."""
        self._arriving += size
        if self._arriving > self.limits.in_flight * self.limits.request_bytes:
            message = "too many requests arrive at the same time"
            raise RefusedError(429, message, retry=True, unread=True)

    def _answer(self, model: ServedModel, content: bytes) -> bytes:
        """Reads, computes and writes; runs in a thread."""
        request = read_request(content, model.signatures, max_rows=self.limits.rows)
        self.metrics.rows.observe(request.rows)
        with self.metrics.model_seconds.time():
            outputs = model.predict(request)
        answer = write_answer(outputs, request.form)
        if self.watch is not None:
            self.watch.see(request, outputs)
        return answer
