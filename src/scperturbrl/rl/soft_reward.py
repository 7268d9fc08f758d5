"""The part of a reward that has gradients, as a function of latent cells."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from scperturbrl.rl.advantage import condition_scale

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.flow.space.base import Space
    from scperturbrl.rl.reward import Reward, Scores


@dataclass(frozen=True)
class SoftReward:
    """Reward of the smooth expression at a latent point, in units of the advantage.

    Attributes
    ----------
    reward
        Its verifiers without gradients are left out.
    space
        Decodes latent cells. Counts are not drawn, so the cells have neither zeros nor count noise.
    index
        ``(C,)`` conditions of the cells.
    scale
        ``(C, 1, V)`` spread of each verifier in each condition.
    """

    reward: Reward
    space: Space
    index: Tensor
    scale: Tensor

    @classmethod
    def of_scores(cls, reward: Reward, space: Space, index: Tensor, scores: Scores) -> SoftReward | None:
        """For scored cells of the conditions `index`; None if no verifier has gradients."""
        usable = torch.tensor([float(v.differentiable) for v in reward.verifiers], device=reward.weights.device)
        if not usable.any():
            return None
        soft = replace(reward, weights=reward.weights * usable)
        return cls(soft, space, index, condition_scale(scores.rewarded, reward.verifier_weight[index]))

    def __call__(self, latent: Tensor) -> Tensor:
        """Reward ``(n,)`` of latent cells ``(n, d)``, the conditions one after the other."""
        cells = self.space.decode(latent).clamp_min(0).view(len(self.index), -1, self.space.mean.shape[0])
        rewarded = self._rewarded(cells)
        weight = self.reward.verifier_weight[self.index]
        counted = (weight > 0)[:, None, :] & torch.isfinite(rewarded)
        total = weight.sum(1, keepdim=True).clamp_min(1e-12)
        return ((rewarded.masked_fill(~counted, 0) / self.scale * weight[:, None, :]).sum(2) / total).reshape(-1)

    def _rewarded(self, cells: Tensor) -> Tensor:
        try:
            return self.reward(cells, self.index).rewarded
        except (RuntimeError, ValueError) as error:
            if "requires grad" not in str(error):
                raise
            counted = zip(self.reward.verifiers, self.reward.weights.tolist(), strict=True)
            names = [verifier.name for verifier, weight in counted if weight > 0]
            msg = f"One of the verifiers {names} cannot be differentiated ({error}). Give it `differentiable=False`."
            raise RuntimeError(msg) from error
