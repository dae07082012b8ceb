"""Shared fixtures; the tiny backbones and data sets themselves are in `tiny.py`."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def _private_cache() -> Path:
    """A cache folder of this test run's own, but for what was downloaded: that is shared."""
    from tltool.support.files import cache_dir

    private = Path(tempfile.mkdtemp(prefix="tltool-tests-"))
    for name in ("models", "presets", "samples", "wheels"):
        shared = cache_dir().absolute() / name
        shared.mkdir(parents=True, exist_ok=True)
        (private / name).symlink_to(shared)
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    return private


# Features and checked images of one run must not make another one pass.
os.environ["TLTOOL_CACHE"] = str(_private_cache())
# Nor must model cards of the developer's own be seen.
os.environ["TLTOOL_MODELS"] = os.environ["TLTOOL_CACHE"] + "/own-models"
# Modules and graphs live to the end of a test run: looking for garbage among them takes time.
gc.set_threshold(50_000, 10, 10)


def pytest_sessionstart() -> None:
    """Has the gates of all tests use one process, each worker its own."""
    from gate_process import SharedProcess

    from tltool.export import package

    package.FreshProcess = SharedProcess


def pytest_sessionfinish() -> None:
    """Ends that process."""
    from gate_process import SharedProcess

    SharedProcess.end()


def pytest_collection_finish(session) -> None:
    """Leaves out TensorFlow's own optimisation of graphs, some of the time of tiny trainings.

    The tests that take longest run with it, as all of tltool does.
    """
    if session.config.option.markexpr == "not slow" and "tensorflow" in sys.modules:
        import tensorflow as tf

        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture
def graphs_optimised():
    """TensorFlow optimises graphs, for tests of which of two errors a graph tells of."""
    import tensorflow as tf

    options = tf.config.optimizer.get_experimental_options()
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})
    yield
    tf.config.optimizer.set_experimental_options(
        {"disable_meta_optimizer": options.get("disable_meta_optimizer", False)}
    )
