"""Workers as processes of this machine: for trying, and for several GPUs with one process each."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Any

from tltool.finetuning.launching.command import Command
from tltool.support.errors import DeviceError
from tltool.support.processes import child_environment
from tltool.training.place import CONFIG, tf_config

# After one worker has failed: the others hear of it from each other within seconds, and say why.
_GRACE_SECONDS = 30.0
_LOOK_SECONDS = 0.1
# The user's fault, Ctrl-C, and SIGTERM to a worker.
_NOT_AGAIN = (2, 130, 143)
_GPUS = "CUDA_VISIBLE_DEVICES"
_PROGRAM = ("-m", "tltool")
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
Tell = Callable[[str], None]


def launch_here(
    command: Command,
    workers: int,
    *,
    max_restarts: int = 0,
    tell: Tell,
    out: Tell,
) -> int:
    """Runs a recipe's workers to their end.

    Args:
        command: What each runs.
        workers: How many, at least 1. With GPUs each gets its part of them.
        max_restarts: How often all are started again after one has failed.
        tell: Gets what they say on stderr, line by line, prefixed by the worker.
        out: Gets what the chief writes to stdout, line by line.

    Returns:
        0 where all ended well; after a signal to this process 128 and its number; else the exit
        code of the first that failed: 2 the user's fault, 130 or 143 a signal that stopped it,
        1 anything else.

    Raises:
        DeviceError: There are GPUs, and fewer than workers.
    """
    gpus = _gpus_by_worker(workers, os.environ)
    restarts = 0
    while True:
        arguments = command.arguments(workers, again=restarts > 0)
        with _Group(arguments, workers, gpus, tell, out) as group:
            code, failed = group.wait()
        if failed is None or group.signalled is not None:
            return code
        again = restarts < max_restarts and code not in _NOT_AGAIN
        tell(f"worker {failed} ended with exit code {code}" + (": starting all again" * again))
        if not again:
            return code if code in _NOT_AGAIN else 1
        restarts += 1


def _gpus_by_worker(workers: int, environment: Mapping[str, str]) -> list[str | None]:
    """`CUDA_VISIBLE_DEVICES` of each worker; None leaves it as it is."""
    found = visible_gpus(environment)
    if not found or workers == 1:
        return [None] * workers
    each, rest = divmod(len(found), workers)
    if not each or rest:
        raise DeviceError(
            f"--workers: {workers} workers can't share {len(found)} GPUs equally.",
            hint=f"Use {len(found)} workers, or CUDA_VISIBLE_DEVICES=-1 to train on the CPU.",
        )
    return [",".join(found[n * each : (n + 1) * each]) for n in range(workers)]


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """Names of the GPUs that a process may use, without loading TensorFlow."""
    named = environment.get(_GPUS)
    if named is not None:
        names = [name.strip() for name in named.split(",") if name.strip()]
        return names[: names.index("-1")] if "-1" in names else names
    with suppress(OSError, subprocess.SubprocessError):
        listed = subprocess.run(
            ["nvidia-smi", "--list-gpus"], capture_output=True, text=True, check=True, timeout=30
        ).stdout.splitlines()
        return [str(n) for n in range(sum(line.startswith("GPU ") for line in listed))]
    return []


def free_ports(count: int) -> list[int]:
    """Different ports of this machine that nobody listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]


class _Group:
    """The processes of one start; at its end none is left."""

    def __init__(
        self, arguments: list[str], workers: int, gpus: list[str | None], tell: Tell, out: Tell
    ) -> None:
        self.signalled: int | None = None
        self._processes: list[subprocess.Popen[str]] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._tell, self._out = tell, out
        self._stack = ExitStack()
        addresses = [f"localhost:{port}" for port in free_ports(workers)]
        self._starts = [
            (
                [sys.executable, *_PROGRAM, *arguments],
                _environment(addresses, index, gpus[index]),
            )
            for index in range(workers)
        ]

    def __enter__(self) -> _Group:
        self._stack.enter_context(_passing_on(self._signal))
        for index, (arguments, environment) in enumerate(self._starts):
            process = subprocess.Popen(
                arguments,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                # A Ctrl-C of the terminal reaches them through this process, once.
                start_new_session=True,
            )
            self._processes.append(process)
            if self.signalled is not None:
                process.send_signal(self.signalled)
            for stream, say in ((process.stdout, self._sayer(index, index == 0)),
                                (process.stderr, self._sayer(index, False))):  # fmt: skip
                thread = threading.Thread(target=self._read, args=(stream, say), daemon=True)
                thread.start()
                self._threads.append(thread)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for thread in self._threads:
            thread.join(_GRACE_SECONDS)
        self._stack.close()

    def wait(self) -> tuple[int, int | None]:
        """Waits until all have ended, or until some time after one has failed.

        Returns:
            The exit code of all, and which failed first, or None.
        """
        failed, code, since = None, 0, 0.0
        while True:
            codes = [process.poll() for process in self._processes]
            if failed is None and any(codes):
                # A worker that was killed before one that tells of it.
                failed = min(
                    (index for index, one in enumerate(codes) if one),
                    key=lambda index: ((codes[index] or 0) > 0, index),
                )
                code, since = codes[failed] or 0, time.monotonic()
            if None not in codes:
                break
            # After a signal all are saving what they have.
            late = self.signalled is None and time.monotonic() - since > _GRACE_SECONDS
            if failed is not None and late:
                self._tell(f"ending the workers that worker {failed} has left behind")
                break
            time.sleep(_LOOK_SECONDS)
        if self.signalled is not None:
            return 128 + self.signalled, failed
        return (128 - code if code < 0 else code), failed

    def _signal(self, number: int) -> None:
        self.signalled = number
        for process in self._processes:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    process.send_signal(number)

    def _sayer(self, index: int, plain: bool) -> Tell:
        return self._out if plain else lambda line: self._tell(f"[{index}] {line}")

    def _read(self, stream: Any, say: Tell) -> None:
        with stream:
            for line in stream:
                with self._lock, suppress(OSError):
                    say(line.rstrip("\n"))


def _environment(addresses: list[str], index: int, gpus: str | None) -> dict[str, str]:
    environment = child_environment()
    for name in (_GPUS, CONFIG):
        environment.pop(name, None)
    if (visible := os.environ.get(_GPUS) if gpus is None else gpus) is not None:
        environment[_GPUS] = visible
    if len(addresses) > 1:
        environment[CONFIG] = tf_config(addresses, index)
    return environment


@contextmanager
def _passing_on(act: Callable[[int], None]) -> Iterator[None]:
    """While open, signals that would end this process go to `act`."""

    def handler(number: int, _: FrameType | None) -> None:
        act(number)

    main = threading.current_thread() is threading.main_thread()
    numbers = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name) and main]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
