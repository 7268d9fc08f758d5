"""Detection of reward hacking during post-training, and the state to return to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scperturbrl.flow.training.weight_state import snapshot

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
    unrewarded
        The same on conditions that are not rewarded. NaN without any, as are the next four.
    gain, gain_error
        Change of `unrewarded` since the start, and its standard error over these conditions, widened if there are few.
    rise, rise_error
        Change of the energy distance of these conditions, and its standard error.
    """

    energy: float
    validation_energy: float
    spread: float
    drift: float
    reward: float
    energy_error: float = 0.0
    validation_error: float = 0.0
    unrewarded: float = math.nan
    gain: float = math.nan
    gain_error: float = math.nan
    rise: float = math.nan
    rise_error: float = math.nan


@dataclass(frozen=True)
class GuardLimits:
    """What the guard tolerates, relative to the pretrained generator.

    Attributes
    ----------
    energy
        Rise of either energy distance, as a share of the distance between real and control cells. A tenth of the
        pretrained generator's own distance is allowed in addition, because it is measured on few cells, and so is the
        standard error of the rise, because it is measured on few conditions.
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

    A state replaces the kept one if its calibrated reward on conditions that are not rewarded is higher by more than the error of
    its gain, and if the energy distance of these conditions did not rise by more than the error of the rise. Where no verifier is
    rewarded, the smallest energy distance wins. The pretrained generator, or an earlier state, wins ties.

    Parameters
    ----------
    limits
        What is tolerated.
    active
        An inactive guard reports but never stops.
    patience
        Checks in a row with an alarm after which post-training ends.
    by_reward
        Whether the best state is chosen by its reward.
    judged
        Description of the conditions that the gain is measured on; empty if there are too few.
    from_flow
        Whether the cells of some validation condition come from the flow, or there are no validation conditions.
    """

    limits: GuardLimits = field(default_factory=GuardLimits)
    active: bool = True
    patience: int = 3
    by_reward: bool = True
    judged: str = ""
    from_flow: bool = True
    in_a_row: int = 0
    start: Vitals | None = None
    kept: Vitals | None = None
    good: list[Tensor] = field(default_factory=list)
    good_iteration: int = 0
    alarms: list[str] = field(default_factory=list)
    refused: str = ""

    def check(self, iteration: int, vitals: Vitals, parameters: Sequence[nn.Parameter]) -> bool:
        """Record `vitals`; returns whether post-training may continue. Later calls are compared with the first."""
        if self.start is None:
            self.start = vitals
        found = self._alarms(vitals)
        if not found:
            self.in_a_row = 0
            objection = self._objection(vitals)
            if self.kept is None or (not objection and self._is_better(vitals, self.kept)):
                self.good, self.good_iteration, self.kept = snapshot(parameters), iteration, vitals
            self.refused = objection
            return True
        self.in_a_row += 1
        self.alarms += [f"iteration {iteration}: {text}" for text in found]
        return not self.active or self.in_a_row < self.patience

    def _is_better(self, vitals: Vitals, kept: Vitals) -> bool:
        if not self.by_reward:
            return vitals.energy < kept.energy
        # from check to check the reward hardly falls, so the largest gain would always be the last one
        known = 0.0 if math.isnan(kept.gain) else kept.gain
        return vitals.gain - known > vitals.gain_error

    def _objection(self, vitals: Vitals) -> str:
        """Why a state without an alarm is not kept; empty if it may be."""
        if not self.by_reward:
            return ""
        if self.start is not vitals and vitals.gain == 0 == vitals.gain_error:
            # so only if every condition is at the reward of its real cells, beyond which a rise is no gain
            return "the reward already reaches that of real cells"
        # written so that NaN does not count as evidence
        if not vitals.gain > vitals.gain_error:
            return f"the reward changed by {vitals.gain:+.3f} +- {vitals.gain_error:.3f}"
        # the limit also bounds what a large error allows
        if not vitals.rise <= min(vitals.rise_error, self.limits.energy):
            return f"the energy distance rose by {vitals.rise:.3f} +- {vitals.rise_error:.3f} of the effect's own"
        return ""

    def outcome(self) -> str:
        """What post-training did, in one sentence."""
        start, kept = self.start, self.kept
        if start is None or kept is None:
            return "Post-training was not checked."
        if self.good_iteration and self.by_reward:
            return (
                f"Post-training helped: on {self.judged} the reward went from {start.unrewarded:.3f} to {kept.unrewarded:.3f} "
                f"({kept.gain:+.3f} +- {kept.gain_error:.3f}), the energy distance changed by {kept.rise:+.3f} +- {kept.rise_error:.3f} of the "
                f"effect's own (iteration {self.good_iteration})."
            )
        if self.good_iteration:
            return (
                f"Post-training helped: on training conditions the energy distance went from {start.energy:.3f} to {kept.energy:.3f} of the "
                f"effect's own (iteration {self.good_iteration})."
            )
        if self.alarms and self.in_a_row:
            return f"Post-training was undone, because {self.alarms[-1]}."
        if not self.by_reward:
            return "Post-training changed nothing: no state was better than the pretrained generator."
        if not self.judged and not self.from_flow:
            return (
                "Post-training changed nothing, because its gain cannot be assessed: the cells of all validation conditions are "
                "shifted control cells, which post-training hardly changes."
            )
        if not self.judged:
            return (
                "Post-training changed nothing, because its gain cannot be assessed: fewer than two conditions are not rewarded. "
                "Hold out more conditions for validation (`pp.split`), or set `guard=False`."
            )
        return f"Post-training changed nothing, because on {self.judged} {self.refused or 'nothing was better'}."

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
            # written so that NaN raises an alarm too
            if not rise - error <= limit:
                found.append(
                    f"{name} rose by {rise:.3f} +- {error:.3f} of the effect's own distance (limit {limit:.3f})"
                )
        if not abs(vitals.spread - 1) <= limits.spread:
            found.append(f"spread is {vitals.spread:.2f} of the pretrained generator's (limit 1 +- {limits.spread:g})")
        if not vitals.drift <= limits.drift:
            found.append(f"velocity drifted by {vitals.drift:.3f} (limit {limits.drift:g})")
        return found
