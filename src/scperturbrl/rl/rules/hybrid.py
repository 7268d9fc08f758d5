"""Contrast within conditions and gradient of the reward, added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scperturbrl.rl.rules.base import Rule
from scperturbrl.rl.rules.nft import Nft
from scperturbrl.rl.rules.value_gradient import ValueGradient

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from scperturbrl.rl.rules.base import Batch, Fields


@dataclass(frozen=True)
class Hybrid:
    """Sum of the losses of ``"nft"`` and ``"value_gradient"``.

    The gradient has little noise, but it is evaluated at a smooth cell and only for verifiers with gradients. The contrast is noisier,
    but it uses the cells as they are scored, zeros included, and works with every verifier.

    Attributes
    ----------
    anchor
        Weight of the pretrained generator.
    beta
        Contrast of ``"nft"``.
    """

    anchor: float
    beta: float = 1.0

    def __call__(self, fields: Fields, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Loss, and distance at the points of the contrast."""
        contrast, distance = Nft(self.anchor, self.beta)(fields, batch, rng)
        if batch.reward is None:
            return contrast, distance
        gradient, _ = ValueGradient(self.anchor)(fields, batch, rng)
        return contrast + gradient, distance


RULE = Rule("hybrid", Hybrid, needs_anchor=True)
