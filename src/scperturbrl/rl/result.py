"""Outcome of post-training."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class FinetuneResult:
    """Outcome of a run: one row of `history` per check, alarms of the guard, and why the run ended.

    Steps that were not finite are left out; `skipped` is their number and `first_skipped` the cause of the first. `left_out` holds
    the positions of the training conditions that were not rewarded.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    kept_iteration: int = 0
    outcome: str = ""
    stopped: str = "all iterations done"
    seconds: float = 0.0
    skipped: int = 0
    first_skipped: str = ""
    left_out: list[int] = field(default_factory=list)
