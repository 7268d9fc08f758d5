"""One line of the report, and how its time is taken."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

HALF = 0.5
MOST_TIMES = 30


@dataclass(frozen=True)
class Row:
    """A measurement, with its reference and stated ratio.

    Attributes
    ----------
    part, stage
        Part of the benchmark, and name of the measurement.
    value, unit
        The measurement.
    reference
        What it is compared with.
    ratio
        How many times better than the reference, or than the limit; NaN without a reference.
    stated
        The ratio stated in the documentation; NaN if there is none.
    within_run
        Whether both sides of the ratio were measured in this process, so that it does not depend on the machine.
    """

    part: str
    stage: str
    value: float
    unit: str
    reference: str = ""
    ratio: float = math.nan
    stated: float = math.nan
    within_run: bool = True

    @property
    def ok(self) -> str:
        """``yes`` or ``no``; empty without a stated ratio."""
        if math.isnan(self.stated):
            return ""
        return "yes" if self.ratio >= self.stated else "no"

    def below_half(self) -> bool:
        """Whether a ratio of this run is below half of the stated one, or could not be measured."""
        return self.within_run and not math.isnan(self.stated) and not self.ratio >= HALF * self.stated

    def plain(self) -> dict[str, str | float]:
        """As a line of a table."""
        columns = ("part", "stage", "value", "unit", "reference", "ratio", "stated")
        return {name: getattr(self, name) for name in columns} | {"ok": self.ok}


def limit(part: str, stage: str, value: float, unit: str, *, most: float, what: str = "limit") -> Row:
    """Row of a value with the upper limit `most`; the ratio is the limit divided by the value."""
    return Row(part, stage, value, unit, f"{what} {most:g} {unit}", most / max(value, 1e-12), 1.0, within_run=False)


def at_least(part: str, stage: str, value: float, unit: str, *, least: float) -> Row:
    """Row of a value with the lower limit `least`, on a machine like that of the report."""
    return Row(part, stage, value, unit, f"goal {least:g} {unit}", value / least, 1.0, within_run=False)


def seconds(work: Callable[[], object], *, repeats: int = 3, warm_up: bool = True) -> float:
    """Median CPU seconds of `work`, which hardly depend on the load of the machine."""
    if warm_up:
        work()
    return median(_average(work, 1) for _ in range(repeats))


def compare(ours: Callable[[], object], theirs: Callable[[], object], *, repeats: int = 3) -> tuple[float, float]:
    """CPU seconds of both in the fastest of `repeats` turns, because other programs can only make a turn slower.

    In a turn, the faster side is repeated until it takes as long as the slower one; otherwise cold caches would affect
    only the faster side.
    """
    first = [seconds(work, repeats=1) for work in (ours, theirs)]
    often = [min(max(round(max(first) / own), 1), MOST_TIMES) for own in first]
    found = [(_average(ours, often[0]), _average(theirs, often[1])) for _ in range(repeats)]
    return min(pair[0] for pair in found), min(pair[1] for pair in found)


def _average(work: Callable[[], object], n: int) -> float:
    # numba sets the number of threads of torch to its own when it starts, and waiting threads use CPU time
    torch.set_num_threads(1)
    started = time.process_time()
    for _ in range(n):
        work()
    return max((time.process_time() - started) / n, 1e-9)
