"""Chatter is held back, and nothing stays changed afterwards."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings

from tltool.support.quiet import quiet

LAZY_HANDLER = """
import logging, sys, warnings
from tltool.support.quiet import quiet
logger = logging.getLogger("lazy")
with quiet():
    logger.addHandler(logging.StreamHandler(sys.stderr))  # as TensorFlow's does when first used
    logger.warning("inside")
    print("inside")
logger.warning("outside")
"""


def test_native_output_logs_and_warnings_are_held_back(capfd, caplog):
    with quiet():
        os.write(1, b"native")
        os.write(2, b"native")
        logging.getLogger("any").error("log")
        warnings.warn("warning", stacklevel=1)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    os.write(2, b"after")
    logging.getLogger("any").error("after")
    assert capfd.readouterr().err.startswith("after")
    assert [record.message for record in caplog.records] == ["after"]


def test_a_logger_first_used_inside_still_works_afterwards():
    done = subprocess.run(
        [sys.executable, "-c", LAZY_HANDLER], capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("", "outside\n")


def test_output_is_restored_after_an_error(capfd):
    try:
        with quiet():
            raise ValueError
    except ValueError:
        os.write(2, b"after")
    assert capfd.readouterr().err == "after"
