"""Energy distance of generated to real cells, relative to that of control cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.rollout.energy import energy_distance, padded_own_distance
from scperturbrl.flow.rollout.rollout import Rollout, roll_out

if TYPE_CHECKING:
    from torch import Tensor

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
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        # conditions with pseudo-references have no real cells
        measured = torch.nonzero(torch.isfinite(task.real).all(2).any(1)).flatten()
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
        """Generate cells; equal seeds give the same control cells and noise."""
        rng = torch_rng(seed, "yardstick cells", device=model.device)
        task = self.task
        return roll_out(model, task.pool, task.conditions, self.index, group_size=N_CELLS, draws=1, rng=rng)

    @torch.no_grad()
    def energies(self, model: Generator, rollout: Rollout) -> Tensor:
        """Energy distance ``(C,)`` of the cells of a rollout to the real ones, as a share of the mean one of control cells."""
        shown = model.space.encode(rollout.cells[0])
        return energy_distance(shown, self.real, self.own) / self.effect

    def measure(self, model: Generator, *, seed: int) -> float:
        """Mean of the :meth:`energies` of fresh cells."""
        return float(self.energies(model, self.roll_out(model, seed=seed)).mean())
