"""Time that a busy machine does not stretch."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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
