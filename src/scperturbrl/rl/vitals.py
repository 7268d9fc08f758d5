"""Measuring the state of a generator during post-training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from scperturbrl._core.random import torch_rng
from scperturbrl.flow.path import sample_path
from scperturbrl.rl.guard import Vitals
from scperturbrl.rl.pooled_energy import energy_distance, padded_own_distance
from scperturbrl.rl.rollout import Rollout, roll_out

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.flow.generator import Generator
    from scperturbrl.rl.finetune import Task
    from scperturbrl.rl.reward import Reward

N_CONDITIONS = 24
N_CELLS = 48


class VitalSigns:
    """Measures :class:`~scperturbrl.rl.guard.Vitals` with the same conditions, control cells and noise every time.

    Parameters
    ----------
    pretrained
        The pretrained generator.
    task, validation
        Training conditions, and validation conditions if there are any.
    reward
        For the calibrated reward of training conditions.
    seed
        Seed.
    """

    def __init__(self, pretrained: Generator, task: Task, validation: Task | None, reward: Reward, *, seed: int) -> None:
        self.pretrained, self.seed, self.reward = pretrained, seed, reward
        self.train, self.validation = _Yardstick(task), None if validation is None else _Yardstick(validation)
        with torch.no_grad():
            self.spread = _spread(pretrained, self._roll_out(pretrained, self.train))

    @torch.no_grad()
    def measure(self, model: Generator) -> Vitals:
        """Vitals of `model`."""
        rollout = self._roll_out(model, self.train)
        scores = self.reward(rollout.cells[0], rollout.index).reward
        energy = self.train.energy(model, rollout)
        validation = math.nan
        if self.validation is not None:
            validation = self.validation.energy(model, self._roll_out(model, self.validation))
        return Vitals(
            energy=energy,
            validation_energy=validation,
            spread=_spread(model, rollout) / self.spread,
            drift=self._drift(model, rollout),
            reward=float(scores[torch.isfinite(scores)].mean()),
        )

    def _roll_out(self, model: Generator, yardstick: _Yardstick) -> Rollout:
        rng = torch_rng(self.seed, 4, device=model.device)
        task = yardstick.task
        return roll_out(model, task.pool, task.conditions, yardstick.index, group_size=N_CELLS, draws=1, rng=rng)

    def _drift(self, model: Generator, rollout: Rollout) -> float:
        sample = sample_path(rollout.latent, torch_rng(self.seed, 5, device=model.device))
        velocities = []
        for each in (model, self.pretrained):
            code, total = each.encoder(self.train.task.conditions)
            velocities.append(each.velocity(sample.x_t, sample.t, rollout.control, code[rollout.rows], total[rollout.rows]))
        return float((velocities[0] - velocities[1]).square().mean() / velocities[1].square().mean())


class _Yardstick:
    """A few conditions of a task and how far their real cells are from each other and from control cells."""

    def __init__(self, task: Task) -> None:
        self.task = task
        count = len(task.conditions)
        self.index = torch.linspace(0, count - 1, min(count, N_CONDITIONS), device=task.real.device).round().long().unique()
        self.real = task.real[self.index]
        self.own = padded_own_distance(self.real)
        controls = [task.pool.latent[s : s + min(int(n), 256)] for s, n in zip(task.pool.start[self.index], task.pool.count[self.index], strict=True)]
        effect = [energy_distance(c[None], r[None], o[None]) for c, r, o in zip(controls, self.real, self.own, strict=True)]
        self.effect = float(torch.stack(effect).mean().clamp_min(1e-3))

    def energy(self, model: Generator, rollout: Rollout) -> float:
        """Mean energy distance of the cells of a rollout to the real ones, as a share of the effect's."""
        shown: Tensor = model.space.encode(rollout.cells[0])
        return float(energy_distance(shown, self.real, self.own).mean()) / self.effect


def _spread(model: Generator, rollout: Rollout) -> float:
    shown = model.space.encode(rollout.cells[0])
    return float(shown.var(1).sum(-1).sqrt().mean())
