"""A run of post-training. The loop: roll out, score, update, interleave the energy distance, check."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from scperturbrl._core.distributed import any_of_all, equalise, of_first
from scperturbrl._core.interrupt import step_boundary_interrupt
from scperturbrl._core.progress import progress_bar
from scperturbrl.flow.rollout.yardstick import Yardstick
from scperturbrl.flow.training.run import Run
from scperturbrl.flow.training.weight_state import restore
from scperturbrl.rl.evidence import Evidence, left_out
from scperturbrl.rl.finetuner import Finetuner, FinetuneSettings
from scperturbrl.rl.guard import Guard, Vitals
from scperturbrl.rl.result import FinetuneResult
from scperturbrl.rl.vitals import VitalSigns

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

    from scperturbrl._core.files.run_file import RunFile
    from scperturbrl.flow.generator import Generator
    from scperturbrl.flow.rollout.task import Task
    from scperturbrl.rl.evidence import Judge
    from scperturbrl.rl.reward import Reward

_OF_GUARD = ("in_a_row", "good", "good_iteration", "alarms", "refused")


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


@dataclass
class FinetuneRun(Run):
    """A run whose steps are iterations of post-training; `guard` holds its last good weights."""

    result: FinetuneResult
    guard: Guard

    def recover(self) -> str:
        """Return to the last good state after too many non-finite steps; returns why the run must end, or an empty string."""
        if self.finite.must_go_back():
            self.go_back()
        return self.finite.reason_to_end()

    def go_back(self) -> None:
        """Return to the last good state."""
        self.weights.load(self.good)

    def keep(self, iteration: int, end: str = "", *, now: bool = False, checked: bool = True) -> None:
        """Store the present state as good if it was `checked`, and write the run to the file if that is due; a non-empty `end` ends the run."""
        if not self.finite.good():
            return
        self.done, self.ended = iteration, end
        if checked:
            self.good = self.weights.state()
        self.write(now=now)

    def state(self) -> dict[str, Any]:
        """Everything, as plain values and tensors."""
        guard = self.guard
        of_guard: dict[str, Any] = {name: getattr(guard, name) for name in _OF_GUARD}
        for name, vitals in (("start", guard.start), ("kept", guard.kept)):
            of_guard[name] = None if vitals is None else asdict(vitals)
        return super().state() | {"guard": of_guard, "last_good": self.good}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`."""
        super().load(state)
        guard, device = dict(state["guard"]), self.weights.parameters[0].device
        self.guard.start, self.guard.kept = Vitals(**guard.pop("start")), Vitals(**guard.pop("kept"))
        self.guard.good = [value.to(device) for value in guard.pop("good")]
        for name, value in guard.items():
            setattr(self.guard, name, value)
        self.good = state["last_good"]

    def finish(self, seconds: float) -> None:
        """End with the best state that the guard accepted, or with the average, and fill in the result."""
        guard, result = self.guard, self.result
        if guard.active:
            restore(self.weights.parameters, guard.good)
        else:
            self.weights.average.swap()
        super().finish(seconds)
        result.alarms = guard.alarms
        result.outcome = guard.outcome() if guard.active else "Post-training was not guarded."
        result.kept_iteration = guard.good_iteration if guard.active else int(result.history[-1]["iteration"])
