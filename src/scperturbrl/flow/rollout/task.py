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
    held
        ``(C,)`` share of a change of the flow's mean that the linear part takes back once training is over, because it sets the
        means of unseen conditions anew. None: nothing anywhere.
    """

    conditions: ConditionBatch
    pool: ControlPool
    real: Tensor
    held: Tensor | None = None

    def to(self, device: torch.device | str) -> Task:
        """The same on `device`."""
        held = None if self.held is None else self.held.to(device)
        return Task(self.conditions.to(device), self.pool.to(device), self.real.to(device), held)
