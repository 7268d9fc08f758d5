"""Progress bars and step-boundary interrupts of long work."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from scperturbrl._core.log import is_first_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def _is_interactive() -> bool:
    return sys.stderr.isatty() or "ipykernel" in sys.modules


@contextmanager
def progress_bar(label: str, total: int, *, show: bool | None = None) -> Iterator[Callable[[int, str], None]]:
    """Show a bar while the block runs.

    Parameters
    ----------
    label
        What is being done.
    total
        Number of steps.
    show
        Whether to show it. By default only in a terminal or a notebook.

    Yields
    ------
    A function ``update(step, text)`` that moves the bar and shows `text` behind it.
    """
    if not is_first_process() or not (_is_interactive() if show is None else show):
        yield lambda step, text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    # rich's notebook mode needs ipywidgets; its text mode works in both
    console = Console(stderr=True, force_jupyter=False)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    bar = Progress(*columns, TimeRemainingColumn(compact=True), TextColumn("{task.fields[text]}"), console=console)
    with bar:
        task = bar.add_task(label, total=total, text="")
        yield lambda step, text: bar.update(task, completed=step, text=text)


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
    """Turn the first SIGINT into a flag, so that no step is left half done; the second one raises.

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
