"""Residuals: the part of the effect of each perturbation on single genes that the principal components miss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from scperturbrl.flow.observation.fit import ConditionCounts
    from scperturbrl.flow.observation.nb import NegativeBinomialObservation

# of residuals, in units of their noise
_PRIOR_VARIANCES = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
_N_STEPS = 50


@torch.no_grad()
def fit_residual(
    observation: NegativeBinomialObservation, counts: ConditionCounts, tokens: Tensor, control: Tensor | None = None
) -> None:
    r"""Set the residual of every perturbation by empirical Bayes.

    The log ratio of observed to expected counts of a training condition is the sum of the residuals of its parts plus noise.
    The noise has the variance :math:`b_g / w_c`, with :math:`w_c` the counts of condition c and :math:`b_g` from the
    deviations of its cells and of their control cells or, if that is more, from conditions with the same parts in other contexts. Residuals of gene g have
    a normal prior, whose variance is 0 for many genes and large for a few, as the squared log ratios of all genes show. The posterior mean is then
    a ridge with a penalty for each gene; a gene that changes no more than its noise has a residual close to 0.

    The penalty cannot be chosen by leaving conditions out: if the only condition of a perturbation is left out, nothing predicts
    its residual, as if there were no residuals at all.

    Parameters
    ----------
    observation
        Layer whose residual is set, in place.
    counts
        Of C training conditions.
    tokens
        ``(C, L)`` parts of each, 0 for none.
    control
        ``(C,)`` the control condition of each among them, or -1. With it the residuals are those of counts that are carried over from control
        cells, see :func:`~scperturbrl.flow.observation.carry.carry_counts`.
    """
    design = observation.residual.new_zeros(len(tokens), len(observation.residual))
    design = design.scatter_add_(1, tokens, design.new_ones(tokens.shape))[:, 1:]
    perturbed, used = design.any(1), design.any(0)
    if not used.any():
        return
    wanted, variance = (counts.seen, counts.deviations) if control is None else _carried(counts, control)
    ratio = torch.log((wanted + 1) / (counts.expected + 1))[perturbed]
    variance = (variance / (counts.expected + 1).square())[perturbed]
    expected = counts.expected[perturbed]
    design = design[perturbed][:, used]
    weight = expected.sum(1, keepdim=True).clamp_min(1)
    weight = weight / weight.mean()
    noise = (weight * variance).mean(0)
    noise = torch.maximum(noise, _between_contexts(design, ratio, weight))
    values, vectors = torch.linalg.eigh(design.T @ (weight * design))
    penalty = _penalty((weight * ratio.square()).sum(0) / noise.clamp_min(1e-12), len(ratio), float(values.mean()))
    rotated = vectors.T @ (design.T @ (weight * ratio)) / (values.clamp_min(0)[:, None] + penalty)
    observation.residual[1:][used] = vectors @ rotated


def _carried(counts: ConditionCounts, control: Tensor) -> tuple[Tensor, Tensor]:
    """Expected counts ``(C, G)`` for which counts carried over from control cells have the mean of `counts`, and their variance.

    Counts are added where a rate rises, and thinned where it falls. So the error of the layer for control cells is unchanged where a rate
    rises, and is scaled with the counts where it falls.
    """
    has = (control >= 0)[:, None]
    scale = (counts.exposure / counts.exposure[control])[:, None]
    seen, expected = (torch.where(has, part[control] * scale, 0.0) for part in (counts.seen, counts.expected))
    noise = torch.where(has, counts.deviations[control] * scale.square(), 0.0)
    rises = counts.seen >= seen
    added, thinned = expected + counts.seen - seen, expected * (counts.seen + 1) / (seen + 1)
    relative = counts.deviations / (counts.seen + 1).square() + noise / (seen + 1).square()
    wanted = torch.where(has, torch.where(rises, added.clamp_min(0), thinned), counts.seen)
    variance = torch.where(rises | ~has, counts.deviations + noise, relative * thinned.square())
    return wanted, variance


def _penalty(squares: Tensor, n: int, evidence: float) -> Tensor:
    """Penalty of the residuals of each gene ``(G,)``, in units of their noise.

    Most genes have no residual, and a few have a large one. So the prior is a mixture of normals with a grid of variances, whose shares are estimated
    from all genes by expectation maximisation (Stephens 2017, adaptive shrinkage).

    `squares` ``(G,)`` are squared log ratios over their noise, summed over n conditions: chi-squared with n degrees of freedom, times one plus the
    prior variance. `evidence` is the weight of the conditions of one perturbation.
    """
    prior = torch.tensor(_PRIOR_VARIANCES, dtype=squares.dtype, device=squares.device)
    log_likelihood = -(n / 2) * torch.log1p(prior) - squares[:, None] / (2 * (1 + prior))
    share = torch.full_like(prior, 1 / len(prior))
    for _ in range(_N_STEPS):
        posterior = (log_likelihood + share.log()).softmax(1)
        share = posterior.mean(0).clamp_min(1e-12)
    kept = (posterior * (evidence * prior / (evidence * prior + 1))).sum(1)
    return evidence * (1 / kept.clamp_min(1e-6) - 1)


def _between_contexts(design: Tensor, ratio: Tensor, weight: Tensor) -> Tensor:
    """Variance ``(G,)`` between conditions of the same parts, which residuals of parts cannot explain; 0 without such conditions."""
    _, same = design.unique(dim=0, return_inverse=True)
    total = ratio.new_zeros(int(same.max()) + 1, ratio.shape[1] + 1)
    total.index_add_(0, same, torch.cat([weight * ratio, weight], 1))
    mean = total[:, :-1] / total[:, -1:]
    surplus = len(design) - len(mean)
    return (weight * (ratio - mean[same]).square()).sum(0) / max(surplus, 1)
