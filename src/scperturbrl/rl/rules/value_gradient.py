"""Regression on the pretrained velocity tilted by the gradient of the reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from scperturbrl.flow.path import sample_path
from scperturbrl.rl.rules.base import Rule

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from scperturbrl.rl.rules.base import Batch, Field, Fields

MIN_TIME = 0.3


@dataclass(frozen=True)
class ValueGradient:
    """Pathwise rule for rewards with gradients.

    The velocity of the tilted population is ``v_pre + (1 - t) / t grad log E[exp(R / (2 anchor)) | x_t]``. The expectation is
    taken at the cell that the pretrained velocity points to, ``x1 = x_t + (1 - t) v_pre(x_t)``, so the target of the
    regression is ``v_pre + (1 - t) / (2 anchor t) grad R(x1(x_t))``, times the variance of the source's noise.

    The rule is cheap, because no cells are compared with each other. It is biased, because the cell that the velocity points to is
    smoother than a real cell; early on the path it is an average. So only times after `min_time` are used, and the variance
    of the cells shrinks if the rule is trained for long.

    Attributes
    ----------
    anchor
        Weight of the pretrained generator.
    min_time
        Earliest time of the path.

    Notes
    -----
    After VGG-Flow (arXiv 2512.05116), without its network for the rest of the value.
    """

    anchor: float
    min_time: float = MIN_TIME

    def __call__(self, fields: Fields, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Loss and distance at a random time after `min_time`."""
        if batch.reward is None:
            msg = "The value gradient needs a reward with gradients; none of the verifiers has gradients."
            raise ValueError(msg)
        cells = batch.latent
        t, x, _ = sample_path(cells, batch.control, batch.source, rng, min_time=self.min_time)
        pretrained, slope = self._slope(fields.pretrained, batch.reward, x, t)
        tilt = batch.source.variance * (1 - t) / (2 * self.anchor * t)
        target = pretrained + tilt[:, None] * slope
        velocity = fields.trained(x, t)
        distance = (velocity - pretrained).square().mean(-1).detach()
        return (velocity - target).square().mean(-1), distance

    def _slope(self, field: Field, reward: Callable[[Tensor], Tensor], x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Pretrained velocity, and the gradient of the reward at the cell that it points to."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            velocity = field(x, t)
            value = reward(x + (1 - t[:, None]) * velocity)
            # a constant reward, or a verifier that is not computed in torch, has no gradient
            slope = torch.autograd.grad(value.sum(), x)[0] if value.requires_grad else torch.zeros_like(x)
        return velocity.detach(), slope.nan_to_num(0, 0, 0)


RULE = Rule("value_gradient", lambda anchor, beta: ValueGradient(anchor), needs_gradients=True, needs_anchor=True)
