"""The loop: roll out, score, update, interleave the energy distance, check."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch

from scperturbrl._core.distributed import any_of_all, equalise, of_first
from scperturbrl._core.interrupt import step_boundary_interrupt
from scperturbrl._core.progress import progress_bar
from scperturbrl.flow.rollout.yardstick import Yardstick
from scperturbrl.rl.evidence import Evidence, left_out
from scperturbrl.rl.finetune_run import FinetuneRun
from scperturbrl.rl.finetuner import Finetuner, FinetuneSettings
from scperturbrl.rl.guard import Guard
from scperturbrl.rl.result import FinetuneResult
from scperturbrl.rl.vitals import VitalSigns

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

    from scperturbrl._core.files.run_file import RunFile
    from scperturbrl.flow.generator import Generator
    from scperturbrl.flow.rollout.task import Task
    from scperturbrl.rl.evidence import Judge
    from scperturbrl.rl.guard import Vitals
    from scperturbrl.rl.reward import Reward


def finetune(
    generator: Generator,
    task: Task,
    reward: Reward,
    settings: FinetuneSettings,
    validation: Task | None = None,
    *,
    judge: Judge | None = None,
    file: RunFile | None = None,
    state: dict[str, Any] | None = None,
) -> FinetuneResult:
    """Post-train `generator` in place; it ends with the averaged weights of the best state that the guard accepted.

    Parameters
    ----------
    generator
        The pretrained generator.
    task, reward
        Training conditions and what to reward on them.
    settings
        Settings.
    validation
        Conditions whose energy distance the guard monitors.
    judge
        Scores conditions of `validation`, none of which is rewarded. If there are fewer than three, some conditions of `task`
        are left out of the rewards, so that the guard can assess whether post-training helps.
    file, state
        File to which the state of the run is written at intervals, and a state to continue from.
    """
    equalise(generator)
    apart = _left_out(task, reward, settings, validation, judge)
    tuner = Finetuner(generator, task, reward, settings, apart)
    signs = VitalSigns(tuner.pretrained, task, validation, reward, seed=settings.seed, judge=judge, left_out=apart)
    moved = None if validation is None else validation.conditions.translated
    guard = Guard(
        settings.limits,
        active=settings.guard,
        by_reward=settings.reward_steps > 0,
        judged=signs.judged,
        from_flow=moved is None or not bool(moved.all()),
    )
    result = FinetuneResult(left_out=apart.tolist())
    run = FinetuneRun(tuner.weights(), tuner.rng, result, tuner.finite, file, guard).resumed(state)
    start = time.perf_counter() - result.seconds
    if state is None:
        vitals = signs.measure(generator)
        guard.check(0, vitals, tuner.parameters)
        result.add_check(0, tuner.first_scores(), 0.0, vitals, reward, tuner.anchor)
        run.keep(0)
    else:
        tuner.set_anchor(result.history[-1]["anchor"])
    with (
        step_boundary_interrupt() as interrupt,
        progress_bar("post-training", settings.n_iterations, show=settings.progress) as show,
    ):
        for iteration in run.remaining(settings.n_iterations):
            scores, drift = tuner.iterate(iteration)
            interrupted = any_of_all(flag=interrupt.requested)
            result.seconds = time.perf_counter() - start
            end = run.recover()
            if iteration % settings.check_every and not (iteration == settings.n_iterations or interrupted or end):
                continue
            regular = iteration % settings.check_every == 0 or iteration == settings.n_iterations
            if not regular:
                # before the check, which an uninterrupted run would not make here
                run.keep(iteration, now=True, checked=False)
            vitals, may_go_on = _check(iteration, tuner, signs, run)
            result.add_check(iteration, scores, drift, vitals, reward, tuner.anchor)
            show(iteration, f"reward {vitals.reward:.3f}, energy distance {vitals.energy:.3f}")
            end = end or ("" if may_go_on else f"guard: {guard.alarms[-1]}")
            if regular:
                run.keep(iteration, end or result.stopped * (iteration == settings.n_iterations), now=interrupted)
            if interrupted or end:
                result.stopped = end or "interrupted"
                break
    run.finish(time.perf_counter() - start)
    return result


def _left_out(
    task: Task, reward: Reward, settings: FinetuneSettings, validation: Task | None, judge: Judge | None
) -> Tensor:
    """Conditions ``(k,)`` of `task` that are left out of the rewards for the guard; none if it does not choose by rewards."""
    if not (settings.guard and settings.reward_steps):
        return torch.zeros(0, dtype=torch.long, device=task.real.device)
    judged = 0 if validation is None or judge is None else len(Evidence.of(Yardstick(validation), judge))
    chosen = set(left_out(task, reward, judged, seed=settings.seed).tolist())
    # thresholds on scores may differ by rounding from one process to another
    agreed = of_first({str(row): float(row in chosen) for row in range(len(task.conditions))})
    return torch.tensor([int(row) for row, out in agreed.items() if out], dtype=torch.long, device=task.real.device)


def _check(iteration: int, tuner: Finetuner, signs: VitalSigns, run: FinetuneRun) -> tuple[Vitals, bool]:
    """Vitals of the averaged weights, and whether the guard lets the run continue; also sets the next anchor.

    After an alarm, a run with an adaptive anchor continues from the last state without one, with a larger anchor.
    """
    guard, choice = run.guard, tuner.anchor_choice
    tuner.average.swap()
    vitals = signs.measure(tuner.generator)
    may_go_on = guard.check(iteration, vitals, tuner.parameters)
    tuner.average.swap()
    if guard.active and guard.in_a_row and choice.adapts:
        run.go_back()
        tuner.set_anchor(choice.after_setback(tuner.anchor))
    elif guard.start is not None:
        tuner.set_anchor(choice.next(tuner.anchor, guard.start, vitals))
    return vitals, may_go_on
