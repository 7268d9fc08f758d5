"""Measuring the state of a generator during post-training."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from scperturbrl._core import keys
from scperturbrl._core.distributed import of_first
from scperturbrl._core.random import torch_rng
from scperturbrl.flow.path import sample_path
from scperturbrl.flow.rollout.yardstick import Yardstick
from scperturbrl.rl.evidence import Evidence, Judge, standard_error, wide_error
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
    judge
        Scores conditions of `validation`, none of which is rewarded.
    left_out
        ``(k,)`` conditions of `task` that are not rewarded.
    """

    def __init__(
        self,
        pretrained: Generator,
        task: Task,
        validation: Task | None,
        reward: Reward,
        *,
        seed: int,
        judge: Judge | None = None,
        left_out: Tensor | None = None,
    ) -> None:
        self.pretrained, self.seed, self.reward = pretrained, seed, reward
        every = torch.arange(len(task.conditions), device=task.real.device)
        apart = every[:0] if left_out is None else left_out
        self.train = Yardstick(task, every[~torch.isin(every, apart)])
        self.validation = None if validation is None else Yardstick(validation)
        own = Yardstick(task, apart) if len(apart) else None
        self.yardsticks = [yardstick for yardstick in (self.train, self.validation, own) if yardstick is not None]
        self.evidence = [Evidence.of(self.validation, judge)] if self.validation is not None and judge else []
        self.evidence += [Evidence.of(own, Judge(reward, every))] if own is not None else []
        self.evidence = [one for one in self.evidence if len(one)]
        for yardstick in self.yardsticks:
            yardstick.hold(pretrained, seed=seed)
        with torch.no_grad():
            rollouts = [yardstick.roll_out(pretrained, seed=seed) for yardstick in self.yardsticks]
            self.start, self.first = self._energies(pretrained, rollouts), self._rewards(rollouts)
            self.spread = _spread(pretrained, rollouts[0])
        self.known = torch.isfinite(self.first)

    @property
    def judged(self) -> str:
        """Description of the scored conditions that are not rewarded; empty if they are fewer than two."""
        known = self.known.split([len(one) for one in self.evidence])
        kinds = [keys.VALIDATION if one.yardstick is self.validation else "left-out" for one in self.evidence]
        counts = [(int(some.sum()), kind) for some, kind in zip(known, kinds, strict=True)]
        if sum(count for count, _ in counts) < 2:
            return ""
        return f"{' and '.join(f'{count} {kind}' for count, kind in counts if count)} conditions that were not rewarded"

    @torch.no_grad()
    def measure(self, model: Generator) -> Vitals:
        """Vitals of `model`."""
        rollouts = [yardstick.roll_out(model, seed=self.seed) for yardstick in self.yardsticks]
        rollout, energies = rollouts[0], self._energies(model, rollouts)
        scores = self.reward(rollout.cells[0], rollout.index).reward
        errors = [standard_error(now - start) for now, start in zip(energies, self.start, strict=True)]
        found = {
            **self._gained(rollouts, energies),
            "energy": float(energies[0].mean()),
            "validation_energy": float(energies[1].mean()) if self.validation is not None else math.nan,
            "energy_error": errors[0],
            "validation_error": errors[1] if self.validation is not None else 0.0,
            "spread": _spread(model, rollout) / self.spread,
            "drift": self._drift(model, rollout),
            "reward": float(scores[torch.isfinite(scores)].mean()),
        }
        return Vitals(**of_first(found))

    def _energies(self, model: Generator, rollouts: list[Rollout]) -> list[Tensor]:
        return [yardstick.energies(model, own) for yardstick, own in zip(self.yardsticks, rollouts, strict=True)]

    def _rewards(self, rollouts: list[Rollout]) -> Tensor:
        """Mean reward ``(J,)`` of each scored condition that is not rewarded."""
        of = dict(zip(map(id, self.yardsticks), rollouts, strict=True))
        found = [one.rewards(of[id(one.yardstick)]) for one in self.evidence]
        return torch.cat([torch.zeros(0, device=self.train.index.device), *found])

    def _gained(self, rollouts: list[Rollout], energies: list[Tensor]) -> dict[str, float]:
        """Change of reward and energy distance since the start, on the scored conditions that are not rewarded; NaN below two."""
        if int(self.known.sum()) < 2:
            # always the same values, because processes exchange them by position
            return dict.fromkeys(("unrewarded", "gain", "gain_error", "rise", "rise_error"), math.nan)
        place = {id(yardstick): number for number, yardstick in enumerate(self.yardsticks)}
        own = [(place[id(one.yardstick)], one.place) for one in self.evidence]
        now = self._rewards(rollouts)[self.known]
        gain = now - self.first[self.known]
        rises = torch.cat([(energies[number] - self.start[number])[places] for number, places in own])[self.known]
        return {
            "unrewarded": float(now.mean()),
            "gain": float(gain.mean()),
            "gain_error": wide_error(gain),
            "rise": float(rises.mean()),
            "rise_error": standard_error(rises),
        }

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


def _spread(model: Generator, rollout: Rollout) -> float:
    shown = model.space.encode(rollout.cells[0])
    return float(shown.var(1).sum(-1).sqrt().mean())
