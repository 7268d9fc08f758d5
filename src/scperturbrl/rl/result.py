"""Outcome of post-training."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class FinetuneResult:
    """What happened: one row of `history` a check, alarms of the guard, and why it ended.

    Steps that were not finite are left out; `skipped` counts them and `first_skipped` describes the first one. `left_out` holds the
    positions of the training conditions that were not rewarded.
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
