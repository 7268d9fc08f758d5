"""Progress bar of long work."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scperturbrl._core.log import is_first_process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


# seconds between two lines if the output cannot be redrawn
SECONDS_A_LINE = 10.0


@contextmanager
def progress_bar(label: str, total: int, *, show: bool | None = None) -> Iterator[Callable[[int, str], None]]:
    """Show the progress of the block: a bar in a terminal, elsewhere a plain line every ten seconds and one at the end.

    Parameters
    ----------
    label
        Description of the work.
    total
        Number of steps.
    show
        Whether to show anything. By default only in a terminal or a notebook.

    Yields
    ------
    A function ``update(step, text)`` that sets the current step and a `text` to show with it.
    """
    # a notebook's stream is no terminal, though its kernel asks libraries for colours
    terminal = sys.stderr.isatty()
    wanted = terminal or "ipykernel" in sys.modules if show is None else show
    if not is_first_process() or not wanted:
        yield lambda step, text: None
    elif terminal:
        with _bar(label, total) as update:
            yield update
    else:
        lines = _Lines(label, total)
        try:
            yield lines.update
        finally:
            lines.end()


@contextmanager
def _bar(label: str, total: int) -> Iterator[Callable[[int, str], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    last = (TimeRemainingColumn(compact=True), TextColumn("{task.fields[text]}"))
    with Progress(*columns, *last, console=Console(stderr=True)) as bar:
        task = bar.add_task(label, total=total, text="")
        yield lambda step, text: bar.update(task, completed=step, text=text)


class _Lines:
    """Plain lines on the error stream: one every :data:`SECONDS_A_LINE` seconds, and one for the last step reached."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total = label, total
        self._start = self._written = time.monotonic()
        self._pending = ""

    def update(self, step: int, text: str) -> None:
        now = time.monotonic()
        parts = [f"{self._label}: {step}/{self._total}", text, f"{now - self._start:.0f} s"]
        self._pending = ", ".join(filter(None, parts))
        if now - self._written >= SECONDS_A_LINE:
            self._written = now
            self.end()

    def end(self) -> None:
        """Write the last line if it is missing."""
        if self._pending:
            sys.stderr.write(f"{self._pending}\n")
            sys.stderr.flush()
        self._pending = ""
