"""Outcome of post-training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from scperturbrl.rl.guard import Vitals
    from scperturbrl.rl.reward import Reward, Scores


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

    def add_check(
        self, iteration: int, scores: Scores, drift: float, vitals: Vitals, reward: Reward, anchor: float
    ) -> None:
        """Add the row of a check: rollout rewards with their spread, every verifier, the vitals, and the anchor after it."""
        finite = scores.reward[torch.isfinite(scores.reward)]
        row = {
            "iteration": iteration,
            "reward": float(finite.mean()),
            "reward_sd": float(finite.std()),
            "distance": drift,
        }
        for column, verifier in enumerate(reward.verifiers):
            values = scores.raw[..., column]
            row[verifier.name] = float(values[torch.isfinite(values)].mean())
        self.history.append(
            row | {f"check_{name}": value for name, value in asdict(vitals).items()} | {"anchor": anchor}
        )
