"""What the latent cells miss of each perturbation: effects of genes that the principal components do not carry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from scperturbrl.flow.observation.fit import ConditionCounts
    from scperturbrl.flow.observation.nb import NegativeBinomialObservation


@torch.no_grad()
def fit_residual(
    observation: NegativeBinomialObservation, counts: ConditionCounts, tokens: Tensor, control: Tensor | None = None
) -> None:
    r"""Set the residual of every perturbation by empirical Bayes.

    The log ratio of seen to expected counts of a training condition is the sum of the residuals of its parts plus noise.
    The noise has the variance :math:`b_g / w_c`, with :math:`w_c` the counts of condition c and :math:`b_g` from the
    deviations of its cells or, if that is more, from conditions with the same parts in other contexts. Residuals of gene g have
    a normal prior of variance :math:`\tau_g`: what the squared log ratios exceed the noise by, moved halfway to that of all
    genes. The posterior mean is then a ridge with the penalty :math:`b_g / \tau_g`; a gene that moves no more than its
    noise keeps next to no residual.

    Leaving conditions out to choose a penalty would not do: without the only condition of a perturbation nothing predicts
    it, which looks as if there were no residuals at all.

    Parameters
    ----------
    observation
        Layer whose residual is set, in place.
    counts
        Of C training conditions.
    tokens
        ``(C, L)`` parts of each, 0 for none.
    control
        ``(C,)`` the control condition of each among them, or -1. What the latent cells miss of the control cells is no effect, so the log
        ratio of these is taken away: counts are carried over from control cells, see :func:`~scperturbrl.flow.observation.carry.carry_counts`.
    """
    design = observation.residual.new_zeros(len(tokens), len(observation.residual))
    design = design.scatter_add_(1, tokens, design.new_ones(tokens.shape))[:, 1:]
    perturbed, used = design.any(1), design.any(0)
    if not used.any():
        return
    missed = torch.log((counts.seen + 1) / (counts.expected + 1))
    if control is not None:
        missed = missed - torch.where(control[:, None] >= 0, missed[control], 0.0)
    ratio, expected, deviations = missed[perturbed], counts.expected[perturbed], counts.deviations[perturbed]
    design = design[perturbed][:, used]
    weight = expected.sum(1, keepdim=True).clamp_min(1)
    weight = weight / weight.mean()
    noise = (weight * deviations / (expected + 1).square()).mean(0)
    noise = torch.maximum(noise, _between_contexts(design, ratio, weight))
    prior = _prior_variance(weight * ratio.square() - noise, (weight[:, 0] * design.sum(1)).sum())
    values, vectors = torch.linalg.eigh(design.T @ (weight * design))
    rotated = vectors.T @ (design.T @ (weight * ratio)) / (values.clamp_min(0)[:, None] + noise / prior)
    observation.residual[1:][used] = vectors @ rotated


def _prior_variance(excess: Tensor, parts: Tensor) -> Tensor:
    """Variance of the residuals of each gene ``(G,)``, halfway between its own and the mean of all; never quite 0."""
    own = excess.sum(0) / parts
    return ((own.clamp_min(0) + own.mean().clamp_min(0)) / 2).clamp_min(1e-8)


def _between_contexts(design: Tensor, ratio: Tensor, weight: Tensor) -> Tensor:
    """Variance ``(G,)`` between conditions of the same parts, which no residual of a part explains; 0 without such."""
    _, same = design.unique(dim=0, return_inverse=True)
    total = ratio.new_zeros(int(same.max()) + 1, ratio.shape[1] + 1)
    total.index_add_(0, same, torch.cat([weight * ratio, weight], 1))
    mean = total[:, :-1] / total[:, -1:]
    surplus = len(design) - len(mean)
    return (weight * (ratio - mean[same]).square()).sum(0) / max(surplus, 1)
