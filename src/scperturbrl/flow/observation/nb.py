"""The observation layer of principal components: counts with the zeros and the variance of real ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from scperturbrl.flow.observation.base import Observation
from scperturbrl.flow.observation.carry import carried, carried_alone, draw_counts

if TYPE_CHECKING:
    from scperturbrl.flow.observation.carry import ControlCounts

MAX_DISPERSION = 1e4


class NegativeBinomialObservation(Observation):
    """Negative-binomial counts around a log-linear rate.

    The rate of gene g is ``exp(intercept_g + latent @ loading_g + residual_g)`` in normalised units (what `expm1` of the
    data is measured in). A cell in which one count equals ``unit`` in these units has counts with mean
    ``rate / unit`` and inverse dispersion ``theta_g``, and expression ``log1p(unit * count)``. If all cells have the same
    `total`, as after `normalize_total`, the rates of a cell are scaled to add up to it, and so are the counts that were drawn.

    Parameters
    ----------
    n_genes, n_latent
        Sizes G and d.
    n_tokens
        Number of known perturbations, each with a residual of its own.
    total
        Sum of a cell's normalised values; 0 where it differs between cells, as in a panel of genes.
    """

    intercept: Tensor
    loading: Tensor
    residual: Tensor
    log_theta: Tensor

    def __init__(self, n_genes: int, n_latent: int, n_tokens: int, total: float = 0.0) -> None:
        super().__init__(n_genes, total)
        self.register_buffer("intercept", torch.zeros(n_genes))
        self.register_buffer("loading", torch.zeros(n_latent, n_genes))
        self.register_buffer("residual", torch.zeros(n_tokens + 1, n_genes))
        self.register_buffer("log_theta", torch.zeros(n_genes))

    def condition_residual(self, tokens: Tensor) -> Tensor:
        """Sum of the residuals of the parts ``(C, L)`` of each condition; ``(C, G)``. Token 0 adds nothing."""
        return self.residual[tokens].sum(1)

    def design(self, latent: Tensor) -> Tensor:
        """Coordinates in which the log rate is linear: the latent cells ``(n, d)`` themselves."""
        return latent

    def unbounded_log_rate(self, latent: Tensor) -> Tensor:
        """Log rate ``(n, G)``, linear in the :meth:`design`."""
        return torch.addmm(self.intercept, self.design(latent), self.loading)

    def sample(
        self,
        log_rate: Tensor,
        unit: Tensor,
        rng: torch.Generator,
        *,
        control: ControlCounts | None = None,
        differentiable: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Draw cells: from the counts of their control cells if these are given, see :func:`carried_alone`, else afresh.

        With ``differentiable=True`` the cells carry a gradient with respect to the rate. For a Poisson count K with
        mean m, ``d E[f(K)] / dm = E[f(K + 1) - f(K)]`` (the Stein-Chen identity); a negative binomial is a Poisson whose
        mean is multiplied by a gamma variable that does not depend on m. So the difference made by one more count
        is an unbiased derivative of the expected value of a cell. With a `total` it is unbiased to first order: the effect of one
        more count on the other genes of the cell is left out, because changes of scaled rates add up to zero.
        """
        mean, theta = torch.exp(log_rate.detach() - unit.log()[:, None]), self.log_theta.exp()
        if control is not None and not differentiable:
            return self.shown(counts := carried_alone(control, mean, theta, rng), unit)[0], counts
        counts, noise = draw_counts(mean, theta, rng) if control is None else carried(control, mean, theta, rng)
        cells, unit = self.shown(counts, unit)
        if differentiable:
            step = torch.log1p(unit[:, None] * (counts + 1)) - cells
            # the bracket is zero in value: it only carries the derivative of the mean count
            cells = cells + step * noise * mean * (log_rate - log_rate.detach())
        return cells, counts
