"""Removal of count noise from latent cells, because the observation layer adds it again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scperturbrl._core.random import on_device, torch_rng
from scperturbrl.flow.observation.fit import BATCH, fit_dispersion, fit_log_rate
from scperturbrl.flow.observation.nb import NegativeBinomialObservation
from scperturbrl.flow.observation.residual import fit_residual

if TYPE_CHECKING:
    from scperturbrl.flow.generator import Generator
    from scperturbrl.flow.observation.fit import CountBlock

N_CHECK = 4096


def condition_means(latent: Tensor, codes: Tensor) -> Tensor:
    """Mean latent cell of every condition, ``(C, d)``."""
    n = int(codes.max()) + 1
    total = latent.new_zeros(n, latent.shape[1]).index_add_(0, codes, latent)
    return total / torch.bincount(codes, minlength=n).clamp_min(1)[:, None]


def shrink(latent: Tensor, codes: Tensor, factor: Tensor) -> Tensor:
    """Pull cells ``(n, d)`` towards the mean of their condition by `factor` ``(d,)`` per coordinate."""
    centre = condition_means(latent, codes)[codes]
    return centre + factor * (latent - centre)


def fit_observation(
    generator: Generator,
    counts: CountBlock,
    unit: Tensor,
    latent: Tensor,
    codes: Tensor,
    tokens: Tensor,
    *,
    n_steps: int,
    n_rounds: int,
    seed: int,
    pool: Tensor | None = None,
    control: Tensor | None = None,
) -> Tensor:
    """Fit the observation layer together with the share of latent variance that is not count noise.

    A projected cell contains the noise of its counts; drawing counts around it again would double that noise, most
    visibly in the trailing components. Each round draws cells from the layer, projects them, and shrinks
    each coordinate so that the within-condition variance of drawn cells matches that of the real ones:
    ``factor ** 2 = 1 - noise / variance``.

    Parameters
    ----------
    generator
        Its observation layer is fitted in place, starting from its present loadings if they are not zero; its space must be set.
    counts
        Function from indices of training cells to their counts.
    unit, latent, codes
        Of the training cells: value of a count ``(n,)``, coordinates ``(n, d)``, conditions ``(n,)``.
    tokens
        ``(C, L)`` parts of the conditions.
    n_steps, n_rounds
        Minibatches of the first fit (later rounds take a third), and rounds of shrinking.
    seed
        Seed.
    pool
        Indices of the cells that minibatches are drawn from; all by default.
    control
        ``(C,)`` control condition of each condition, or -1 for none.

    Returns
    -------
    Factor ``(d,)`` in [0, 1] on the device of the generator, to be used with :func:`shrink`.
    """
    observation = generator.observation
    if not isinstance(observation, NegativeBinomialObservation):
        msg = f"There is nothing to fit in a {type(observation).__name__}."
        raise TypeError(msg)
    device, rng = generator.device, torch_rng(seed, "count noise")
    unit, latent, codes, tokens = (value.to(device) for value in (unit, latent, codes, tokens))
    counts = partial(_moved, counts, device)
    if not observation.loading.any():
        observation.intercept.copy_(_log_mean(counts, unit))
    factor = torch.ones(latent.shape[1], device=device)
    for round_ in range(n_rounds + 1):
        target = shrink(latent, codes, factor)
        steps = n_steps if round_ == 0 else n_steps // 3
        fit_log_rate(observation, counts, unit, target, n_steps=steps, rng=rng, pool=pool)
        totals = fit_dispersion(observation, counts, unit, target, codes)
        if round_ < n_rounds:
            factor = _signal_share(generator, unit, latent, codes, factor, rng)
    fit_residual(observation, totals, tokens, None if control is None else control.to(device))
    return factor


@torch.no_grad()
def _signal_share(
    generator: Generator, unit: Tensor, latent: Tensor, codes: Tensor, factor: Tensor, rng: torch.Generator
) -> Tensor:
    index = torch.randperm(len(latent), generator=rng)[:N_CHECK]
    target = shrink(latent, codes, factor)
    drawn, own_rng = [], on_device(rng, latent.device)
    for rows in index.split(BATCH):
        cells, _ = generator.observation.sample(generator.observation.log_rate(target[rows]), unit[rows], own_rng)
        drawn.append(generator.space.encode(cells))
    real, again, own = latent[index], torch.cat(drawn), codes[index]
    variance = _within(real, own)
    noise = _within(again, own) - _within(target[index], own)
    return (1 - noise / variance.clamp_min(1e-8)).clamp(0, 1).sqrt()


def _moved(counts: CountBlock, device: torch.device, index: Tensor) -> Tensor:
    return counts(index).to(device)


def _within(latent: Tensor, codes: Tensor) -> Tensor:
    """Variance of each coordinate around the condition means."""
    return (latent - condition_means(latent, codes)[codes]).square().mean(0)


def _log_mean(counts: CountBlock, unit: Tensor) -> Tensor:
    total, exposure = torch.tensor(0.0), torch.tensor(0.0)
    for index in torch.arange(len(unit)).split(BATCH):
        total = total + counts(index).sum(0)
        exposure = exposure + (1 / unit[index]).sum()
    return torch.log((total + 0.5) / exposure)
