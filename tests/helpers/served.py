"""Tiny exported models, made without the gate; servers of them in a thread; plain clients."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

from trained import TinyTrained

from tltool.export.artifact import load_artifact
from tltool.export.formats.base import Exported, ExportTarget
from tltool.export.formats.table import FORMATS
from tltool.export.package import write_model
from tltool.export.sidecars.folder import write_golden
from tltool.serving.limits import Limits
from tltool.serving.observe import Log
from tltool.serving.server import listen, make_server
from tltool.serving.service import Service
from tltool.support.sums import write_sums

LIMITS = Limits(
    request_bytes=5_000, rows=8, in_flight=2, connections=20, head_seconds=0.5, upload_seconds=0.5
)
PATIENCE = 20.0
# What a client may be answered, None for an end without an answer.
STATUSES = {None, 200, 400, 404, 405, 408, 413, 415, 429, 501}


def export_tiny(made: TinyTrained, folder: Path) -> Path:
    """An export folder of a tiny trained model, as `export_and_check` leaves it."""
    folder.mkdir(parents=True)
    contract, _ = write_model(Exported(*made.parts()), ExportTarget(FORMATS["saved_model"]), folder)
    outputs = load_artifact(folder).predict_with_labels(made.held_out.inputs)
    write_golden(folder, contract, made.held_out, outputs, 1e-4)
    write_sums(folder)
    return folder


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


def asked(port, request):
    with connect(port) as connection:
        connection.sendall(request)
        return told(connection)
