"""The loop: roll out, score, update, interleave the energy distance, check."""

from __future__ import annotations

import copy
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from scperturbrl._core.memory import BatchSize
from scperturbrl._core.progress import progress_bar, step_boundary_interrupt
from scperturbrl._core.random import torch_rng
from scperturbrl.flow.ema import WeightAverage
from scperturbrl.flow.finite_steps import FiniteSteps
from scperturbrl.flow.path import sample_path
from scperturbrl.flow.weight_state import WeightState
from scperturbrl.rl.advantage import group_advantage
from scperturbrl.rl.finetune_run import FinetuneRun
from scperturbrl.rl.guard import Guard, GuardLimits
from scperturbrl.rl.history import history_row
from scperturbrl.rl.nft import anchor_loss, nft_loss, optimality
from scperturbrl.rl.pooled_energy import energy_distance
from scperturbrl.rl.reward import Scores
from scperturbrl.rl.rollout import Rollout, roll_out
from scperturbrl.rl.vitals import VitalSigns

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

    from scperturbrl._core.run_file import RunFile
    from scperturbrl.flow.generator import Generator
    from scperturbrl.rl.reward import Reward
    from scperturbrl.rl.task import Task


@dataclass(frozen=True)
class FinetuneSettings:
    """Settings of :func:`finetune`; see :func:`scperturbrl.tl.rl_finetune` for their meaning."""

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
    """What happened: one row of `history` a check, alarms of the guard, and why it ended.

    Steps that were not finite are left out; `skipped` counts them and `first_skipped` says what it was the first time.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    kept_iteration: int = 0
    stopped: str = "all iterations done"
    seconds: float = 0.0
    skipped: int = 0
    first_skipped: str = ""


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
        names = {f"velocity.{name}": value for name, value in generator.velocity.named_parameters()}
        self.finite = FiniteSteps(names, clip=settings.gradient_clip, conditions=reward.reference.conditions)
        self.n_conditions = BatchSize(settings.n_conditions, "conditions of a round")
        with torch.no_grad():
            self.codes = self.pretrained.encoder(task.conditions)
        self.usable = torch.nonzero(reward.informative()).flatten()

    def iterate(self, iteration: int) -> tuple[Scores, float]:
        """One round; returns the scores of its rollout and the mean squared distance to the pretrained velocity."""
        self._decay_learning_rate(iteration)
        settings = self.settings
        rollout, scores = self.n_conditions(self._round)
        if math.isinf(settings.anchor):
            # nothing but the pretrained generator is at distance 0 from it
            return scores, 0.0
        drift = []
        if self._may_learn_from(scores, rollout.index):
            advantage = group_advantage(scores.rewarded, self.reward.verifier_weight[rollout.index])
            drift = [self._reward_step(rollout, advantage.reshape(-1)) for _ in range(settings.reward_steps)]
        self._move_old_policy()
        for _ in range(settings.energy_steps):
            self.n_conditions(self._energy_step)
        self.average.update()
        return scores, sum(drift) / max(len(drift), 1)

    @torch.no_grad()
    def _round(self, n_conditions: int) -> tuple[Rollout, Scores]:
        settings = self.settings
        rollout = self._roll_out(self.old, settings.group_size, n_conditions, draws=settings.draws)
        return rollout, self._score(rollout)

    def _may_learn_from(self, scores: Scores, index: Tensor) -> bool:
        """Whether at least half of the scores that count are finite; single cells without a score get no advantage."""
        counts = (self.reward.verifier_weight[index] > 0)[:, None, :].expand_as(scores.rewarded)
        bad = counts & ~torch.isfinite(scores.rewarded)
        if 2 * int(bad.sum()) <= int(counts.sum()):
            return True
        verifier = self.reward.verifiers[int(bad.sum((0, 1)).argmax())]
        self.finite.reject(f"the reward {verifier.name}", index[bad.any(2).any(1)])
        return False

    @torch.no_grad()
    def first_scores(self) -> Scores:
        """Scores of a round of the pretrained generator, with random numbers of their own."""
        state = self.rng.get_state()
        scores = self.n_conditions(self._round)[1]
        self.rng.set_state(state)
        return scores

    def _roll_out(
        self, model: Generator, group_size: int, n_conditions: int, *, draws: int = 1, grad_steps: int = 0
    ) -> Rollout:
        order = torch.randperm(len(self.usable), generator=self.rng, device=self.rng.device)
        index = self.usable[order[:n_conditions]]
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
        )

    def _score(self, rollout: Rollout) -> Scores:
        """Scores averaged over the draws of counts."""
        each = [self.reward(cells, rollout.index) for cells in rollout.cells]
        return Scores(*(torch.stack(parts).mean(0) for parts in zip(*each, strict=True)))

    def _reward_step(self, rollout: Rollout, advantage: Tensor) -> float:
        sample = sample_path(rollout.latent, self.rng)
        point = (sample.x_t, sample.t, rollout.control)
        velocity = self._velocity(self.generator, *point, rollout.rows)
        with torch.no_grad():
            old = self._velocity(self.old, *point, rollout.rows)
            pretrained = self._velocity(self.pretrained, *point, rollout.rows)
        distance = anchor_loss(velocity, pretrained)
        loss = nft_loss(velocity, old, sample.velocity, optimality(advantage), beta=self.settings.beta)
        self.finite.step(self.optimiser, loss + self.settings.anchor * distance, rollout.rows)
        return float(distance.mean().detach())

    def _energy_step(self, n_conditions: int) -> None:
        """Descend the pooled energy distance of decoded cells through the last step of the sampler."""
        rollout = self._roll_out(self.generator, self.settings.energy_group_size, n_conditions, grad_steps=1)
        shown = self.generator.space.encode(rollout.cells[0])
        loss = energy_distance(shown, self.task.real[rollout.index])
        sample = sample_path(rollout.latent.detach(), self.rng)
        point = (sample.x_t, sample.t, rollout.control)
        with torch.no_grad():
            pretrained = self._velocity(self.pretrained, *point, rollout.rows)
        distance = anchor_loss(self._velocity(self.generator, *point, rollout.rows), pretrained)
        distance = distance.view(len(loss), -1).mean(1)
        self.finite.step(self.energy_optimiser, loss + self.settings.energy_anchor * distance, rollout.index)

    def _velocity(self, model: Generator, x: Tensor, t: Tensor, control: Tensor, rows: Tensor) -> Tensor:
        code, total = self.codes
        return model.velocity(x, t, control, code[rows], total[rows])

    def weights(self) -> WeightState:
        """What is trained, with what its next update depends on."""
        optimisers = [self.optimiser, self.energy_optimiser]
        return WeightState(self.parameters, optimisers, self.average, list(self.old.velocity.parameters()))

    @torch.no_grad()
    def _move_old_policy(self) -> None:
        old = [p.detach() for p in self.old.velocity.parameters()]
        torch._foreach_lerp_(old, [p.detach() for p in self.parameters], self.settings.old_lerp)

    def _decay_learning_rate(self, iteration: int) -> None:
        share = 1 - (iteration - 1) / self.settings.n_iterations
        self.optimiser.param_groups[0]["lr"] = self.settings.learning_rate * share
        self.energy_optimiser.param_groups[0]["lr"] = self.settings.energy_learning_rate * share


def finetune(
    generator: Generator,
    task: Task,
    reward: Reward,
    settings: FinetuneSettings,
    validation: Task | None = None,
    *,
    file: RunFile | None = None,
    state: dict[str, Any] | None = None,
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
    file, state
        Where the state of the run is written now and then, and one to go on from.
    """
    tuner = Finetuner(generator, task, reward, settings)
    signs = VitalSigns(tuner.pretrained, task, validation, reward, seed=settings.seed)
    guard, result = Guard(settings.limits, active=settings.guard), FinetuneResult()
    run = FinetuneRun(tuner.weights(), tuner.rng, guard, result, tuner.finite, file).resumed(state)
    start = time.perf_counter() - result.seconds
    if state is None:
        vitals = signs.measure(generator)
        guard.check(0, vitals, tuner.parameters)
        result.history.append(history_row(0, tuner.first_scores(), 0.0, vitals, reward))
        run.keep(0)
    with (
        step_boundary_interrupt() as interrupt,
        progress_bar("post-training", settings.n_iterations, show=settings.progress) as show,
    ):
        for iteration in run.remaining(settings.n_iterations):
            scores, drift = tuner.iterate(iteration)
            result.seconds = time.perf_counter() - start
            end = run.recover()
            last = iteration == settings.n_iterations or interrupt.requested or end
            if iteration % settings.check_every and not last:
                continue
            regular = iteration % settings.check_every == 0 or iteration == settings.n_iterations
            if not regular:
                # before the check, which an uninterrupted run would not make here
                run.keep(iteration, now=True)
            tuner.average.swap()
            vitals = signs.measure(generator)
            may_go_on = guard.check(iteration, vitals, tuner.parameters)
            tuner.average.swap()
            result.history.append(history_row(iteration, scores, drift, vitals, reward))
            show(iteration, f"reward {vitals.reward:.3f}, energy distance {vitals.energy:.3f}")
            end = end or ("" if may_go_on else f"guard: {guard.alarms[-1]}")
            if regular:
                done = result.stopped if iteration == settings.n_iterations else ""
                run.keep(iteration, end or done, now=interrupt.requested)
            if interrupt.requested or end:
                result.stopped = end or "interrupted"
                break
    run.finish(time.perf_counter() - start)
    return result
