"""The coordination service of TensorFlow, by which workers talk.

It runs in the chief, at the port that training itself uses. It notices a worker that dies, and
ends the steps of the others. TensorFlow 2.21 has no public names for it: they are all here.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from tltool.support import stopping
from tltool.support.errors import DeviceError, TrainingError, first_line
from tltool.training.place import Place

if TYPE_CHECKING:
    import tensorflow as tf

SILENT_SECONDS = 10
"""A worker that says nothing for so long is taken for dead."""
_JOB = "worker"


def connect(place: Place, seconds: float) -> tf.distribute.Strategy:
    """Connects this process with the other workers, before TensorFlow computes anything.

    Args:
        place: Of this worker.
        seconds: How long to wait for the others.

    Raises:
        DeviceError: TensorFlow is in use already, or the port is.
        TrainingError: The others did not come.
    """
    import tensorflow as tf
    from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
    from tensorflow.python.eager import context

    _check_port(place)
    jobs = [coordination_config_pb2.CoordinatedJob(name=_JOB, num_tasks=len(place.workers))]
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=tf.distribute.experimental.CommunicationImplementation.AUTO
        if tf.config.list_physical_devices("GPU")
        else tf.distribute.experimental.CommunicationImplementation.RING
    )
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({_JOB: list(place.workers)}),
        task_type=_JOB,
        task_id=place.index,
        rpc_layer="grpc",
    )
    try:
        context.context().configure_coordination_service(
            "standalone",
            service_leader=f"/job:{_JOB}/replica:0/task:0",
            cluster_register_timeout_in_ms=int(seconds * 1000),
            heartbeat_timeout_in_ms=SILENT_SECONDS * 1000,
            shutdown_barrier_timeout_in_ms=SILENT_SECONDS * 1000,
            coordinated_jobs=jobs,
        )
        strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver, options)
    except RuntimeError as error:
        raise DeviceError(
            f"training.distribution: multi_worker must be the first that TensorFlow does in a "
            f"process: {first_line(error)}.",
            hint="train in a fresh process, before anything else uses TensorFlow",
        ) from error
    except tf.errors.OpError as error:
        raise TrainingError(
            f"{place.title(place.index)} has not found the others within {seconds:g} seconds: "
            f"{first_line(error)}",
            hint="start all workers: " + ", ".join(place.workers),
        ) from error
    # TensorFlow's service takes SIGTERM for itself when it starts.
    stopping.renew()
    return strategy


def _check_port(place: Place) -> None:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("", place.port))
        except OSError as error:
            raise DeviceError(
                f"{place.title(place.index)} can't listen on port {place.port}: {error.strerror}.",
                hint="end what uses it, or give this worker another port",
            ) from error


def answers(address: str) -> bool:
    """Whether somebody listens at an address."""
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host, int(port)), timeout=2):
        return True
    return False


def put(key: str, value: str) -> None:
    """Keeps a value under a key, once; raises `OpError` where it has one."""
    from tensorflow.python.eager import context

    context.context().set_config_key_value(key, value)


def get(key: str, seconds: float) -> str:
    """Waits for a key's value; raises `DeadlineExceededError` where it does not come."""
    from tensorflow.python.eager import context

    return str(context.context().get_config_key_value(key, int(seconds * 1000)))


def abort(message: str) -> None:
    """Ends the steps of the other workers, and says why in their errors."""
    from tensorflow import errors
    from tensorflow.python.eager import context

    context.context().report_error_to_cluster(errors.ABORTED, message[:500])


def gone_workers(count: int) -> list[int]:
    """Workers, of so many, that say nothing any more, as far as the chief knows."""
    from tensorflow import errors
    from tensorflow.python.eager import context

    with suppress(errors.OpError):
        states = context.context().get_task_states([(_JOB, count)])
        return [index for index, state in enumerate(states) if state is not None]
    return []
