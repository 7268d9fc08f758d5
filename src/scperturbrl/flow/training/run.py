"""A training run that can be saved, resumed, and restored to its last good state."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from scperturbrl._core.files.run_file import RunFile
    from scperturbrl.flow.training.finite_steps import FiniteSteps
    from scperturbrl.flow.training.fit import FitResult, _Best
    from scperturbrl.flow.training.weight_state import WeightState

# final reasons to end; after other reasons a run can be continued
_FINAL = ("all steps done", "no improvement")


@dataclass
class FitRun:
    """Everything on which the next training step depends.

    Attributes
    ----------
    weights, rng
        Weights with their optimiser and average; random numbers.
    best, result
        Best weights so far, and the reported result.
    finite
        Record of skipped steps.
    file
        File for the state, if any.
    """

    weights: WeightState
    rng: torch.Generator
    best: _Best
    result: FitResult
    finite: FiniteSteps
    file: RunFile | None
    step: int = 0
    running: float = 0.0
    ended: str = ""
    good: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.good = self.weights.state()

    def remaining(self, n_steps: int) -> range:
        """Number of remaining steps."""
        return range(0) if self.ended else range(self.step + 1, n_steps + 1)

    def note_loss(self, step: int, loss: float, every: int) -> None:
        """Record the loss of `step`; `running` is its mean since the last multiple of `every`."""
        self.step = step
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
        if self.file is not None and (now or bool(self.ended) or self.file.is_due()):
            self.file.write(self.state())

    def state(self) -> dict[str, Any]:
        """Everything, as plain values and tensors."""
        best, result = self.best, self.result
        return {
            "weights": self.weights.state(),
            "rng": self.rng.get_state(),
            "best": {"value": best.value, "step": best.step, "weights": best.weights},
            "result": {"history": result.history, "seconds": result.seconds},
            "finite": self.finite.state(),
            "progress": {"step": self.step, "running": self.running, "ended": self.ended},
        }

    def resumed(self, state: dict[str, Any] | None) -> FitRun:
        """Return the run, continued from a :meth:`state` if there is one."""
        if state is None:
            return self
        self.weights.load(state["weights"])
        self.rng.set_state(state["rng"])
        best, own = state["best"], self.weights.parameters[0]
        self.best.value, self.best.step = best["value"], best["step"]
        self.best.weights = [value.to(own.device) for value in best["weights"]]
        self.result.history, self.result.seconds = list(state["result"]["history"]), state["result"]["seconds"]
        self.finite.load(state["finite"])
        for name, value in state["progress"].items():
            setattr(self, name, value)
        self.result.stopped = self.ended or self.result.stopped
        self.good = self.weights.state()
        return self

    def finish(self, seconds: float) -> None:
        """Fill in the result.

        Raises
        ------
        FloatingPointError
            If there are no good weights.
        """
        result, finite = self.result, self.finite
        if not self.best.weights:
            why = f"; the first time it was {finite.first}" if finite.first else ""
            msg = (
                f"Training produced values that are not finite and has no good state to restore ({finite.skipped} "
                "steps left "
                f"out{why}). Lower `learning_rate`, and check the expression for extreme values."
            )
            raise FloatingPointError(msg)
        result.best_step, result.seconds = self.best.step, seconds
        result.skipped, result.first_skipped = finite.skipped, finite.first
