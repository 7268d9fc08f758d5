"""Gain of post-training on conditions that are not rewarded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from scipy.special import stdtrit

from scperturbrl._core.random import torch_rng
from scperturbrl.verifiers.calibration import calibrate, combine

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.flow.rollout.rollout import Rollout
    from scperturbrl.flow.rollout.task import Task
    from scperturbrl.flow.rollout.yardstick import Yardstick
    from scperturbrl.rl.reward import Reward

ENOUGH = 3
"""With at least this many validation conditions, no training conditions are left out of the rewards."""

MOST_LEFT_OUT = 4
"""Otherwise up to this many training conditions, and at most a third, are left out of the rewards."""

ONE_SIGMA = 0.8413447460685429
"""Share of a normal distribution below one standard deviation."""


class Judge(NamedTuple):
    """A reward for measurement only.

    Attributes
    ----------
    reward
        Scores J conditions.
    rows
        ``(J,)`` their positions in a task.
    real
        ``(J, V)`` mean calibrated scores of their real cells, NaN where unknown. None: unknown everywhere.
    """

    reward: Reward
    rows: Tensor
    real: Tensor | None = None


@dataclass(frozen=True)
class Evidence:
    """Conditions of a yardstick that are scored but not rewarded.

    Attributes
    ----------
    yardstick
        Generates their cells.
    reward
        Scores them.
    place, rows
        ``(k,)`` positions among the conditions of the yardstick, and among those of the reward.
    real
        ``(k, V)`` mean calibrated scores of their real cells; infinite where unknown.
    """

    yardstick: Yardstick
    reward: Reward
    place: Tensor
    rows: Tensor
    real: Tensor

    @classmethod
    def of(cls, yardstick: Yardstick, judge: Judge) -> Evidence:
        """The conditions in which some verifier of `judge` discriminates and whose cells come from the flow."""
        translated = yardstick.task.conditions.translated
        known = {int(row): number for number, row in enumerate(judge.rows)}
        counts = judge.reward.informative()
        pairs = [
            (place, known[row])
            for place, row in enumerate(yardstick.index.tolist())
            if row in known and bool(counts[known[row]]) and not (translated is not None and bool(translated[row]))
        ]
        place, rows = torch.tensor(pairs, device=yardstick.index.device, dtype=torch.long).view(-1, 2).T
        real = torch.full((len(rows), len(judge.reward.verifiers)), torch.inf, device=rows.device)
        if judge.real is not None:
            own = judge.real.to(rows.device)[rows]
            real = torch.where(torch.isnan(own), real, own)
        return cls(yardstick, judge.reward, place, rows, real)

    def __len__(self) -> int:
        return len(self.place)

    def rewards(self, rollout: Rollout) -> Tensor:
        """Mean calibrated reward ``(k,)`` of the cells of each condition, each verifier at most that of its real cells.

        A score above that of real cells is no better than theirs, so a rise beyond it is no gain.
        """
        raw, own = self.reward(rollout.cells[0][self.place], self.rows).raw, self.reward.calibration.select(self.rows)
        scores = torch.minimum(calibrate(raw, own).nanmean(1), self.real)
        return combine(scores[:, None], own, self.reward.weights)[:, 0]


def left_out(task: Task, reward: Reward, n_judged: int, *, seed: int) -> Tensor:
    """Conditions ``(k,)`` of `task` to leave out of the rewards, where `n_judged` validation conditions do not suffice.

    Up to four, and at most a third, so that enough conditions are rewarded. None if there would still be fewer than two conditions to
    judge by.
    """
    usable = reward.informative() & torch.isfinite(task.real).all(2).any(1)
    among = torch.nonzero(usable).flatten()
    count = 0 if n_judged >= ENOUGH else min(MOST_LEFT_OUT, len(among) // 3)
    count = count if n_judged + count > 1 else 0
    # drawn on the CPU, so that every device leaves out the same
    order = torch.randperm(len(among), generator=torch_rng(seed, "conditions left out of the rewards"))
    return among[order[:count].to(among.device)].sort().values


def standard_error(values: Tensor) -> float:
    """Standard error of the mean of `values` ``(n,)``; 0 for fewer than two."""
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else 0.0


def wide_error(values: Tensor) -> float:
    """The :func:`standard_error`, widened for few values by the factor of Student's t (1.8 for two, 1.1 for five); NaN for fewer than two."""
    if len(values) < 2:
        return math.nan
    return standard_error(values) * float(stdtrit(len(values) - 1, ONE_SIGMA))
