"""Ctrl-C during long work: the current step is completed first."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class Interrupt:
    """Flag that tells a loop to stop at its next step boundary."""

    def __init__(self) -> None:
        self.requested = False

    def _request(self, signum: int, frame: Any) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextmanager
def step_boundary_interrupt() -> Iterator[Interrupt]:
    """Turn the first SIGINT into a flag, so that the current step is completed; the second one raises.

    Outside the main thread, where Python delivers no signals, the flag is never set.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    previous = signal.signal(signal.SIGINT, interrupt._request)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, previous)
