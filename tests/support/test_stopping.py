from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from tltool.support import stopping

HANDLERS = {
    signal.SIGINT: signal.default_int_handler,
    signal.SIGTERM: signal.SIG_DFL,
    signal.SIGHUP: signal.SIG_DFL,
}


@pytest.fixture(autouse=True)
def default_handlers():
    """Worker processes of the test runner ignore Ctrl-C."""
    before = {number: signal.signal(number, handler) for number, handler in HANDLERS.items()}
    yield
    after = {number: signal.signal(number, handler) for number, handler in before.items()}
    assert after == HANDLERS, "the handlers of before were not put back"


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_raises_and_is_noted_where_its_exception_is_swallowed(number, code):
    with stopping.stoppable():
        stopping.check()
        assert stopping.exit_code() is None
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        with pytest.raises(stopping.Stopped, match=signal.strsignal(number)):
            stopping.check()
        assert stopping.exit_code() == code
    stopping.check()


def test_in_steps_the_first_signal_is_noted_and_the_second_stops_at_once():
    with stopping.stoppable(), stopping.in_steps():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(stopping.Stopped):
            stopping.check()
        with pytest.raises(stopping.Stopped):
            signal.raise_signal(signal.SIGINT)
        assert stopping.exit_code() == 143


def test_handlers_that_a_program_has_set_stay():
    heard = []
    signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stopping.stoppable(pass_on=True):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
        assert stopping.exit_code() is None
    assert heard == [signal.SIGTERM]
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_within_another_and_in_other_threads_nothing_changes():
    def elsewhere():
        with stopping.stoppable():
            pass

    with stopping.stoppable():
        with stopping.stoppable(pass_on=True), stopping.in_steps():
            signal.raise_signal(signal.SIGTERM)
        assert stopping.exit_code() == 143
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()


def test_a_signal_that_is_passed_on_ends_the_process_after_the_work():
    code = """
import signal
from tltool.support import stopping
with stopping.stoppable(pass_on=True), stopping.in_steps():
    signal.raise_signal(signal.SIGTERM)
    print("saved", flush=True)
print("never")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "saved\n")
