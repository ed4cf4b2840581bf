"""Ctrl-C while workers start: the parent is interrupted, they are not."""

import signal
import subprocess
import sys

import pytest

from prunable.runs.backends.process import _interrupts_held

pytestmark = pytest.mark.usefixtures("interruptible")

LISTENING = "import sys, time; print('up', flush=True); time.sleep(60)"


@pytest.fixture
def interruptible():
    """As at a terminal, whatever started the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_comes_after_the_start_and_is_not_lost():
    reached = []

    def start():
        with _interrupts_held():
            signal.raise_signal(signal.SIGINT)
            reached.append("the end")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_what_is_started_meanwhile_is_deaf():
    with _interrupts_held():
        worker = subprocess.Popen([sys.executable, "-c", LISTENING], stdout=subprocess.PIPE)
    with worker:
        assert worker.stdout.readline() == b"up\n"
        worker.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            worker.wait(0.5)
        worker.kill()


def test_those_who_ignore_interrupts_go_on_ignoring_them():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with _interrupts_held():
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
