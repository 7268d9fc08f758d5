"""The row of the history that a check adds."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from scperturbrl.rl.guard import Vitals
    from scperturbrl.rl.reward import Reward, Scores


def history_row(
    iteration: int, scores: Scores, drift: float, vitals: Vitals, reward: Reward, anchor: float
) -> dict[str, float]:
    """One row of the history: rollout rewards with their spread, every verifier, the vitals, and the anchor after the check."""
    finite = scores.reward[torch.isfinite(scores.reward)]
    row = {"iteration": iteration, "reward": float(finite.mean()), "reward_sd": float(finite.std()), "distance": drift}
    for column, verifier in enumerate(reward.verifiers):
        values = scores.raw[..., column]
        row[verifier.name] = float(values[torch.isfinite(values)].mean())
    return row | {f"check_{name}": value for name, value in asdict(vitals).items()} | {"anchor": anchor}
