"""A run of post-training: its guard, and what it saves and resumes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from scperturbrl.flow.training.run import Run
from scperturbrl.flow.training.weight_state import restore
from scperturbrl.rl.guard import Vitals

if TYPE_CHECKING:
    from scperturbrl.rl.guard import Guard
    from scperturbrl.rl.result import FinetuneResult

_OF_GUARD = ("in_a_row", "good", "good_iteration", "alarms", "refused")


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
