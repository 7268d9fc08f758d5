"""Watching post-training for hacking, with the state to go back to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scperturbrl.flow.training.average import snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn


@dataclass(frozen=True)
class Vitals:
    """State of the generator at a check, measured with the same noise every time.

    Attributes
    ----------
    energy, validation_energy
        Mean energy distance of generated to real cells over training and over validation conditions, as a share of
        the distance between real and control cells. The second is NaN without validation conditions.
    energy_error, validation_error
        Standard error, over these conditions, of the change of each since the start; 0 for fewer than two conditions.
    spread
        Standard deviation of generated cells within a condition relative to the pretrained generator's.
    drift
        Squared distance of the velocity to that of the pretrained generator, relative to the mean squared velocity of
        the path.
    reward
        Mean calibrated reward; 1 is a typical real cell.
    """

    energy: float
    validation_energy: float
    spread: float
    drift: float
    reward: float
    energy_error: float = 0.0
    validation_error: float = 0.0


@dataclass(frozen=True)
class GuardLimits:
    """What the guard tolerates, relative to the pretrained generator.

    Attributes
    ----------
    energy
        Rise of either energy distance, as a share of the distance between real and control cells; a tenth of the
        pretrained generator's own distance is allowed on top, because it is measured on few cells, and the standard error of
        the rise, because it is measured on few conditions.
    spread
        Largest relative change of the spread, either way.
    drift
        Largest relative drift of the velocity.
    """

    energy: float = 0.03
    spread: float = 0.1
    drift: float = 0.1


@dataclass
class Guard:
    """Compares vitals with those of the pretrained generator and keeps the best weights that raise no alarm.

    The best have the highest calibrated reward among those whose energy distances did not rise by more than the error of the rise;
    where nothing is rewarded, the smallest energy distance. The pretrained generator wins ties.

    Parameters
    ----------
    limits
        What is tolerated.
    active
        An inactive guard reports but never stops.
    patience
        Checks in a row with an alarm after which post-training ends.
    by_reward
        Whether the best state is told by its reward.
    """

    limits: GuardLimits = field(default_factory=GuardLimits)
    active: bool = True
    patience: int = 3
    by_reward: bool = True
    in_a_row: int = 0
    start: Vitals | None = None
    kept: Vitals | None = None
    good: list[Tensor] = field(default_factory=list)
    good_iteration: int = 0
    alarms: list[str] = field(default_factory=list)

    def check(self, iteration: int, vitals: Vitals, parameters: Sequence[nn.Parameter]) -> bool:
        """Record `vitals`; returns whether post-training may go on. The first call defines the standard."""
        if self.start is None:
            self.start = vitals
        found = self._alarms(vitals)
        if not found:
            self.in_a_row = 0
            if self.kept is None or self._is_better(vitals, self.kept):
                self.good, self.good_iteration, self.kept = snapshot(parameters), iteration, vitals
            return True
        self.in_a_row += 1
        self.alarms += [f"iteration {iteration}: {text}" for text in found]
        return not self.active or self.in_a_row < self.patience

    def _is_better(self, vitals: Vitals, kept: Vitals) -> bool:
        if not self.by_reward:
            return vitals.energy < kept.energy
        return vitals.reward > kept.reward and not self._is_farther(vitals)

    def _is_farther(self, vitals: Vitals) -> bool:
        """Whether an energy distance rose by more than its error; a large error excuses no more than the limit does."""
        rises = [(vitals.energy - self.start.energy, vitals.energy_error)] if self.start else []
        if self.start and not math.isnan(self.start.validation_energy):
            rises.append((vitals.validation_energy - self.start.validation_energy, vitals.validation_error))
        return any(rise > min(error, self.limits.energy) for rise, error in rises)

    def outcome(self) -> str:
        """What post-training did, in one sentence."""
        start, kept = self.start, self.kept
        if start is None or kept is None:
            return "Post-training was not checked."
        if self.good_iteration:
            return (
                f"Post-training helped: on rewarded conditions the reward went from {start.reward:.3f} to {kept.reward:.3f}, the energy distance from "
                f"{start.energy:.3f} to {kept.energy:.3f} of the effect's own (iteration {self.good_iteration})."
            )
        if self.alarms:
            return f"Post-training was undone, because {self.alarms[0]}."
        return "Post-training changed nothing: no state was better than the pretrained generator."

    def _alarms(self, vitals: Vitals) -> list[str]:
        start, limits = self.start, self.limits
        if start is None:
            return []
        found = []
        for name, error in (("energy", vitals.energy_error), ("validation_energy", vitals.validation_error)):
            if math.isnan(getattr(start, name)):
                continue
            rise = getattr(vitals, name) - getattr(start, name)
            limit = limits.energy + 0.1 * max(getattr(start, name), 0)
            # so that what is not finite raises an alarm too
            if not rise - error <= limit:
                found.append(
                    f"{name} rose by {rise:.3f} +- {error:.3f} of the effect's own distance (limit {limit:.3f})"
                )
        if not abs(vitals.spread - 1) <= limits.spread:
            found.append(f"spread is {vitals.spread:.2f} of the pretrained generator's (limit 1 +- {limits.spread:g})")
        if not vitals.drift <= limits.drift:
            found.append(f"velocity drifted by {vitals.drift:.3f} (limit {limits.drift:g})")
        return found
