"""Counts of a generated cell, carried over from those of its control cell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from scperturbrl._core.random import children


class ControlCounts(NamedTuple):
    """Control cells as they were measured, and as the observation layer expects them.

    Attributes
    ----------
    counts
        ``(n, G)`` measured counts.
    log_mean
        ``(n, G)`` log of the counts that the layer expects at their latent cells.
    first
        Number of the first of these cells in its block; the random numbers of :func:`carried_alone` depend on it.
    """

    counts: Tensor
    log_mean: Tensor
    first: int = 0


class Carried(NamedTuple):
    """Counts ``(n, G)``, and the gamma factor ``(n, G)`` by which a cell departs from its expected count, or the expectation of that factor."""

    counts: Tensor
    factor: Tensor


def carry_counts(control: ControlCounts, mean: Tensor, theta: Tensor, rng: torch.Generator) -> Carried:
    r"""Counts with the wanted mean that keep what is particular to the control cell.

    A negative-binomial count is a Poisson count whose mean :math:`m_0` is multiplied by a factor :math:`w \sim \Gamma(\theta, \theta)`. Given
    the measured count x the factor has the posterior :math:`\Gamma(\theta + x, \theta + m_0)`. With the same factor and the new mean m,
    counts are thinned where m is smaller, by :math:`m / m_0`, and others are added where it is larger,
    :math:`\mathrm{Poisson}(w (m - m_0))`. If the control cell follows the model, the result is negative binomial with mean m.

    This is the counterfactual of the control cell: the same cell with other rates. If the rates do not change, it is the
    control cell itself. So errors of the layer about cells cancel instead of being added.

    Parameters
    ----------
    control
        Control cells.
    mean
        ``(n, G)`` wanted mean counts.
    theta
        ``(G,)`` inverse dispersion.
    rng
        Random generator on the same device.
    """
    counts, expected = control.counts, control.log_mean.exp()
    # separate random streams, so that the first cells do not depend on later ones
    for_factor, for_kept, for_added = children(rng, 3)
    factor = torch._standard_gamma(theta + counts, generator=for_factor) / (theta + expected)
    kept = torch.zeros_like(counts)
    # zeros stay zeros, and most counts are
    some = counts.nonzero(as_tuple=True)
    share = (mean[some] / expected[some].clamp_min(1e-12)).clamp(max=1)
    kept[some] = torch.binomial(counts[some], share, generator=for_kept)
    added = torch.poisson(factor * (mean - expected).clamp_min(0), generator=for_added)
    return Carried(kept + added, factor)


def is_hashed(values: Tensor) -> bool:
    """Whether :func:`carried_alone` hashes its random numbers for cells like these, so that each count has its own place among them."""
    return values.device.type == "cpu" and values.dtype == torch.float32


def carried_alone(control: ControlCounts, mean: Tensor, theta: Tensor, rng: torch.Generator) -> Tensor:
    r"""The counts ``(n, G)`` of :func:`carry_counts`, without the factor, which only gradients need.

    On the CPU the factor is not drawn: given the measured count, the added count is negative binomial, with the inverse dispersion
    :math:`\theta + x` and the mean :math:`(\theta + x) (m - m_0) / (\theta + m_0)`. Each cell and gene has one uniform number, hashed from its position
    and a key drawn from `rng`, so that its count depends on no other cell or gene.
    """
    if not is_hashed(mean):
        return carry_counts(control, mean, theta, rng).counts
    # imported late, because only this path needs compiled code
    from scperturbrl.flow.observation.hashed import STEP, carry

    drawn = int(torch.empty(1, dtype=torch.int64).random_(0, 2**62, generator=rng).item())
    key = np.uint64((drawn + control.first * int(STEP)) % 2**64)
    found = torch.empty_like(mean, memory_format=torch.contiguous_format)
    given = (control.counts, control.log_mean.exp(), mean, theta.double())
    carry(*(part.detach().contiguous().numpy() for part in given), key, found.numpy())  # type: ignore[call-arg]
    return found


def carried(control: ControlCounts, mean: Tensor, theta: Tensor, rng: torch.Generator) -> Carried:
    r"""The counts of :func:`carried_alone`, and the expected value of the factor given them.

    Only the mean of the factor enters the derivative of an expected cell, so this gives the same derivative with less noise, and no
    gamma number is drawn. With the measured count x, the expected count :math:`m_0` and the `added` count, which is 0 where the rate falls, the factor is
    :math:`\Gamma(\theta + x + \mathrm{added}, \theta + \max(m, m_0))`.
    """
    counts = carried_alone(control, mean, theta, rng)
    seen, expected = torch.maximum(counts, control.counts), torch.maximum(mean, control.log_mean.exp())
    return Carried(counts, (theta + seen) / (theta + expected))


def draw_counts(mean: Tensor, theta: Tensor, rng: torch.Generator) -> Carried:
    """Negative-binomial counts with the wanted mean ``(n, G)`` and inverse dispersion ``(G,)``, drawn afresh."""
    factor = torch._standard_gamma(theta.expand_as(mean).contiguous(), generator=rng) / theta
    return Carried(torch.poisson(mean * factor, generator=rng), factor)
