"""Fitting the observation layer to counts of training cells."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from scperturbrl.flow.observation.nb import MAX_DISPERSION, NegativeBinomialObservation

if TYPE_CHECKING:
    from collections.abc import Callable

    CountBlock = Callable[[Tensor], Tensor]

BATCH = 512


class ConditionCounts(NamedTuple):
    """Totals over the training cells of C conditions.

    Attributes
    ----------
    seen, expected
        ``(C, G)`` counts, and expected counts given the latent cells.
    deviations
        ``(C, G)`` squared differences of the two, cell by cell.
    exposure
        ``(C,)`` counts of a gene whose rate is 1.
    """

    seen: Tensor
    expected: Tensor
    deviations: Tensor
    exposure: Tensor


def fit_log_rate(
    observation: NegativeBinomialObservation,
    counts: CountBlock,
    unit: Tensor,
    latent: Tensor,
    *,
    n_steps: int,
    rng: torch.Generator,
    pool: Tensor | None = None,
    learning_rate: float = 0.02,
    ridge: float = 1e-4,
) -> None:
    """Fit intercept and loadings by Poisson likelihood, which is consistent for the mean under any dispersion.

    Parameters
    ----------
    observation
        Layer to fit in place; an earlier fit is the starting point.
    counts
        Function from indices of training cells to their counts ``(b, G)``.
    unit
        ``(n,)`` normalised value of one count, of every training cell.
    latent
        ``(n, d)`` coordinates of the training cells.
    n_steps
        Minibatches of 512 cells.
    rng
        Random generator of the minibatches, on the CPU.
    pool
        Indices of the cells that minibatches are drawn from; all by default.
    learning_rate, ridge
        Of Adam with linear decay; and the weight of the squared loadings.
    """
    pool = torch.arange(len(latent)) if pool is None else pool
    intercept, loading = observation.intercept, observation.loading
    optimiser = torch.optim.Adam([intercept, loading], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / max(n_steps, 1))
    for _ in range(n_steps):
        index = pool[torch.randint(len(pool), (min(BATCH, len(pool)),), generator=rng)]
        design = observation.design(latent[index])
        slope = _slope(observation, design, unit[index], counts(index))
        intercept.grad = slope.sum(0)
        loading.grad = design.T @ slope + torch.tensor(ridge) / loading.numel() * (2 * loading)
        optimiser.step()
        schedule.step()
    intercept.grad = loading.grad = None


def _slope(observation: NegativeBinomialObservation, design: Tensor, unit: Tensor, counts: Tensor) -> Tensor:
    """Derivative of the mean Poisson loss with respect to the log rates before scaling, ``(b, G)``.

    Written explicitly, because automatic differentiation takes twice as long. The operations have the same order, so the results are
    identical bit by bit.
    """
    log_rate = torch.addmm(observation.intercept, design, observation.loading)
    share = log_rate.log_softmax(1) if observation.total else None
    scaled = log_rate if share is None else share + math.log(observation.total)
    weight = torch.tensor(1.0) / counts.numel()
    slope = scaled.sub_(unit.log()[:, None]).exp_().mul_(weight).sub_(counts * weight)
    if share is None:
        return slope
    # scaled rates add up to the total, so that one can only grow at the cost of the others
    return torch._log_softmax_backward_data(slope, share, 1, slope.dtype)


@torch.no_grad()
def fit_dispersion(
    observation: NegativeBinomialObservation,
    counts: CountBlock,
    unit: Tensor,
    latent: Tensor,
    codes: Tensor,
) -> ConditionCounts:
    """Set the level of every gene and its dispersion by moments; return observed and expected counts per condition.

    The intercept is shifted so that expected and observed totals agree. Then ``1 / theta_g`` is the ratio of the excess of
    squared residuals over Poisson to the squared means, shrunk towards the median of all genes where counts are few.
    """
    n_conditions = int(codes.max()) + 1
    seen = latent.new_zeros(n_conditions, observation.intercept.numel())
    expected, deviations = torch.zeros_like(seen), torch.zeros_like(seen)
    excess, squares = seen.new_zeros(seen.shape[1]), seen.new_zeros(seen.shape[1])
    for final in (False, True):
        seen.zero_(), expected.zero_()
        for index in torch.arange(len(latent)).split(BATCH):
            mean = torch.exp(observation.log_rate(latent[index]) - unit[index].log()[:, None])
            block = counts(index)
            seen.index_add_(0, codes[index], block)
            expected.index_add_(0, codes[index], mean)
            if final:
                squared = (block - mean).square()
                deviations.index_add_(0, codes[index], squared)
                excess += (squared - mean).sum(0)
                squares += mean.square().sum(0)
        if not final:
            observation.intercept += torch.log((seen.sum(0) + 0.5) / (expected.sum(0) + 0.5))
    _set_theta(observation, excess, squares)
    exposure = latent.new_zeros(n_conditions).index_add_(0, codes, 1 / unit)
    return ConditionCounts(seen, expected, deviations, exposure)


def _set_theta(observation: NegativeBinomialObservation, excess: Tensor, squares: Tensor) -> None:
    informative = squares > 1
    raw = excess / squares.clamp_min(1e-8)
    common = raw[informative].clamp_min(0).median() if informative.any() else torch.tensor(0.1)
    prior = 5.0
    inverse = (excess + prior * common) / (squares + prior)
    observation.log_theta.copy_(torch.log(1 / inverse.clamp(1 / MAX_DISPERSION, 1e2)))
