"""The loop: roll out, score, update, interleave the energy distance, check."""

from __future__ import annotations

import copy
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch

from scperturbrl._core.progress import progress_bar, step_boundary_interrupt
from scperturbrl._core.random import torch_rng
from scperturbrl.flow.ema import WeightAverage, restore
from scperturbrl.flow.path import sample_path
from scperturbrl.rl.advantage import group_advantage
from scperturbrl.rl.grpo import Grpo
from scperturbrl.rl.guard import Guard, GuardLimits
from scperturbrl.rl.nft import anchor_loss
from scperturbrl.rl.pooled_energy import energy_distance
from scperturbrl.rl.reward import Scores
from scperturbrl.rl.rollout import Rollout, roll_out
from scperturbrl.rl.rules import make_rule
from scperturbrl.rl.soft_reward import SoftReward
from scperturbrl.rl.update_rule import Batch, Fields
from scperturbrl.rl.vitals import VitalSigns

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.flow.generator import Generator
    from scperturbrl.rl.guard import Vitals
    from scperturbrl.rl.reward import Reward
    from scperturbrl.rl.task import Task


@dataclass(frozen=True)
class FinetuneSettings:
    """Settings of :func:`finetune`; see :func:`scperturbrl.tl.rl_finetune` for their meaning."""

    update_rule: str = "nft"
    n_iterations: int = 60
    n_conditions: int = 16
    group_size: int = 16
    draws: int = 2
    reward_steps: int = 4
    learning_rate: float = 5e-4
    beta: float = 1.0
    anchor: float = 0.8
    old_lerp: float = 0.3
    ema_decay: float = 0.9
    energy_steps: int = 3
    energy_group_size: int = 32
    energy_learning_rate: float = 2e-4
    energy_anchor: float = 0.3
    gradient_clip: float = 1.0
    check_every: int = 10
    guard: bool = True
    limits: GuardLimits = field(default_factory=GuardLimits)
    seed: int = 0
    progress: bool | None = None


@dataclass
class FinetuneResult:
    """What happened: one row of `history` a check, alarms of the guard, and why it ended."""

    history: list[dict[str, float]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    kept_iteration: int = 0
    stopped: str = "all iterations done"
    seconds: float = 0.0


class Finetuner:
    """State of one post-training run.

    Only the velocity is trained. What a perturbation is, the condition encoder learnt from data; left free it
    memorises the rewarded conditions, which costs distance on unseen ones.

    Parameters
    ----------
    generator
        Model to post-train in place; a frozen copy of it stays behind as the pretrained generator.
    task
        Conditions, control cells and real cells.
    reward
        What to reward.
    settings
        Settings.
    """

    def __init__(self, generator: Generator, task: Task, reward: Reward, settings: FinetuneSettings) -> None:
        self.generator, self.task, self.reward, self.settings = generator, task, reward, settings
        self.pretrained = copy.deepcopy(generator).requires_grad_(requires_grad=False)
        self.old = copy.deepcopy(self.pretrained)
        self.parameters = list(generator.velocity.parameters())
        self.optimiser = torch.optim.Adam(self.parameters, lr=settings.learning_rate)
        self.energy_optimiser = torch.optim.Adam(self.parameters, lr=settings.energy_learning_rate)
        self.average = WeightAverage(self.parameters, settings.ema_decay)
        self.rng = torch_rng(settings.seed, 3, device=generator.device)
        with torch.no_grad():
            self.codes = self.pretrained.encoder(task.conditions)
        self.usable = torch.nonzero(reward.informative()).flatten()
        # guessed conditions have no real cells to be near to
        self.measured = self.usable[torch.isfinite(task.real[self.usable]).all(2).any(1)]
        self.rule = make_rule(settings.update_rule, anchor=settings.anchor, beta=settings.beta)

    def iterate(self, iteration: int) -> tuple[Scores, float]:
        """One round; returns the scores of its rollout and the mean squared distance to the pretrained velocity."""
        self._decay_learning_rate(iteration)
        settings = self.settings
        with torch.no_grad():
            rollout = self._roll_out(self.old, settings.group_size, draws=settings.draws)
            scores = self._score(rollout)
        batch = self._batch(rollout, scores)
        drift = [self._reward_step(rollout, batch) for _ in range(settings.reward_steps)]
        self._move_old_policy()
        for _ in range(settings.energy_steps):
            self._energy_step()
        self.average.update()
        return scores, sum(drift) / max(len(drift), 1)

    @torch.no_grad()
    def first_scores(self) -> Scores:
        """Scores of a round of the pretrained generator, with random numbers of their own."""
        state = self.rng.get_state()
        scores = self._score(self._roll_out(self.old, self.settings.group_size, draws=self.settings.draws))
        self.rng.set_state(state)
        return scores

    def _roll_out(self, model: Generator, group_size: int, *, draws: int = 1, grad_steps: int = 0) -> Rollout:
        among = self.measured if grad_steps else self.usable
        order = torch.randperm(len(among), generator=self.rng, device=self.rng.device)
        index = among[order[: self.settings.n_conditions]]
        task = self.task
        return roll_out(
            model,
            task.pool,
            task.conditions,
            index,
            group_size=group_size,
            draws=draws,
            rng=self.rng,
            grad_steps=grad_steps,
            sampler=partial(self._path, self.rule) if isinstance(self.rule, Grpo) and not grad_steps else None,
        )

    def _score(self, rollout: Rollout) -> Scores:
        """Scores averaged over the draws of counts."""
        each = [self.reward(cells, rollout.index) for cells in rollout.cells]
        return Scores(*(torch.stack(parts).mean(0) for parts in zip(*each, strict=True)))

    def _batch(self, rollout: Rollout, scores: Scores) -> Batch:
        advantage = group_advantage(scores.rewarded, self.reward.verifier_weight[rollout.index])
        advantage = self.reward.trusted(advantage, rollout.index)
        value = SoftReward.of_group(self.reward, self.generator.space, rollout.index, scores)
        return Batch(rollout.latent, advantage.reshape(-1), rollout.path, value)

    def _reward_step(self, rollout: Rollout, batch: Batch) -> float:
        models = (self.generator, self.old, self.pretrained)
        fields = Fields(*(partial(self._field, model, rollout.control, rollout.rows) for model in models))
        loss, distance = self.rule(fields, batch, self.rng)
        self._step(self.optimiser, loss.mean())
        return float(distance.mean())

    def _path(self, rule: Grpo, control: Tensor, rows: Tensor) -> Tensor:
        """Noisy path of the old policy."""
        noise = torch.randn(control.shape, generator=self.rng, device=control.device)
        return rule.sample(partial(self._field, self.old, control, rows), noise, self.rng)

    def _field(self, model: Generator, control: Tensor, rows: Tensor, x: Tensor, t: Tensor) -> Tensor:
        return self._velocity(model, x, t, control, rows)

    def _energy_step(self) -> None:
        """Descend the pooled energy distance of decoded cells through the last step of the sampler."""
        rollout = self._roll_out(self.generator, self.settings.energy_group_size, grad_steps=1)
        shown = self.generator.space.encode(rollout.cells[0])
        loss = energy_distance(shown, self.task.real[rollout.index]).mean()
        sample = sample_path(rollout.latent.detach(), self.rng)
        point = (sample.x_t, sample.t, rollout.control)
        with torch.no_grad():
            pretrained = self._velocity(self.pretrained, *point, rollout.rows)
        distance = anchor_loss(self._velocity(self.generator, *point, rollout.rows), pretrained).mean()
        self._step(self.energy_optimiser, loss + self.settings.energy_anchor * distance)

    def _velocity(self, model: Generator, x: Tensor, t: Tensor, control: Tensor, rows: Tensor) -> Tensor:
        code, total = self.codes
        return model.velocity(x, t, control, code[rows], total[rows])

    def _step(self, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.gradient_clip)
        optimiser.step()

    @torch.no_grad()
    def _move_old_policy(self) -> None:
        old = [p.detach() for p in self.old.velocity.parameters()]
        torch._foreach_lerp_(old, [p.detach() for p in self.parameters], self.settings.old_lerp)

    def _decay_learning_rate(self, iteration: int) -> None:
        share = 1 - (iteration - 1) / self.settings.n_iterations
        self.optimiser.param_groups[0]["lr"] = self.settings.learning_rate * share
        self.energy_optimiser.param_groups[0]["lr"] = self.settings.energy_learning_rate * share


def finetune(
    generator: Generator, task: Task, reward: Reward, settings: FinetuneSettings, validation: Task | None = None
) -> FinetuneResult:
    """Post-train `generator` in place; it ends with the averaged weights of the last state that the guard accepted.

    Parameters
    ----------
    generator
        The pretrained generator.
    task, reward
        Training conditions and what to reward on them.
    settings
        Settings.
    validation
        Conditions whose energy distance the guard watches.
    """
    tuner = Finetuner(generator, task, reward, settings)
    signs = VitalSigns(tuner.pretrained, task, validation, reward, seed=settings.seed)
    guard, result = Guard(settings.limits, active=settings.guard), FinetuneResult()
    start = time.perf_counter()
    vitals = signs.measure(generator)
    guard.check(0, vitals, tuner.parameters)
    result.history.append(_row(0, tuner.first_scores(), 0.0, vitals, reward))
    with (
        step_boundary_interrupt() as interrupt,
        progress_bar("post-training", settings.n_iterations, show=settings.progress) as show,
    ):
        for iteration in range(1, settings.n_iterations + 1):
            scores, drift = tuner.iterate(iteration)
            last = iteration == settings.n_iterations or interrupt.requested
            if iteration % settings.check_every and not last:
                continue
            tuner.average.swap()
            vitals = signs.measure(generator)
            may_go_on = guard.check(iteration, vitals, tuner.parameters)
            tuner.average.swap()
            result.history.append(_row(iteration, scores, drift, vitals, reward))
            show(iteration, f"reward {vitals.reward:.3f}, energy distance {vitals.energy:.3f}")
            if interrupt.requested or not may_go_on:
                result.stopped = "interrupted" if interrupt.requested else f"guard: {guard.alarms[-1]}"
                break
    if settings.guard:
        restore(tuner.parameters, guard.good)
    else:
        tuner.average.swap()
    result.alarms = guard.alarms
    result.kept_iteration = guard.good_iteration if settings.guard else int(result.history[-1]["iteration"])
    result.seconds = time.perf_counter() - start
    return result


def _row(iteration: int, scores: Scores, drift: float, vitals: Vitals, reward: Reward) -> dict[str, float]:
    """One row of the history: rollout rewards with their spread, every verifier, and the vitals."""
    finite = scores.reward[torch.isfinite(scores.reward)]
    row = {"iteration": iteration, "reward": float(finite.mean()), "reward_sd": float(finite.std()), "distance": drift}
    for column, verifier in enumerate(reward.verifiers):
        values = scores.raw[..., column]
        row[verifier.name] = float(values[torch.isfinite(values)].mean())
    return row | {f"check_{name}": value for name, value in asdict(vitals).items()}
