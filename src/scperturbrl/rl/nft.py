"""The DiffusionNFT update: contrast of a positive and a negative policy around the old one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def optimality(advantage: Tensor) -> Tensor:
    """Probability-like weight in [0, 1] of a cell being one to imitate: ``1/2 + clip(A / 2, -1, 1) / 2``."""
    return 0.5 + 0.5 * (advantage / 2).clamp(-1, 1)


def nft_loss(velocity: Tensor, old: Tensor, target: Tensor, weight: Tensor, *, beta: float = 1.0) -> Tensor:
    """Negative-aware fine-tuning loss of each cell.

    With ``v+ = beta v + (1 - beta) v_old`` and ``v- = (1 + beta) v_old - beta v`` it is
    ``r |v+ - u|^2 + (1 - r) |v- - u|^2``. Its minimum over v is ``v_old + (2 / beta) Cov(r, u | x_t)``: the velocity moves
    towards cells that score above their group and away from those below.

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
