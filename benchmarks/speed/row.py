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
    """What was measured, beside what was promised.

    Attributes
    ----------
    part, stage
        Where it belongs, and what it is.
    value, unit
        The measurement.
    reference
        What it is compared with.
    ratio
        How many times better than the reference, or than the limit; NaN where there is nothing to compare with.
    stated
        The ratio that the documentation promises; NaN where it promises none.
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
        """``yes`` or ``no``, or nothing where nothing is promised."""
        if math.isnan(self.stated):
            return ""
        return "yes" if self.ratio >= self.stated else "no"

    def below_half(self) -> bool:
        """Whether a ratio of this run is below half of what is stated; one that could not be measured is."""
        return self.within_run and not math.isnan(self.stated) and not self.ratio >= HALF * self.stated

    def plain(self) -> dict[str, str | float]:
        """As a line of a table."""
        columns = ("part", "stage", "value", "unit", "reference", "ratio", "stated")
        return {name: getattr(self, name) for name in columns} | {"ok": self.ok}


def limit(part: str, stage: str, value: float, unit: str, *, most: float, what: str = "limit") -> Row:
    """Row of something that is to stay below `most`; its ratio is how many times it fits."""
    return Row(part, stage, value, unit, f"{what} {most:g} {unit}", most / max(value, 1e-12), 1.0, within_run=False)


def at_least(part: str, stage: str, value: float, unit: str, *, least: float) -> Row:
    """Row of something that is to reach `least` on a machine like the one of the report."""
    return Row(part, stage, value, unit, f"goal {least:g} {unit}", value / least, 1.0, within_run=False)


def seconds(work: Callable[[], object], *, repeats: int = 3, warm_up: bool = True) -> float:
    """Median CPU seconds of `work`, which a busy machine does not stretch."""
    if warm_up:
        work()
    return median(_average(work, 1) for _ in range(repeats))


def compare(ours: Callable[[], object], theirs: Callable[[], object], *, repeats: int = 3) -> tuple[float, float]:
    """CPU seconds of both in the fastest of `repeats` turns of each; other programs only ever make a turn slower.

    A turn of the faster side runs it as often as the slower one takes, or cold caches would count against it alone.
    """
    first = [seconds(work, repeats=1) for work in (ours, theirs)]
    often = [min(max(round(max(first) / own), 1), MOST_TIMES) for own in first]
    found = [(_average(ours, often[0]), _average(theirs, often[1])) for _ in range(repeats)]
    return min(pair[0] for pair in found), min(pair[1] for pair in found)


def _average(work: Callable[[], object], n: int) -> float:
    # numba, once it has started its threads, sets torch to as many, and those that wait are charged too
    torch.set_num_threads(1)
    started = time.process_time()
    for _ in range(n):
        work()
    return max((time.process_time() - started) / n, 1e-9)
