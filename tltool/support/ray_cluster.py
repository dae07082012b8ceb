"""Calls spread over the machines of a Ray cluster."""

from __future__ import annotations

import json
import os
import pickle
import platform
import secrets
import signal
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tltool._version import __version__
from tltool.support import stopping
from tltool.support.errors import DeviceError, TltoolError, WorkerError, first_line
from tltool.support.imports import MODULES, TRUST, imported_here, take_from_parent
from tltool.support.machine import known_error
from tltool.support.spread import Spread

if TYPE_CHECKING:
    from tltool.support.progress import Progress

Item = TypeVar("Item")
Result = TypeVar("Result")

# Calls that wait for each that runs, so that no worker waits for the next one.
_AHEAD = 3
# A call whose worker or machine died is made again so many times.
_RETRIES = 3
_LOOKING_SECONDS = 0.2
_REACHING_SECONDS = 10.0
_END = object()
_PASSED_ON = ("TLTOOL_OFFLINE", TRUST)
_SAME_VERSIONS = ("keras", "tensorflow", "numpy")


@contextmanager
def spread_over(
    address: str | None,
    progress: Progress | None = None,
    *,
    talk: bool = False,
    cpus: int | None = None,
) -> Iterator[Spread | None]:
    """What spreads calls over a Ray cluster while it is open; None without an address.

    Where this program is connected with a cluster already, that one is taken, and not left.

    Args:
        address: `local` starts a cluster of this machine's CPUs and ends it; `auto` takes the
            running one that `RAY_ADDRESS` or this machine's `ray start` says; else
            `HOST:PORT`, or `ray://HOST:PORT` for a client outside the cluster.
        progress: Is told how large the cluster is.
        talk: Whether what workers print is told on stderr.
        cpus: CPUs of a `local` cluster; None takes those that this machine has.

    Raises:
        DeviceError: There is no such cluster, or Ray is not installed.
    """
    if address is None:
        yield None
        return
    ray = _import_ray()
    with ExitStack() as stack:
        if not ray.is_initialized():
            stack.enter_context(_talk_on_stderr())
            _connect(ray, address, talk, cpus)
            stack.callback(ray.shutdown)
        spread = RayCluster(ray)
        if progress is not None:
            progress.note(str(spread))
        yield spread


@contextmanager
def _talk_on_stderr() -> Iterator[None]:
    """Has Ray tell of dead workers on stderr: it would do so on stdout, which is for data."""
    from ray._private import worker

    told = worker.print_to_stdstream

    def tell(data: dict[str, Any], ignore_prefix: bool = False) -> None:
        told({**data, "is_err": True}, ignore_prefix)

    worker.print_to_stdstream = tell
    try:
        yield
    finally:
        worker.print_to_stdstream = told


def _import_ray() -> Any:
    # What Ray itself would send to its makers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise DeviceError(
            f"Ray is not installed ({first_line(error)}).", hint="pip install 'tltool[ray]'"
        ) from error
    return ray


def _connect(ray: Any, address: str, talk: bool, cpus: int | None) -> None:
    options: dict[str, Any] = {"address": address, "log_to_driver": talk, "logging_level": "ERROR"}
    if address == "local":
        # Sockets have short names: the folder for temporary files may be a deep one.
        options |= {"include_dashboard": False, "_temp_dir": _short_folder(), "num_cpus": cpus}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _reach(address)
        ray.init(**options)
    except Exception as error:  # of any kind, down to Exception itself
        raise DeviceError(
            f"No Ray cluster can be reached at {address!r}: {first_line(error)}",
            hint="start one with `ray start --head`, or give `local` for one of this machine",
        ) from error
    finally:
        _keep(handlers)


def _reach(address: str) -> None:
    """Raises OSError where nobody answers at an address; Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        with socket.create_connection((host, int(port)), timeout=_REACHING_SECONDS):
            pass


def _short_folder() -> str:
    return str(Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()), "ray"))


def _keep(handlers: dict[Any, Any]) -> None:
    """Puts back the handlers of signals that Ray replaced with its own."""
    with suppress(ValueError):  # not in the main thread: then it replaced none
        for number, handler in handlers.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class _Failed:
    """What a call raised that is no fault of tltool's own."""

    error: TltoolError
    machine: str


class RayCluster(Spread):
    """Calls as tasks of a Ray cluster, each with a CPU, or, where it computes, a GPU to itself.

    Args:
        ray: The module, connected.
    """

    elsewhere = True

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        resources = ray.cluster_resources()
        self._gpus = int(resources.get("GPU", 0))
        self.width = max(1, int(resources.get("CPU", 1)))
        self.machines = len([node for node in ray.nodes() if node["Alive"]])

    def __str__(self) -> str:
        machines = "1 machine" if self.machines == 1 else f"{self.machines} machines"
        gpus = f" and {self._gpus} GPUs" if self._gpus else ""
        return f"Ray: {self.width} CPUs{gpus} on {machines}"

    def map(
        self,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        computes: bool = False,
    ) -> Iterator[Result]:
        """The function's results; see `Spread.map`.

        Raises:
            WorkerError: A worker died, and so did those that tried the same again.
            DeviceError: A machine of the cluster has other versions.
        """
        ray = self._ray
        on_gpus = computes and self._gpus > 0
        task = ray.remote(_call).options(
            num_cpus=1, num_gpus=1 if on_gpus else 0, max_retries=_RETRIES
        )
        surroundings, shared = _Surroundings.of_this_process(computes), ray.put(function)
        ahead = _AHEAD * (self._gpus if on_gpus else self.width)
        name, number = secrets.token_hex(8), 0
        source = iter(items)
        waiting: deque[tuple[str, Any]] = deque()
        try:
            while True:
                while len(waiting) < ahead and (item := next(source, _END)) is not _END:
                    call = f"tltool-{name}-{number}"
                    reference = task.remote(surroundings, [shared], pickle.dumps(item), call)
                    waiting.append((call, reference))
                    number += 1
                if not waiting:
                    return
                result = self._result(*waiting[0])
                waiting.popleft()
                yield result
        finally:
            for _, reference in waiting:
                ray.cancel(reference, force=True)

    def _result(self, name: str, reference: Any) -> Any:
        ray = self._ray
        while not ray.wait([reference], timeout=_LOOKING_SECONDS)[0]:
            stopping.check()
        stopping.check()
        place = _place_of(name)
        try:
            found = ray.get(reference)
        except ray.exceptions.RayTaskError:
            raise  # a fault of tltool's own: it says where, with the traceback of there
        except ray.exceptions.RayError as error:
            raise WorkerError(
                f"The Ray worker {place} died at its work, as those before it that tried "
                f"the same: {first_line(error)}",
                hint="look into its machine's /tmp/ray/session_latest/logs; where memory was "
                "short, `ray start --num-cpus` with a smaller number has it do less at a time",
            ) from error
        if isinstance(found, _Failed):
            raise _told(found)
        return found


def _told(failed: _Failed) -> TltoolError:
    """The error of a call, with the machine it arose on where that is another one."""
    error = failed.error
    if failed.machine.partition(" ")[0] != platform.node():
        error.message += (
            f"\n  (told by the Ray worker on {failed.machine}: paths must lead to the same files "
            "on each machine of the cluster)"
        )
    return error


@dataclass(frozen=True)
class _Surroundings:
    """What a call's process takes over from the one that asked for it."""

    folder: str
    environment: dict[str, str]
    versions: dict[str, str]
    computes: bool

    @classmethod
    def of_this_process(cls, computes: bool) -> _Surroundings:
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        passed[MODULES] = json.dumps(imported_here())
        return cls(str(Path.cwd()), passed, _versions(), computes)

    def settle(self) -> None:
        """Makes this process such a one; does nothing the second time.

        Raises:
            DeviceError: It has other versions.
        """
        if (own := _versions()) != self.versions:
            other = [f"{name} {found}" for name, found in own.items()
                     if found != self.versions[name]]  # fmt: skip
            raise DeviceError(
                f"{platform.node()} has {', '.join(other)}; this machine has "
                f"{', '.join(f'{n} {v}' for n, v in self.versions.items())}.",
                hint="install the same versions on each machine of the cluster",
            )
        with suppress(OSError):  # no such folder there: paths of it are told as missing
            os.chdir(self.folder)
        os.environ.update(self.environment)
        take_from_parent()
        if not self.computes:
            return
        threads = str(_threads())
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
            os.environ.setdefault(name, threads)
        from tltool.support.quiet import load_tensorflow

        load_tensorflow()


def _versions() -> dict[str, str]:
    return {"tltool": __version__, **{name: version(name) for name in _SAME_VERSIONS}}


def _threads() -> int:
    """Threads for a call's arithmetic: its share of the cores of its machine."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    cpus = next(node["Resources"].get("CPU", 1) for node in ray.nodes() if node["NodeID"] == own)
    return max(1, (os.cpu_count() or 1) // max(1, int(cpus)))


_settled: _Surroundings | None = None


def _call(surroundings: _Surroundings, shared: list[Any], item: bytes, name: str) -> Any:
    """One call, in a process of the cluster.

    Args:
        surroundings: Of the process that asks.
        shared: A reference to the function: it is read once this process is settled, and so is
            the item, since both may import much.
        item: Pickled.
        name: Of the call.
    """
    global _settled  # noqa: PLW0603 - of the process
    import ray
    from ray.experimental.internal_kv import _internal_kv_put

    machine = f"{platform.node()} ({ray.util.get_node_ip_address()}, process {os.getpid()})"
    _internal_kv_put(name, machine)
    try:
        if _settled != surroundings:
            surroundings.settle()
            _settled = surroundings
        return ray.get(shared[0])(pickle.loads(item))
    except Exception as error:
        if (known := known_error(error)) is None:
            raise
        return _Failed(known, machine)


def _place_of(name: str) -> str:
    """Where a call began last, and forgets it."""
    from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get

    found = _internal_kv_get(name)
    _internal_kv_del(name)
    return "that had yet to begin" if found is None else f"on {found.decode()}"
