"""One round of post-training: roll out, score, update, descend the energy distance."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch

from scperturbrl._core.distributed import add_up, joined, mean_of_all, shared_draws, world
from scperturbrl._core.machine.memory import BatchSize
from scperturbrl._core.random import torch_rng
from scperturbrl.flow.path import sample_path
from scperturbrl.flow.rollout.energy import energy_distance
from scperturbrl.flow.rollout.rollout import Rollout, finish, roll_out
from scperturbrl.flow.training.finite_steps import FiniteSteps
from scperturbrl.flow.training.weight_state import WeightAverage, WeightState
from scperturbrl.rl.adaptive_anchor import AdaptiveAnchor
from scperturbrl.rl.advantage import condition_advantage
from scperturbrl.rl.guard import GuardLimits
from scperturbrl.rl.reward import Scores
from scperturbrl.rl.rules.base import Batch, Fields, PathRule
from scperturbrl.rl.rules.nft import anchor_loss
from scperturbrl.rl.rules.registry import make_rule
from scperturbrl.rl.soft_reward import SoftReward

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.flow.generator import Generator
    from scperturbrl.flow.rollout.rollout import Sampler
    from scperturbrl.flow.rollout.task import Task
    from scperturbrl.rl.reward import Reward


@dataclass(frozen=True)
class FinetuneSettings:
    """Settings of :func:`finetune`; see :func:`scperturbrl.tl.rl_finetune` for their meaning."""

    update_rule: str = "hybrid"
    n_iterations: int = 15
    n_conditions: int = 16
    group_size: int = 32
    draws: int = 2
    reward_steps: int = 3
    learning_rate: float = 1e-3
    warmup: int = 3
    beta: float = 1.0
    anchor: float = 0.1
    old_lerp: float = 0.3
    ema_decay: float = 0.9
    energy_steps: int = 1
    energy_learning_rate: float = 9e-4
    energy_anchor: float = 0.3
    gradient_clip: float = 1.0
    check_every: int = 5
    guard: bool = True
    limits: GuardLimits = field(default_factory=GuardLimits)
    seed: int = 0
    progress: bool | None = None


class Finetuner:
    """State of one post-training run.

    Only the velocity is trained. The condition encoder is kept fixed: if it is trained too, it memorises the rewarded
    conditions, and the energy distance of unseen ones grows.

    Parameters
    ----------
    generator
        Model to post-train in place; a frozen copy is kept as the pretrained generator.
    task
        Conditions, control cells and real cells.
    reward
        What to reward.
    settings
        Settings.
    left_out
        ``(k,)`` conditions of `task` that are neither rewarded nor used in energy steps.
    """

    def __init__(
        self,
        generator: Generator,
        task: Task,
        reward: Reward,
        settings: FinetuneSettings,
        left_out: Tensor | None = None,
    ) -> None:
        self.generator, self.task, self.reward, self.settings = generator, task, reward, settings
        self.pretrained = copy.deepcopy(generator).requires_grad_(requires_grad=False)
        self.old = copy.deepcopy(self.pretrained)
        self.parameters = list(generator.velocity.parameters())
        self.optimiser = torch.optim.Adam(self.parameters, lr=settings.learning_rate)
        self.energy_optimiser = torch.optim.Adam(self.parameters, lr=settings.energy_learning_rate)
        self.average = WeightAverage(self.parameters, settings.ema_decay)
        self.rng = torch_rng(settings.seed, "post-training steps", device=generator.device)
        names = {f"velocity.{name}": value for name, value in generator.velocity.named_parameters()}
        self.finite = FiniteSteps(names, clip=settings.gradient_clip, conditions=reward.reference.conditions)
        self.n_conditions = BatchSize(settings.n_conditions, "conditions of a round")
        self.n_drawn = 0
        with torch.no_grad():
            self.codes = self.pretrained.encoder(task.conditions)
        self.usable = torch.nonzero(reward.informative()).flatten()
        if left_out is not None:
            self.usable = self.usable[~torch.isin(self.usable, left_out)]
        self.anchor_choice = AdaptiveAnchor(settings.anchor, fixed=not settings.guard)
        self.set_anchor(settings.anchor)

    def set_anchor(self, anchor: float) -> None:
        """Set the weight of the anchor for the following steps."""
        self.anchor = anchor
        self.rule = make_rule(self.settings.update_rule, anchor=anchor, beta=self.settings.beta)

    def iterate(self, iteration: int) -> tuple[Scores, float]:
        """One round; returns the scores of its rollout and the mean squared distance to the pretrained velocity."""
        self._decay_learning_rate(iteration)
        settings = self.settings
        rollout, scores = self.n_conditions(self._round)
        if math.isinf(settings.anchor):
            # an infinite anchor allows no distance from the pretrained generator
            return self._of_all(scores), 0.0
        drift = []
        if self._may_learn_from(scores, rollout.index):
            batch = self._batch(rollout, scores)
            drift = [self._reward_step(rollout, batch) for _ in range(settings.reward_steps)]
        self._move_old_policy()
        self._descend_energy(rollout)
        self.average.update()
        return self._of_all(scores), sum(drift) / max(len(drift), 1)

    @staticmethod
    def _of_all(scores: Scores) -> Scores:
        return Scores(*(joined(part) for part in scores))

    @torch.no_grad()
    def _round(self, n_conditions: int) -> tuple[Rollout, Scores]:
        sampler = partial(self._path, self.rule) if isinstance(self.rule, PathRule) else None
        rollout = self._roll_out(self.usable, n_conditions, draws=self.settings.draws, sampler=sampler)
        return rollout, self._score(rollout)

    def _may_learn_from(self, scores: Scores, index: Tensor) -> bool:
        """Whether at least half of the scores with a weight are finite; a cell without a score gets no advantage."""
        counts = (self.reward.verifier_weight[index] > 0)[:, None, :].expand_as(scores.rewarded)
        bad = counts & ~torch.isfinite(scores.rewarded)
        n_bad, n_counted = bad.sum((0, 1)), counts.sum()
        add_up(n_bad, n_counted)
        if 2 * int(n_bad.sum()) <= int(n_counted):
            return True
        verifier = self.reward.verifiers[int(n_bad.argmax())]
        self.finite.reject(f"the reward {verifier.name}", index[bad.any(2).any(1)])
        return False

    @torch.no_grad()
    def first_scores(self) -> Scores:
        """Scores of a round of the pretrained generator; the random state is restored afterwards."""
        state = self.rng.get_state()
        scores = self._of_all(self.n_conditions(self._round)[1])
        self.rng.set_state(state)
        return scores

    def _roll_out(self, among: Tensor, n_conditions: int, *, draws: int, sampler: Sampler | None = None) -> Rollout:
        order = torch.randperm(len(among), generator=self.rng, device=self.rng.device)
        index, task = among[order[:n_conditions]], self.task
        self.n_drawn = len(index)
        with shared_draws(self.n_drawn):
            return roll_out(
                self.old,
                task.pool,
                task.conditions,
                index[world().share(self.n_drawn)],
                group_size=self.settings.group_size,
                draws=draws,
                rng=self.rng,
                sampler=sampler,
            )

    def _score(self, rollout: Rollout) -> Scores:
        """Scores averaged over the draws of counts."""
        each = [self.reward(cells, rollout.index) for cells in rollout.cells]
        return Scores(*(torch.stack(parts).mean(0) for parts in zip(*each, strict=True)))

    def _batch(self, rollout: Rollout, scores: Scores) -> Batch:
        advantage = condition_advantage(scores.rewarded, self.reward.verifier_weight[rollout.index])
        value = SoftReward.of_scores(self.reward, self.generator.space, rollout.index, scores)
        return Batch(
            rollout.latent, rollout.control.latent, advantage.reshape(-1), self.generator.source, rollout.path, value
        )

    def _reward_step(self, rollout: Rollout, batch: Batch) -> float:
        models = (self.generator, self.old, self.pretrained)
        fields = Fields(*(partial(self._field, model, rollout.control.latent, rollout.rows) for model in models))
        with shared_draws(self.n_drawn):
            loss, distance = self.rule(fields, batch, self.rng)
        self.finite.step(self.optimiser, loss, rollout.rows)
        return float(mean_of_all(distance))

    def _path(self, rule: PathRule, control: Tensor, rows: Tensor) -> Tensor:
        """Noisy path of the old policy."""
        noise = torch.randn(control.shape, generator=self.rng, device=control.device)
        return rule.sample(partial(self._field, self.old, control, rows), noise, self.rng)

    def _field(self, model: Generator, control: Tensor, rows: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return self._velocity(model, x, t, control, rows)

    def _descend_energy(self, rollout: Rollout) -> None:
        """Energy steps with the cells of the round, or with new ones if the rule has its own sampler."""
        if not self.settings.energy_steps:
            return
        if rollout.approach is None:
            rollout = self.n_conditions(partial(self._roll_out, self.usable, draws=1))
        for _ in range(self.settings.energy_steps):
            self.n_conditions(partial(self._energy_step, rollout))

    def _energy_step(self, rollout: Rollout, n_conditions: int) -> None:
        """Descend the pooled energy distance of decoded cells through the last step of the sampler.

        The earlier steps are those of the old policy, which follows the trained one. Repeating them would take longer than the rest.
        """
        n_drawn = min(n_conditions, self.n_drawn)
        own = world().share(n_drawn)
        rollout = rollout.first(own.stop - own.start)
        with shared_draws(n_drawn):
            latent, cells = finish(self.generator, rollout, self.task.conditions, self.rng)
            sample = sample_path(latent.detach(), rollout.control.latent, self.generator.source, self.rng)
        loss = energy_distance(self.generator.space.encode(cells), self.task.real[rollout.index])
        point = (sample.x_t, sample.t, rollout.control.latent)
        with torch.no_grad():
            pretrained = self._velocity(self.pretrained, *point, rollout.rows)
        distance = anchor_loss(self._velocity(self.generator, *point, rollout.rows), pretrained)
        distance = distance.view(len(loss), -1).mean(1)
        self.finite.step(self.energy_optimiser, loss + self.settings.energy_anchor * distance, rollout.index)

    def _velocity(self, model: Generator, x: Tensor, t: Tensor, control: Tensor, rows: Tensor) -> Tensor:
        code, total = self.codes
        return model.velocity(x, t, control, code[rows], total[rows])

    def weights(self) -> WeightState:
        """The trained parameters and the state that their next update depends on."""
        optimisers = [self.optimiser, self.energy_optimiser]
        return WeightState(self.parameters, optimisers, self.average, list(self.old.velocity.parameters()))

    @torch.no_grad()
    def _move_old_policy(self) -> None:
        old = [p.detach() for p in self.old.velocity.parameters()]
        torch._foreach_lerp_(old, [p.detach() for p in self.parameters], self.settings.old_lerp)

    def _decay_learning_rate(self, iteration: int) -> None:
        # Adam's first steps have full length however noisy their direction is
        share = (1 - (iteration - 1) / self.settings.n_iterations) * min(1.0, iteration / self.settings.warmup)
        self.optimiser.param_groups[0]["lr"] = self.settings.learning_rate * share
        self.energy_optimiser.param_groups[0]["lr"] = self.settings.energy_learning_rate * share
