"""Choosing the weight of the anchor while post-training runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scperturbrl.rl.guard import Vitals

FACTOR = 1.5
SETBACK = 3.0
"""Factor by which the anchor grows after an alarm, when post-training returns to an earlier state."""

LOOSEST, TIGHTEST = 0.2, 100.0
"""Bounds of the weight, relative to where it starts."""

BUDGET = 0.1
"""Rise of the energy distance that is accepted, as a share of the pretrained generator's.

It sets only the pace: the guard keeps no state whose distance rose by more than its error.
"""

LEAST_BUDGET = 0.01
"""Rise that is always allowed, as a share of the distance between real and control cells."""


@dataclass(frozen=True)
class AdaptiveAnchor:
    """Tightens the anchor when the energy distance rises by more than a budget, and loosens it while that is unspent.

    The gain in reward per rise of the distance differs between data sets by an order of magnitude, so a fixed weight is too
    loose for some and too tight for others. Validation conditions are used if there are any, because the distance of training
    conditions hardly changes while that of unseen ones grows.

    Parameters
    ----------
    start
        Initial weight. 0 and infinity are never changed.
    fixed
        Whether it keeps its initial weight.
    """

    start: float
    fixed: bool = False

    @property
    def adapts(self) -> bool:
        """Whether the weight ever changes."""
        return not self.fixed and 0 < self.start < math.inf

    def next(self, weight: float, first: Vitals, now: Vitals) -> float:
        """Weight from now on, given the present one and the vitals at the start and now."""
        if not self.adapts:
            return weight
        name = "energy" if math.isnan(first.validation_energy) else "validation_energy"
        before = getattr(first, name)
        allowed = max(BUDGET * before, LEAST_BUDGET)
        rise = getattr(now, name) - before
        # also where the distance is not finite
        if not rise <= allowed:
            weight = weight * FACTOR
        elif rise < 0.3 * allowed:
            weight = weight / FACTOR
        return self._bounded(weight)

    def after_setback(self, weight: float) -> float:
        """The next weight, if `weight` was too loose."""
        return self._bounded(weight * SETBACK) if self.adapts else weight

    def _bounded(self, weight: float) -> float:
        return min(max(weight, LOOSEST * self.start), TIGHTEST * self.start)
