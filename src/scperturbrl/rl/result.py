"""Outcome of post-training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import torch

from scperturbrl.flow.training.run import RunResult

if TYPE_CHECKING:
    from scperturbrl.rl.guard import Vitals
    from scperturbrl.rl.reward import Reward, Scores


@dataclass
class FinetuneResult(RunResult):
    """Outcome of a run: `history`, alarms of the guard, which iteration was kept, and why the run ended.

    `left_out` holds the positions of the training conditions that were not rewarded.
    """

    stopped: str = "all iterations done"
    alarms: list[str] = field(default_factory=list)
    kept_iteration: int = 0
    outcome: str = ""
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
