"""The DiffusionNFT update: contrast of a positive and a negative policy around the old one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from scperturbrl.flow.path import sample_path
from scperturbrl.rl.rules.base import Rule

if TYPE_CHECKING:
    from torch import Tensor

    from scperturbrl.rl.rules.base import Batch, Fields


def optimality(advantage: Tensor) -> Tensor:
    """Weight in [0, 1] of the positive policy for each cell, ``1/2 + clip(A / 2, -1, 1) / 2``."""
    return 0.5 + 0.5 * (advantage / 2).clamp(-1, 1)


def nft_loss(velocity: Tensor, old: Tensor, target: Tensor, weight: Tensor, *, beta: float = 1.0) -> Tensor:
    """Negative-aware fine-tuning loss of each cell.

    With ``v+ = beta v + (1 - beta) v_old`` and ``v- = (1 + beta) v_old - beta v`` it is
    ``r |v+ - u|^2 + (1 - r) |v- - u|^2``. Its minimum over v is ``v_old + (2 / beta) Cov(r, u | x_t)``: the velocity moves
    towards cells that score above the others of their condition and away from those below.

    Parameters
    ----------
    velocity, old, target
        ``(n, d)`` velocity being trained, velocity of the policy that generated, and path velocity u of the
        generated cell.
    weight
        ``(n,)`` optimality r in [0, 1].
    beta
        Size of the contrast; smaller is more aggressive.

    Returns
    -------
    ``(n,)``

    Notes
    -----
    Zheng et al., DiffusionNFT (arXiv 2509.16117), with time running from noise to cell and without their
    self-normalisation, which a latent space of one scale does not need.
    """
    positive = beta * velocity + (1 - beta) * old
    negative = (1 + beta) * old - beta * velocity
    attract = (positive - target).square().mean(-1)
    repel = (negative - target).square().mean(-1)
    return weight * attract + (1 - weight) * repel


def anchor_loss(velocity: Tensor, pretrained: Tensor) -> Tensor:
    """Squared distance ``(n,)`` to the velocity of the pretrained generator."""
    return (velocity - pretrained).square().mean(-1)


@dataclass(frozen=True)
class Nft:
    """The update rule: the loss above, with an anchor.

    To first order in the advantage, its fixed point is the population defined in :mod:`scperturbrl.rl.rules.base`.

    Attributes
    ----------
    anchor
        Weight of the squared distance to the pretrained velocity.
    beta
        Size of the contrast.
    """

    anchor: float
    beta: float = 1.0

    def __call__(self, fields: Fields, batch: Batch, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Loss and distance at a random time of each cell's path."""
        sample = sample_path(batch.latent, batch.control, batch.source, rng)
        velocity = fields.trained(sample.x_t, sample.t)
        with torch.no_grad():
            old = fields.old(sample.x_t, sample.t)
            pretrained = fields.pretrained(sample.x_t, sample.t)
        distance = anchor_loss(velocity, pretrained)
        loss = nft_loss(velocity, old, sample.velocity, optimality(batch.advantage), beta=self.beta)
        return loss + self.anchor * distance, distance.detach()


RULE = Rule("nft", Nft)
