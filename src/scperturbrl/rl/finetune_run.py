"""A post-training run that can be saved, resumed, and returned to its last good state."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from scperturbrl.flow.training.weight_state import restore
from scperturbrl.rl.guard import Vitals

if TYPE_CHECKING:
    import torch

    from scperturbrl._core.files.run_file import RunFile
    from scperturbrl.flow.training.finite_steps import FiniteSteps
    from scperturbrl.flow.training.weight_state import WeightState
    from scperturbrl.rl.guard import Guard
    from scperturbrl.rl.result import FinetuneResult


@dataclass
class FinetuneRun:
    """Everything that the next iteration depends on.

    Attributes
    ----------
    weights, rng
        Weights with their optimisers, average and old policy; random numbers.
    guard, result
        The guard with its last good weights, and what is reported.
    finite
        Steps that were left out.
    file
        Where to write, if anywhere.
    """

    weights: WeightState
    rng: torch.Generator
    guard: Guard
    result: FinetuneResult
    finite: FiniteSteps
    file: RunFile | None
    iteration: int = 0
    ended: str = ""
    good: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.good = self.weights.state()

    def remaining(self, n_iterations: int) -> range:
        """Iterations that are still to be done."""
        return range(0) if self.ended else range(self.iteration + 1, n_iterations + 1)

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
        self.iteration, self.ended = iteration, end
        if checked:
            self.good = self.weights.state()
        if self.file is not None and (now or bool(end) or self.file.is_due()):
            self.file.write(self.state())

    def state(self) -> dict[str, Any]:
        """Everything, as plain values and tensors."""
        guard = self.guard
        return {
            "weights": self.weights.state(),
            "last_good": self.good,
            "rng": self.rng.get_state(),
            "guard": {
                "start": None if guard.start is None else asdict(guard.start),
                "kept": None if guard.kept is None else asdict(guard.kept),
                **{name: getattr(guard, name) for name in ("in_a_row", "good", "good_iteration", "alarms", "refused")},
            },
            "result": {"history": self.result.history, "seconds": self.result.seconds},
            "finite": self.finite.state(),
            "progress": {"iteration": self.iteration, "ended": self.ended},
        }

    def resumed(self, state: dict[str, Any] | None) -> FinetuneRun:
        """The run, continued from a :meth:`state` if there is one."""
        if state is None:
            return self
        self.weights.load(state["weights"])
        self.rng.set_state(state["rng"])
        guard, device = dict(state["guard"]), self.weights.parameters[0].device
        self.guard.start, self.guard.kept = Vitals(**guard.pop("start")), Vitals(**guard.pop("kept"))
        self.guard.good = [value.to(device) for value in guard.pop("good")]
        for name, value in guard.items():
            setattr(self.guard, name, value)
        self.result.history, self.result.seconds = list(state["result"]["history"]), state["result"]["seconds"]
        self.finite.load(state["finite"])
        self.iteration, self.ended = state["progress"]["iteration"], state["progress"]["ended"]
        self.result.stopped = self.ended or self.result.stopped
        self.good = state["last_good"]
        return self

    def finish(self, seconds: float) -> None:
        """End with the best state that the guard accepted, or with the average, and fill in the result."""
        guard, result = self.guard, self.result
        if guard.active:
            restore(self.weights.parameters, guard.good)
        else:
            self.weights.average.swap()
        result.alarms = guard.alarms
        result.outcome = guard.outcome() if guard.active else "Post-training was not guarded."
        result.kept_iteration = guard.good_iteration if guard.active else int(result.history[-1]["iteration"])
        result.seconds = seconds
        result.skipped, result.first_skipped = self.finite.skipped, self.finite.first
