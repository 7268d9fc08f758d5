"""Measuring the state of a generator during post-training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from scperturbrl._core.distributed import of_first
from scperturbrl._core.random import torch_rng
from scperturbrl.flow.path import sample_path
from scperturbrl.flow.rollout.yardstick import Yardstick
from scperturbrl.rl.guard import Vitals

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.flow.generator import Generator
    from scperturbrl.flow.rollout.rollout import Rollout
    from scperturbrl.flow.rollout.task import Task
    from scperturbrl.rl.reward import Reward


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

    def __init__(
        self, pretrained: Generator, task: Task, validation: Task | None, reward: Reward, *, seed: int
    ) -> None:
        self.pretrained, self.seed, self.reward = pretrained, seed, reward
        self.train, self.validation = Yardstick(task), None if validation is None else Yardstick(validation)
        self.yardsticks = [yardstick for yardstick in (self.train, self.validation) if yardstick is not None]
        rollouts = [yardstick.roll_out(pretrained, seed=seed) for yardstick in self.yardsticks]
        self.start = self._energies(pretrained, rollouts)
        with torch.no_grad():
            self.spread = _spread(pretrained, rollouts[0])

    @torch.no_grad()
    def measure(self, model: Generator) -> Vitals:
        """Vitals of `model`."""
        rollouts = [yardstick.roll_out(model, seed=self.seed) for yardstick in self.yardsticks]
        rollout, energies = rollouts[0], self._energies(model, rollouts)
        scores = self.reward(rollout.cells[0], rollout.index).reward
        errors = [_standard_error(now - start) for now, start in zip(energies, self.start, strict=True)]
        found = {
            "energy": float(energies[0].mean()),
            "validation_energy": float(energies[1].mean()) if self.validation is not None else math.nan,
            "energy_error": errors[0],
            "validation_error": errors[-1] if self.validation is not None else 0.0,
            "spread": _spread(model, rollout) / self.spread,
            "drift": self._drift(model, rollout),
            "reward": float(scores[torch.isfinite(scores)].mean()),
        }
        return Vitals(**of_first(found))

    def _energies(self, model: Generator, rollouts: list[Rollout]) -> list[Tensor]:
        return [yardstick.energies(model, own) for yardstick, own in zip(self.yardsticks, rollouts, strict=True)]

    def _drift(self, model: Generator, rollout: Rollout) -> float:
        sample = sample_path(
            rollout.latent, rollout.control.latent, model.source, torch_rng(self.seed, "drift", device=model.device)
        )
        velocities = []
        for each in (model, self.pretrained):
            code, total = each.encoder(self.train.task.conditions)
            velocities.append(
                each.velocity(sample.x_t, sample.t, rollout.control.latent, code[rollout.rows], total[rollout.rows])
            )
        return float((velocities[0] - velocities[1]).square().mean() / sample.velocity.square().mean())


def _standard_error(values: Tensor) -> float:
    return float(values.std() / math.sqrt(len(values))) if len(values) > 1 else 0.0


def _spread(model: Generator, rollout: Rollout) -> float:
    shown = model.space.encode(rollout.cells[0])
    return float(shown.var(1).sum(-1).sqrt().mean())
