"""Energy distance of generated to real cells, relative to that of control cells."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.rollout.energy import energy_distance, padded_own_distance
from scperturbrl.flow.rollout.rollout import Rollout, roll_out

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.flow.condition_encoder import ConditionBatch
    from scperturbrl.flow.generator import Generator
    from scperturbrl.flow.rollout.task import Task

N_CONDITIONS = 24
N_CELLS = 64
N_CONTROLS = 256


class Yardstick:
    """Up to 24 conditions of a task, with the distances of their real cells to each other and to control cells.

    Parameters
    ----------
    task
        Conditions, control cells and real cells.
    among
        ``(k,)`` the conditions to choose from; all by default.
    """

    def __init__(self, task: Task, among: Tensor | None = None) -> None:
        self.task = task
        self.means: Tensor | None = None
        measured = torch.nonzero(torch.isfinite(task.real).all(2).any(1)).flatten()
        if among is not None:
            measured = measured[torch.isin(measured, among)]
        count = len(measured)
        spaced = torch.linspace(0, count - 1, min(count, N_CONDITIONS), device=task.real.device)
        self.index = measured[spaced.round().long().unique()]
        self.real = task.real[self.index]
        self.own = padded_own_distance(self.real)
        effect = [self._effect(i, int(row)) for i, row in enumerate(self.index)]
        self.effect = max(sum(effect) / len(effect), 1e-3)

    def _effect(self, i: int, row: int) -> float:
        start = int(self.task.pool.start[row])
        control = self.task.pool.latent[start : start + min(int(self.task.pool.count[row]), N_CONTROLS)]
        return float(energy_distance(control[None], self.real[i : i + 1], self.own[i : i + 1]))

    def roll_out(self, model: Generator, *, seed: int) -> Rollout:
        """Generate cells; equal seeds give the same control cells and noise.

        After :meth:`hold`, means are set as the linear part will set them: it takes back its share of any change of the flow's mean.
        """
        conditions, held = self.task.conditions, self.task.held
        found = self._roll_out(model, conditions, seed)
        if self.means is None or held is None:
            return found
        shift = conditions.shift.expand(len(conditions), found.latent.shape[1]).clone()
        shift[self.index] -= held[self.index, None] * (_means(found) - self.means)
        return self._roll_out(model, replace(conditions, shift=shift), seed)

    def hold(self, model: Generator, *, seed: int) -> None:
        """Use the means of `model` as those from which the linear part starts."""
        if self.task.held is not None and bool(self.task.held[self.index].any()):
            self.means = _means(self._roll_out(model, self.task.conditions, seed))

    def _roll_out(self, model: Generator, conditions: ConditionBatch, seed: int) -> Rollout:
        rng = torch_rng(seed, "yardstick cells", device=model.device)
        return roll_out(model, self.task.pool, conditions, self.index, group_size=N_CELLS, draws=1, rng=rng)

    @torch.no_grad()
    def energies(self, model: Generator, rollout: Rollout) -> Tensor:
        """Energy distance ``(C,)`` of the cells of a rollout to the real ones, as a share of the mean one of control cells."""
        shown = model.space.encode(rollout.cells[0])
        return energy_distance(shown, self.real, self.own) / self.effect

    def measure(self, model: Generator, *, seed: int) -> float:
        """Mean of the :meth:`energies` of fresh cells."""
        return float(self.energies(model, self.roll_out(model, seed=seed)).mean())


def _means(rollout: Rollout) -> Tensor:
    """Mean latent cell ``(C, d)`` of each condition."""
    return rollout.latent.view(len(rollout.index), rollout.group_size, -1).mean(1)
