"""Data of post-training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from scperturbrl.flow.condition_encoder import ConditionBatch
    from scperturbrl.flow.rollout.control_pool import ControlPool


@dataclass(frozen=True)
class Task:
    """C conditions, in the order of the reward's reference.

    Attributes
    ----------
    conditions
        The conditions as tensors.
    pool
        Control cells for them.
    real
        ``(C, m, d)`` real cells in the flow's space, rows of NaN as padding.
    """

    conditions: ConditionBatch
    pool: ControlPool
    real: Tensor

    def to(self, device: torch.device | str) -> Task:
        """The same on `device`."""
        return Task(self.conditions.to(device), self.pool.to(device), self.real.to(device))
