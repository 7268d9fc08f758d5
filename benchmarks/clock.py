"""CPU time, which hardly depends on the load of the machine."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


class Stopwatch:
    """CPU seconds of this process, all its threads together."""

    seconds: float = 0.0


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Measure a block in CPU seconds."""
    watch, started = Stopwatch(), time.process_time()
    try:
        yield watch
    finally:
        watch.seconds = time.process_time() - started


class Budgets:
    """CPU minutes after which a model in training is evaluated; the evaluation itself is not counted.

    Parameters
    ----------
    minutes
        The budgets.
    look
        Called with a budget, the CPU seconds spent so far, and whether training has already ended.
    """

    def __init__(self, minutes: Iterable[float], look: Callable[[float, float, bool], None]) -> None:
        self.left, self.look = sorted(minutes), look
        self.start()

    def start(self) -> None:
        """Start the clock."""
        self.since = time.process_time()

    def used_up(self) -> bool:
        """Evaluate if a budget has just run out; return whether it was the last. Call it after every step."""
        while self.left and time.process_time() - self.since >= 60 * self.left[0]:
            self._next(ended=False)
        return not self.left

    def end(self) -> None:
        """Evaluate for the budgets that training did not need."""
        while self.left:
            self._next(ended=True)

    def _next(self, *, ended: bool) -> None:
        paused = time.process_time()
        self.look(self.left.pop(0), paused - self.since, ended)
        self.since += time.process_time() - paused


def steps_for(budget: float, train: Callable[[int], None], *, pilot: tuple[int, int] = (50, 250)) -> int:
    """Number of training steps that take `budget` CPU seconds, from two short runs: cost per step and before the first."""
    seconds = []
    for n in pilot:
        with stopwatch() as watch:
            train(n)
        seconds.append(watch.seconds)
    per_step = max((seconds[1] - seconds[0]) / (pilot[1] - pilot[0]), 1e-6)
    before = max(seconds[0] - pilot[0] * per_step, 0.0)
    return max(1, round((budget - before) / per_step))
