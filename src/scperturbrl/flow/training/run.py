"""A run that can be saved, resumed, and restored to its last good state; and that of training."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import torch

    from scperturbrl._core.files.run_file import RunFile
    from scperturbrl.flow.training.finite_steps import FiniteSteps
    from scperturbrl.flow.training.fit import FitResult, _Best
    from scperturbrl.flow.training.weight_state import WeightState

# final reasons to end; after other reasons a run can be continued
_FINAL = ("all steps done", "no improvement")


@dataclass
class RunResult:
    """What is reported of any run besides the weights.

    `history` has one row per check. `skipped` is the number of steps that were left out because they were not finite, and
    `first_skipped` describes the first one.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    stopped: str = ""
    seconds: float = 0.0
    skipped: int = 0
    first_skipped: str = ""


@dataclass
class Run:
    """Everything on which the next step of a run depends; :class:`FitRun` and the run of post-training add their own.

    Attributes
    ----------
    weights, rng
        Weights with their optimisers and averages; random numbers.
    result
        What is reported.
    finite
        Record of skipped steps.
    file
        File for the state, if any.
    done, ended
        Number of the last step, and why the run cannot be continued; empty if it can.
    good
        The last good state of the weights.
    """

    weights: WeightState
    rng: torch.Generator
    result: RunResult
    finite: FiniteSteps
    file: RunFile | None
    done: int = field(default=0, init=False)
    ended: str = field(default="", init=False)
    good: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.good = self.weights.state()

    def remaining(self, n_steps: int) -> range:
        """Numbers of the remaining steps."""
        return range(0) if self.ended else range(self.done + 1, n_steps + 1)

    def write(self, *, now: bool) -> None:
        """Write the state to the file if it is due, if the run has ended, or `now`."""
        if self.file is not None and (now or bool(self.ended) or self.file.is_due()):
            self.file.write(self.state())

    def state(self) -> dict[str, Any]:
        """Everything, as plain values and tensors."""
        return {
            "weights": self.weights.state(),
            "rng": self.rng.get_state(),
            "result": {"history": self.result.history, "seconds": self.result.seconds},
            "finite": self.finite.state(),
            "progress": {"done": self.done, "ended": self.ended},
        }

    def resumed(self, state: dict[str, Any] | None) -> Self:
        """Return the run, continued from a :meth:`state` if there is one."""
        if state is not None:
            self.load(state)
        return self

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`."""
        self.weights.load(state["weights"])
        self.rng.set_state(state["rng"])
        self.result.history, self.result.seconds = list(state["result"]["history"]), state["result"]["seconds"]
        self.finite.load(state["finite"])
        self.done, self.ended = state["progress"]["done"], state["progress"]["ended"]
        self.result.stopped = self.ended or self.result.stopped
        self.good = self.weights.state()

    def finish(self, seconds: float) -> None:
        """Fill in the result."""
        self.result.seconds = seconds
        self.result.skipped, self.result.first_skipped = self.finite.skipped, self.finite.first


@dataclass
class FitRun(Run):
    """A run of training: `best` holds the best weights so far, and `running` the mean loss since the last validation."""

    result: FitResult
    best: _Best
    running: float = field(default=0.0, init=False)

    def note_loss(self, step: int, loss: float, every: int) -> None:
        """Record the loss of `step`; `running` is its mean since the last multiple of `every`."""
        self.done = step
        if math.isfinite(loss):
            self.weights.average.update()
            self.running += (loss - self.running) / (1 + (step - 1) % every)
        if self.finite.must_go_back():
            self.weights.load(self.good)

    def keep(self, end: str = "", *, now: bool = False) -> None:
        """Store the current state as good, and write it to the file if it is due."""
        if not self.finite.good():
            return
        self.ended = end if end in _FINAL else ""
        self.good = self.weights.state()
        self.write(now=now)

    def state(self) -> dict[str, Any]:
        """Everything, as plain values and tensors."""
        best = {"value": self.best.value, "step": self.best.step, "weights": self.best.weights}
        return super().state() | {"best": best, "running": self.running}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`."""
        super().load(state)
        best, device = state["best"], self.weights.parameters[0].device
        self.best.value, self.best.step = best["value"], best["step"]
        self.best.weights = [value.to(device) for value in best["weights"]]
        self.running = state["running"]

    def finish(self, seconds: float) -> None:
        """Fill in the result.

        Raises
        ------
        FloatingPointError
            If there are no good weights.
        """
        finite = self.finite
        if not self.best.weights:
            why = f"; the first time it was {finite.first}" if finite.first else ""
            msg = (
                f"Training produced values that are not finite and has no good state to restore ({finite.skipped} "
                f"steps left out{why}). Lower `learning_rate`, and check the expression for extreme values."
            )
            raise FloatingPointError(msg)
        super().finish(seconds)
        self.result.best_step = self.best.step
