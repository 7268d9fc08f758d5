from __future__ import annotations

import signal
import threading

import pytest

from scperturbrl._core.interrupt import step_boundary_interrupt


def test_the_first_interrupt_waits_and_the_second_raises():
    before = signal.getsignal(signal.SIGINT)
    with step_boundary_interrupt() as interrupt:
        assert not interrupt.requested
        signal.raise_signal(signal.SIGINT)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupts_are_restored_after_an_error():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(RuntimeError), step_boundary_interrupt():
        raise RuntimeError
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_may_run_the_loop():
    found = []

    def work():
        with step_boundary_interrupt() as interrupt:
            found.append(interrupt.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]
